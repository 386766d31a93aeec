import { ShimmyError } from "../common/errors.ts";
import {
  MAX_ENDPOINTS_PER_MESSAGE,
  MAX_ENDPOINTS_PER_SERVICE,
  MAX_MESSAGE_BYTES,
  MAX_SERVICES_PER_MESSAGE,
} from "./api-limits.ts";
import type { EndpointsMessage, ServiceEndpoints } from "./api.ts";

/** Bytes left for the envelope of a message. */
const ENVELOPE_BYTES = 64;

/**
 * Cuts services into messages that keep the bounds of the contract.
 *
 * @returns The messages in the order to send them; none for no services.
 */
export function splitEndpoints(services: readonly ServiceEndpoints[]): EndpointsMessage[] {
  const messages: ServiceEndpoints[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const part of services.flatMap(partsOf)) {
    const length = Buffer.byteLength(JSON.stringify(part)) + 1;
    const current = messages.at(-1);
    if (
      current === undefined ||
      bytes + length > MAX_MESSAGE_BYTES ||
      current.length === MAX_SERVICES_PER_MESSAGE
    ) {
      messages.push([part]);
      bytes = ENVELOPE_BYTES + length;
    } else {
      current.push(part);
      bytes += length;
    }
  }
  return messages.map((parts) => ({ type: "endpoints", services: parts }));
}

/** Puts the parts of services together again, on the client's side. Memory is bounded. */
export class EndpointsCollector {
  #pending: ServiceEndpoints | undefined;

  /**
   * Takes the next message.
   *
   * @returns The services that are complete now.
   * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` when parts of different services are mixed or
   * a service has more than 8,192 endpoints.
   */
  add(message: EndpointsMessage): ServiceEndpoints[] {
    const complete: ServiceEndpoints[] = [];
    for (const part of message.services) {
      const { more, ...service } = this.#join(part);
      if (more === true) this.#pending = { ...service, more };
      else complete.push(service);
    }
    return complete;
  }

  #join(part: ServiceEndpoints): ServiceEndpoints {
    const before = this.#pending;
    this.#pending = undefined;
    if (before === undefined) return part;
    if (before.service !== part.service) {
      throw misuse(`endpoints of ${part.service} between the parts of ${before.service}`);
    }
    if (before.endpoints.length + part.endpoints.length > MAX_ENDPOINTS_PER_SERVICE) {
      throw misuse(`more than ${MAX_ENDPOINTS_PER_SERVICE} endpoints of ${part.service}`);
    }
    return { ...part, endpoints: [...before.endpoints, ...part.endpoints] };
  }
}

function partsOf(service: ServiceEndpoints): ServiceEndpoints[] {
  const endpoints = service.endpoints.slice(0, MAX_ENDPOINTS_PER_SERVICE);
  const parts: ServiceEndpoints[] = [];
  for (let start = 0; start === 0 || start < endpoints.length; start += MAX_ENDPOINTS_PER_MESSAGE) {
    const end = start + MAX_ENDPOINTS_PER_MESSAGE;
    const part = { ...service, endpoints: endpoints.slice(start, end) };
    parts.push(end < endpoints.length ? { ...part, more: true } : part);
  }
  return parts;
}

function misuse(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", message);
}
