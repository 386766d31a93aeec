import { expect } from "chai";
import { parse } from "yaml";

import {
  NetworkPolicies,
  parseNetworkPolicy,
  type PolicyPod,
  type PolicySnapshot,
  type PolicyVerdict,
} from "../../../../agent/network-policy/engine.ts";

const CLIENT: PolicyPod = {
  namespace: "web",
  name: "client",
  labels: { app: "front", tier: "1" },
  addresses: ["10.1.0.1"],
  node: "n1",
  namedPorts: [{ name: "http", port: 7, protocol: "TCP" }],
  hostNetwork: false,
};
const SERVER: PolicyPod = {
  namespace: "shop",
  name: "server",
  labels: { app: "orders" },
  addresses: ["10.1.0.2"],
  node: "n1",
  namedPorts: [
    { name: "http", port: 8080, protocol: "TCP" },
    { name: "udp", port: 8080, protocol: "UDP" },
    { name: "admin", port: 9090, protocol: "TCP" },
  ],
  hostNetwork: false,
};
const NAMESPACES: PolicySnapshot["namespaces"] = new Map([
  ["web", { team: "a", "kubernetes.io/metadata.name": "web" }],
  ["shop", { team: "b", "kubernetes.io/metadata.name": "shop" }],
]);

interface Question {
  readonly client?: Partial<PolicyPod>;
  readonly server?: Partial<PolicyPod>;
  readonly port?: number;
  readonly snapshot?: Partial<PolicySnapshot>;
}

/** Decides about policies written as `namespace: spec` in YAML. */
function decide(
  policies: readonly [namespace: string, spec: string][],
  question: Question = {},
): PolicyVerdict {
  const parsed = policies.map(([namespace, spec]) => {
    const policy = parseNetworkPolicy({ metadata: { namespace }, spec: parse(spec) as unknown });
    if ("problem" in policy) throw new Error(policy.problem);
    return policy;
  });
  const engine = new NetworkPolicies({
    policies: parsed,
    namespaces: NAMESPACES,
    ...question.snapshot,
  });
  const [client, server] = [
    { ...CLIENT, ...question.client },
    { ...SERVER, ...question.server },
  ];
  return engine.decide(client, server, question.port ?? 8080);
}

const from = (peer: string): string =>
  `{ podSelector: {}, policyTypes: [Ingress], ingress: [{ from: [${peer}] }] }`;
const to = (peer: string): string =>
  `{ podSelector: {}, policyTypes: [Egress], egress: [{ to: [${peer}] }] }`;
const ports = (list: string): string =>
  `{ podSelector: {}, policyTypes: [Ingress], ingress: [{ ports: [${list}] }] }`;
const toPorts = (list: string): string =>
  `{ podSelector: {}, policyTypes: [Egress], egress: [{ ports: [${list}] }] }`;

const DENY_IN = "{ podSelector: {}, policyTypes: [Ingress] }";
const DENY_OUT = "{ podSelector: {}, policyTypes: [Egress] }";
const ALLOW_IN = "{ podSelector: {}, policyTypes: [Ingress], ingress: [{}] }";

describe("NetworkPolicies#decide()", function () {
  const table: [
    what: string,
    policies: [string, string][],
    expected: PolicyVerdict,
    question?: Question,
  ][] = [
    ["no policy", [], "allowed"],
    ["ingress denied to all", [["shop", DENY_IN]], "denied"],
    [
      "ingress denied in the client's namespace, which does not matter",
      [["web", DENY_IN]],
      "allowed",
    ],
    ["egress denied to all", [["web", DENY_OUT]], "denied"],
    [
      "egress denied in the server's namespace, which does not matter",
      [["shop", DENY_OUT]],
      "allowed",
    ],
    ["a policy of a third namespace", [["other", DENY_IN]], "allowed"],
    [
      "both denied",
      [
        ["shop", DENY_IN],
        ["web", DENY_OUT],
      ],
      "denied",
    ],
    ["ingress allowed to all", [["shop", ALLOW_IN]], "allowed"],
    [
      "one policy that denies and one that allows: they add up",
      [
        ["shop", DENY_IN],
        ["shop", ALLOW_IN],
      ],
      "allowed",
    ],
    [
      "ingress allowed and egress denied",
      [
        ["shop", ALLOW_IN],
        ["web", DENY_OUT],
      ],
      "denied",
    ],
    // Which pods are governed.
    [
      "the server selected by label",
      [["shop", "{ podSelector: { matchLabels: { app: orders } } }"]],
      "denied",
    ],
    [
      "another pod selected",
      [["shop", "{ podSelector: { matchLabels: { app: other } } }"]],
      "allowed",
    ],
    [
      "the server selected by expressions",
      [
        [
          "shop",
          "{ podSelector: { matchExpressions: [{ key: app, operator: In, values: [orders, x] }, { key: z, operator: DoesNotExist }] } }",
        ],
      ],
      "denied",
    ],
    [
      "the server not selected by expressions",
      [
        [
          "shop",
          "{ podSelector: { matchExpressions: [{ key: app, operator: NotIn, values: [orders] }] } }",
        ],
      ],
      "allowed",
    ],
    // Which directions.
    ["no types and no egress: ingress alone", [["web", "{ podSelector: {} }"]], "allowed"],
    ["no types and egress: both", [["web", "{ podSelector: {}, egress: [] }"]], "denied"],
    ["no types and egress rules", [["web", "{ podSelector: {}, egress: [{}] }"]], "allowed"],
    [
      "egress rules without the type",
      [["web", "{ podSelector: {}, policyTypes: [Ingress], egress: [] }"]],
      "allowed",
    ],
    // Peers of ingress.
    ["pods of the policy's own namespace", [["shop", from("{ podSelector: {} }")]], "denied"],
    [
      "pods of the policy's own namespace, of which the client is",
      [["shop", from("{ podSelector: {} }")]],
      "allowed",
      { client: { namespace: "shop" } },
    ],
    [
      "a namespace by label",
      [["shop", from("{ namespaceSelector: { matchLabels: { team: a } } }")]],
      "allowed",
    ],
    [
      "another namespace by label",
      [["shop", from("{ namespaceSelector: { matchLabels: { team: c } } }")]],
      "denied",
    ],
    ["every namespace", [["shop", from("{ namespaceSelector: {} }")]], "allowed"],
    [
      "a namespace by name",
      [
        [
          "shop",
          from("{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: web } } }"),
        ],
      ],
      "allowed",
    ],
    [
      "pods by label in a namespace by label",
      [
        [
          "shop",
          from(
            "{ podSelector: { matchLabels: { app: front } }, namespaceSelector: { matchLabels: { team: a } } }",
          ),
        ],
      ],
      "allowed",
    ],
    [
      "other pods by label in a namespace by label",
      [
        [
          "shop",
          from(
            "{ podSelector: { matchLabels: { app: back } }, namespaceSelector: { matchLabels: { team: a } } }",
          ),
        ],
      ],
      "denied",
    ],
    [
      "one entry for each selector: either is enough",
      [
        [
          "shop",
          from(
            "{ podSelector: { matchLabels: { app: back } } }, { namespaceSelector: { matchLabels: { team: a } } }",
          ),
        ],
      ],
      "allowed",
    ],
    [
      "a namespace of which nothing is known",
      [["shop", from("{ namespaceSelector: {} }")]],
      "unknown",
      { client: { namespace: "new" } },
    ],
    [
      "a namespace of which nothing is known, and another rule that allows",
      [
        [
          "shop",
          from(
            "{ namespaceSelector: { matchLabels: { a: b } } }, { ipBlock: { cidr: 10.0.0.0/8 } }",
          ),
        ],
      ],
      "allowed",
      { client: { namespace: "new" } },
    ],
    // Blocks.
    ["a block with the client", [["shop", from("{ ipBlock: { cidr: 10.1.0.0/24 } }")]], "allowed"],
    [
      "a block without the client",
      [["shop", from("{ ipBlock: { cidr: 10.2.0.0/24 } }")]],
      "denied",
    ],
    [
      "a block except the client",
      [["shop", from("{ ipBlock: { cidr: 10.1.0.0/16, except: [10.1.0.0/30] } }")]],
      "denied",
    ],
    [
      "a block except others",
      [["shop", from("{ ipBlock: { cidr: 10.1.0.0/16, except: [10.1.5.0/30] } }")]],
      "allowed",
    ],
    ["everything, as a block", [["shop", from("{ ipBlock: { cidr: 0.0.0.0/0 } }")]], "allowed"],
    [
      "a block of IPv6",
      [["shop", from('{ ipBlock: { cidr: "fd00::/8" } }')]],
      "allowed",
      { client: { addresses: ["fd00::1"] } },
    ],
    [
      "everything of IPv6, as a block, for an IPv4 address",
      [["shop", from('{ ipBlock: { cidr: "::/0" } }')]],
      "denied",
    ],
    [
      "everything of IPv4, as a block, for an IPv6 address",
      [["shop", from("{ ipBlock: { cidr: 0.0.0.0/0 } }")]],
      "denied",
      { client: { addresses: ["fd00::1"] } },
    ],
    [
      "a block with one of two addresses",
      [["shop", from("{ ipBlock: { cidr: 10.1.0.0/24 } }")]],
      "unknown",
      { client: { addresses: ["10.1.0.1", "fd00::1"] } },
    ],
    [
      "a block where the network keeps them for others",
      [["shop", from("{ ipBlock: { cidr: 10.1.0.0/24 } }")]],
      "unknown",
      { snapshot: { areBlocksForPods: false } },
    ],
    [
      "another block where the network keeps them for others",
      [["shop", from("{ ipBlock: { cidr: 10.2.0.0/24 } }")]],
      "denied",
      { snapshot: { areBlocksForPods: false } },
    ],
    // Ports.
    ["the port by number", [["shop", ports("{ port: 8080 }")]], "allowed"],
    ["another port", [["shop", ports("{ port: 80 }")]], "denied"],
    ["the port of another protocol", [["shop", ports("{ port: 8080, protocol: UDP }")]], "denied"],
    ["every port of TCP", [["shop", ports("{ protocol: TCP }")]], "allowed"],
    ["every port of SCTP", [["shop", ports("{ protocol: SCTP }")]], "denied"],
    ["a range with the port", [["shop", ports("{ port: 8000, endPort: 8080 }")]], "allowed"],
    ["a range without the port", [["shop", ports("{ port: 8081, endPort: 9000 }")]], "denied"],
    ["the port by the server's name", [["shop", ports("{ port: http }")]], "allowed"],
    [
      "the port by the server's name, at another pod another number",
      [["shop", ports("{ port: http }")]],
      "denied",
      { server: { namedPorts: [{ name: "http", port: 81, protocol: "TCP" }] } },
    ],
    ["a name of another protocol", [["shop", ports("{ port: udp }")]], "denied"],
    ["a name that the server does not have", [["shop", ports("{ port: none }")]], "denied"],
    [
      "one of several ports",
      [["shop", ports("{ port: 80 }, { port: admin }")]],
      "allowed",
      { port: 9090 },
    ],
    [
      "the right peer with the wrong port",
      [
        [
          "shop",
          "{ podSelector: {}, ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 1 }] }] }",
        ],
      ],
      "denied",
    ],
    [
      "peer and port in two rules, which do not add up",
      [
        [
          "shop",
          "{ podSelector: {}, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 8080 }] }, { from: [{ namespaceSelector: {} }], ports: [{ port: 1 }] }] }",
        ],
      ],
      "denied",
    ],
    // Egress.
    [
      "egress to the server's namespace",
      [["web", to("{ namespaceSelector: { matchLabels: { team: b } } }")]],
      "allowed",
    ],
    [
      "egress to another namespace",
      [["web", to("{ namespaceSelector: { matchLabels: { team: a } } }")]],
      "denied",
    ],
    [
      "egress to the server's block",
      [["web", to("{ ipBlock: { cidr: 10.1.0.2/32 } }")]],
      "allowed",
    ],
    ["egress to the port", [["web", toPorts("{ port: 8080 }")]], "allowed"],
    [
      "egress to the Service's port, which is not the pod's",
      [["web", toPorts("{ port: 80 }")]],
      "denied",
    ],
    [
      "egress to the port by the server's name, not the client's",
      [["web", toPorts("{ port: http }")]],
      "allowed",
    ],
    [
      "egress perhaps, ingress denied",
      [
        ["web", to("{ ipBlock: { cidr: 10.1.0.2/32 } }")],
        ["shop", DENY_IN],
      ],
      "denied",
      { snapshot: { areBlocksForPods: false } },
    ],
    // The node's network.
    [
      "a governed server on the node's network",
      [["shop", ALLOW_IN]],
      "unknown",
      { server: { hostNetwork: true } },
    ],
    [
      "a client on the node's network",
      [["shop", ALLOW_IN]],
      "unknown",
      { client: { hostNetwork: true } },
    ],
    ["the node's network without policies", [], "allowed", { client: { hostNetwork: true } }],
  ];
  for (const [what, policies, expected, question] of table) {
    it(`should answer ${expected} to ${what}`, function () {
      expect(decide(policies, question)).to.equal(expected);
    });
  }
});

describe("parseNetworkPolicy()", function () {
  const unclear: [what: string, spec: string, problem: RegExp][] = [
    ["no spec", "~", /spec: not an object/],
    ["a new field of the spec", "{ podSelector: {}, tier: 1 }", /field "tier" is not known/],
    ["a new direction", "{ podSelector: {}, policyTypes: [Sideways] }", /"Sideways" is not known/],
    [
      "a new field of a rule",
      "{ podSelector: {}, ingress: [{ action: Deny }] }",
      /field "action" is not known/,
    ],
    [
      "rules of the other direction",
      "{ podSelector: {}, ingress: [{ to: [] }] }",
      /field "to" is not known/,
    ],
    [
      "a new kind of peer",
      "{ podSelector: {}, ingress: [{ from: [{ fqdn: a.b }] }] }",
      /field "fqdn" is not known/,
    ],
    [
      "a peer of nothing",
      "{ podSelector: {}, ingress: [{ from: [{}] }] }",
      /says nothing that is known/,
    ],
    [
      "a block beside a selector",
      "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 1.0.0.0/8 }, podSelector: {} }] }] }",
      /beside a selector/,
    ],
    [
      "a block that is none",
      "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 1.0.0.0 } }] }] }",
      /not a range/,
    ],
    [
      "a block too narrow",
      "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 1.0.0.0/33 } }] }] }",
      /not a range/,
    ],
    [
      "a block of IPv4 addresses written as IPv6 ones",
      '{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "::ffff:1.0.0.0/104" } }] }] }',
      /not a range/,
    ],
    [
      "an exception that is none",
      "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 1.0.0.0/8, except: [x] } }] }] }",
      /not a range/,
    ],
    [
      "a new operator",
      "{ podSelector: { matchExpressions: [{ key: a, operator: Gt, values: ['1'] }] } }",
      /operator Gt is not known/,
    ],
    ["labels that are no text", "{ podSelector: { matchLabels: { a: 1 } } }", /not text/],
    [
      "a port of neither kind",
      "{ podSelector: {}, ingress: [{ ports: [{ port: [] }] }] }",
      /neither a number nor a name/,
    ],
    [
      "a range of names",
      "{ podSelector: {}, ingress: [{ ports: [{ port: http, endPort: 9 }] }] }",
      /neither a number nor a name/,
    ],
    ["rules that are no list", "{ podSelector: {}, ingress: {} }", /not a list/],
  ];
  for (const [what, spec, problem] of unclear) {
    it(`should not guess what it means to have ${what}`, function () {
      const policy = parseNetworkPolicy({
        metadata: { namespace: "shop" },
        spec: parse(spec) as unknown,
      });
      expect(policy).to.have.property("problem").that.matches(problem);
    });
  }

  for (const raw of [undefined, null, 1, "x", [], {}]) {
    it(`should not throw at ${JSON.stringify([raw])}`, function () {
      expect(parseNetworkPolicy(raw)).to.have.property("problem");
    });
  }
});
