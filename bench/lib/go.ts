import { execFileSync } from "node:child_process";
import { join } from "node:path";

const BUILD = join(import.meta.dirname, "../../scripts/build-go.sh");

/**
 * Builds a Go program, if it is not in the cache.
 *
 * @param folder - Below the root of the clone.
 * @returns Path of the program.
 * @throws Error with the compiler's output when it does not compile.
 */
export function buildGo(folder: string, name: string): string {
  const stdio = ["ignore", "pipe", "inherit"] as const;
  return execFileSync("bash", [BUILD, folder, name], {
    encoding: "utf8",
    stdio: [...stdio],
  }).trim();
}
