import { takeLocalPod, type LocalPod } from "../../../../agent/kubernetes/local-pod.ts";
import { sliceTaker, type PackedSlice } from "../../../../agent/kubernetes/endpoint-slice.ts";
import { takeService, type KubernetesService } from "../../../../agent/kubernetes/service.ts";
import type { StoredObject } from "../../../helpers/fake-api-server.ts";

/** The node of the agent under test. */
export const NODE = "n1";

/** What a test says of a pod; the rest is usual. */
export interface PodSketch {
  readonly name: string;
  readonly namespace?: string;
  readonly node?: string;
  readonly address?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly sidecar?: "native" | "container" | "none";
  readonly sidecarEnv?: Readonly<Record<string, string>>;
  readonly ports?: readonly object[];
  readonly hostNetwork?: boolean;
  readonly phase?: string;
}

/** UID of the pod with a name. */
export function uidOf(name: string): string {
  return `uid-${name}`;
}

const USUAL_POD = {
  namespace: "shop",
  node: NODE,
  address: "10.1.0.1",
  labels: {},
  annotations: {},
  sidecar: "native",
  sidecarEnv: {},
  ports: [{ containerPort: 8080 }],
  hostNetwork: false,
  phase: "Running",
};

/** A pod as the API server has it. */
export function rawPod(sketch: PodSketch): StoredObject {
  const { name, namespace, labels, annotations, sidecar, sidecarEnv, ports, address, ...rest } = {
    ...USUAL_POD,
    ...sketch,
  };
  const env = Object.entries(sidecarEnv).map(([key, value]) => ({ name: key, value }));
  const admin = { name: "shimmy-admin", containerPort: 14_790 };
  const mine = { name: "shimmy-sidecar", env, ports: [admin] };
  const app = { name: "app", ports };
  const addresses = address === "" ? {} : { podIP: address, podIPs: [{ ip: address }] };
  return {
    metadata: { name, namespace, uid: uidOf(name), labels, annotations },
    spec: {
      nodeName: rest.node,
      hostNetwork: rest.hostNetwork,
      containers: sidecar === "container" ? [app, mine] : [app],
      initContainers: [
        { name: "migrate", ports: [{ name: "gone", containerPort: 7 }] },
        ...(sidecar === "native" ? [{ ...mine, restartPolicy: "Always" }] : []),
      ],
    },
    status: { phase: rest.phase, ...addresses },
  };
}

/** A pod as the agent keeps it. */
export function localPod(sketch: PodSketch): LocalPod {
  const pod = takeLocalPod(rawPod(sketch));
  if (pod === undefined) throw new Error(`${sketch.name} is left out`);
  return pod;
}

/** Pods by UID. */
export function podMap(...pods: readonly LocalPod[]): Map<string, LocalPod> {
  return new Map(pods.map((pod) => [pod.uid, pod]));
}

/** What a test says of a Service. */
export interface ServiceSketch {
  readonly name?: string;
  readonly namespace?: string;
  readonly spec?: object;
}

/** A Service as the API server has it: one port 80 to 8080 of name http. */
export function rawService({
  name = "orders",
  namespace = "shop",
  spec,
}: ServiceSketch = {}): StoredObject {
  return {
    metadata: { name, namespace, uid: `uid-service-${name}` },
    spec: { ports: [{ name: "http", port: 80, targetPort: 8080 }], ipFamilies: ["IPv4"], ...spec },
  };
}

/** A Service as the agent keeps it. */
export function service(sketch: ServiceSketch = {}): KubernetesService {
  return takeService(rawService(sketch));
}

/** What a test says of one endpoint. */
export interface EndpointSketch {
  readonly address: string;
  readonly pod?: string;
  readonly node?: string | null;
  readonly conditions?: object;
  readonly hints?: object;
}

/** What a test says of a slice. */
export interface SliceSketch {
  readonly name?: string;
  readonly namespace?: string;
  readonly service?: string;
  readonly addressType?: string;
  readonly ports?: readonly object[];
  readonly endpoints: readonly EndpointSketch[];
}

/** A slice as the API server has it. */
export function rawSlice(sketch: SliceSketch): StoredObject {
  const { namespace = "shop", service: name = "orders", addressType = "IPv4" } = sketch;
  return {
    metadata: {
      name: sketch.name ?? `${name}-1`,
      namespace,
      labels: { "kubernetes.io/service-name": name },
    },
    addressType,
    ports: sketch.ports ?? [{ name: "http", port: 8080, protocol: "TCP" }],
    endpoints: sketch.endpoints.map(({ address, pod, node = NODE, conditions, hints }) => ({
      addresses: [address],
      conditions: conditions ?? { ready: true, serving: true, terminating: false },
      ...(node === null ? {} : { nodeName: node }),
      ...(pod === undefined
        ? {}
        : { targetRef: { kind: "Pod", namespace, name: pod, uid: uidOf(pod) } }),
      ...(hints === undefined ? {} : { hints }),
    })),
  };
}

/** A slice as the agent keeps it. */
export function slice(sketch: SliceSketch): PackedSlice {
  const taken = sliceTaker(NODE)(rawSlice(sketch));
  if (taken === undefined) throw new Error("the slice is left out");
  return taken;
}
