// Entry of the `shimmy` command; bin.js imports it, and processes that Shimmy starts run it directly.
import { runProgram } from "./program.ts";

process.stdout.on("error", (err: NodeJS.ErrnoException) => {
  // The reader has left, as in `shimmy top --once | head -1`.
  if (err.code === "EPIPE") process.exit(0);
  throw err;
});

process.exit(await runProgram(process.argv.slice(2)));
