/**
 * How many times slower than usual this machine is: SHIMMY_TEST_SLOWNESS, 1 by default. What tests
 * wait for may take as many times longer in a virtual machine that is emulated.
 */
export const SLOWNESS = Math.max(1, Number(process.env["SHIMMY_TEST_SLOWNESS"] ?? 1));
