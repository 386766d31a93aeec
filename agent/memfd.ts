import { fstat, readlinkSync } from "node:fs";
import { promisify } from "node:util";

import { ShimmyError, toShimmyError } from "../common/errors.ts";

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

/**
 * Looks at a descriptor that somebody sent as a memfd. It is neither mapped nor read.
 *
 * The name is the kernel's own word and asks no file system, so that only what looks like a memfd is
 * asked for its size, and that not on this thread: on other kinds it can take as long as whoever
 * sent it likes.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_BAD_REGION` when it is none.
 */
export async function memfdFacts(fd: number): Promise<MemfdFacts> {
  try {
    if (!MEMFD.test(readlinkSync(`/proc/self/fd/${fd}`))) {
      throw new ShimmyError("SHIMMY_ERR_BAD_REGION", "it is no memfd");
    }
    const { size, blocks, ino } = await stat(fd);
    return { bytes: size, allocatedBytes: blocks * STAT_BLOCK_BYTES, id: String(ino) };
  } catch (err) {
    throw toShimmyError(err, "SHIMMY_ERR_BAD_REGION");
  }
}
