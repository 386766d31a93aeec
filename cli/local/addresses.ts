import { createServer, type AddressInfo } from "node:net";

import { ShimmyError } from "../../common/errors.ts";

const PREFIX = "127.0.1.";
const FIRST = 2;
const LAST = 254;

/** Whether a port of an address can be bound right now. */
export type PortProbe = (address: string, port: number) => Promise<boolean>;

/** Takes an address for this process alone. @returns Whether nobody else has it. */
export type AddressClaim = (address: string) => Promise<boolean>;

/** Options of {@link allocateAddresses}. */
export interface AllocateOptions {
  /** Addresses not to give. @defaultValue none */
  readonly taken?: readonly string[];
  /** @defaultValue binds it for a moment */
  readonly canBind?: PortProbe;
  /** @defaultValue among all runs of this machine, until this process ends */
  readonly claim?: AddressClaim;
}

/**
 * Gives pods an address of this machine each, which no other run has, and on which all their ports
 * are free. Nothing keeps other programs from the ports until their user binds them.
 *
 * @param ports - What each pod needs.
 * @returns One address per pod, in the same order.
 * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` when there are not enough.
 */
export async function allocateAddresses(
  ports: readonly (readonly number[])[],
  { taken = [], canBind: probe = canBind, claim = claimAddress }: AllocateOptions = {},
): Promise<string[]> {
  const candidates = Array.from({ length: LAST - FIRST + 1 }, (_, i) => `${PREFIX}${FIRST + i}`);
  const left = candidates.filter((address) => !taken.includes(address));
  const addresses: string[] = [];
  for (const needed of ports) addresses.push(await takeAddress(left, needed, { probe, claim }));
  return addresses;
}

/** Takes the first address on which all ports are free, and those before it, from `left`. */
async function takeAddress(
  left: string[],
  ports: readonly number[],
  { probe, claim }: { probe: PortProbe; claim: AddressClaim },
): Promise<string> {
  for (let address = left.shift(); address !== undefined; address = left.shift()) {
    const candidate = address;
    const free = await Promise.all(ports.map((port) => probe(candidate, port)));
    if (free.every(Boolean) && (await claim(candidate))) return candidate;
  }
  throw noneLeft(ports);
}

/** An abstract socket: there can be one of a name, and it is gone with its process (unix(7)). */
function claimAddress(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy()).unref();
    server.once("error", () => {
      resolve(false);
    });
    server.listen(`\0shimmy-address-${address}`, () => {
      resolve(true);
    });
  });
}

function noneLeft(ports: readonly number[]): ShimmyError {
  return new ShimmyError(
    "SHIMMY_ERR_ADDRESS_IN_USE",
    `port ${ports.join(" or ")} is taken on every address from ${PREFIX}${FIRST} to ${PREFIX}${LAST}; ` +
      `a program that listens on 0.0.0.0 takes it on all of them (ss -ltnp shows who)`,
  );
}

/** Whether a port of an address can be bound: does so for a moment. */
export function canBind(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => {
      resolve(false);
    });
    server.listen(port, address, () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

/** A port that is free on an address right now. */
export function freePort(address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, address, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => {
        resolve(port);
      });
    });
  });
}
