import type { CaseRecords } from "./judge.ts";
import type { TrafficPeer } from "./peer.ts";
import type { TrafficCase } from "./script.ts";

/** How many ports the server listens on, and so how many connections there are at a time. */
export const PORT_COUNT = 32;
/** The server's first port; a route may have others. */
export const SERVER_PORT = 7000;

/** A way from the client to the server. */
export interface Route {
  readonly name: "tcp" | "shm";
  /** Where the client connects to reach the server's port `SERVER_PORT + index`. */
  target(index: number): { address: string; port: number };
}

/** The two processes. */
export interface TrafficPair {
  readonly client: TrafficPeer;
  readonly server: TrafficPeer;
}

let lastId = 0;

/**
 * Runs connections, each on a port that no other one uses at that time: the server knows by the
 * port which script to follow, so that scripts need not begin with a byte.
 *
 * @returns The records, in the order of the cases.
 */
export async function runCases(
  { client, server }: TrafficPair,
  route: Route,
  cases: readonly TrafficCase[],
): Promise<CaseRecords[]> {
  const records: CaseRecords[] = [];
  let next = 0;
  const runOnPort = async (index: number): Promise<void> => {
    for (let number = next++; number < cases.length; number = next++) {
      const traffic = cases[number];
      if (traffic === undefined) return;
      const id = ++lastId;
      const armed = await server.arm(id, SERVER_PORT + index, traffic.server);
      const clientRecord = await client.run(id, route.target(index), traffic.client);
      server.disarm(id);
      records[number] = { client: clientRecord, server: await armed.record };
    }
  };
  await Promise.all(Array.from({ length: PORT_COUNT }, (_, index) => runOnPort(index)));
  return records;
}

/** The way without Shimmy. */
export function directRoute(address: string): Route {
  return { name: "tcp", target: (index) => ({ address, port: SERVER_PORT + index }) };
}
