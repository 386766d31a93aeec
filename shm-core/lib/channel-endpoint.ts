import { availableParallelism } from "node:os";

import { channelError, nativeChannels } from "./channel-native.ts";
import {
  ChannelWaits,
  isAnybodyWaiting,
  resolveTimeout,
  type AsyncWaitOptions,
} from "./channel-waits.ts";
import type { NativeChannelInfo } from "./native.ts";
import { ChannelStatus } from "./status.ts";
import type { WaitMode } from "./stream-waits.ts";

/** Longest time in native code: between two, a worker can be terminated. */
const SLICE_MS = 100;
/** With one CPU, who spins keeps the peer from running. */
const CAN_SPIN = availableParallelism() > 1;
/** How a native call waits, beside a number of ms. */
const Wait = { none: 0, spin: -1 } as const;
/** False alarms in a row after which a call lets the event loop go on. */
const MAX_FALSE_ALARMS = 64;

/** What an endpoint did since it was attached. */
export interface ChannelCounters {
  /** Published, or taken and lent. */
  readonly messages: number;
  readonly bytes: number;
  /** Subscribers: known number of messages missed. */
  readonly missed: number;
  /** Subscribers: how often it is not known how many. */
  readonly missedUnknown: number;
  /** Publishers: messages whose time was over before all had read them. */
  readonly expired: number;
  /** System calls that woke a peer that slept. */
  readonly wakes: number;
  /** Doorbells rung, for peers that wait asynchronously. */
  readonly bells: number;
  /** Times that a synchronous call slept. */
  readonly sleeps: number;
  /** Peers met. */
  readonly links: number;
  /** Writers' rings met, or made. */
  readonly rings: number;
  /** Peers that broke the rules. */
  readonly droppedPeers: number;
}

/** In the order of `shimmy_counters` in sdk/c/include/shimmy.h. */
const COUNTERS: readonly (keyof ChannelCounters)[] = [
  "messages",
  "bytes",
  "missed",
  "missedUnknown",
  "expired",
  "wakes",
  "bells",
  "sleeps",
  "links",
  "rings",
  "droppedPeers",
];

/** A native call: a result that is not negative, or a status. `wait` as of native calls. */
type Attempt = (wait: number) => number;

/** What was lent and then forgotten. */
interface Lent {
  readonly endpoint: ChannelEndpoint;
  readonly loan: number;
  readonly isRoom: boolean;
}

let forgottenLoans = 0;

/** How many loans and rooms of this thread were collected as garbage without being given back. */
export function forgottenLoanCount(): number {
  return forgottenLoans;
}

/** Gives roles up that were dropped without being closed. */
const endpointNet = new FinalizationRegistry<number>((id) => {
  nativeChannels().channelClose(id);
});

/** Gives loans and rooms back that were forgotten. */
const loanNet = new FinalizationRegistry<Lent>(({ endpoint, loan, isRoom }) => {
  if (endpoint.isClosed) return;
  if (forgottenLoans++ === 0) {
    process.emitWarning(
      "a loan or room of a channel was collected as garbage; release it, or declare it with `using`",
      { type: "ShimmyWarning", code: "SHIMMY_FORGOTTEN_LOAN" },
    );
  }
  if (isRoom) nativeChannels().channelCancel(endpoint.id, loan);
  else nativeChannels().channelRelease(endpoint.id, loan);
});

/**
 * One role in one channel, by its native id: how its calls wait, and that it is given up.
 *
 * Used on the thread that made it. A call that waits keeps the process alive, an idle endpoint does
 * not. One that is collected as garbage, or whose worker is terminated, gives its role up.
 */
export class ChannelEndpoint {
  readonly id: number;
  readonly #waits: ChannelWaits;
  readonly #spin: number;
  #isClosed = false;

  /** @param id - The native endpoint; this owns it. */
  constructor(id: number, mode: WaitMode) {
    this.id = id;
    this.#waits = new ChannelWaits(id);
    this.#spin = mode !== "sleep" && CAN_SPIN ? Wait.spin : Wait.none;
    endpointNet.register(this, id, this);
  }

  /** Whether {@link ChannelEndpoint.close} was called. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Tries once. */
  try(attempt: Attempt): number {
    return attempt(Wait.none);
  }

  /** Repeats a call until it is done, or the time is over; blocks this thread. */
  block(attempt: Attempt, timeoutMs: number | undefined): number {
    const limitMs = resolveTimeout(timeoutMs);
    if (limitMs === Infinity) return blockForEver(attempt);
    const deadline = performance.now() + limitMs;
    let leftMs = limitMs;
    for (;;) {
      const result = attempt(Math.min(leftMs, SLICE_MS));
      if (!isToRepeat(result)) return result;
      leftMs = deadline - performance.now();
      if (leftMs <= 0) return ChannelStatus.again;
    }
  }

  /**
   * Repeats a call until it is done; the event loop goes on between.
   *
   * @param room - For how many bytes a writer waits; 0 for readers.
   * @returns The result: not negative, or a status other than `again`.
   * @throws {@link ShimmyError} `SHIMMY_ERR_TIMEOUT`, `SHIMMY_ERR_CLOSED`, or a signal's reason.
   */
  async untilDone(
    attempt: Attempt,
    options: AsyncWaitOptions,
    room: () => number,
  ): Promise<number> {
    let result = 0;
    let alarms = 0;
    const step = (): boolean => {
      for (;;) {
        result = attempt(isAnybodyWaiting() ? Wait.none : this.#spin);
        if (result !== ChannelStatus.again) return true;
        const armed = nativeChannels().channelArm(this.id, room());
        if (armed === ChannelStatus.again) return false;
        if (armed < 0 && armed !== ChannelStatus.interrupted) {
          result = armed;
          return true;
        }
        if (++alarms % MAX_FALSE_ALARMS === 0) {
          setImmediate(() => {
            this.#waits.ready();
          });
          return false;
        }
      }
    };
    await this.#waits.perform(step, options);
    return result;
  }

  /** Whether an asynchronous call is under way: others have to wait for their turn. */
  get isBusy(): boolean {
    return this.#waits.isBusy;
  }

  /** Gives a loan or room back when `holder` is collected as garbage. */
  watch(holder: object, loan: number, isRoom: boolean): void {
    loanNet.register(holder, { endpoint: this, loan, isRoom }, holder);
  }

  /** It was given back. */
  unwatch(holder: object): void {
    loanNet.unregister(holder);
  }

  /** The channel as it is now. @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` when it is closed. */
  describe(): NativeChannelInfo {
    const result = nativeChannels().channelDescribe(this.id);
    if (typeof result === "number") throw channelError(result, "describe");
    return result;
  }

  /** What it did so far. @throws {@link ShimmyError} `SHIMMY_ERR_CLOSED` when it is closed. */
  counters(): ChannelCounters {
    const result = nativeChannels().channelCounters(this.id);
    if (typeof result === "number") throw channelError(result, "read counters");
    const counts = COUNTERS.map((name, index) => [name, result[index] ?? 0] as const);
    return Object.fromEntries(counts) as Record<keyof ChannelCounters, number>;
  }

  /** Gives the role up; calls that wait reject. Safe to call twice. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    endpointNet.unregister(this);
    nativeChannels().channelClose(this.id);
    this.#waits.cancel();
  }
}

function blockForEver(attempt: Attempt): number {
  for (;;) {
    const result = attempt(SLICE_MS);
    if (!isToRepeat(result)) return result;
  }
}

/** Whether the slice was over, or a signal's handler ran. */
function isToRepeat(result: number): boolean {
  return result === ChannelStatus.again || result === ChannelStatus.interrupted;
}
