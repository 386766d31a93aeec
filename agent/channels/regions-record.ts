import type { Channel } from "./channel.ts";
import type { RegionRecord, RegionsRecord } from "./record.ts";

/** Regions named in one record; a channel of more has too many readers to list them all. */
const MAX_LISTED = 32;

/** The wait words of a region: where its writer counts, and the other side sleeps. */
const WAIT_WORDS: Readonly<Record<string, string>> = {
  producer: "produced",
  consumer: "consumed",
  global: "published",
  local: "next",
};

/** What this node has of a channel, under the ids that the kernel gave. */
export function regionsRecord(channel: Channel): RegionsRecord {
  const regions = channel.lodged
    .slice(0, MAX_LISTED)
    .map(({ pod, region: { kind, id, bytes }, ring }): RegionRecord => ({
      kind,
      id,
      bytes,
      generation: ring.generation,
      writer: pod,
    }));
  return { regions, waitWords: waitWordsOf(regions) };
}

/** The semaphores among some regions. */
export function waitWordsOf(
  regions: readonly Pick<RegionRecord, "kind" | "id">[],
): RegionsRecord["waitWords"] {
  return regions.flatMap(({ kind, id }) => {
    const word = WAIT_WORDS[kind];
    return word === undefined ? [] : [{ region: id, word }];
  });
}
