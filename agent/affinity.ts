import type { ServiceEndpoint } from "./api.ts";

/**
 * Chooses the one endpoint with which a client is to stay.
 *
 * The one it has, while it is there; else by a weight that client and endpoint have together, so that
 * clients spread and an agent that was restarted chooses the same. What shared memory reaches comes
 * first.
 *
 * @param before - The endpoint it has; see {@link ServiceEndpoint.pod}.
 * @see https://www.rfc-editor.org/rfc/rfc2992 on weights of this kind
 */
export function chooseSticky(
  client: string,
  endpoints: readonly ServiceEndpoint[],
  before: string | undefined,
): ServiceEndpoint | undefined {
  const held = endpoints.find(({ pod }) => pod === before);
  if (held !== undefined) return held;
  const near = endpoints.filter(isNear);
  const candidates = near.length > 0 ? near : endpoints;
  let best: ServiceEndpoint | undefined;
  let bestWeight = -1;
  for (const endpoint of candidates) {
    const weight = hash(`${client} ${endpoint.pod}`);
    if (weight <= bestWeight) continue;
    best = endpoint;
    bestWeight = weight;
  }
  return best;
}

function isNear({ transport, ports = [] }: ServiceEndpoint): boolean {
  return transport === "shm" || ports.some((each) => each.transport === "shm");
}

/** FNV-1a of 32 bits, mixed once more. http://www.isthe.com/chongo/tech/comp/fnv/ */
function hash(text: string): number {
  let value = 0x811c_9dc5;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x0100_0193);
  }
  return Math.imul(value ^ (value >>> 15), 0x2c1b_3c6d) >>> 0;
}
