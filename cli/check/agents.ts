import type { Condition } from "../../common/kubernetes/objects.ts";
import type { ShimmyNode } from "../../common/kubernetes/shimmy-node.ts";
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

/** Whether descriptors, and with them memory, can be passed between pods of each node. */
export async function checkFdPassing(context: CheckContext): Promise<Finding[]> {
  const states = await context.shimmyNodes();
  const nodes = (await context.nodes()).map(({ metadata }) => metadata.name);
  const byState = Map.groupBy(nodes, (name) => passingOf(states.get(name)));
  const passed = byState.get("True") ?? [];
  const refused = byState.get("False") ?? [];
  const untried = [...(byState.get("Unknown") ?? []), ...(byState.get("unreported") ?? [])];
  return [
    ...(passed.length === 0
      ? []
      : [ok(`memory was passed between pods of ${count(passed.length, "node")}`)]),
    ...refused.map((name) => {
      const message = conditionOf(states.get(name)?.status?.conditions, "FdPassing")?.message ?? "";
      return fail(
        `the node ${name} does not let pods pass descriptors to each other: ${message}`,
        "look for denials in the node's audit log; with SELinux, pods of different categories (MCS) may not share memory",
      );
    }),
    ...(untried.length === 0
      ? []
      : [
          unknown(
            `it is not known whether pods of ${someOf(untried)} may pass descriptors to each other: no two of them have had a session there`,
            "let two opted-in pods of one node call each other, and check again",
          ),
        ]),
  ];
}

function passingOf(node: ShimmyNode | undefined): Condition["status"] | "unreported" {
  return conditionOf(node?.status?.conditions, "FdPassing")?.status ?? "unreported";
}

function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}
