import { readdirSync } from "node:fs";
import { join } from "node:path";

import { ADMIN_SOCKET } from "../../agent/api.ts";
import { ShimmyError } from "../../common/errors.ts";
import { getJson } from "../http.ts";
import { DIRECTORY_PREFIX, temporaryRoot } from "../local/workspace.ts";

/** Where an agent that was installed has its directory. */
const SYSTEM_DIR = "/run/shimmy";

/** Whether an agent answers on a socket. */
export type AgentProbe = (socketPath: string) => Promise<boolean>;

/** Options of {@link findRuntimeDir}. */
export interface FindOptions {
  /** Where runs keep their files. @defaultValue the directory for temporary files */
  readonly root?: string;
  /** @defaultValue `/run/shimmy` */
  readonly systemDir?: string;
  readonly answers?: AgentProbe;
}

/**
 * Finds the runtime directory of the agent of this machine.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_AGENT_UNAVAILABLE` when there is none, or there are
 * several and none is the installed one.
 */
export async function findRuntimeDir({
  root = temporaryRoot(),
  systemDir = SYSTEM_DIR,
  answers = agentAnswers,
}: FindOptions = {}): Promise<string> {
  if (await answers(join(systemDir, ADMIN_SOCKET))) return systemDir;
  const runs = await runningRuns(root, answers);
  const [only] = runs;
  if (only !== undefined && runs.length === 1) return only;
  throw new ShimmyError(
    "SHIMMY_ERR_AGENT_UNAVAILABLE",
    only === undefined
      ? `no agent answers in ${systemDir}, and no \`shimmy run\` is running`
      : `several runs are running; choose one with --runtime-dir ${runs.join(" or ")}`,
  );
}

/** Runtime directories of the runs whose agent answers. */
async function runningRuns(root: string, answers: AgentProbe): Promise<string[]> {
  const runs: string[] = [];
  for (const name of readdirSync(root)) {
    const runtimeDir = join(root, name, "run");
    const isRun = name.startsWith(DIRECTORY_PREFIX);
    if (isRun && (await answers(join(runtimeDir, ADMIN_SOCKET)))) runs.push(runtimeDir);
  }
  return runs;
}

async function agentAnswers(socketPath: string): Promise<boolean> {
  return (await getJson({ socketPath, path: "/v1/health" })) !== undefined;
}
