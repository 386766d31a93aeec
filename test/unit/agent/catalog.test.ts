import { expect } from "chai";

import type { Catalog } from "../../../agent/catalog.ts";
import { FileRules, ruleKey } from "../../../agent/catalog-rules.ts";
import { parseCatalog } from "../../../agent/parse-catalog.ts";
import { ShimmyError } from "../../../common/errors.ts";

const DEFAULTS = { node: "here", uid: 1000 };

function parse(text: string): Catalog {
  return parseCatalog(text, "catalog.yaml", DEFAULTS);
}

function refusal(text: string): string {
  try {
    parse(text);
  } catch (err) {
    expect(err).to.be.instanceOf(ShimmyError).with.property("code", "SHIMMY_ERR_CATALOG_INVALID");
    return (err as Error).message;
  }
  throw new Error("it was not refused");
}

const GOOD = `
pods:
  - { name: web-1, address: 127.0.1.2, runAs: [0, 7] }
  - { name: web-2, namespace: other, address: "::1", uid: u-2, injected: false, ports: [1, 2], node: far }
services:
  - { name: orders, ports: [{ name: http, port: 80, targetPort: 8080 }, { name: admin, port: 81 }], pods: [web-1, other/web-2] }
connections: [{ from: other/web-2, to: orders }]
deny: [{ from: web-1, to: default/orders }]
topics:
  - { name: jobs, kind: lock, blocks: 8, publishers: [web-1], subscribers: [other/web-2] }
  - { name: prices, namespace: other, publishers: [web-2] }
`;

describe("parseCatalog()", function () {
  it("should fill in what is left out", function () {
    const { node, pods, services } = parse(GOOD);
    expect(node).to.equal("here");
    expect(pods.get("default.web-1")).to.deep.include({
      uid: "default.web-1",
      namespace: "default",
      node: "here",
      addresses: ["127.0.1.2"],
      identity: { kind: "user", runAs: new Set([0, 7]) },
      injected: true,
      appPorts: [81, 8080],
      services: ["default/orders"],
      backings: [
        { service: "default/orders", port: 81, servicePorts: [{ name: "admin", port: 81 }] },
        { service: "default/orders", port: 8080, servicePorts: [{ name: "http", port: 80 }] },
      ],
    });
    expect(pods.get("u-2")).to.deep.include({
      identity: { kind: "user", runAs: new Set([1000]) },
      injected: false,
      appPorts: [1, 2],
      node: "far",
    });
    const ports = new Map([
      [80, 8080],
      [81, 81],
    ]);
    expect(services.get("default/orders")).to.deep.equal({
      key: "default/orders",
      namespace: "default",
      ports: [
        { name: "http", port: 80, targetPort: 8080 },
        { name: "admin", port: 81, targetPort: 81 },
      ],
      endpoints: [
        { pod: "default.web-1", isKnown: true, address: "127.0.1.2", node: "here", ports },
        { pod: "u-2", isKnown: true, address: "::1", node: "far", ports },
      ],
      isSticky: false,
    });
  });

  it("should resolve rules to the pod's uid and the service", function () {
    const { rules } = parse(GOOD);
    if (!(rules instanceof FileRules)) throw new Error("other rules");
    const { connections, deny } = rules;
    expect([...connections]).to.deep.equal([ruleKey("u-2", "default/orders")]);
    expect([...deny]).to.deep.equal([ruleKey("default.web-1", "default/orders")]);
  });

  it("should resolve roles in topics, each name in the topic's namespace", function () {
    const { topics, pods } = parse(GOOD);
    const [one, two] = [pods.get("default.web-1"), pods.get("u-2")];
    if (one === undefined || two === undefined) throw new Error("no pods");
    const jobs = { namespace: "default", name: "jobs" };
    const prices = { namespace: "other", name: "prices" };
    const free = { namespace: "other", name: "free" };
    const say = (topic: typeof jobs): (string | undefined)[] =>
      [one, two].flatMap((pod) => [
        topics.check(pod, topic, "writer"),
        topics.check(pod, topic, "reader"),
        topics.checkOwner(pod, topic),
      ]);
    const other = "other_namespace";
    expect(say(jobs)).to.deep.equal([undefined, "no_role", undefined, "no_role", undefined, other]);
    expect(say(prices)).to.deep.equal(["no_role", other, other, undefined, undefined, undefined]);
    expect(say(free)).to.deep.equal([other, other, other, undefined, undefined, undefined]);
    expect(topics.declared(jobs)).to.include({ kind: "lock", blocks: 8, blockBytes: 4096 });
    expect(topics.declared(prices)).to.equal(undefined);
  });

  it("should accept a catalog of no pods", function () {
    expect(parse("pods: []").pods.size).to.equal(0);
  });

  const refused: [what: string, text: string, message: string][] = [
    ["an empty file", "", "catalog.yaml:1: must be object, got null"],
    ["no pods", "node: x", 'catalog.yaml:1: "pods" is missing'],
    ["broken YAML", "pods: [", "catalog.yaml: "],
    ["a key twice", "pods: []\npods: []", "Map keys must be unique"],
    [
      "a topic twice",
      "pods: []\ntopics: [{ name: t }, { name: t, namespace: default }]",
      'topics[1].name: topic "default/t" is listed twice',
    ],
    [
      "a topic's unknown pod",
      "pods: []\ntopics: [{ name: t, publishers: [a] }]",
      'topics[0].publishers[0]: no pod "default/a"',
    ],
    [
      "parameters without a kind",
      "pods: []\ntopics: [{ name: t, blocks: 8 }]",
      'topics[0]: "kind" is missing',
    ],
    [
      "parameters out of bounds",
      "pods: []\ntopics: [{ name: t, kind: lock, blockBytes: 65 }]",
      "topics[0].blockBytes: must be multiple of 64, got 65",
    ],
    [
      "parameters that do not go together",
      "pods: []\ntopics: [{ name: t, kind: lock, readers: 2 }]",
      "topics[0]: readers and timeToLiveMs are for lockfree channels only",
    ],
    [
      "an unknown key",
      "pods: []\nservces: []",
      'catalog.yaml:2: servces: unknown key "servces"; did you mean "services"?',
    ],
    [
      "an unknown key of a pod",
      "pods:\n  - name: a\n    address: ::1\n    run_as: [0]",
      'catalog.yaml:4: pods[0].run_as: unknown key "run_as"; did you mean "runAs"?',
    ],
    [
      "an address that is none",
      "pods:\n- { name: a, address: localhost }",
      'pods[0].address: must be an IPv4 or IPv6 address, got "localhost"',
    ],
    [
      "a name that leads elsewhere",
      "pods:\n- { name: ../a, address: ::1 }",
      'pods[0].name: must be a name such as orders or web-1, got "../a"',
    ],
    [
      "a uid that leads elsewhere",
      "pods:\n- { name: a, address: ::1, uid: ../b }",
      "pods[0].uid: must be letters, digits",
    ],
    [
      "a port out of range",
      "pods:\n- { name: a, address: ::1, ports: [70000] }",
      "pods[0].ports[0]: must be <= 65535, got 70000",
    ],
    [
      "a negative user",
      "pods:\n- { name: a, address: ::1, runAs: [-1] }",
      "pods[0].runAs[0]: must be >= 0, got -1",
    ],
    [
      "nobody who may be the pod",
      "pods:\n- { name: a, address: ::1, runAs: [] }",
      "pods[0].runAs: must NOT have fewer than 1 items, got []",
    ],
    [
      "a pod twice",
      "pods:\n- { name: a, address: ::1 }\n- { name: a, address: ::1, uid: b }",
      'catalog.yaml:3: pods[1].name: pod "default/a" is listed twice',
    ],
    [
      "a uid twice",
      "pods:\n- { name: a, address: ::1, uid: u }\n- { name: b, address: ::1, uid: u }",
      'pods[1]: uid "u" is that of another pod',
    ],
    [
      "a service of no known pod",
      "pods:\n- { name: web-1, address: ::1 }\nservices:\n- { name: s, ports: [{ port: 1 }], pods: [web1] }",
      'catalog.yaml:4: services[0].pods[0]: no pod "default/web1"; did you mean "default/web-1"?',
    ],
    [
      "a service twice",
      "pods: []\nservices:\n- { name: s, ports: [{ port: 1 }], pods: [] }\n- { name: s, ports: [{ port: 1 }], pods: [] }",
      'services[1].name: service "default/s" is listed twice',
    ],
    [
      "a port twice",
      "pods: []\nservices:\n- { name: s, ports: [{ name: a, port: 1 }, { name: b, port: 1 }], pods: [] }",
      "services[0].ports[1]: port 1 is listed twice",
    ],
    [
      "a port name twice",
      "pods: []\nservices:\n- { name: s, ports: [{ name: a, port: 1 }, { name: a, port: 2 }], pods: [] }",
      'port name "a" is listed twice',
    ],
    [
      "one of several ports without a name",
      "pods: []\nservices:\n- { name: s, ports: [{ port: 1 }, { name: a, port: 2 }], pods: [] }",
      "services[0].ports[0]: needs a name",
    ],
    [
      "a rule from nowhere",
      "pods: []\ndeny: [{ from: a, to: b }]",
      'deny[0].from: no pod "default/a"; catalog.yaml:2: deny[0].to: no service "default/b"',
    ],
  ];
  for (const [what, text, message] of refused) {
    it(`should refuse ${what}, and say where`, function () {
      expect(refusal(text)).to.include(message);
    });
  }

  it("should name ten problems and count the rest", function () {
    const pods = Array.from({ length: 15 }, (_, index) => `- { name: p${index}, address: x }`);
    const message = refusal(`pods:\n${pods.join("\n")}`);
    expect(message.match(/must be an IPv4/g)).to.have.length(10);
    expect(message).to.match(/; and 5 more$/);
  });

  it("should refuse aliases that multiply", function () {
    const lines = ["a0: &a0 [x]"];
    for (let i = 1; i < 12; i++) lines.push(`a${i}: &a${i} [${`*a${i - 1},`.repeat(10)}]`);
    expect(refusal(`${lines.join("\n")}\npods: []`)).to.match(/Excessive alias count/);
  });
});
