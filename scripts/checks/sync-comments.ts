// Checks that every memory order in shm-core says what it pairs with: a comment with `SYNC`, or for
// a relaxed access at least one that says why relaxed is enough, on its line or close above it.
import { globSync, readFileSync } from "node:fs";

/** How far above an atomic access its comment may begin. */
const REACH_LINES = 8;

const ORDERED =
  /memory_order(?:_|::)(?:acquire|release|acq_rel|seq_cst|consume)|atomic_(?:thread|signal)_fence|__ATOMIC_(?:ACQUIRE|RELEASE|ACQ_REL|SEQ_CST|CONSUME)/;
const RELAXED = /memory_order(?:_|::)relaxed|__ATOMIC_RELAXED/;
const DEFAULT_ORDER = /\.load\(\)|\.fetch_(?:add|sub|or|and)\([^,()]*\)/;

/** One atomic access without the comment it needs. */
export interface SyncFinding {
  /** Counts from 1. */
  readonly line: number;
  readonly problem: string;
}

/** Finds the atomic accesses of one C++ source that lack their comment. */
export function findUncommentedOrders(source: string): SyncFinding[] {
  const lines = source.split("\n").map((line) => {
    const start = line.indexOf("//");
    return start < 0
      ? { code: line, comment: "" }
      : { code: line.slice(0, start), comment: line.slice(start) };
  });
  return lines.flatMap(({ code }, index) => {
    const problem = problemOf(code, commentsFor(lines, index));
    return problem === undefined ? [] : [{ line: index + 1, problem }];
  });
}

interface Line {
  readonly code: string;
  readonly comment: string;
}

// Lines that are atomic accesses themselves do not count: one comment may stand above a block.
function commentsFor(lines: readonly Line[], index: number): string {
  let found = "";
  for (let at = index, others = 0; at >= 0 && others < REACH_LINES; at--) {
    const { code, comment } = lines[at] ?? { code: "", comment: "" };
    found += comment;
    if (!ORDERED.test(code) && !RELAXED.test(code)) others += 1;
  }
  return found;
}

function problemOf(code: string, comments: string): string | undefined {
  if (DEFAULT_ORDER.test(code)) return "atomic access without a named memory order";
  if (ORDERED.test(code) && !comments.includes("SYNC")) return "memory order without SYNC comment";
  if (RELAXED.test(code) && !/SYNC|relaxed/i.test(comments)) {
    return "relaxed access without a comment that says why";
  }
  return undefined;
}

function main(): void {
  const files = globSync("shm-core/**/*.{h,cc,c}");
  let findings = 0;
  for (const file of files) {
    for (const { line, problem } of findUncommentedOrders(readFileSync(file, "utf8"))) {
      console.log(`${file}:${line}: ${problem}`);
      findings += 1;
    }
  }
  console.log(`${files.length} files, ${findings} problems`);
  process.exitCode = findings === 0 ? 0 : 1;
}

if (import.meta.main) main();
