import { fstat, readFileSync, readlinkSync } from "node:fs";
import { promisify } from "node:util";

import { ShimmyError, toShimmyError } from "../common/errors.ts";
import { streamPair } from "../shm-core/lib/stream.ts";

/** What the kernel says of a memfd. */
export interface MemfdFacts {
  readonly bytes: number;
  readonly allocatedBytes: number;
  /** Its inode. */
  readonly id: string;
}

const stat = promisify(fstat);
/** stat(2) counts in these, whatever the file system. */
const STAT_BLOCK_BYTES = 512;
const MEMFD = /^\/memfd:.* \(deleted\)$/s;
const MOUNT = /^mnt_id:\s*(?<id>\d+)$/m;

/**
 * Looks at a descriptor that somebody sent as a memfd. It is neither mapped nor read.
 *
 * stat(2) on other kinds of file takes as long as whoever sent it likes. So first comes what the
 * kernel tells without asking a file system: the name, which a file can be given, and the mount that
 * all memfds are of, which it cannot.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_BAD_REGION` when it is none.
 */
export async function memfdFacts(fd: number): Promise<MemfdFacts> {
  try {
    if (!MEMFD.test(readlinkSync(`/proc/self/fd/${fd}`)) || mountOf(fd) !== memfdMount()) {
      throw new ShimmyError("SHIMMY_ERR_BAD_REGION", "it is no memfd");
    }
    const { size, blocks, ino } = await stat(fd);
    return { bytes: size, allocatedBytes: blocks * STAT_BLOCK_BYTES, id: String(ino) };
  } catch (err) {
    throw toShimmyError(err, "SHIMMY_ERR_BAD_REGION");
  }
}

/** Of the kernel's own mount of tmpfs (mm/shmem.c, shm_mnt), the same in every namespace. */
let knownMount: string | undefined;

/** Learnt from a memfd of our own. */
function memfdMount(): string {
  if (knownMount !== undefined) return knownMount;
  const [mine, theirs] = streamPair({ capacityBytes: 4096 });
  const { fds } = mine.detach();
  theirs.close();
  knownMount = mountOf(fds[1].number);
  for (const fd of fds) fd.close();
  return knownMount;
}

function mountOf(fd: number): string {
  const id = MOUNT.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.groups?.id;
  if (id === undefined) throw new ShimmyError("SHIMMY_ERR_BAD_REGION", "its mount is not known");
  return id;
}
