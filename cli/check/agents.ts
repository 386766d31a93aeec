import type { Condition } from "../../common/kubernetes/objects.ts";
import type { FallbacksReply, StreamsReply } from "../../agent/api.ts";
import type { ShimmyNode } from "../../common/kubernetes/shimmy-node.ts";
import { ADMIN_PORT } from "../../injector/config.ts";
import { isStatus } from "../cluster/cluster.ts";
import { KINDS, NAMES } from "../cluster/kinds.ts";
import type { CheckContext, NodeObject, PartObject, PodObject } from "./context.ts";
import { count, fail, ok, someOf, unknown, warn, type Finding } from "./finding.ts";

/** Whether each node has an agent that is ready, and the agent says so itself. */
export async function checkAgents(context: CheckContext): Promise<Finding[]> {
  const { namespace } = context.options;
  const set = await context.cluster.get<PartObject>(KINDS.daemonSets, {
    namespace,
    name: NAMES.agent,
  });
  if (set === undefined) {
    const todo = "install Shimmy (docs/guides/install.md)";
    return [fail(`the DaemonSet ${namespace}/${NAMES.agent} is not there`, todo)];
  }
  const nodes = await context.nodes();
  const agents = await context.agents();
  return [podFinding(nodes, agents, namespace), ...(await statusFindings(context, nodes))];
}

function podFinding(
  nodes: readonly NodeObject[],
  agents: readonly PodObject[],
  namespace: string,
): Finding {
  const ready = new Set(agents.filter(isReady).map(({ spec }) => spec?.nodeName));
  const without = nodes.map(({ metadata }) => metadata.name).filter((name) => !ready.has(name));
  if (without.length === 0)
    return ok(`an agent is ready on each of ${count(nodes.length, "node")}`);
  const message = `no agent is ready on ${someOf(without)}: new connections of pods there go over TCP`;
  const todo = `kubectl -n ${namespace} get pods -o wide -l app.kubernetes.io/component=agent, then describe and logs of those`;
  return ready.size === 0 ? fail(message, todo) : warn(message, todo);
}

function isReady({ status, metadata }: PodObject): boolean {
  if (metadata.deletionTimestamp !== undefined) return false;
  return conditionOf(status?.conditions, "Ready")?.status === "True";
}

async function statusFindings(
  context: CheckContext,
  nodes: readonly NodeObject[],
): Promise<Finding[]> {
  const states = await context.shimmyNodes();
  const known = nodes.flatMap(({ metadata: { name } }) => {
    const node = states.get(name);
    return node === undefined ? [] : [{ name, node }];
  });
  const silent = nodes
    .map(({ metadata }) => metadata.name)
    .filter((name) => states.get(name)?.status?.conditions === undefined);
  const troubled = known.flatMap(({ name, node }) => troubleOf(name, node));
  return [
    ...(silent.length === 0
      ? []
      : [
          unknown(
            `the agents of ${someOf(silent)} have not written a status`,
            "the master makes a ShimmyNode for each node, and the agent writes its status: look at the logs of both",
          ),
        ]),
    ...troubled,
    ...(troubled.length === 0 && silent.length < nodes.length
      ? [ok(`${count(known.length, "agent")} report to be ready`)]
      : []),
  ];
}

function troubleOf(name: string, { status }: ShimmyNode): Finding[] {
  const ready = conditionOf(status?.conditions, "Ready");
  if (ready === undefined || ready.status === "True") return [];
  const todo = `kubectl describe shimmynode ${name}`;
  return [warn(`the agent of ${name} is not ready, ${ready.reason}: ${ready.message}`, todo)];
}

type Passing = "passed" | "refused" | "untried" | "unasked";

/**
 * Whether descriptors, and with them memory, can be passed between pods of each node, as far as
 * sidecars have tried: an agent knows what its sidecars told it.
 */
export async function checkFdPassing(context: CheckContext): Promise<Finding[]> {
  const agents = new Map(
    (await context.agents()).map((pod) => [pod.spec?.nodeName ?? "", pod.metadata.name]),
  );
  const byState = new Map<Passing, string[]>();
  for (const { metadata } of await context.nodes()) {
    const state = await askPassing(context, agents.get(metadata.name));
    byState.set(state, [...(byState.get(state) ?? []), metadata.name]);
  }
  return [...byState].map(([state, nodes]) => passingFinding(state, nodes));
}

function passingFinding(state: Passing, nodes: readonly string[]): Finding {
  const names = someOf(nodes);
  switch (state) {
    case "passed":
      return ok(`memory was passed between pods of ${names}`);
    case "refused":
      return fail(
        `pods of ${names} may not pass descriptors to each other: connections there go over TCP`,
        "look for denials in the audit log of these nodes; with SELinux, pods of different categories (MCS) may not share memory",
      );
    case "untried":
      return unknown(
        `it is not known whether pods of ${names} may pass descriptors to each other: no two have had a stream there`,
        "let two opted-in pods of one node call each other, and check again",
      );
    case "unasked":
      return unknown(
        `it is not known whether pods of ${names} may pass descriptors to each other: the agents there could not be asked`,
        `see the findings about agents; you need get on pods/proxy in the namespace ${NAMES.namespace}`,
      );
  }
}

async function askPassing(context: CheckContext, agent: string | undefined): Promise<Passing> {
  if (agent === undefined) return "unasked";
  const pod = { namespace: context.options.namespace, name: agent };
  const ask = async (view: string): Promise<unknown> => {
    const text = await context.cluster.podPage(pod, ADMIN_PORT, `/v1/${view}`);
    return text === undefined ? undefined : JSON.parse(text);
  };
  try {
    const fallbacks = (await ask("fallbacks")) as FallbacksReply | undefined;
    const streams = (await ask("streams")) as StreamsReply | undefined;
    return judgePassing(fallbacks, streams);
  } catch (err) {
    if (isStatus(err, 403)) return "unasked";
    throw err;
  }
}

function judgePassing(
  fallbacks: FallbacksReply | undefined,
  streams: StreamsReply | undefined,
): Passing {
  if (fallbacks === undefined || streams === undefined) return "unasked";
  if (fallbacks.fallbacks.some(({ reason }) => reason === "fd_passing_refused")) return "refused";
  return streams.streams.some(({ transport }) => transport === "shm") ? "passed" : "untried";
}

function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}
