import type { PodReply } from "../../agent/api.ts";
import { ShimmyError } from "../../common/errors.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { didYouMean } from "../../common/suggest.ts";
import { SIDECAR_NAME } from "../../injector/containers.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { componentSelector, KINDS } from "../cluster/kinds.ts";
import { parsePrometheus } from "../prometheus.ts";
import { toTraffic } from "../traffic.ts";
import { mergeSnapshots, takeSnapshot, type NodeSource, type TopSnapshot } from "./snapshot.ts";

/** What is shown of a cluster. */
export interface ClusterScope {
  /** Where Shimmy is installed. */
  readonly systemNamespace: string;
  /** Port of the admin pages of agents and sidecars. */
  readonly adminPort: number;
  /** One node; all that have pods of the namespace when not given. */
  readonly node?: string | undefined;
  /** Pods of one namespace; all when not given. */
  readonly namespace?: string | undefined;
}

interface PodObject extends KubernetesObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly containers?: readonly { readonly name: string }[];
    readonly initContainers?: readonly { readonly name: string }[];
  };
}

interface Agent {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
}

/**
 * Asks the agents of a cluster, through the API server.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_NOT_FOUND` when there is no such node, agent or pod.
 * @throws {@link ShimmyError} `SHIMMY_ERR_AGENT_UNAVAILABLE` when an agent does not answer.
 * @throws {@link ApiError} when the API server does not answer, or refuses.
 */
export async function takeClusterSnapshot(
  cluster: Cluster,
  scope: ClusterScope,
): Promise<TopSnapshot> {
  const agents = await findAgents(cluster, scope);
  const { namespace } = scope;
  const wants = (pod: PodReply): boolean => namespace === undefined || pod.namespace === namespace;
  const snapshots = await Promise.all(
    agents.map(async (agent) => {
      const source = proxySource(cluster, agent, scope.adminPort);
      const snapshot = await takeSnapshot(source, wants);
      if (snapshot !== undefined) return snapshot;
      throw new ShimmyError(
        "SHIMMY_ERR_AGENT_UNAVAILABLE",
        `the agent of node ${agent.node} does not answer: kubectl -n ${agent.namespace} describe pod ${agent.name}`,
      );
    }),
  );
  return mergeSnapshots(snapshots);
}

/** The agent in a pod, and the sidecars in theirs. */
function proxySource(cluster: Cluster, agent: Agent, adminPort: number): NodeSource {
  return {
    view: async (name) => parseJson(await cluster.podPage(agent, adminPort, `/v1/${name}`)),
    traffic: async ({ namespace, name }) => {
      const text = await cluster.podPage({ namespace, name }, adminPort, "/metrics");
      return text === undefined
        ? undefined
        : toTraffic(`${namespace}/${name}`, parsePrometheus(text));
    },
  };
}

async function findAgents(cluster: Cluster, scope: ClusterScope): Promise<readonly Agent[]> {
  const { systemNamespace, node, namespace } = scope;
  const labelSelector = componentSelector("agent");
  const pods = await cluster.list<PodObject>(KINDS.pods, {
    namespace: systemNamespace,
    labelSelector,
  });
  const agents = pods.flatMap(({ metadata, spec = {} }): Agent[] => {
    if (spec.nodeName === undefined || metadata.deletionTimestamp !== undefined) return [];
    return [{ namespace: systemNamespace, name: metadata.name, node: spec.nodeName }];
  });
  if (agents.length === 0) {
    throw notFound(`no agent runs in the namespace ${systemNamespace}: is Shimmy installed?`);
  }
  if (node !== undefined) return [await agentOf(cluster, node, agents)];
  if (namespace === undefined) return agents;
  const nodes = await nodesOf(cluster, namespace);
  const wanted = agents.filter((agent) => nodes.has(agent.node));
  if (wanted.length > 0) return wanted;
  throw notFound(
    nodes.size === 0
      ? `no pod of the namespace ${namespace} has a sidecar`
      : `no agent runs on ${[...nodes].join(", ")}, where the pods of ${namespace} are`,
  );
}

async function agentOf(cluster: Cluster, node: string, agents: readonly Agent[]): Promise<Agent> {
  const agent = agents.find((each) => each.node === node);
  if (agent !== undefined) return agent;
  const nodes = (await cluster.list(KINDS.nodes)).map(({ metadata }) => metadata.name);
  throw notFound(
    nodes.includes(node)
      ? `no agent runs on node ${node}: kubectl get pods -A -l ${componentSelector("agent")}`
      : `there is no node ${node}${didYouMean(node, nodes)}`,
  );
}

/** Nodes on which pods of a namespace have sidecars. */
async function nodesOf(cluster: Cluster, namespace: string): Promise<ReadonlySet<string>> {
  const pods = await cluster.list<PodObject>(KINDS.pods, { namespace });
  const withSidecar = pods.filter(({ spec = {} }) =>
    [...(spec.initContainers ?? []), ...(spec.containers ?? [])].some(
      ({ name }) => name === SIDECAR_NAME,
    ),
  );
  return new Set(withSidecar.flatMap(({ spec }) => spec?.nodeName ?? []));
}

function parseJson(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function notFound(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_NOT_FOUND", message);
}
