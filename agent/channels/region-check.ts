import type { RegionKind } from "../api.ts";
import type { MemfdFacts } from "../memfd.ts";
import type { ChannelParameters } from "./parameters.ts";

/** Pages are of 4 to 64 KiB; a header takes at most two. */
const SMALLEST_PAGE = 4096;
const LARGEST_PAGE = 65_536;
const MAX_HEADER_BYTES = 2 * LARGEST_PAGE;
/** Metadata has some words for each block, and some for each side. */
const METADATA_BYTES_PER_BLOCK = 128;
const METADATA_BASE_BYTES = 16 * LARGEST_PAGE;

/**
 * Says what is wrong with a memfd that is lodged as a region, if anything is: its size is not what
 * the channel's parameters give, or not every page is there.
 *
 * Node.js cannot ask for seals. Who maps a region checks those, and the header.
 */
export function regionProblem(
  kind: RegionKind,
  { bytes, allocatedBytes }: MemfdFacts,
  parameters: ChannelParameters,
): string | undefined {
  const { min, max } = regionBytes(kind, parameters);
  if (bytes < min || bytes > max) return `${bytes} bytes, expected ${min} to ${max}`;
  if (bytes % SMALLEST_PAGE !== 0) return `${bytes} bytes are no whole pages`;
  return allocatedBytes < bytes ? "it has holes" : undefined;
}

/** Bounds of the size of a region's file, both included. */
export function regionBytes(
  kind: RegionKind,
  { blocks, blockBytes }: ChannelParameters,
): { readonly min: number; readonly max: number } {
  if (kind !== "data") {
    return { min: SMALLEST_PAGE, max: METADATA_BASE_BYTES + blocks * METADATA_BYTES_PER_BLOCK };
  }
  // Blocks are rounded up until they are whole pages: the larger the page, the more of them.
  const step = LARGEST_PAGE / powerOfTwoIn(blockBytes);
  const rounded = Math.ceil(blocks / step) * step;
  return {
    min: blocks * blockBytes + SMALLEST_PAGE,
    max: rounded * blockBytes + MAX_HEADER_BYTES,
  };
}

/** The largest power of two, up to a page, that divides a number. */
function powerOfTwoIn(count: number): number {
  let power = 1;
  while (power < LARGEST_PAGE && count % (power * 2) === 0) power *= 2;
  return power;
}
