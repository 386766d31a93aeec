// Memory of processes as the kernel accounts it.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Bytes in a mebibyte. */
export const MIB = 2 ** 20;

const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

/** Resident and anonymous bytes of one process, from /proc/PID/smaps_rollup. */
export function readResident(pid: number): { rssBytes: number; anonymousBytes: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? NaN);
  return { rssBytes: kilobytes("Rss") * 1024, anonymousBytes: kilobytes("Anonymous") * 1024 };
}

/**
 * Bytes of all memfds that the processes have mapped or open, each memfd once: two sidecars map
 * the same pages. Needs the right to read /proc/PID/map_files (root).
 */
export function readMemfdBytes(pids: readonly number[]): number {
  const bytesByInode = new Map<string, number>();
  for (const pid of pids) {
    const mapped = mappedMemfds(pid).map((range) => `/proc/${pid}/map_files/${range}`);
    for (const link of [...mapped, ...openMemfds(pid)]) {
      const { dev, ino, blocks } = statSync(link);
      bytesByInode.set(`${dev}:${ino}`, blocks * SECTOR_BYTES);
    }
  }
  return [...bytesByInode.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** Bytes that TCP holds in this network namespace for queued data, of all processes. */
export function readTcpBytes(): number {
  const text = readFileSync("/proc/net/sockstat", "utf8");
  return Number(/^TCP: .* mem (\d+)$/m.exec(text)?.[1] ?? NaN) * PAGE_BYTES;
}

/** Bytes of slab caches that hold sockets and what hangs on them, of all processes (root only). */
export function readSocketSlabBytes(): number | undefined {
  try {
    const lines = readFileSync("/proc/slabinfo", "utf8").split("\n");
    return lines.map(socketSlabBytes).reduce((sum, bytes) => sum + bytes, 0);
  } catch {
    return undefined;
  }
}

/** Caches by name: TCP and Unix sockets, their inodes and files, and epoll's records. */
const SOCKET_SLABS =
  /^(TCP|UNIX|UNIX-STREAM|sock_inode_cache|filp|eventpoll_epi|eventpoll_pwq|skbuff_\w+)$/;

function socketSlabBytes(line: string): number {
  const [name = "", active, , size] = line.split(/\s+/);
  return SOCKET_SLABS.test(name) ? Number(active) * Number(size) : 0;
}

function mappedMemfds(pid: number): readonly string[] {
  const lines = readFileSync(`/proc/${pid}/maps`, "utf8").split("\n");
  return lines
    .filter((line) => line.includes(" /memfd:"))
    .map((line) => line.slice(0, line.indexOf(" ")))
    .map(withoutLeadingZeros);
}

// map_files names its links without the zeros that maps pads addresses with.
function withoutLeadingZeros(range: string): string {
  return range
    .split("-")
    .map((address) => address.replace(/^0+(?=.)/, ""))
    .join("-");
}

function openMemfds(pid: number): readonly string[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory)
    .map((fd) => join(directory, fd))
    .filter((link) => {
      try {
        const { blocks, nlink, size } = statSync(link);
        return nlink === 0 && size > 0 && blocks > 0;
      } catch {
        return false; // closed meanwhile
      }
    });
}
