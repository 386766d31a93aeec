import { spawn, type ChildProcess } from "node:child_process";

/**
 * Ends what a run started and removes its directory when the run is gone without having done so
 * itself, by SIGKILL for one. A shell, because it only waits for the end of a pipe.
 */
const SCRIPT = `
marker=$1 directory=$2
read -r word && [ "$word" = done ] && exit 0
signal() {
  for file in $(grep -lsxz "$marker" /proc/[0-9]*/environ); do
    pid=\${file#/proc/} && kill "-$1" "\${pid%/environ}" 2>/dev/null
  done
}
signal TERM
sleep 1
signal KILL
rm -rf "$directory"
`;

/** A process that outlives this one by as long as it takes to clean up after it. */
export class Guard {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  /**
   * @param marker - `NAME=value` in the environment of every process of the run.
   * @param directory - Removed with everything in it.
   */
  constructor(marker: string, directory: string) {
    this.#child = spawn("/bin/sh", ["-c", SCRIPT, "shimmy-guard", marker, directory], {
      detached: true, // ctrl-C in the terminal is not meant for it
      stdio: ["pipe", "ignore", "ignore"],
    });
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#ended = promise;
    this.#child.once("exit", () => {
      resolve(undefined);
    });
    // Without a shell there is no guard, and everything else works.
    this.#child.on("error", () => {
      resolve(undefined);
    });
    this.#child.stdin?.on("error", () => undefined);
  }

  /** Tells it that there is nothing to do. */
  async dismiss(): Promise<void> {
    this.#child.stdin?.end("done\n");
    await this.#ended;
  }
}
