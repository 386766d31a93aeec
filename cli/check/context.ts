import { list, text } from "../../common/env-parsers.ts";
import type { Condition, KubernetesObject } from "../../common/kubernetes/objects.ts";
import type { ShimmyNode } from "../../common/kubernetes/shimmy-node.ts";
import { CLUSTER_KEYS } from "../../injector/config.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { componentSelector, KINDS, NAMES } from "../cluster/kinds.ts";
import { parseKubeVersion, type KubeVersion } from "./kube-version.ts";

/** What is read of a Node. */
export interface NodeObject extends KubernetesObject {
  readonly spec?: { readonly unschedulable?: boolean };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly nodeInfo?: {
      readonly kubeletVersion?: string;
      readonly kernelVersion?: string;
      readonly operatingSystem?: string;
      readonly architecture?: string;
    };
  };
}

/** What is read of a Pod. */
export interface PodObject extends KubernetesObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly containers?: readonly ContainerObject[];
    readonly initContainers?: readonly ContainerObject[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly qosClass?: string;
    readonly conditions?: readonly Condition[];
  };
}

/** What is read of a container. */
export interface ContainerObject {
  readonly name: string;
  readonly image?: string;
  readonly restartPolicy?: string;
}

/** What is read of a Deployment or DaemonSet. */
export interface PartObject extends KubernetesObject {
  readonly spec?: { readonly replicas?: number };
  readonly status?: {
    readonly readyReplicas?: number;
    readonly desiredNumberScheduled?: number;
    readonly numberReady?: number;
  };
}

/** What is read of a Secret or ConfigMap. */
export interface DataObject extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** Options for {@link CheckContext}. */
export interface ContextOptions {
  /** Where Shimmy is installed. */
  readonly namespace: string;
  /** Where a pod is created on trial. */
  readonly trialNamespace: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Of this command. */
  readonly version: string;
}

/** What checks look at: each kind is asked for once, when a check needs it first. */
export class CheckContext {
  readonly cluster: Cluster;
  readonly options: ContextOptions;
  readonly #memory = new Map<string, Promise<unknown>>();

  constructor(cluster: Cluster, options: ContextOptions) {
    this.cluster = cluster;
    this.options = options;
  }

  /** The API server's version; `undefined` when it cannot be read. */
  version(): Promise<{ readonly text: string; readonly parsed: KubeVersion | undefined }> {
    return this.#once("version", async () => {
      const answer = (await this.cluster.request({ path: "/version" })) as { gitVersion?: string };
      const text = answer.gitVersion ?? "";
      return { text, parsed: parseKubeVersion(text) };
    });
  }

  /** Nodes that run Linux. */
  nodes(): Promise<readonly NodeObject[]> {
    return this.#once("nodes", async () => {
      const nodes = await this.cluster.list<NodeObject>(KINDS.nodes);
      return nodes.filter(({ status }) => status?.nodeInfo?.operatingSystem !== "windows");
    });
  }

  /** Every pod of the cluster. */
  pods(): Promise<readonly PodObject[]> {
    return this.#once("pods", () => this.cluster.list<PodObject>(KINDS.pods));
  }

  /** Pods of the agents. */
  agents(): Promise<readonly PodObject[]> {
    const { namespace } = this.options;
    const labelSelector = componentSelector("agent");
    return this.#once("agents", () => this.cluster.list(KINDS.pods, { namespace, labelSelector }));
  }

  /** ShimmyNodes, by name. */
  shimmyNodes(): Promise<ReadonlyMap<string, ShimmyNode>> {
    return this.#once("shimmyNodes", async () => {
      const all = await this.cluster.list<ShimmyNode>(KINDS.shimmyNodes);
      return new Map(all.map((node) => [node.metadata.name, node]));
    });
  }

  /** The cluster's settings; `undefined` when there are none. */
  config(): Promise<DataObject | undefined> {
    const { namespace } = this.options;
    const name = NAMES.config;
    return this.#once("config", () => this.cluster.get(KINDS.configMaps, { namespace, name }));
  }

  /** Whether sidecars are ordinary containers, by the cluster's settings. */
  async isLegacy(): Promise<boolean> {
    return (await this.config())?.data?.["native-sidecar"] === "disabled";
  }

  /** Namespaces in which nothing is injected. */
  async excludedNamespaces(): Promise<ReadonlySet<string>> {
    const preset = CLUSTER_KEYS["excluded-namespaces"].default;
    const value = (await this.config())?.data?.["excluded-namespaces"] ?? preset;
    return new Set([...list(text)(value), this.options.namespace]);
  }

  /** A list of any kind, once. */
  list(resource: (typeof KINDS)[keyof typeof KINDS]): Promise<readonly KubernetesObject[]> {
    return this.#once(`list ${resource.plural}`, () => this.cluster.list(resource));
  }

  #once<T>(key: string, ask: () => Promise<T>): Promise<T> {
    const known = this.#memory.get(key) as Promise<T> | undefined;
    if (known !== undefined) return known;
    const answer = ask();
    this.#memory.set(key, answer);
    return answer;
  }
}
