/** JSON schemas of the messages in api.ts. Every string, list and number is bounded. */
import { ERROR_CODES } from "../common/errors.ts";
import { FALLBACK_REASONS, SESSION_END_REASONS } from "../common/reasons.ts";
import {
  MAX_ADDRESSES,
  MAX_APP_PORTS,
  MAX_ENDPOINTS_PER_MESSAGE,
  MAX_GRANTS,
  MAX_PROBLEM_LENGTH,
  MAX_REPORTED_SESSIONS,
  MAX_REPORTED_STREAMS,
  MAX_SERVICE_PORTS,
  MAX_SERVICES_PER_MESSAGE,
  MAX_WATCHED_SERVICES,
} from "./api-limits.ts";
import { CHANNEL_CLIENT_SCHEMAS, channelAgentSchemas } from "./api-channel-schemas.ts";
import { LABEL_PATTERN, SERVICE_PATTERN, SUBDOMAIN_PATTERN, UID_PATTERN } from "./names.ts";
import { arraySchema, objectSchema, type JsonSchema } from "./schema.ts";

const counter: JsonSchema = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const request: JsonSchema = { type: "integer", minimum: 0, maximum: 0xffff_ffff };
const port: JsonSchema = { type: "integer", minimum: 1, maximum: 65_535 };
// A version that nobody speaks is answered as such, not as a message out of its schema.
const version: JsonSchema = { type: "integer", minimum: 0, maximum: 65_535 };
const label: JsonSchema = { type: "string", pattern: LABEL_PATTERN };
const podName: JsonSchema = { type: "string", pattern: SUBDOMAIN_PATTERN };
const uid: JsonSchema = { type: "string", pattern: UID_PATTERN };
const service: JsonSchema = { type: "string", pattern: SERVICE_PATTERN };
const address: JsonSchema = { type: "string", minLength: 2, maxLength: 45, format: "ip" };
const node: JsonSchema = { type: "string", minLength: 1, maxLength: 253 };
const session: JsonSchema = { type: "string", pattern: "^[A-Za-z0-9_-]{1,24}$" };
const text: JsonSchema = { type: "string", maxLength: 1024 };
const side: JsonSchema = { enum: ["initiator", "responder"] };
const transport: JsonSchema = { enum: ["shm", "tcp"] };
const fallbackReason: JsonSchema = { enum: FALLBACK_REASONS };

const identity = objectSchema({
  uid,
  namespace: label,
  name: podName,
  node,
  addresses: arraySchema(address, MAX_ADDRESSES),
});
const grants = arraySchema(objectSchema({ service, port }), MAX_GRANTS);
/** Those of both directions. */
const allGrants = arraySchema(objectSchema({ service, port }), 2 * MAX_GRANTS);

const streamReport = objectSchema({
  peer: { type: "string", minLength: 1, maxLength: 128 },
  service: { type: "string", maxLength: 128 },
  transport,
  direction: { enum: ["in", "out"] },
  open: counter,
  opened: counter,
  bytesSent: counter,
  bytesReceived: counter,
});
const fallbackCounts = objectSchema(
  Object.fromEntries(FALLBACK_REASONS.map((reason) => [reason, counter])),
  FALLBACK_REASONS,
);

const endpointPort = objectSchema({ port, targetPort: port, transport, reason: fallbackReason }, [
  "reason",
]);
const endpoint = objectSchema(
  {
    pod: uid,
    address,
    node,
    injected: { type: "boolean" },
    transport,
    reason: fallbackReason,
    ports: arraySchema(endpointPort, MAX_SERVICE_PORTS),
  },
  ["reason", "ports"],
);
const serviceEndpoints = objectSchema(
  {
    service,
    ports: arraySchema(
      objectSchema({ name: { type: "string", maxLength: 63 }, port, targetPort: port }),
      MAX_SERVICE_PORTS,
    ),
    endpoints: arraySchema(endpoint, MAX_ENDPOINTS_PER_MESSAGE),
    problem: { type: "string", maxLength: MAX_PROBLEM_LENGTH },
    more: { const: true },
  },
  ["problem", "more"],
);

/** Schema of each message a client sends, without its `type`. */
export const CLIENT_SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  hello: objectSchema({
    version,
    pod: objectSchema({ namespace: label, name: podName }),
    pid: { type: "integer", minimum: 0, maximum: 0x7fff_ffff },
    capabilities: objectSchema({ fdPassing: { type: "boolean" } }),
  }),
  watch: objectSchema({ services: arraySchema(service, MAX_WATCHED_SERVICES) }),
  openSession: objectSchema({ request, pod: uid }),
  adopt: objectSchema({ session, peer: uid, side, held: allGrants }),
  report: objectSchema({
    streams: arraySchema(streamReport, MAX_REPORTED_STREAMS),
    fallbacks: fallbackCounts,
    sessions: arraySchema(session, MAX_REPORTED_SESSIONS),
  }),
  sessionEnded: objectSchema({ session, reason: { enum: SESSION_END_REASONS } }),
  ...CHANNEL_CLIENT_SCHEMAS,
};

/** Schema of each message the agent sends, without its `type`. */
export const AGENT_SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  welcome: objectSchema({
    version,
    pod: identity,
    appPorts: arraySchema(port, MAX_APP_PORTS),
    appAddress: address,
  }),
  endpoints: objectSchema({ services: arraySchema(serviceEndpoints, MAX_SERVICES_PER_MESSAGE) }),
  session: objectSchema(
    { request, session, side, peer: identity, accept: grants, connect: grants },
    ["request"],
  ),
  sessionRefused: objectSchema({ request, pod: uid, reason: fallbackReason, message: text }),
  grants: objectSchema({ session, accept: grants, connect: grants }),
  revoke: objectSchema({ session, grants: allGrants }),
  sessionClosed: objectSchema({ session }),
  error: objectSchema({ code: { enum: ERROR_CODES }, message: text }),
  ...channelAgentSchemas(identity),
};
