import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import {
  NO_COUNTS,
  parseGtestXml,
  parseLines,
  parseMochaSummary,
  type Counts,
} from "./counts.ts";

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

/** Runs one step to its end and counts it. A step that crashes or hangs counts as failed. */
export async function runStep(step: Step, timeoutMs: number): Promise<Counts> {
  const report = `build/reports/${step.name.replaceAll(/\W+/g, "-")}`;
  mkdirSync(dirname(report), { recursive: true });
  rmSync(report, { force: true });
  const exit = await runCommand(step, report, timeoutMs);
  if (exit.isTimedOut) console.log(`${step.name}: stopped after ${timeoutMs / 1000} s`);

  const counts = exit.isTimedOut ? NO_COUNTS : countStep(step, report, exit);
  // Whatever the runner's report says, a bad exit code is never a success.
  const isCrash = exit.code !== 0 && counts.failed === 0;
  const total = isCrash ? { ...counts, failed: 1 } : counts;
  if (total.failed > 0) console.log(`FAILED: ${step.name} (exit code ${exit.code ?? "none"})`);
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
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (err) {
    console.log(`no report: ${String(err)}`);
    return { ...NO_COUNTS, failed: 1 };
  }
}

function runCommand({ command, env }: Step, report: string, timeoutMs: number): Promise<Exit> {
  const [program, ...args] = command;
  return new Promise((resolve) => {
    // A group of its own, so that a step that hangs is stopped with all it started.
    const child = spawn(program, args, {
      detached: true,
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        ...process.env,
        ...env,
        MOCHA_SUMMARY_FILE: report,
        GTEST_OUTPUT: `xml:${report}`,
      },
    });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      process.stdout.write(chunk);
    });
    let isTimedOut = false;
    const timer = setTimeout(() => {
      isTimedOut = true;
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }, timeoutMs);
    const finish = (code: number | null): void => {
      clearTimeout(timer);
      resolve({ code, output: Buffer.concat(chunks).toString(), isTimedOut });
    };
    child.once("error", (err) => {
      console.log(`${program}: ${err.message}`);
      finish(null);
    });
    child.once("close", finish);
  });
}
