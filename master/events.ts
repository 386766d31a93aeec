import { createHash } from "node:crypto";

import type { Clock } from "../common/clock.ts";
import { messageOf } from "../common/errors.ts";
import type { KubernetesApi } from "../common/kubernetes/api-client.ts";
import { ApiError } from "../common/kubernetes/api-error.ts";
import { RESOURCES, resourcePath } from "../common/kubernetes/resources.ts";
import type { Logger } from "../common/log.ts";
import type { EventReason } from "../common/reasons.ts";

/** Something to be told about an object. */
export interface ObjectEvent {
  /** @defaultValue `Warning` */
  readonly type?: "Normal";
  readonly reason: EventReason;
  readonly note: string;
  readonly about: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
  };
}

/** Options for {@link EventRecorder}. */
export interface EventRecorderOptions {
  readonly api: KubernetesApi;
  /** Who writes, as in the Lease. */
  readonly identity: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onResult?: (result: "written" | "known" | "dropped" | "failed") => void;
}

/** Events that may come at once, and after that per minute; the API server is not ours alone. */
const BURST = 100;
const PER_MINUTE = 60;
const MAX_NOTE_CHARACTERS = 1000;

/** Writes events, one for each object and reason. */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  #allowance = BURST;
  #filledAt: number;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#filledAt = options.clock.now();
  }

  /**
   * Writes an event, unless there have been too many or it is there already.
   *
   * @returns Whether it is there now; it does not throw.
   */
  async record(event: ObjectEvent): Promise<boolean> {
    const { onResult, log } = this.#options;
    if (!this.#takeAllowance()) {
      onResult?.("dropped");
      return false;
    }
    try {
      await this.#write(event);
      onResult?.("written");
      return true;
    } catch (err) {
      // Of another master, or ourselves before a restart.
      const isKnown = err instanceof ApiError && err.reason === "AlreadyExists";
      onResult?.(isKnown ? "known" : "failed");
      if (!isKnown) log.warn({ error: messageOf(err), about: event.about }, "event not written");
      return isKnown;
    }
  }

  async #write({ type, reason, note, about }: ObjectEvent): Promise<void> {
    const { namespace, name, uid } = about;
    const { apiVersion, kind } = RESOURCES.events;
    // The same for the same object and reason, so that it is there once.
    const hash = createHash("sha256").update(`${uid} ${reason}`).digest("hex").slice(0, 16);
    await this.#options.api.request({
      method: "POST",
      path: resourcePath(RESOURCES.events, { namespace }),
      body: {
        apiVersion,
        kind,
        metadata: { namespace, name: `${name.slice(0, 200)}.${hash}` },
        eventTime: new Date().toISOString().replace("Z", "000Z"),
        reportingController: "shimmy.io/master",
        reportingInstance: this.#options.identity.slice(0, 128),
        action: "Check",
        type: type ?? "Warning",
        reason,
        note: note.slice(0, MAX_NOTE_CHARACTERS),
        regarding: about,
      },
    });
  }

  #takeAllowance(): boolean {
    const now = this.#options.clock.now();
    const earned = ((now - this.#filledAt) / 60_000) * PER_MINUTE;
    this.#allowance = Math.min(BURST, this.#allowance + earned);
    this.#filledAt = now;
    if (this.#allowance < 1) return false;
    this.#allowance -= 1;
    return true;
  }
}
