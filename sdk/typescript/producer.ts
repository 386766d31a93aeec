import { checkedCall, nativeChannels } from "../../shm-core/lib/channel-native.ts";
import type { AsyncWaitOptions } from "../../shm-core/lib/channel-waits.ts";
import { Writer } from "./writer.ts";

/**
 * The producer of a lock-based channel: each message is read exactly once, by one consumer.
 *
 * One is live; later ones stand by, as on a full channel, and take over in order. Made by
 * {@link ShimmyClient.producer}.
 */
export class Producer extends Writer {
  /**
   * Waits until everything that was published has been consumed.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT` when it was not in time.
   */
  async drain(options: AsyncWaitOptions = {}): Promise<void> {
    const id = this.channel.id;
    const result = await this.channel.untilDone(
      (wait) => nativeChannels().channelDrain(id, wait),
      options,
      () => this.unreservedBytes(),
    );
    checkedCall(result, "drain");
  }
}
