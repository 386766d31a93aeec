import { readdirSync, readlinkSync } from "node:fs";

/** Numbers of this process's descriptors that are sockets. */
export function socketFds(): number[] {
  return readdirSync("/proc/self/fd")
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
      } catch {
        return false; // the one with which the directory was read
      }
    })
    .map(Number);
}
