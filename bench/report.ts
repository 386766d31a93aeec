// Writes docs/benchmarks.md, its charts and the table in README.md from the committed results:
// `node bench/report.ts`.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BenchResult } from "./lib/result.ts";
import { fillReadme, renderReadmeBlock } from "./report/readme.ts";
import { renderReport } from "./report/render.ts";

const RESULTS = join(import.meta.dirname, "results");
const DOCS = join(import.meta.dirname, "../docs");
const README = join(import.meta.dirname, "../README.md");

/** The committed results, one per bench. */
export function readResults(directory: string): readonly BenchResult[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith(".json"))
    .toSorted()
    .map((file) => JSON.parse(readFileSync(join(directory, file), "utf8")) as BenchResult);
}

if (import.meta.main) {
  // Charts of benches that are gone must not stay behind.
  rmSync(join(DOCS, "benchmarks"), { recursive: true, force: true });
  const results = readResults(RESULTS);
  for (const [path, content] of renderReport(results)) {
    mkdirSync(dirname(join(DOCS, path)), { recursive: true });
    writeFileSync(join(DOCS, path), content);
  }
  writeFileSync(README, fillReadme(readFileSync(README, "utf8"), renderReadmeBlock(results)));
}
