import type { PackedSlice } from "./endpoint-slice.ts";

/** What a change of one slice touches. */
export interface SliceChange {
  /** Services whose endpoints are others now. */
  readonly services: ReadonlySet<string>;
  /** UIDs of pods, perhaps of this node, that are behind other services now, or at other ports. */
  readonly uids: ReadonlySet<string>;
}

const NO_CHANGE: SliceChange = { services: new Set(), uids: new Set() };

/** Slices by their Service, and by the pods that they name. */
export class SliceIndex {
  readonly #slices = new Map<string, PackedSlice>();
  readonly #byService = new Map<string, Set<string>>();
  readonly #byUid = new Map<string, Set<string>>();

  /**
   * Takes a slice as it is now; `undefined` when it is gone.
   *
   * @param key - `namespace/name` of the slice.
   */
  update(key: string, slice: PackedSlice | undefined): SliceChange {
    const before = this.#slices.get(key);
    if (isSame(before, slice)) return NO_CHANGE;
    if (before !== undefined) this.#remove(key, before);
    if (slice !== undefined) this.#add(key, slice);
    const both = [before, slice].filter((each) => each !== undefined);
    return {
      services: new Set(both.map(({ service }) => service)),
      uids: new Set(both.flatMap(({ localUids }) => localUids)),
    };
  }

  /** The slices of a Service. */
  of(service: string): readonly PackedSlice[] {
    return this.#get(this.#byService.get(service));
  }

  /** The slices that name a pod which may be on this node. */
  naming(uid: string): readonly PackedSlice[] {
    return this.#get(this.#byUid.get(uid));
  }

  #get(keys: ReadonlySet<string> = new Set()): readonly PackedSlice[] {
    return [...keys].flatMap((key) => this.#slices.get(key) ?? []);
  }

  #add(key: string, slice: PackedSlice): void {
    this.#slices.set(key, slice);
    addTo(this.#byService, slice.service, key);
    for (const uid of slice.localUids) addTo(this.#byUid, uid, key);
  }

  #remove(key: string, slice: PackedSlice): void {
    this.#slices.delete(key);
    removeFrom(this.#byService, slice.service, key);
    for (const uid of slice.localUids) removeFrom(this.#byUid, uid, key);
  }
}

function isSame(left: PackedSlice | undefined, right: PackedSlice | undefined): boolean {
  return (
    left?.text === right?.text && left?.service === right?.service && left?.family === right?.family
  );
}

function addTo(index: Map<string, Set<string>>, at: string, key: string): void {
  const keys = index.get(at);
  if (keys === undefined) index.set(at, new Set([key]));
  else keys.add(key);
}

function removeFrom(index: Map<string, Set<string>>, at: string, key: string): void {
  const keys = index.get(at);
  keys?.delete(key);
  if (keys?.size === 0) index.delete(at);
}
