/**
 * Bounds of the agent's messages. A message at all its bounds still fits into one record:
 * test/unit/agent/api-parse.test.ts builds them. `endpoints` alone is cut by its bytes as well.
 */

/** Largest record of the message socket, in bytes; the native socket refuses more as well. */
export const MAX_MESSAGE_BYTES = 65_536;
/** Deepest nesting of objects and arrays in a message. */
export const MAX_DEPTH = 8;
/** Services one client watches. */
export const MAX_WATCHED_SERVICES = 256;
/** Grants in one list of a session. */
export const MAX_GRANTS = 128;
/** Addresses of one pod. */
export const MAX_ADDRESSES = 8;
/** Declared application ports of one pod. */
export const MAX_APP_PORTS = 256;
/** Ports of one service. */
export const MAX_SERVICE_PORTS = 64;
/** Services in one `endpoints` message. */
export const MAX_SERVICES_PER_MESSAGE = 256;
/** Endpoints of one service in one `endpoints` message. */
export const MAX_ENDPOINTS_PER_MESSAGE = 64;
/** Characters of the sentence that says why a service cannot be called. */
export const MAX_PROBLEM_LENGTH = 512;
/** Endpoints of one service over all messages. */
export const MAX_ENDPOINTS_PER_SERVICE = 8192;
/** Entries of `streams` in one report; a sidecar with more peers sums the rest up. */
export const MAX_REPORTED_STREAMS = 64;
/** Session ids in one report, and so the sessions of one pod. */
export const MAX_REPORTED_SESSIONS = 1024;
/** Links of one attachment: subscribers of a publisher, publishers of a subscriber. */
export const MAX_CHANNEL_LINKS = 64;
/** Regions in one message. */
export const MAX_LODGED_REGIONS = 3;
