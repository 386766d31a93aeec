// NetworkPolicies as we evaluate them, and as an engine does that we did not write (test/oracle):
// the same verdict about random policies, pods, namespaces and ports.
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { join } from "node:path";

import {
  NetworkPolicies,
  parseNetworkPolicy,
  type PolicyPod,
} from "../../agent/network-policy/engine.ts";
import { Random, scaled, testSeed } from "../helpers/random.ts";
import { runProgram } from "../helpers/run-program.ts";

const BUILD = join(import.meta.dirname, "../../scripts/build-go.sh");
const QUESTIONS = scaled(20_000);
const BATCH = 5000;
const BUILD_LIMIT_MS = 900_000;

const NAMESPACES = ["web", "shop", "lab"] as const;
const KEYS = ["app", "tier", "team"] as const;
const VALUES = ["a", "b", "c"] as const;
const PORTS = [80, 8080, 8081, 9090] as const;
const PORT_NAMES = ["http", "admin"] as const;

type Labels = Readonly<Record<string, string>>;

interface Pod {
  readonly namespace: string;
  readonly namespaceLabels: Labels;
  readonly labels: Labels;
  readonly address: string;
}

interface Question {
  readonly policies: readonly object[];
  readonly client: Pod;
  readonly server: Pod;
  readonly port: number;
  /** Empty when the server does not name that port. */
  readonly portName: string;
  /** What else the server names; the oracle need not know. */
  readonly otherPorts: PolicyPod["namedPorts"];
}

/** Policies that often say something of the pods that are asked about. */
class Author {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  question(): Question {
    const random = this.#random;
    const namespaces = NAMESPACES.map((name) => [name, this.#labels()] as const);
    const pod = (): Pod => {
      const [namespace, namespaceLabels] = random.pick(namespaces);
      return { namespace, namespaceLabels, labels: this.#labels(), address: this.#address() };
    };
    const port = random.pick(PORTS);
    return {
      policies: this.#many(4, () => this.#policy()),
      client: pod(),
      server: pod(),
      port,
      portName: random.chance(0.5) ? random.pick(PORT_NAMES) : "",
      otherPorts: this.#many(2, () =>
        random.chance(0.5)
          ? { name: random.pick(PORT_NAMES), port: port + 1, protocol: "TCP" as const }
          : { name: random.pick(PORT_NAMES), port, protocol: "UDP" as const },
      ),
    };
  }

  #policy(): object {
    const random = this.#random;
    const policyTypes = random.pick([["Ingress"], ["Egress"], ["Ingress", "Egress"]]);
    return {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "policy", namespace: random.pick(NAMESPACES) },
      spec: {
        podSelector: random.chance(0.4) ? {} : this.#selector(),
        policyTypes,
        ...(policyTypes.includes("Ingress") ? { ingress: this.#rules("from") } : {}),
        ...(policyTypes.includes("Egress") ? { egress: this.#rules("to") } : {}),
      },
    };
  }

  #rules(direction: "from" | "to"): object[] {
    return this.#many(3, () => ({
      ...(this.#random.chance(0.7) ? { [direction]: this.#many(3, () => this.#peer()) } : {}),
      ...(this.#random.chance(0.4) ? { ports: this.#many(3, () => this.#port()) } : {}),
    }));
  }

  #peer(): object {
    switch (this.#random.integer(0, 3)) {
      case 0:
        return { ipBlock: this.#block() };
      case 1:
        return { podSelector: this.#selector() };
      case 2:
        return { namespaceSelector: this.#selector() };
      default:
        return { podSelector: this.#selector(), namespaceSelector: this.#selector() };
    }
  }

  /** Of either family. */
  #address(): string {
    const random = this.#random;
    const [third, fourth] = [random.integer(0, 3), random.integer(0, 255)];
    return random.chance(0.7)
      ? `10.1.${third}.${fourth}`
      : `fd00:1::${third}:${fourth.toString(16)}`;
  }

  /** Often with bits set behind the prefix, which the API lets through. */
  #block(): object {
    const random = this.#random;
    if (random.chance(0.2)) return { cidr: random.pick(["0.0.0.0/0", "10.2.0.0/16", "::/0"]) };
    const third = random.integer(0, 3);
    const [cidrs, except] = random.chance(0.7)
      ? [
          ["10.1.0.0/16", "10.1.0.0/23", `10.1.${third}.0/24`, `10.1.${third}.77/24`],
          `10.1.${third}.${random.pick([0, 64, 130])}/${random.pick([25, 26, 30])}`,
        ]
      : [
          ["fd00::/8", "fd00:1::/111", `fd00:1::${third}:0/112`, `FD00:1:0:0:0:0:${third}:5/112`],
          `fd00:1::${third}:${random.pick(["0", "40", "c2"])}/${random.pick([120, 122, 126])}`,
        ];
    return { cidr: random.pick(cidrs), ...(random.chance(0.5) ? { except: [except] } : {}) };
  }

  #port(): object {
    const random = this.#random;
    const protocol = random.pick([{}, { protocol: "TCP" }, { protocol: "UDP" }]);
    const low = random.pick(PORTS);
    switch (random.integer(0, 3)) {
      case 0:
        return protocol;
      case 1:
        return { ...protocol, port: random.pick(PORT_NAMES) };
      case 2:
        return { ...protocol, port: low };
      default:
        return { ...protocol, port: low, endPort: low + random.pick([0, 1, 10, 1010, 8010]) };
    }
  }

  #selector(): object {
    const random = this.#random;
    return {
      ...(random.chance(0.6) ? { matchLabels: this.#labels() } : {}),
      ...(random.chance(0.4) ? { matchExpressions: this.#many(2, () => this.#expression()) } : {}),
    };
  }

  #expression(): object {
    const random = this.#random;
    const key = random.pick(KEYS);
    const operator = random.pick(["In", "NotIn", "Exists", "DoesNotExist"]);
    if (operator.endsWith("In")) {
      return { key, operator, values: [random.pick(VALUES), random.pick(VALUES)] };
    }
    return { key, operator };
  }

  #labels(): Labels {
    const random = this.#random;
    const keys = KEYS.filter(() => random.chance(0.4));
    return Object.fromEntries(keys.map((key) => [key, random.pick(VALUES)]));
  }

  #many<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.#random.integer(0, most) }, make);
  }
}

function decide({ policies, client, server, port, portName, otherPorts }: Question): string {
  const parsed = policies.map((policy) => {
    const result = parseNetworkPolicy(policy);
    if ("problem" in result) throw new Error(result.problem);
    return result;
  });
  const named = portName === "" ? [] : [{ name: portName, port, protocol: "TCP" as const }];
  const pod = (name: string, { namespace, labels, address }: Pod): PolicyPod => ({
    ...{ name, namespace, labels, addresses: [address], node: "n1", hostNetwork: false },
    namedPorts: name === "server" ? [...otherPorts, ...named] : [],
  });
  const namespaces = new Map(
    [client, server].map(({ namespace, namespaceLabels }) => [namespace, namespaceLabels]),
  );
  const engine = new NetworkPolicies({ policies: parsed, namespaces });
  return engine.decide(pod("client", client), pod("server", server), port);
}

describe("NetworkPolicies", function () {
  let oracle: string;

  before(function () {
    this.timeout(BUILD_LIMIT_MS);
    oracle = execFileSync("bash", [BUILD, "test/oracle", "oracle"], {
      encoding: "utf8",
      stdio: "pipe",
    }).trim();
  });

  it("should be judged as another engine judges them", async function () {
    this.timeout(60_000 * (QUESTIONS / BATCH));
    const seed = testSeed();
    console.log(`      seed ${seed}`);
    const author = new Author(new Random(seed));
    const verdicts = { allowed: 0, denied: 0 };
    for (let asked = 0; asked < QUESTIONS; asked += BATCH) {
      const questions = Array.from({ length: BATCH }, () => author.question());
      const { code, stdout, stderr } = await runProgram([oracle], {
        input: JSON.stringify(questions),
      });
      expect(code, stderr).to.equal(0);
      for (const [i, isAllowed] of (JSON.parse(stdout) as boolean[]).entries()) {
        const question = questions[i] as Question;
        const expected = isAllowed ? "allowed" : "denied";
        verdicts[expected] += 1;
        const ours = decide(question);
        if (ours !== expected) {
          expect.fail(
            `${ours}, the oracle says ${expected} (seed ${seed}):\n${JSON.stringify(question, undefined, 2)}`,
          );
        }
      }
    }
    // Questions with one answer only would prove nothing.
    expect(Math.min(verdicts.allowed, verdicts.denied)).to.be.above(QUESTIONS / 10);
  });
});
