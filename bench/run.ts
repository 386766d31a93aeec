// `npm run bench -- NAME`: runs one bench and prints, or writes, what it found.
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bench, finish } from "./lib/bench.ts";
import { parseOptions, USAGE } from "./lib/options.ts";
import { formatResult } from "./lib/print.ts";
import { judge } from "./lib/result.ts";

const SUFFIX = ".bench.ts";

async function main(argv: readonly string[]): Promise<void> {
  const { name, options } = parseOptions(argv);
  const path = join(import.meta.dirname, `${name}${SUFFIX}`);
  if (!existsSync(path)) {
    throw new Error(`no bench ${name}; there is ${listBenches().join(", ")}\n${USAGE}`);
  }
  const { bench } = (await import(path)) as { bench: Bench };
  const result = await finish(bench, options);
  process.stdout.write(`${formatResult(result)}\n`);
  if (options.jsonPath !== undefined) {
    writeFileSync(options.jsonPath, `${JSON.stringify(result, null, 2)}\n`);
  }
  // A target that is missed is a finding, not an error; a key that is missing is one.
  const missing = result.targets.filter((target) => judge(target, result) === "not measured");
  if (missing.length > 0 && options.only === undefined) {
    throw new Error(`not measured: ${missing.map(({ key }) => key).join(", ")}`);
  }
}

function listBenches(): readonly string[] {
  return readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length));
}

try {
  await main(process.argv.slice(2));
} catch (err) {
  process.stderr.write(`${err instanceof Error ? err.message : String(err)}\n`);
  process.exitCode = 1;
}
