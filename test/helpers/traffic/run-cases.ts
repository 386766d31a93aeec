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

/** All ports. */
export const ALL_PORTS: readonly number[] = Array.from({ length: PORT_COUNT }, (_, port) => port);

/**
 * Runs connections, each on a port that no other one uses at that time: the server knows by the
 * port which script to follow, so that scripts need not begin with a byte.
 *
 * @param ports - Which ports to use, from 0.
 * @returns The records, in the order of the cases.
 */
export async function runCases(
  pair: TrafficPair,
  route: Route,
  cases: readonly TrafficCase[],
  ports: readonly number[] = ALL_PORTS,
): Promise<CaseRecords[]> {
  const records: CaseRecords[] = [];
  const queue = cases.entries();
  const runOnPort = async (port: number): Promise<void> => {
    for (const [number, traffic] of queue) {
      records[number] = await runCase(pair, route, traffic, port);
    }
  };
  await Promise.all(ports.map(runOnPort));
  return records;
}

/** Runs one connection on a port that is free. */
export async function runCase(
  { client, server }: TrafficPair,
  route: Route,
  traffic: TrafficCase,
  port: number,
): Promise<CaseRecords> {
  const id = ++lastId;
  const armed = await server.arm(id, SERVER_PORT + port, traffic.server);
  const clientRecord = await client.run(id, route.target(port), traffic.client);
  server.disarm(id);
  return { client: clientRecord, server: await armed.record };
}

/** Connections that go on until they are told to stop, so that something can happen to them. */
export class SteadyTraffic {
  readonly #done: Promise<unknown>;
  readonly #seen: { traffic: TrafficCase; records: CaseRecords }[] = [];
  #isStopping = false;

  /** @param make - Makes the connection of a number, from 0. */
  constructor(
    pair: TrafficPair,
    route: Route,
    make: (number: number) => TrafficCase,
    ports: readonly number[],
  ) {
    let next = 0;
    const runOnPort = async (port: number): Promise<void> => {
      while (!this.#isStopping) {
        const traffic = make(next++);
        this.#seen.push({ traffic, records: await runCase(pair, route, traffic, port) });
      }
    };
    this.#done = Promise.all(ports.map(runOnPort));
  }

  /** How many connections have ended. */
  get count(): number {
    return this.#seen.length;
  }

  /** Starts no more connections, and gives the records of all when they have ended. */
  async stop(): Promise<readonly { traffic: TrafficCase; records: CaseRecords }[]> {
    this.#isStopping = true;
    await this.#done;
    return this.#seen;
  }
}

/** The way without Shimmy. */
export function directRoute(address: string): Route {
  return { name: "tcp", target: (index) => ({ address, port: SERVER_PORT + index }) };
}
