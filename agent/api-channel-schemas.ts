/** JSON schemas of the messages in api-channels.ts. Every string, list and number is bounded. */
import { ERROR_CODES } from "../common/errors.ts";
import { TOPIC_REASONS } from "../common/reasons.ts";
import { MAX_CHANNEL_LINKS, MAX_LODGED_REGIONS } from "./api-limits.ts";
import { PARAMETER_SCHEMAS } from "./channels/parameters.ts";
import { LABEL_PATTERN, REFERENCE_PATTERN, SUBDOMAIN_PATTERN } from "./names.ts";
import { arraySchema, objectSchema, type JsonSchema } from "./schema.ts";

const uint32: JsonSchema = { type: "integer", minimum: 0, maximum: 0xffff_ffff };
const topic: JsonSchema = { type: "string", pattern: REFERENCE_PATTERN };
const attachment: JsonSchema = { type: "string", pattern: "^[A-Za-z0-9_.-]{1,64}$" };
const role: JsonSchema = { enum: ["producer", "consumer", "publisher", "subscriber"] };
const start: JsonSchema = { enum: ["oldest", "newest"] };
const state: JsonSchema = { enum: ["live", "standby"] };
const code: JsonSchema = { enum: ERROR_CODES };
const message: JsonSchema = { type: "string", maxLength: 1024 };
const kind: JsonSchema = { enum: ["data", "producer", "consumer", "global", "local"] };
const regions = arraySchema(kind, MAX_LODGED_REGIONS);
const link = objectSchema({ generation: uint32, number: uint32 });
const channel = objectSchema({
  topic,
  id: { type: "string", pattern: "^[1-9][0-9]{0,19}$" },
  ...PARAMETER_SCHEMAS,
  // Of a lock-based channel 0.
  timeToLiveMs: { ...PARAMETER_SCHEMAS.timeToLiveMs, minimum: 0 },
});
const parameters = objectSchema(
  PARAMETER_SCHEMAS,
  Object.keys(PARAMETER_SCHEMAS).filter((name) => name !== "kind"),
);

/** Schema of each message that a process which attaches channels sends, without its `type`. */
export const CHANNEL_CLIENT_SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  channelsHello: objectSchema(
    {
      version: { type: "integer", minimum: 0, maximum: 65_535 },
      pid: { type: "integer", minimum: 0, maximum: 0x7fff_ffff },
      pod: objectSchema({
        namespace: { type: "string", pattern: LABEL_PATTERN },
        name: { type: "string", pattern: SUBDOMAIN_PATTERN },
      }),
    },
    ["pod"],
  ),
  attachChannel: objectSchema({ request: uint32, topic, role, start, parameters }, ["parameters"]),
  reattachChannel: objectSchema(
    {
      request: uint32,
      attachment,
      role,
      start,
      channel,
      generation: uint32,
      links: arraySchema(link, MAX_CHANNEL_LINKS),
    },
    ["generation"],
  ),
  lodgeRegions: objectSchema({ attachment, generation: uint32, number: uint32, regions }, [
    "number",
  ]),
  generationFinished: objectSchema({ attachment, generation: uint32 }),
  linkGone: objectSchema({ attachment, generation: uint32, number: uint32 }),
  detachChannel: objectSchema({ attachment }),
};

/** Schemas of the messages of the agent, given that of a pod's identity; without their `type`. */
export function channelAgentSchemas(identity: JsonSchema): Readonly<Record<string, JsonSchema>> {
  const ofLink = { attachment, generation: uint32, number: uint32 };
  return {
    channelAttached: objectSchema(
      { request: uint32, attachment, channel, state, generation: uint32 },
      ["generation"],
    ),
    channelRefused: objectSchema(
      { request: uint32, code, reason: { enum: TOPIC_REASONS }, message },
      ["reason"],
    ),
    channelState: objectSchema({ attachment, state, generation: uint32 }, ["generation"]),
    channelRing: objectSchema(
      {
        ...ofLink,
        writer: identity,
        isEnded: { type: "boolean" },
        start,
        regions,
        previous: uint32,
      },
      ["previous"],
    ),
    channelPeer: objectSchema({ ...ofLink, peer: identity, regions }),
    channelPeerGone: objectSchema({ ...ofLink, isOver: { type: "boolean" } }),
    channelDetached: objectSchema({ attachment, code, message }),
  };
}
