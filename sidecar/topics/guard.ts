/**
 * Who may ask at all. Everything that listens on loopback can be reached by every page that a browser
 * on the machine shows:
 *
 *   G1  a page's own host name may be made to mean our address (DNS rebinding), so that the page may
 *       read our answers: the Host must be local
 *   G2  a page of another origin says so in Origin, or, where that is left out as for images and
 *       scripts, in Sec-Fetch-Site: only origins that are configured are let in
 *   G3  a page may send POST of three content types, or none, without asking first (a "simple request",
 *       https://fetch.spec.whatwg.org/#cors-safelisted-request-header): those are refused
 *   G4  no answer carries a header of CORS, so that no other origin may read it, and preflights fail
 */
import type { IncomingHttpHeaders } from "node:http";
import { isIPv6 } from "node:net";

import { TopicRefusal } from "./refusal.ts";

const SIMPLE_TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

/**
 * Refuses requests that a foreign page may have made (G1, G2).
 *
 * @param origins - Origins that are let in.
 * @throws {@link TopicRefusal} `host` or `origin`.
 */
export function refuseForeign(headers: IncomingHttpHeaders, origins: readonly string[]): void {
  if (!isLocalHost(headers.host)) {
    throw new TopicRefusal(
      "host",
      "SHIMMY_ERR_PROTOCOL",
      "the Host must be localhost or a loopback address",
    );
  }
  const { origin } = headers;
  if (origin !== undefined) {
    if (origins.includes(origin)) return;
    throw new TopicRefusal(
      "origin",
      "SHIMMY_ERR_PROTOCOL",
      "pages of this Origin may not use topics; SHIMMY_TOPICS_ORIGINS lists those that may",
    );
  }
  const site = headers["sec-fetch-site"];
  if (site === undefined || site === "none" || site === "same-origin") return;
  throw new TopicRefusal(
    "origin",
    "SHIMMY_ERR_PROTOCOL",
    "pages of other origins may not use topics",
  );
}

/**
 * Reads the media type of a message.
 *
 * @returns It in lower case, without parameters.
 * @throws {@link TopicRefusal} `content_type` for none, and for those that any page may send (G3).
 */
export function requireContentType(headers: IncomingHttpHeaders): string {
  const type = (headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (/^[\w.+!#$&^-]+\/[\w.+!#$&^-]+$/.test(type) && !SIMPLE_TYPES.includes(type)) return type;
  const shown = type === "" ? "none" : JSON.stringify(type.slice(0, 60));
  throw new TopicRefusal(
    "content_type",
    "SHIMMY_ERR_INVALID_OPTION",
    `Content-Type is ${shown}, which any web page may send: send application/octet-stream, application/json or another one that is not text/plain or a form's`,
  );
}

/** Names of loopback alone: any other may be anybody's. */
function isLocalHost(host = ""): boolean {
  const [, v6, other = ""] = /^(?:\[([^\]]{2,45})\]|([^:]{1,255}))(?::\d{1,5})?$/.exec(host) ?? [];
  if (v6 !== undefined) return isIPv6(v6) && /^(0*:)*:?0*1$/.test(v6);
  return (
    /^127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/.test(other) || other.toLowerCase() === "localhost"
  );
}
