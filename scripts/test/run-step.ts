import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { NO_COUNTS, parseGtestXml, parseLines, parseMochaSummary, type Counts } from "./counts.ts";

/** One command of a tier, and how its result is counted. */
export interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  /**
   * - `check`: one test, which passes with exit code 0
   * - `prepare`: no test; only a failure counts
   * - `mocha`, `gtest`: the runner's own report
   * - `lines`: lines that begin with `ok `, `FAIL ` or `skip `
   */
  readonly count: "check" | "prepare" | "mocha" | "gtest" | "lines";
}

interface Exit {
  readonly code: number | null;
  readonly output: string;
  readonly isTimedOut: boolean;
}

/** How {@link runStep} runs. */
export interface RunOptions {
  /** After this the step is stopped, with all it started. */
  readonly timeoutMs: number;
  /** Takes what the step prints, and what there is to say about it. */
  readonly print: (text: string) => void;
}

/** Runs one step to its end and counts it. A step that crashes or hangs counts as failed. */
export async function runStep(step: Step, options: RunOptions): Promise<Counts> {
  const { timeoutMs, print } = options;
  const report = `build/reports/${step.name.replaceAll(/\W+/g, "-")}`;
  mkdirSync(dirname(report), { recursive: true });
  rmSync(report, { force: true });
  const exit = await runCommand(step, report, options);
  if (exit.isTimedOut) print(`${step.name}: stopped after ${timeoutMs / 1000} s\n`);

  const counts = exit.isTimedOut ? NO_COUNTS : countStep(step, report, exit);
  // Whatever the runner's report says, a bad exit code is never a success.
  const isCrash = exit.code !== 0 && counts.failed === 0;
  const total = isCrash ? { ...counts, failed: 1 } : counts;
  if (total.failed > 0) print(`FAILED: ${step.name} (exit code ${exit.code ?? "none"})\n`);
  return total;
}

function countStep(step: Step, report: string, { code, output }: Exit): Counts {
  switch (step.count) {
    case "check":
      return { ...NO_COUNTS, passed: code === 0 ? 1 : 0 };
    case "prepare":
      return NO_COUNTS;
    case "lines":
      return parseLines(output);
    case "mocha":
      return readReport(report, parseMochaSummary);
    case "gtest":
      return readReport(report, parseGtestXml);
  }
}

// A runner that ends without its report has crashed.
function readReport(path: string, parse: (text: string) => Counts): Counts {
  return existsSync(path) ? parse(readFileSync(path, "utf8")) : { ...NO_COUNTS, failed: 1 };
}

function runCommand(step: Step, report: string, options: RunOptions): Promise<Exit> {
  const [program, ...args] = step.command;
  return new Promise((resolve) => {
    // A group of its own, so that a step that hangs is stopped with all it started.
    const child = spawn(program, args, {
      detached: true,
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        ...process.env,
        ...step.env,
        // Some tools colour what they print whenever CI is set.
        NO_COLOR: "1",
        MOCHA_SUMMARY_FILE: report,
        GTEST_OUTPUT: `xml:${report}`,
      },
    });
    const chunks: Buffer[] = [];
    const finish = (code: number | null, isTimedOut = false): void => {
      clearTimeout(timer);
      resolve({ code, output: Buffer.concat(chunks).toString(), isTimedOut });
    };
    const timer = setTimeout(() => {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      // Something that left the group could hold the pipe open for ever.
      child.stdout.destroy();
      finish(null, true);
    }, options.timeoutMs);
    child.stdout.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      options.print(chunk.toString());
    });
    child.once("error", (err) => {
      options.print(`${program}: ${err.message}\n`);
      finish(null);
    });
    child.once("close", (code) => {
      finish(code);
    });
  });
}
