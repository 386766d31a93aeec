import { isIP } from "node:net";

import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { SIDECAR_NAME } from "../../common/kubernetes/vocabulary.ts";
import { SIDECAR_CONFIG } from "../../sidecar/env.ts";
import { MAX_ADDRESSES, MAX_APP_PORTS } from "../api-limits.ts";
import { SUBDOMAIN_PATTERN, UID_PATTERN } from "../names.ts";
import { isOffByAnnotation, isOffValue } from "./transport-switch.ts";

/** A port that a container declares by name. */
export interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP" | "SCTP";
}

/** A pod of this node, with no more than is looked at. */
export interface LocalPod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  /** At least one. */
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Whether it carries the sidecar, whatever its labels say. */
  readonly injected: boolean;
  readonly hostNetwork: boolean;
  /** TCP ports of the application that peers may reach; `undefined`: those that its services have. */
  readonly appPorts: readonly number[] | undefined;
  /** Whether it turned shared memory off for itself. */
  readonly isOff: boolean;
  readonly namedPorts: readonly NamedPort[];
  /** Names of the application's containers that run as long as the pod does. */
  readonly containers: readonly string[];
}

interface RawContainer {
  readonly name?: string;
  readonly restartPolicy?: string;
  readonly env?: readonly { readonly name?: string; readonly value?: string }[];
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort?: number;
    readonly protocol?: string;
  }[];
}

interface RawPod extends KubernetesObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly hostNetwork?: boolean;
    readonly containers?: readonly RawContainer[];
    readonly initContainers?: readonly RawContainer[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip?: string }[];
  };
}

const POD_NAME = new RegExp(SUBDOMAIN_PATTERN);
const UID = new RegExp(UID_PATTERN);

/**
 * Keeps what is looked at of a pod.
 *
 * @returns Nothing for one that has no address yet, or has given it back: its containers have ended
 * for good, and another pod may have the address now.
 */
export function takeLocalPod(object: KubernetesObject): LocalPod | undefined {
  const { metadata, spec = {}, status = {} } = object as RawPod;
  const identity = identityOf(metadata);
  const addresses = addressesOf(status);
  if (hasEnded(status) || identity === undefined || addresses.length === 0) return undefined;
  return { ...identity, addresses, ...takeSpec(spec, isOffByAnnotation(metadata)) };
}

/** @returns Nothing for names longer than messages take; such a pod goes without. */
function identityOf({
  uid = "",
  namespace = "",
  name,
  labels = {},
}: RawPod["metadata"]): Pick<LocalPod, "uid" | "namespace" | "name" | "labels"> | undefined {
  return UID.test(uid) && POD_NAME.test(name) ? { uid, namespace, name, labels } : undefined;
}

function takeSpec(
  spec: NonNullable<RawPod["spec"]>,
  isOff: boolean,
): Omit<LocalPod, "uid" | "namespace" | "name" | "labels" | "addresses"> {
  const containers = lastingContainers(spec);
  const sidecar = containers.find((each) => each.name === SIDECAR_NAME);
  const own = containers.filter((each) => each !== sidecar);
  const { nodeName: node = "", hostNetwork = false } = spec;
  return {
    node,
    // On the host's network the address is the node's, and localhost everybody's.
    injected: sidecar !== undefined && !hostNetwork,
    hostNetwork,
    appPorts: appPortsOf(sidecar, own),
    isOff: isOff || isOffValue(valueOf(sidecar, SIDECAR_CONFIG.transport.env)),
    namedPorts: containers.flatMap(namedPortsOf),
    containers: own.flatMap(({ name }) => (name === undefined ? [] : [name])),
  };
}

function hasEnded({ phase }: NonNullable<RawPod["status"]>): boolean {
  return phase === "Succeeded" || phase === "Failed";
}

function addressesOf({ podIP, podIPs = [] }: NonNullable<RawPod["status"]>): string[] {
  const addresses = [podIP, ...podIPs.map(({ ip }) => ip)].filter(
    (address) => address !== undefined && isIP(address) !== 0,
  );
  return [...new Set(addresses as string[])].slice(0, MAX_ADDRESSES);
}

/** Containers that run as long as the pod does: the others have no ports that anybody could reach. */
function lastingContainers({
  containers = [],
  initContainers = [],
}: NonNullable<RawPod["spec"]>): RawContainer[] {
  return [...initContainers.filter((each) => each.restartPolicy === "Always"), ...containers];
}

/** What the injector told the sidecar; else what the containers declare, if they declare anything. */
function appPortsOf(
  sidecar: RawContainer | undefined,
  own: readonly RawContainer[],
): readonly number[] | undefined {
  const told = toldPorts(valueOf(sidecar, SIDECAR_CONFIG.appPorts.env));
  const declared = own.flatMap(({ ports = [] }) =>
    ports
      .filter(({ protocol = "TCP" }) => protocol === "TCP")
      .map(({ containerPort }) => containerPort),
  );
  const ports = told ?? declared.filter((port) => port !== undefined);
  if (ports.length === 0) return undefined;
  return [...new Set(ports)].sort((a, b) => a - b).slice(0, MAX_APP_PORTS);
}

function toldPorts(text: string | undefined): readonly number[] | undefined {
  if (text === undefined) return undefined;
  try {
    return SIDECAR_CONFIG.appPorts.parse(text);
  } catch {
    // The sidecar does not start with it either.
    return undefined;
  }
}

function valueOf(container: RawContainer | undefined, name: string): string | undefined {
  return container?.env?.find((each) => each.name === name)?.value;
}

function namedPortsOf({ ports = [] }: RawContainer): NamedPort[] {
  return ports.flatMap(({ name, containerPort, protocol = "TCP" }) => {
    if (name === undefined || containerPort === undefined) return [];
    if (protocol !== "TCP" && protocol !== "UDP" && protocol !== "SCTP") return [];
    return [{ name, port: containerPort, protocol }];
  });
}
