import { ShimmyError } from "../../common/errors.ts";
import type {
  ChannelReply,
  ChannelsReply,
  ChannelSummary,
  PodName,
  RegionReply,
  RingReply,
} from "../api.ts";
import type { Catalog, CatalogPod } from "../catalog.ts";
import type { ChannelBroker } from "./broker.ts";
import { type Attachment, type Channel, type LodgedRegion, type Ring } from "./channel.ts";
import { TopicDeniedError } from "./channel-finder.ts";
import { haveSameParameters, resolveParameters } from "./parameters.ts";
import { waitWordsOf } from "./regions-record.ts";
import { parseTopic, topicKey, type Topic } from "./topic.ts";

/** What the routes of channels work with. */
export interface ChannelRouteDeps {
  readonly channels: ChannelBroker;
  readonly catalog: () => Catalog;
}

/** A request that changes something. */
export interface Change {
  readonly method: "POST" | "DELETE";
  readonly path: string;
  readonly query: URLSearchParams;
  /** Parsed JSON; `undefined` without a body. */
  readonly body: unknown;
}

/** What a change is answered with. */
export interface ChangeReply {
  readonly status: number;
  readonly body: unknown;
}

const ROOT = "/v1/channels";

/**
 * What a socket shows of channels.
 *
 * @param pod - UID of the pod whose socket it is, which sees what it may take a role in; `undefined`
 * for the node-wide one, which sees all.
 * @returns `undefined` for a path of something else.
 */
export function showChannels(
  deps: ChannelRouteDeps,
  pod: string | undefined,
  path: string,
): unknown {
  if (path === ROOT) {
    const visible = deps.channels.table.all().filter(({ topic }) => isVisible(deps, pod, topic));
    return { channels: visible.map(summaryOf) } satisfies ChannelsReply;
  }
  if (!path.startsWith(`${ROOT}/`)) return undefined;
  const topic = topicIn(path);
  const channel = deps.channels.table.get(topicKey(topic));
  if (channel === undefined || !isVisible(deps, pod, topic)) throw notFound(topic);
  return describe(channel);
}

/**
 * Makes or deletes a channel.
 *
 * @param pod - As for {@link showChannels}; the node-wide socket is an operator's, who may do both.
 * @returns `undefined` when nothing can be changed at that path.
 * @throws {@link ShimmyError} As {@link ChannelBroker} says; `SHIMMY_ERR_CHANNEL_EXISTS` when there is
 * one already.
 */
export async function changeChannels(
  deps: ChannelRouteDeps,
  pod: string | undefined,
  change: Change,
): Promise<ChangeReply | undefined> {
  const { method, path, query, body } = change;
  const asker = pod === undefined ? undefined : deps.catalog().pods.get(pod);
  if (pod !== undefined && asker === undefined) {
    throw new ShimmyError("SHIMMY_ERR_NOT_FOUND", `pod ${pod} is not in the catalog any more`);
  }
  if (method === "POST" && path === ROOT) {
    return { status: 201, body: await create(deps, asker, body) };
  }
  if (method === "DELETE" && path.startsWith(`${ROOT}/`)) {
    const topic = topicIn(path);
    requireOwner(deps, asker, topic);
    await deps.channels.delete(topic, query.get("force") === "true");
    return { status: 200, body: { deleted: topicKey(topic) } };
  }
  return undefined;
}

async function create(
  { channels, catalog }: ChannelRouteDeps,
  asker: CatalogPod | undefined,
  body: unknown,
): Promise<ChannelSummary> {
  const { topic: name, ...request } = objectOf(body);
  if (typeof name !== "string") {
    throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", '"topic" is missing');
  }
  const topic = parseTopic(name, asker?.namespace);
  const parameters = resolveParameters(request);
  requireOwner({ channels, catalog }, asker, topic);
  const declared = catalog().topics.declared(topic);
  if (declared !== undefined && !haveSameParameters(declared, parameters)) {
    throw new ShimmyError(
      "SHIMMY_ERR_CHANNEL_MISMATCH",
      `topic ${topicKey(topic)} is declared with other parameters`,
    );
  }
  if (channels.table.get(topicKey(topic)) !== undefined) throw exists(topic);
  const found = await channels.finder.find({ topic, pod: asker, request, origin: "request" });
  if (!haveSameParameters(found.record.parameters, parameters)) throw exists(topic);
  return summaryOf(found);
}

/** Making and deleting is for the pods of the topic's namespace. */
function requireOwner(
  { catalog }: ChannelRouteDeps,
  asker: CatalogPod | undefined,
  topic: Topic,
): void {
  const reason = asker === undefined ? undefined : catalog().topics.checkOwner(asker, topic);
  if (reason !== undefined) throw new TopicDeniedError(topic, reason);
}

function isVisible({ catalog }: ChannelRouteDeps, uid: string | undefined, topic: Topic): boolean {
  if (uid === undefined) return true;
  const { pods, topics } = catalog();
  const pod = pods.get(uid);
  if (pod === undefined) return false;
  return (["writer", "reader"] as const).some(
    (side) => topics.check(pod, topic, side) === undefined,
  );
}

function summaryOf(channel: Channel): ChannelSummary {
  return {
    ...channel.info,
    origin: channel.origin,
    attachments: channel.attachments.length,
    lodgedBytes: channel.lodged.reduce((sum, { region }) => sum + region.bytes, 0),
  };
}

/** Data and metadata apart, as each is a region of its own. */
function describe(channel: Channel): ChannelReply {
  const regions = channel.rings.flatMap((ring) => regionsOf(ring));
  const [data, metadata] = [true, false].map((isData) =>
    regions.filter(({ kind }) => (kind === "data") === isData),
  ) as [RegionReply[], RegionReply[]];
  return {
    ...summaryOf(channel),
    attachments: channel.attachments.map((each) => ({
      pod: each.pod.uid,
      namespace: each.pod.namespace,
      name: each.pod.name,
      pid: each.member.pid,
      role: each.role,
      state: each.state,
      since: each.since.toISOString(),
    })),
    rings: channel.rings.map(ringReply),
    data,
    metadata,
    waitWords: waitWordsOf(metadata),
  };
}

function ringReply({ generation, pod, writer, regions, links }: Ring): RingReply {
  const readers = [...links.values()].flatMap(({ reader }) =>
    reader === undefined ? [] : [reader.pod.uid],
  );
  return {
    generation,
    ...(pod === undefined ? {} : { writer: pod.uid }),
    isEnded: writer === undefined,
    isLodged: regions.length > 0,
    readers: [...new Set(readers)],
  };
}

function regionsOf(ring: Ring): RegionReply[] {
  const readers = [...ring.links.values()].flatMap(({ reader, state }) =>
    reader === undefined || state !== "joined" ? [] : [reader],
  );
  const writers = ring.writer === undefined ? [] : [ring.writer];
  const own = ring.regions.map((region) => reply(ring, region, ring.pod, [...writers, ...readers]));
  const links = [...ring.links.values()].flatMap(({ region, reader, number }) =>
    region === undefined || reader === undefined
      ? []
      : [{ ...reply(ring, region, reader.pod, [...writers, reader]), number }],
  );
  const { predecessor } = ring;
  const before =
    predecessor === undefined
      ? []
      : [{ ...reply(ring, predecessor.region, undefined, writers), number: predecessor.number }];
  return [...own, ...links, ...before];
}

function reply(
  { generation }: Ring,
  { kind, id, bytes }: LodgedRegion,
  writer: (PodName & { readonly uid: string }) | undefined,
  attachedBy: readonly Attachment[],
): RegionReply {
  return {
    kind,
    id,
    bytes,
    generation,
    ...(writer === undefined ? {} : { writer: writer.uid }),
    attachedBy: [...new Set(attachedBy.map(({ pod }) => pod.uid))],
  };
}

/** The topic behind `/v1/channels/`, as `NAMESPACE/NAME`. */
function topicIn(path: string): Topic {
  return parseTopic(path.slice(ROOT.length + 1), undefined);
}

function objectOf(body: unknown): Record<string, unknown> {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) {
    return body as Record<string, unknown>;
  }
  throw new ShimmyError("SHIMMY_ERR_INVALID_OPTION", "the body must be a JSON object");
}

function exists(topic: Topic): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_CHANNEL_EXISTS", `topic ${topicKey(topic)} has a channel`);
}

function notFound(topic: Topic): ShimmyError {
  return new ShimmyError(
    "SHIMMY_ERR_NOT_FOUND",
    `no channel of topic ${topicKey(topic)} is in use`,
  );
}
