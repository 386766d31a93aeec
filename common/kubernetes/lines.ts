import { ApiError } from "./api-error.ts";

const LINE_FEED = 0x0a;

/**
 * Divides a stream into lines, without their line feeds; what stands behind the last one is left out.
 *
 * @param maxBytes - Longest line; a longer one ends the stream, because it would have to be kept.
 * @throws {@link ApiError} on a line that is too long.
 */
export async function* splitLines(
  chunks: AsyncIterable<Buffer>,
  maxBytes: number,
): AsyncGenerator<Buffer> {
  let begun: Buffer[] = [];
  let begunBytes = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, from)) {
      checkLength(begunBytes + end - from, maxBytes);
      yield Buffer.concat([...begun, chunk.subarray(from, end)]);
      begun = [];
      begunBytes = 0;
      from = end + 1;
    }
    if (from === chunk.length) continue;
    begun.push(chunk.subarray(from));
    begunBytes += chunk.length - from;
    checkLength(begunBytes, maxBytes);
  }
}

function checkLength(length: number, maxBytes: number): void {
  if (length <= maxBytes) return;
  throw new ApiError(`a line of more than ${maxBytes} bytes`, { status: 0, reason: "Garbage" });
}
