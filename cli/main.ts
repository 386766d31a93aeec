// Entry of the `shimmy` command; bin.js imports it, and processes that Shimmy starts run it directly.
import { reportFailure } from "./failure.ts";

process.stdout.on("error", (err: NodeJS.ErrnoException) => {
  // The reader has left, as in `shimmy top --once | head -1`.
  if (err.code === "EPIPE") process.exit(0);
  throw err;
});

process.exit(await main(process.argv.slice(2)));

async function main(argv: readonly string[]): Promise<number> {
  const [command, ...words] = argv;
  if (command === "sidecar" && !words.some(isHelp)) return sidecar(words);
  const { runProgram } = await import("./program.ts");
  return runProgram(argv);
}

/** There is one in every pod: it does without the parser of command lines, and its memory. */
async function sidecar(words: readonly string[]): Promise<number> {
  try {
    const { serveSidecarCommand } = await import("./sidecar-process.ts");
    return await serveSidecarCommand(words);
  } catch (err) {
    return reportFailure(err);
  }
}

function isHelp(word: string): boolean {
  return word === "-h" || word === "--help";
}
