import { execFileSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");

/**
 * Builds `bench/native/NAME.cc` as a release program, if it is not up to date.
 *
 * @returns Path of the program.
 * @throws Error with the compiler's output when it does not compile.
 */
export function buildNative(name: string): string {
  return build(`bench_${name}`, `bench_${name}`);
}

/** Builds shimmy-netns-helper in the same way. */
export function buildNetnsHelper(): string {
  return build("shimmy_netns_helper", "shimmy-netns-helper");
}

function build(target: string, program: string): string {
  execFileSync("bash", [join(ROOT, "scripts/build-native.sh"), "release", target], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return join(ROOT, "build/release", program);
}
