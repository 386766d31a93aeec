import type { Command } from "commander";
import { existsSync } from "node:fs";

import { ExitCode, type Finish } from "./command.ts";
import { signalExitCode, StopRequest } from "./daemon.ts";
import { Workspace } from "./local/workspace.ts";
import { PrefixedOutput } from "./output.ts";
import { parseRunArguments } from "./run/arguments.ts";
import { readRunFile } from "./run/file.ts";
import { LocalRun } from "./run/local-run.ts";
import { checkPrograms, refused, requireSeconds, type ProgramSpec } from "./run/plan.ts";
import { summaryLines } from "./traffic.ts";

const OWN_NAME = "shimmy";
const DEFAULT_FILE = "shimmy.yaml";

const HELP = `
Without a file, flags say what the COMMAND behind them serves and calls:
  --serve NAME:PORT[,NAME:PORT]          it listens on PORT of the address it is given
  --serve NAME:ADDRESS:PORT              it listens on ADDRESS, whatever it is given
  --call NAME:LOCALPORT[?OPTIONS][,…]    it reaches NAME on localhost:LOCALPORT
COMMAND is one word, a line for the shell; the last one may follow -- as it stands. A last --call
without COMMAND keeps its ports open, so that you can try them from another terminal.

Each program gets an address of its own (127.0.1.2 and up), as if it were a pod, in SHIMMY_ADDRESS
and in place of \${ADDRESS}; and for each service it calls SHIMMY_<NAME>_HOST, _PORT and _URL.
Programs that call are started when those that serve accept connections. When the callers have
ended, everything is stopped, and the exit code is theirs.

Examples:
  $ shimmy run shimmy.yaml
  $ shimmy run --serve web:8080 'python3 -m http.server 8080 --bind \${ADDRESS}' \\
               --call web:9001 -- curl http://localhost:9001/
  $ shimmy run --serve cache:6379 'redis-server --bind \${ADDRESS} --save ""' \\
               --serve api:8080 --call cache:9001 'node api.js' \\
               --call api:9002

Options of a call: protocol=http|grpc|tcp (the scheme of _URL), transport=auto|shm|tcp.
The file, and how to read the summary: docs/guides/local.md.`;

interface RunFlags {
  readonly verbose?: true;
  readonly readyTimeout: string;
  readonly summary: boolean;
}

/** `shimmy run`. */
export function define(command: Command, finish: Finish): void {
  command
    .usage(
      "[FILE] [options]\n       shimmy run --serve NAME:PORT COMMAND … --call NAME:LOCALPORT [COMMAND] …",
    )
    .argument("[words...]", `a file such as ${DEFAULT_FILE} (the default), or flags and commands`)
    .allowUnknownOption()
    .option("-v, --verbose", "show what agent and sidecars log")
    .option("--ready-timeout <seconds>", "time for each server to accept connections", "30")
    .option("--no-summary", "do not say at the end what travelled by which transport")
    .addHelpText("after", HELP)
    .action(async (words: string[], flags: RunFlags) => {
      finish(await run(readPrograms(words), flags));
    });
}

function readPrograms(words: readonly string[]): readonly ProgramSpec[] {
  const [first, second] = words;
  if (first?.startsWith("-") === true) return checkPrograms(parseRunArguments(words));
  if (second !== undefined) throw refused(`unexpected "${second}" behind the file ${first ?? ""}`);
  if (first === undefined && !existsSync(DEFAULT_FILE)) {
    throw refused(`there is no ${DEFAULT_FILE} here; name a file, or see \`shimmy run --help\``);
  }
  return checkPrograms(readRunFile(first ?? DEFAULT_FILE));
}

async function run(programs: readonly ProgramSpec[], flags: RunFlags): Promise<number> {
  const readyTimeoutMs = requireSeconds("--ready-timeout", flags.readyTimeout) * 1000;
  const helpers = flags.verbose === true ? programs.map(({ name }) => `sidecar of ${name}`) : [];
  const names = [OWN_NAME, ...programs.map(({ name }) => name), ...helpers];
  const output = new PrefixedOutput(names);
  const say = (text: string): void => {
    output.line(OWN_NAME, text, "stderr");
  };
  using stop = new StopRequest();
  const workspace = new Workspace();
  const local = new LocalRun({
    programs,
    workspace,
    isVerbose: flags.verbose === true,
    readyTimeoutMs,
    say,
    onLine: (name, line, stream) => {
      output.line(name, line, stream);
    },
  });
  try {
    const work = local.start().then(() => local.ended());
    // After ctrl-C nobody waits for it, and its failure is no news.
    work.catch(() => undefined);
    const result = await Promise.race([work, stop.received]);
    local.expectEnd();
    if (flags.summary) for (const line of summaryLines(await local.traffic())) say(line);
    if (typeof result === "number") return result;
    return result === "SIGINT" ? ExitCode.interrupted : signalExitCode(result);
  } finally {
    local.expectEnd();
    await workspace.close();
    local.endDaemons();
  }
}
