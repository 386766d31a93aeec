/**
 * How many times slower than usual this machine is: SHIMMY_TEST_SLOWNESS, 1 by default. What tests
 * wait for may take as many times longer in a virtual machine that is emulated.
 */
export const SLOWNESS = Math.max(1, Number(process.env["SHIMMY_TEST_SLOWNESS"] ?? 1));

/** What a sidecar is given there: with its default of one second a first connection may go over TCP. */
export const SLOW_SIDECAR: Readonly<Record<string, string>> =
  SLOWNESS === 1 ? {} : { SHIMMY_OPEN_TIMEOUT: `${SLOWNESS}s` };
