import { isIP } from "node:net";

import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { UNKNOWN_NODE } from "../endpoints.ts";
import { UID_PATTERN } from "../names.ts";
import type { AddressFamily } from "./service.ts";

/**
 * An EndpointSlice as it is kept. There may be ten thousand, nearly all of Services that no pod of
 * this node calls: so endpoints are kept as one string of some 80 bytes each, and read when they are
 * looked at.
 */
export interface PackedSlice {
  /** `namespace/name` of its Service. */
  readonly service: string;
  readonly namespace: string;
  readonly family: AddressFamily;
  /** For {@link unpackSlice}; equal texts mean equal slices. */
  readonly text: string;
  /** UIDs of pods that it names and that may be on this node. */
  readonly localUids: readonly string[];
}

/** One port of a slice. */
export interface SlicePort {
  /** That of the Service's port; empty when it has none. */
  readonly name: string;
  readonly port: number;
}

/** One endpoint of a slice. */
export interface SliceEndpoint {
  readonly address: string;
  readonly isReady: boolean;
  readonly isServing: boolean;
  readonly isTerminating: boolean;
  /** {@link UNKNOWN_NODE} when it names none. */
  readonly node: string;
  /** UID of the pod that it claims to be; empty when it claims none. */
  readonly uid: string;
  /** Zones and nodes that are to use it; nothing when it does not say. */
  readonly zones: readonly string[];
  readonly nodes: readonly string[];
}

/** What is in a slice. */
export interface SliceContent {
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly SliceEndpoint[];
}

interface RawSlice extends KubernetesObject {
  readonly addressType?: string;
  readonly ports?: readonly {
    readonly name?: string;
    readonly port?: number;
    readonly protocol?: string;
  }[];
  readonly endpoints?: readonly RawEndpoint[] | null;
}

interface RawEndpoint {
  readonly addresses?: readonly string[];
  readonly conditions?: {
    readonly ready?: boolean;
    readonly serving?: boolean;
    readonly terminating?: boolean;
  };
  readonly nodeName?: string;
  readonly targetRef?: { readonly kind?: string; readonly uid?: string };
  readonly hints?: {
    readonly forZones?: readonly { readonly name: string }[];
    readonly forNodes?: readonly { readonly name: string }[];
  };
}

type PackedPort = readonly [name: string, port: number];
type ShortEndpoint = readonly [address: string, state: number, node: string, uid: string];
type PackedEndpoint =
  ShortEndpoint | readonly [...ShortEndpoint, zones: readonly string[], nodes: readonly string[]];

const SERVICE_LABEL = "kubernetes.io/service-name";
const READY = 1;
const SERVING = 2;
const TERMINATING = 4;
const NOBODY: readonly string[] = Object.freeze([]);
const UID = new RegExp(UID_PATTERN);
/** As long as messages let it be. */
const MAX_NODE_LENGTH = 253;

/**
 * Makes the function that keeps slices.
 *
 * @param node - This node.
 */
export function sliceTaker(node: string): (object: KubernetesObject) => PackedSlice | undefined {
  return (object) => {
    const { metadata, addressType, ports, endpoints } = object as RawSlice;
    const { namespace = "", labels = {} } = metadata;
    const name = labels[SERVICE_LABEL];
    if (name === undefined || name === "" || !isFamily(addressType)) return undefined;
    const packed = (endpoints ?? []).flatMap(packEndpoint);
    const uids = packed
      .filter(([, , on]) => on === "" || on === node)
      .map(([, , , uid]) => uid)
      .filter((uid) => uid !== "");
    return {
      service: `${namespace}/${name}`,
      namespace,
      family: addressType,
      text: JSON.stringify([(ports ?? []).flatMap(packPort), packed]),
      localUids: uids.length === 0 ? NOBODY : uids,
    };
  };
}

/** Reads what {@link sliceTaker} kept. */
export function unpackSlice({ text }: Pick<PackedSlice, "text">): SliceContent {
  const [ports, endpoints] = JSON.parse(text) as [PackedPort[], PackedEndpoint[]];
  return {
    ports: ports.map(([name, port]) => ({ name, port })),
    endpoints: endpoints.map(([address, state, node, uid, zones = [], nodes = []]) => ({
      address,
      isReady: (state & READY) !== 0,
      isServing: (state & SERVING) !== 0,
      isTerminating: (state & TERMINATING) !== 0,
      node: node === "" ? UNKNOWN_NODE : node,
      uid,
      zones,
      nodes,
    })),
  };
}

/** A port without a number means every port, which nobody can connect to. */
function packPort({ name, port, protocol }: NonNullable<RawSlice["ports"]>[number]): PackedPort[] {
  if (port === undefined || (protocol ?? "TCP") !== "TCP") return [];
  return [[name ?? "", port]];
}

/** Only the first address counts: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/ */
function packEndpoint(endpoint: RawEndpoint): PackedEndpoint[] {
  const { addresses = [], conditions = {}, nodeName = "", targetRef = {}, hints } = endpoint;
  const [address] = addresses;
  if (address === undefined || isIP(address) === 0) return [];
  const node = nodeName.slice(0, MAX_NODE_LENGTH);
  const short: ShortEndpoint = [address, stateOf(conditions), node, podUidOf(targetRef)];
  // Hints are rare, and text is kept for each.
  if (hints === undefined) return [short];
  const { forZones = [], forNodes = [] } = hints;
  return [[...short, forZones.map(({ name }) => name), forNodes.map(({ name }) => name)]];
}

function podUidOf({ kind, uid = "" }: NonNullable<RawEndpoint["targetRef"]>): string {
  return kind === "Pod" && UID.test(uid) ? uid : "";
}

/** What is not said counts as ready, serving and not terminating, as the API has it. */
function stateOf({
  ready = true,
  serving = ready,
  terminating = false,
}: NonNullable<RawEndpoint["conditions"]>): number {
  return (ready ? READY : 0) | (serving ? SERVING : 0) | (terminating ? TERMINATING : 0);
}

function isFamily(type: string | undefined): type is AddressFamily {
  return type === "IPv4" || type === "IPv6";
}
