// Writes docs/benchmarks.md and its charts from the committed results: `node bench/report.ts`.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BenchResult } from "./lib/result.ts";
import { renderReport } from "./report/render.ts";

const RESULTS = join(import.meta.dirname, "results");
const DOCS = join(import.meta.dirname, "../docs");

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
  for (const [path, content] of renderReport(readResults(RESULTS))) {
    mkdirSync(dirname(join(DOCS, path)), { recursive: true });
    writeFileSync(join(DOCS, path), content);
  }
}
