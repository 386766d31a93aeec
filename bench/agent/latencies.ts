// From what the API server changed and the pods received to how long it took.
import type { Received } from "./pods.ts";
import { calledBy, type Change, SIZE } from "./size.ts";

/** Services, by index, and the pods that watch them. */
function watchersByService(): ReadonlyMap<number, readonly number[]> {
  const watchers = new Map<number, number[]>();
  for (let pod = 0; pod < SIZE.localPods; pod++) {
    for (const service of calledBy(pod)) {
      watchers.set(service, [...(watchers.get(service) ?? []), pod]);
    }
  }
  return watchers;
}

/**
 * Time from each change until the last of the pods that watch its Service was told, in milliseconds.
 *
 * @returns `undefined` for a change of which not all were told.
 */
export function latenciesOf(
  changes: readonly Change[],
  received: readonly Received[],
): readonly (number | undefined)[] {
  const watchers = watchersByService();
  const toldAt = firstTold(received);
  return changes.map(({ service, address, at }) => {
    const times = (watchers.get(service) ?? []).map((pod) => toldAt.get(`${pod} ${address}`));
    const known = times.filter((time) => time !== undefined);
    return known.length === 0 || known.length < times.length ? undefined : Math.max(...known) - at;
  });
}

/** When each pod was first told of each address. */
function firstTold(received: readonly Received[]): ReadonlyMap<string, number> {
  const toldAt = new Map<string, number>();
  for (const { at, pod, message } of received) {
    if (message.type !== "endpoints") continue;
    for (const { address } of message.services.flatMap(({ endpoints }) => endpoints)) {
      const key = `${pod} ${address}`;
      if (!toldAt.has(key)) toldAt.set(key, at);
    }
  }
  return toldAt;
}
