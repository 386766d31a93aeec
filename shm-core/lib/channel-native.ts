import { ERROR_CODES, ShimmyError, type ShimmyErrorCode } from "../../common/errors.ts";
import { EventKind, type NativeAddon } from "./native.ts";
import { nativeWithEvents, onNativeEvent } from "./native-events.ts";
import { checked, statusError } from "./status.ts";

/** What a call says beside its result. Same order as `ChannelResult` in src/channel_table.h. */
const ChannelResult = { bytes: 0, sequence: 1, generation: 2, missed: 3, loan: 4 } as const;

/** Highest status of a channel's call; see `ChannelStatus`. */
const FIRST_STATUS = -7001;
const LAST_STATUS = -7999;

const block = new Float64Array(Object.keys(ChannelResult).length);
const requests = new Map<number, PromiseWithResolvers<number>>();
let lastRequest = 0;
let addon: NativeAddon | undefined;

/** A refusal of the agent that has a reason. */
export class TopicDeniedError extends ShimmyError {
  /** One of the topic reasons in docs/reference/reasons.md. */
  readonly reason: string;

  constructor(code: ShimmyErrorCode, reason: string, message: string) {
    super(code, message);
    this.reason = reason;
  }
}

/** What is known of a message beside its bytes. */
export interface MessageMarks {
  readonly sequence: number;
  readonly generation: number;
  /** `undefined`: not known. */
  readonly missed: number | undefined;
}

/**
 * The addon, ready for calls of channels.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_NATIVE_MISSING` when there is no addon.
 */
export function nativeChannels(): NativeAddon {
  if (addon === undefined) {
    addon = nativeWithEvents();
    addon.channelSetResult(block);
  }
  return addon;
}

/** What the last call said of its message. */
export function messageMarks(): MessageMarks {
  const missed = block[ChannelResult.missed] ?? 0;
  return {
    sequence: block[ChannelResult.sequence] ?? 0,
    generation: block[ChannelResult.generation] ?? 0,
    missed: missed < 0 ? undefined : missed,
  };
}

/** How many bytes the last call's message has. */
export function messageBytes(): number {
  return block[ChannelResult.bytes] ?? 0;
}

/** The number of the loan or room that the last call made. */
export function loanNumber(): number {
  return block[ChannelResult.loan] ?? 0;
}

/**
 * Turns the status of the last call on this thread into the error to throw, with the words that
 * native code has for it.
 */
export function channelError(status: number, operation: string): ShimmyError {
  if (status > FIRST_STATUS || status < LAST_STATUS) return statusError(status, operation);
  const [code, reason, message] = nativeChannels().channelLastError();
  return toError(code, reason, `${operation}: ${message}`);
}

/** Returns a result that is not negative. @throws {@link ShimmyError} for one that is. */
export function checkedCall(result: number, operation: string): number {
  if (result < 0) throw channelError(result, operation);
  return result;
}

/**
 * Asks for something that is answered later.
 *
 * @param start - The native call, with the number of the request.
 * @returns What the answer says: an id.
 * @throws {@link ShimmyError} with the code that the agent, or native code, gives.
 */
export function request(start: (request: number) => number): Promise<number> {
  const number = ++lastRequest;
  checked(start(number), "ask the agent");
  const answer = Promise.withResolvers<number>();
  requests.set(number, answer);
  return answer.promise;
}

onNativeEvent(EventKind.channelAnswer, (number, result, failure) => {
  const answer = requests.get(number);
  requests.delete(number);
  if ((result as number) >= 0) {
    answer?.resolve(result as number);
    return;
  }
  const [code = "", reason = "", message = ""] = (failure as string).split("\n");
  answer?.reject(toError(code, reason, message));
});

function toError(text: string, reason: string, message: string): ShimmyError {
  const isKnown = (ERROR_CODES as readonly string[]).includes(text);
  const code = isKnown ? (text as ShimmyErrorCode) : "SHIMMY_ERR_INTERNAL";
  return reason === ""
    ? new ShimmyError(code, message)
    : new TopicDeniedError(code, reason, message);
}
