import { Writer } from "./writer.ts";

/**
 * A publisher of a lock-free channel: each message is read by every subscriber.
 *
 * Each publisher has a ring of its own: order holds per publisher. A message may be overwritten when
 * enough subscribers have read it, or its time is over. Made by {@link ShimmyClient.publisher}.
 */
export class Publisher extends Writer {}
