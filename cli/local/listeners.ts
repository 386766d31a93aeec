import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { isIPv4 } from "node:net";

/** State of a listening socket in /proc/net/tcp (include/net/tcp_states.h). */
const LISTEN = "0A";

/**
 * Processes that listen on exactly this IPv4 address and port, as far as we may look.
 *
 * @returns Their ids; none for an IPv6 address.
 */
export function listenersOn(address: string, port: number): number[] {
  if (!isIPv4(address)) return [];
  const inodes = listeningInodes(readFileSync("/proc/net/tcp", "utf8"), address, port);
  if (inodes.length === 0) return [];
  const links = new Set(inodes.map((inode) => `socket:[${inode}]`));
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && descriptorsOf(name).some((link) => links.has(link)))
    .map(Number);
}

/**
 * Picks the inodes of sockets that listen on an address and port out of /proc/net/tcp.
 *
 * @see https://docs.kernel.org/networking/proc_net_tcp.html
 */
export function listeningInodes(table: string, address: string, port: number): string[] {
  const local = `${hexAddress(address)}:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return table.split("\n").flatMap((line) => {
    const [, own, , state, , , , , , inode] = line.trim().split(/\s+/);
    return own === local && state === LISTEN && inode !== undefined ? [inode] : [];
  });
}

/** The address as the kernel prints it: a word in the machine's order, little-endian on all of ours. */
function hexAddress(address: string): string {
  const bytes = address.split(".").reverse().map(Number);
  return Buffer.from(bytes).toString("hex").toUpperCase();
}

function descriptorsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
  } catch {
    return []; // it has ended, or is another user's
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed since
  }
}
