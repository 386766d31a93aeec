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
  execFileSync("bash", [join(ROOT, "scripts/build-native.sh"), "release", `bench_${name}`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return join(ROOT, "build/release", `bench_${name}`);
}
