// An agent with two pods, whose processes are the two ends of a bench's channels.
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { podDirectory } from "../../agent/api.ts";
import type { Workspace } from "./workspace.ts";

const PROGRAM = join(import.meta.dirname, "../../test/fixtures/run-agent.ts");
const API_SOCKET_OF_NODE = "agent.sock";
const IN_USE = 409;
const MOST_TURNS = 200;
const TURN_MS = 10;
const CATALOG = `pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
`;

/** An agent for channels. */
export interface ChannelAgent {
  /** Sockets of pods `a` and `b`. */
  readonly sockets: readonly [string, string];
  /** Deletes channels, so that a pod may make others. */
  forget(topics: readonly string[]): Promise<void>;
}

/** Starts an agent with pods `a` and `b`. */
export async function startChannelAgent(workspace: Workspace): Promise<ChannelAgent> {
  const catalog = workspace.path("catalog.yaml");
  const directory = workspace.path("run");
  writeFileSync(catalog, CATALOG);
  const agent = workspace.start({
    name: "agent",
    argv: [process.execPath, PROGRAM, catalog, directory],
  });
  const [a, b] = ["a", "b"].map((name) =>
    join(podDirectory(directory, { namespace: "default", name }), "fd.sock"),
  ) as [string, string];
  const isThere = (): Promise<boolean> =>
    Promise.all([stat(a), stat(b)]).then(
      () => true,
      () => false,
    );
  await workspace.waitUntil(agent, "the sockets of both pods", isThere);
  const socketPath = join(directory, API_SOCKET_OF_NODE);
  return {
    sockets: [a, b],
    forget: async (topics) => {
      for (const topic of topics) {
        // Its processes have ended just now, and the agent may not have seen it yet.
        for (let turn = 0; (await remove(socketPath, topic)) === IN_USE; turn++) {
          if (turn === MOST_TURNS) throw new Error(`topic ${topic} stays in use`);
          await delay(TURN_MS);
        }
      }
    },
  };
}

async function remove(socketPath: string, topic: string): Promise<number | undefined> {
  const path = `/v1/channels/default/${topic}`;
  const sent = request({ socketPath, path, method: "DELETE" }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  response.resume();
  await once(response, "end");
  return response.statusCode;
}
