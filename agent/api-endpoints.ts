import { ShimmyError } from "../common/errors.ts";
import {
  MAX_ENDPOINTS_PER_MESSAGE,
  MAX_ENDPOINTS_PER_SERVICE,
  MAX_MESSAGE_BYTES,
  MAX_SERVICES_PER_MESSAGE,
} from "./api-limits.ts";
import type { EndpointsMessage, ServiceEndpoint, ServiceEndpoints } from "./api.ts";

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
    const length = bytesOf(part);
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

/**
 * What a client of version 1 is told: it knows neither ports of single endpoints nor problems.
 *
 * An endpoint that does not serve every port at the target port of the service is left out, since it
 * would be called at another's; one where some port has to go over TCP goes over TCP as a whole.
 */
export function toVersion1({ service, ports, endpoints }: ServiceEndpoints): ServiceEndpoints {
  const isUsual = ({ ports: own }: ServiceEndpoint): boolean =>
    own === undefined ||
    ports.every(({ port, targetPort }) =>
      own.some((each) => each.port === port && each.targetPort === targetPort),
    );
  return {
    service,
    ports,
    endpoints: endpoints.filter(isUsual).map(({ ports: own = [], ...endpoint }) => {
      const over = own.find(({ transport }) => transport === "tcp");
      if (endpoint.transport === "tcp" || over?.reason === undefined) return endpoint;
      return { ...endpoint, transport: "tcp", reason: over.reason };
    }),
  };
}

function partsOf(service: ServiceEndpoints): ServiceEndpoints[] {
  const chunks = chunksOf(
    service.endpoints.slice(0, MAX_ENDPOINTS_PER_SERVICE),
    MAX_MESSAGE_BYTES - ENVELOPE_BYTES - bytesOf({ ...service, endpoints: [], more: true }),
  );
  return chunks.map((endpoints, index) => {
    const part = { ...service, endpoints };
    return index < chunks.length - 1 ? { ...part, more: true } : part;
  });
}

/** Endpoints by parts, at least one, each within the bounds of a message. */
function chunksOf(endpoints: readonly ServiceEndpoint[], maxBytes: number): ServiceEndpoint[][] {
  let current: ServiceEndpoint[] = [];
  const chunks = [current];
  let bytes = 0;
  for (const endpoint of endpoints) {
    const length = bytesOf(endpoint);
    if (current.length === MAX_ENDPOINTS_PER_MESSAGE || bytes + length > maxBytes) {
      current = [];
      chunks.push(current);
      bytes = 0;
    }
    current.push(endpoint);
    bytes += length;
  }
  return chunks;
}

/** Bytes that a value and the comma behind it take in a message. */
function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value)) + 1;
}

function misuse(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", message);
}
