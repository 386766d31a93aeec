// Reads NetworkPolicies strictly: a field or word that is not known may change what a policy means,
// and makes it one that cannot be evaluated.
import { messageOf } from "../../common/errors.ts";
import type { LabelSelector } from "../../common/kubernetes/objects.ts";
import { makeBlock, type IpBlock } from "./ip-block.ts";

/** One port of a rule. */
export interface PolicyPort {
  readonly protocol: string;
  /** A number, or the name of a port of the server's pod; every port when not given. */
  readonly port: number | string | undefined;
  readonly endPort: number | undefined;
}

/** One peer of a rule: a block, or pods by their labels and those of their namespace. */
export interface PolicyPeer {
  readonly block?: IpBlock;
  readonly podSelector?: LabelSelector;
  readonly namespaceSelector?: LabelSelector;
}

/** One rule; no peers mean every peer, no ports every port. */
export interface PolicyRule {
  readonly peers: readonly PolicyPeer[];
  readonly ports: readonly PolicyPort[];
}

/** A NetworkPolicy that was understood. */
export interface NetworkPolicy {
  readonly namespace: string;
  readonly podSelector: LabelSelector;
  readonly types: readonly ("Ingress" | "Egress")[];
  readonly ingress: readonly PolicyRule[];
  readonly egress: readonly PolicyRule[];
}

type Fields = Readonly<Record<string, unknown>>;

const OPERATORS = ["In", "NotIn", "Exists", "DoesNotExist"];

/**
 * Reads a NetworkPolicy as the API server has it. Never throws.
 *
 * @returns What is wrong with it, when it cannot be evaluated.
 */
export function parseNetworkPolicy(raw: unknown): NetworkPolicy | { readonly problem: string } {
  try {
    const { metadata, spec } = fieldsOf(raw, "policy");
    const { namespace } = fieldsOf(metadata, "metadata");
    const { podSelector, policyTypes, ingress, egress } = only(
      spec,
      ["podSelector", "policyTypes", "ingress", "egress"],
      "spec",
    );
    return {
      namespace: textOf(namespace, "metadata.namespace"),
      podSelector: selectorOf(podSelector ?? {}, "spec.podSelector"),
      types: typesOf(policyTypes, egress),
      ingress: listOf(ingress, "spec.ingress").map((rule) => ruleOf(rule, "from")),
      egress: listOf(egress, "spec.egress").map((rule) => ruleOf(rule, "to")),
    };
  } catch (err) {
    return { problem: messageOf(err) };
  }
}

/** Without the list, every policy is about ingress, and one that has egress rules about egress too. */
function typesOf(types: unknown, egress: unknown): NetworkPolicy["types"] {
  if (types === undefined || types === null || listOf(types, "spec.policyTypes").length === 0) {
    return egress === undefined || egress === null ? ["Ingress"] : ["Ingress", "Egress"];
  }
  return listOf(types, "spec.policyTypes").map((type) => {
    if (type === "Ingress" || type === "Egress") return type;
    throw new Error(`spec.policyTypes: ${JSON.stringify(type)} is not known`);
  });
}

function ruleOf(raw: unknown, side: "from" | "to"): PolicyRule {
  const rule = only(raw, [side, "ports"], "rule");
  return {
    peers: listOf(rule[side], side).map(peerOf),
    ports: listOf(rule["ports"], "ports").map(portOf),
  };
}

function peerOf(raw: unknown): PolicyPeer {
  const { ipBlock, podSelector, namespaceSelector } = only(
    raw,
    ["ipBlock", "podSelector", "namespaceSelector"],
    "peer",
  );
  if (ipBlock !== undefined) {
    if (podSelector !== undefined || namespaceSelector !== undefined) {
      throw new Error("peer: ipBlock stands beside a selector");
    }
    return { block: blockOf(ipBlock) };
  }
  if (podSelector === undefined && namespaceSelector === undefined) {
    throw new Error("peer: says nothing that is known");
  }
  return {
    ...(podSelector === undefined ? {} : { podSelector: selectorOf(podSelector, "podSelector") }),
    ...(namespaceSelector === undefined
      ? {}
      : { namespaceSelector: selectorOf(namespaceSelector, "namespaceSelector") }),
  };
}

function blockOf(raw: unknown): IpBlock {
  const { cidr, except } = only(raw, ["cidr", "except"], "ipBlock");
  const parts = listOf(except, "ipBlock.except").map((each) => textOf(each, "ipBlock.except"));
  const block = makeBlock(textOf(cidr, "ipBlock.cidr"), parts);
  if (block === undefined) throw new Error("ipBlock: not a range of addresses");
  return block;
}

function portOf(raw: unknown): PolicyPort {
  const { protocol = "TCP", port, endPort } = only(raw, ["protocol", "port", "endPort"], "port");
  const isPort = port === undefined || typeof port === "string" || typeof port === "number";
  const isEnd = endPort === undefined || (typeof endPort === "number" && typeof port === "number");
  if (!isPort || !isEnd) throw new Error("port: neither a number nor a name");
  return {
    protocol: textOf(protocol, "protocol"),
    port,
    endPort: typeof endPort === "number" ? endPort : undefined,
  };
}

function selectorOf(raw: unknown, place: string): LabelSelector {
  const { matchLabels = {}, matchExpressions } = only(
    raw,
    ["matchLabels", "matchExpressions"],
    place,
  );
  const labels = Object.entries(fieldsOf(matchLabels, place)).map(
    ([key, value]) => [key, textOf(value, place)] as const,
  );
  return {
    matchLabels: Object.fromEntries(labels),
    matchExpressions: listOf(matchExpressions, place).map((each) => requirementOf(each, place)),
  };
}

function requirementOf(
  raw: unknown,
  place: string,
): NonNullable<LabelSelector["matchExpressions"]>[number] {
  const { key, operator, values } = only(raw, ["key", "operator", "values"], place);
  const word = textOf(operator, place);
  if (!OPERATORS.includes(word)) throw new Error(`${place}: operator ${word} is not known`);
  return {
    key: textOf(key, place),
    operator: word as "In",
    values: listOf(values, place).map((value) => textOf(value, place)),
  };
}

/** The fields of an object that has no others. */
function only(raw: unknown, known: readonly string[], place: string): Fields {
  const fields = fieldsOf(raw, place);
  const unknown = Object.keys(fields).find((key) => !known.includes(key));
  if (unknown === undefined) return fields;
  throw new Error(`${place}: field ${JSON.stringify(unknown)} is not known`);
}

function fieldsOf(raw: unknown, place: string): Fields {
  if (typeof raw === "object" && raw !== null && !Array.isArray(raw)) return raw as Fields;
  throw new Error(`${place}: not an object`);
}

/** A list that is not there is empty. */
function listOf(raw: unknown, place: string): readonly unknown[] {
  if (raw === undefined || raw === null) return [];
  if (Array.isArray(raw)) return raw as readonly unknown[];
  throw new Error(`${place}: not a list`);
}

function textOf(raw: unknown, place: string): string {
  if (typeof raw === "string") return raw;
  throw new Error(`${place}: not text`);
}
