import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { MAX_SERVICE_PORTS } from "../api-limits.ts";

/** Families of addresses that endpoints can have. */
export type AddressFamily = "IPv4" | "IPv6";

/** A port of a Service. */
export interface KubernetesServicePort {
  /** Empty when it has none. */
  readonly name: string;
  readonly port: number;
  /** The target port where the Service says it by number. */
  readonly targetPort: number | undefined;
}

/** A Service, with no more than is looked at. */
export interface KubernetesService {
  /** `namespace/name`. */
  readonly key: string;
  readonly namespace: string;
  /** TCP ports. */
  readonly ports: readonly KubernetesServicePort[];
  /** The first of its families; `undefined` when it names none. */
  readonly family: AddressFamily | undefined;
  /** `sessionAffinity: ClientIP`. */
  readonly isSticky: boolean;
  /** `internalTrafficPolicy: Local`. */
  readonly isNodeLocal: boolean;
  /** Why there is nothing that could be called, whatever its endpoints are. */
  readonly problem: string | undefined;
}

interface RawService extends KubernetesObject {
  readonly spec?: {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly externalName?: string;
    readonly ipFamilies?: readonly string[];
    readonly sessionAffinity?: string;
    readonly internalTrafficPolicy?: string;
    readonly ports?: readonly {
      readonly name?: string;
      readonly port: number;
      readonly protocol?: string;
      readonly targetPort?: number | string;
    }[];
  };
}

/**
 * Keeps what is looked at of a Service.
 *
 * A headless one is like any other here: its pods are called, and Shimmy chooses which. Affinity and
 * internal policy are the virtual address's, which it does not have.
 */
export function takeService(object: KubernetesObject): KubernetesService {
  const { metadata, spec = {} } = object as RawService;
  const { namespace = "", name } = metadata;
  const key = `${namespace}/${name}`;
  const isHeadless = spec.clusterIP === "None";
  const ports = (spec.ports ?? [])
    .filter(({ protocol = "TCP" }) => protocol === "TCP")
    .slice(0, MAX_SERVICE_PORTS)
    .map(({ name: portName = "", port, targetPort = port }) => ({
      name: portName,
      port,
      targetPort: typeof targetPort === "number" ? targetPort : undefined,
    }));
  const family = spec.ipFamilies?.[0];
  return {
    key,
    namespace,
    ports,
    family: family === "IPv4" || family === "IPv6" ? family : undefined,
    isSticky: spec.sessionAffinity === "ClientIP" && !isHeadless,
    isNodeLocal: spec.internalTrafficPolicy === "Local" && !isHeadless,
    problem: problemOf(key, spec, ports.length),
  };
}

function problemOf(
  key: string,
  { type, externalName = "" }: NonNullable<RawService["spec"]>,
  ports: number,
): string | undefined {
  if (type === "ExternalName") {
    return (
      `service ${key} is of type ExternalName and has no pods: ` +
      `the application is to call ${externalName === "" ? "its target" : externalName} itself`
    );
  }
  return ports === 0 ? `service ${key} has no TCP ports` : undefined;
}
