import { Command, CommanderError } from "commander";

import { VERSION } from "../common/version.ts";
import { ExitCode, type CommandModule } from "./command.ts";
import { commanderFailure, reportFailure } from "./failure.ts";

/** One command: its module is imported only when it is the one asked for. */
interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

const COMMANDS: readonly CommandEntry[] = [
  {
    name: "demo",
    summary: "show Shimmy at work between nginx, wrk and curl, in half a minute",
    load: () => import("./demo.ts"),
  },
  {
    name: "run",
    summary: "run your own programs with an agent and sidecars around them",
    load: () => import("./run.ts"),
  },
  {
    name: "top",
    summary: "show what travels by which transport, live",
    load: () => import("./top.ts"),
  },
  {
    name: "inject",
    summary: "add sidecars to Kubernetes objects in files, as the webhook does",
    load: () => import("./inject.ts"),
  },
  {
    name: "check",
    summary: "check a cluster before and after Shimmy is installed in it",
    load: () => import("./check.ts"),
  },
  {
    name: "uninstall",
    summary: "opt everything out, and take Shimmy out of a cluster",
    load: () => import("./uninstall.ts"),
  },
  {
    name: "agent",
    summary: "start the node agent (local mode)",
    load: () => import("./agent.ts"),
  },
  {
    name: "sidecar",
    summary: "start the sidecar of one pod",
    load: () => import("./sidecar.ts"),
  },
  {
    name: "injector",
    summary: "serve the webhooks that add sidecars (Kubernetes)",
    load: () => import("./injector.ts"),
  },
  {
    name: "master",
    summary: "start the controller of SharedMemoryObjects (Kubernetes)",
    load: () => import("./master.ts"),
  },
];

const HELP = `
Examples:
  $ shimmy demo
  $ shimmy run examples/hello/shimmy.yaml
  $ shimmy run --serve web:8080 'python3 -m http.server 8080 --bind \${ADDRESS}' \\
               --call web:9001 -- curl http://localhost:9001/

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ctrl-C; \`run\` ends with the code of your programs.
SHIMMY_DEBUG=1 shows where an error comes from.`;

/**
 * Runs one command line.
 *
 * @param argv - The words behind `shimmy`.
 * @returns The exit code. Errors have been reported on standard error.
 */
export async function runProgram(argv: readonly string[]): Promise<number> {
  let exitCode: number = ExitCode.ok;
  try {
    const program = await buildProgram(argv, (code) => {
      exitCode = code;
    });
    if (argv.length === 0) {
      program.outputHelp({ error: true });
      return ExitCode.usage;
    }
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (err) {
    if (!(err instanceof CommanderError)) return reportFailure(err);
    return err.exitCode === 0 ? ExitCode.ok : reportFailure(commanderFailure(err));
  }
}

async function buildProgram(
  argv: readonly string[],
  finish: (exitCode: number) => void,
): Promise<Command> {
  const program = new Command("shimmy")
    .description("Shared memory instead of TCP between services of one machine.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help for a command")
    .addHelpText("after", HELP)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: () => undefined }); // reportFailure() does it
  const chosen = chosenCommand(argv);
  for (const { name, summary, load } of COMMANDS) {
    const command = program
      .command(name)
      .summary(summary)
      .description(capitalise(summary) + ".");
    if (name === chosen) (await load()).define(command, finish);
  }
  return program;
}

/** The first word that is not an option, or the one behind `help`. */
function chosenCommand(argv: readonly string[]): string | undefined {
  const [first, second] = argv.filter((word) => !word.startsWith("-"));
  return first === "help" ? second : first;
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
