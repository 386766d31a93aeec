import { Reader } from "./reader.ts";

/**
 * A subscriber of a lock-free channel, which reads every publisher's messages.
 *
 * One that is slow misses messages, and {@link MessageInfo.missed} says how many. Made by
 * {@link ShimmyClient.subscriber}.
 */
export class Subscriber extends Reader {}
