import { native, type NativeAddon } from "./native.ts";

/** What is done with one kind of event. The arguments depend on the kind. */
export type NativeEventHandler = (id: number, first: unknown, second: unknown) => void;

const handlers = new Map<number, NativeEventHandler>();
let addon: NativeAddon | undefined;
let keepers = 0;

/**
 * The addon with its events connected to the handlers of {@link onNativeEvent}.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_NATIVE_MISSING` when there is no addon.
 */
export function nativeWithEvents(): NativeAddon {
  if (addon === undefined) {
    addon = native();
    addon.setDispatch((kind, id, first, second) => handlers.get(kind)?.(id, first, second));
  }
  return addon;
}

/** Sets the handler of one kind of event; each kind belongs to one module. */
export function onNativeEvent(kind: number, handler: NativeEventHandler): void {
  handlers.set(kind, handler);
}

/**
 * One reason for the process to stay: an open socket, a stream that is waited for.
 *
 * The event loop waits for native events while at least one is held, and lets the process (or
 * worker) end when none is.
 */
export class KeepAlive {
  #isHeld = false;

  /** Keeps the event loop alive. Safe to call twice. */
  hold(): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    if (++keepers === 1) nativeWithEvents().setKeepAlive(true);
  }

  /** Lets go. Safe to call twice. */
  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (--keepers === 0) nativeWithEvents().setKeepAlive(false);
  }
}
