import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";

import { toShimmyError } from "../../common/errors.ts";
import type { ChannelInfo, ChannelRole } from "../api.ts";

/** What an attachment says of itself, once it is shown again. */
export interface Claim {
  /** UID of the pod. */
  readonly pod: string;
  readonly role: ChannelRole;
  readonly channel: ChannelInfo;
}

const KEY_BYTES = 32;
const ID_BYTES = 12;
const MAC_BYTES = 16;
const KEY_FILE = "channels.key";

/**
 * Names attachments so that an agent which was started again knows its own word: what a client then
 * shows of a channel is what it was told, and no more.
 */
export class Claims {
  readonly #key: Buffer;

  constructor(key: Buffer) {
    this.#key = key;
  }

  /**
   * Takes the key from the runtime directory, or puts a new one there.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_RUNTIME_DIR` when neither can be done.
   */
  static async open(runtimeDir: string): Promise<Claims> {
    const path = join(runtimeDir, KEY_FILE);
    try {
      const known = await readFile(path).catch(() => Buffer.alloc(0));
      if (known.length === KEY_BYTES) return new Claims(known);
      const key = randomBytes(KEY_BYTES);
      await using file = await open(path, "w", 0o600);
      await file.chmod(0o600);
      await file.writeFile(key);
      return new Claims(key);
    } catch (err) {
      throw toShimmyError(err, "SHIMMY_ERR_RUNTIME_DIR");
    }
  }

  /** A new name for an attachment; it cannot be guessed, nor be that of another. */
  name(claim: Claim): string {
    const id = randomBytes(ID_BYTES).toString("base64url");
    return `${id}.${this.#mac(id, claim).toString("base64url")}`;
  }

  /** Whether an agent with this key gave that name to just this. */
  verify(name: string, claim: Claim): boolean {
    const [id = "", mac = ""] = name.split(".");
    const given = Buffer.from(mac, "base64url");
    return given.length === MAC_BYTES && timingSafeEqual(given, this.#mac(id, claim));
  }

  #mac(id: string, { pod, role, channel }: Claim): Buffer {
    const { topic, id: channelId, kind, blocks, blockBytes } = channel;
    const { readers, timeToLiveMs, maxLoans } = channel;
    const sizes = [blocks, blockBytes, readers, timeToLiveMs, maxLoans];
    const text = JSON.stringify([id, pod, role, topic, channelId, kind, ...sizes]);
    return createHmac("sha256", this.#key).update(text).digest().subarray(0, MAC_BYTES);
  }
}
