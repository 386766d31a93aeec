import { Reader } from "./reader.ts";

/**
 * The consumer of a lock-based channel: each message is read exactly once.
 *
 * One is live; later ones stand by, as on an empty channel, and take over in order. What was taken
 * before a crash is not given again; what was lent and not released is. Made by
 * {@link ShimmyClient.consumer}.
 */
export class Consumer extends Reader {}
