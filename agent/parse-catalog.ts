import { LineCounter, parseDocument, type Document } from "yaml";

import { messageOf, ShimmyError } from "../common/errors.ts";
import { didYouMean } from "../common/suggest.ts";
import type { ServicePort } from "./api.ts";
import {
  backingsOf,
  keyOf,
  sortBackings,
  type Catalog,
  type CatalogEndpoint,
  type CatalogPod,
  type CatalogService,
} from "./catalog.ts";
import { FileRules, ruleKey } from "./catalog-rules.ts";
import {
  checkCatalogShape,
  type CatalogFile,
  type CatalogFilePod,
  type CatalogFileRule,
  type CatalogFileService,
  type CatalogFileTopic,
  type CatalogProblem,
} from "./catalog-schema.ts";
import {
  PARAMETER_SCHEMAS,
  parametersProblem,
  resolveParameters,
  type ChannelParameters,
} from "./channels/parameters.ts";
import { FileTopicRules, type TopicEntry } from "./channels/topic-rules.ts";

/** What a catalog file leaves out. */
export interface CatalogDefaults {
  readonly node: string;
  /** The agent's own user. */
  readonly uid: number;
}

const DEFAULT_NAMESPACE = "default";
/** Problems named in one error; a file with more is wrong as a whole. */
const MAX_PROBLEMS = 10;

/**
 * Reads a catalog.
 *
 * @param file - Name for messages.
 * @throws {@link ShimmyError} `SHIMMY_ERR_CATALOG_INVALID` that names line, path and value of each
 * of the first ten problems.
 */
export function parseCatalog(text: string, file: string, defaults: CatalogDefaults): Catalog {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const value = toValue(document, file);
  const problems = checkCatalogShape(value);
  if (problems.length > 0) throw refuse(file, problems, { document, lines });
  const builder = new CatalogBuilder(value as CatalogFile, defaults);
  const catalog = builder.build();
  if (builder.problems.length > 0) throw refuse(file, builder.problems, { document, lines });
  return catalog;
}

function toValue(document: Document, file: string): unknown {
  try {
    const [broken] = document.errors;
    if (broken !== undefined) throw broken;
    // Aliases that multiply would fill the memory.
    return document.toJS({ maxAliasCount: 100 });
  } catch (err) {
    const message = messageOf(err).split("\n", 1)[0] ?? "not YAML";
    throw new ShimmyError("SHIMMY_ERR_CATALOG_INVALID", `${file}: ${message}`, { cause: err });
  }
}

/** A service of a file, its pods by UID. */
interface ResolvedService {
  readonly key: string;
  readonly namespace: string;
  readonly ports: readonly ServicePort[];
  readonly pods: readonly string[];
}

/** Resolves names and defaults of a file of the right shape; collects what does not fit. */
class CatalogBuilder {
  readonly problems: CatalogProblem[] = [];
  readonly #file: CatalogFile;
  readonly #defaults: CatalogDefaults;
  readonly #uidByKey = new Map<string, string>();
  readonly #serviceKeys = new Set<string>();
  readonly #topicKeys = new Set<string>();

  constructor(file: CatalogFile, defaults: CatalogDefaults) {
    this.#file = file;
    this.#defaults = defaults;
  }

  build(): Catalog {
    const { pods, services = [], connections = [], deny = [], topics = [] } = this.#file;
    const node = this.#file.node ?? this.#defaults.node;
    pods.forEach((pod, index) => {
      this.#claimPod(pod, index);
    });
    const resolved = services.map((service, index) => this.#service(service, index));
    const catalogPods = new Map(pods.map((pod) => [uidOf(pod), this.#pod(pod, node, resolved)]));
    return {
      node,
      pods: catalogPods,
      services: new Map(resolved.map((each) => [each.key, toService(each, catalogPods)])),
      rules: new FileRules({
        connections: this.#rules(connections, "connections"),
        deny: this.#rules(deny, "deny"),
      }),
      topics: new FileTopicRules(topics.map((topic, index) => this.#topic(topic, index))),
    };
  }

  #claimPod(pod: CatalogFilePod, index: number): void {
    const key = keyOf(withNamespace(pod));
    const uid = uidOf(pod);
    if (this.#uidByKey.has(key))
      this.#refuse(["pods", index, "name"], `pod "${key}" is listed twice`);
    if ([...this.#uidByKey.values()].includes(uid)) {
      this.#refuse(["pods", index], `uid "${uid}" is that of another pod`);
    }
    this.#uidByKey.set(key, uid);
  }

  #service(service: CatalogFileService, index: number): ResolvedService {
    const { namespace, name } = withNamespace(service);
    const key = keyOf({ namespace, name });
    if (this.#serviceKeys.has(key)) {
      this.#refuse(["services", index, "name"], `service "${key}" is listed twice`);
    }
    this.#serviceKeys.add(key);
    const pods = service.pods.map((reference, position) => {
      const path = ["services", index, "pods", position];
      return this.#resolve(reference, { known: this.#uidByKey, kind: "pod", namespace, path });
    });
    const ports = service.ports.map((port) => ({
      name: port.name ?? "",
      port: port.port,
      targetPort: port.targetPort ?? port.port,
    }));
    this.#checkPorts(ports, index);
    return { key, namespace, ports, pods: [...new Set(pods)] };
  }

  #checkPorts(ports: readonly ServicePort[], index: number): void {
    const seen = new Set<number | string>();
    ports.forEach(({ name, port }, position) => {
      const path = ["services", index, "ports", position];
      if (seen.has(port)) this.#refuse(path, `port ${port} is listed twice`);
      if (name !== "" && seen.has(name)) this.#refuse(path, `port name "${name}" is listed twice`);
      // https://kubernetes.io/docs/concepts/services-networking/service/#multi-port-services
      if (name === "" && ports.length > 1)
        this.#refuse(path, "needs a name: the service has several ports");
      seen.add(port).add(name);
    });
  }

  #pod(pod: CatalogFilePod, node: string, services: readonly ResolvedService[]): CatalogPod {
    const uid = uidOf(pod);
    const backed = services.filter(({ pods }) => pods.includes(uid));
    const targetPorts = backed.flatMap(({ ports }) => ports.map(({ targetPort }) => targetPort));
    return {
      ...withNamespace(pod),
      uid,
      node: pod.node ?? node,
      address: pod.address,
      addresses: [pod.address],
      identity: { kind: "user", runAs: new Set(pod.runAs ?? [this.#defaults.uid]) },
      injected: pod.injected ?? true,
      appPorts: [...new Set(pod.ports ?? targetPorts)].sort((a, b) => a - b),
      services: backed.map(({ key }) => key).sort(),
      backings: sortBackings(backed.flatMap(({ key, ports }) => backingsOf(key, ports))),
    };
  }

  #rules(rules: readonly CatalogFileRule[], list: string): Set<string> {
    const namespace = DEFAULT_NAMESPACE;
    const services = new Map([...this.#serviceKeys].map((key) => [key, key]));
    return new Set(
      rules.map(({ from, to }, index) =>
        ruleKey(
          this.#resolve(from, {
            known: this.#uidByKey,
            kind: "pod",
            namespace,
            path: [list, index, "from"],
          }),
          this.#resolve(to, {
            known: services,
            kind: "service",
            namespace,
            path: [list, index, "to"],
          }),
        ),
      ),
    );
  }

  #topic(entry: CatalogFileTopic, index: number): TopicEntry {
    const { namespace, name } = withNamespace(entry);
    const key = keyOf({ namespace, name });
    if (this.#topicKeys.has(key)) {
      this.#refuse(["topics", index, "name"], `topic "${key}" is listed twice`);
    }
    this.#topicKeys.add(key);
    const resolve = (list: "publishers" | "subscribers"): ReadonlySet<string> | undefined => {
      const references = entry[list]?.map((reference, position) => {
        const path = ["topics", index, list, position];
        return this.#resolve(reference, { known: this.#uidByKey, kind: "pod", namespace, path });
      });
      return references === undefined ? undefined : new Set(references);
    };
    return {
      topic: { namespace, name },
      writers: resolve("publishers"),
      readers: resolve("subscribers"),
      parameters: this.#parameters(entry, index),
    };
  }

  /** Without a kind the channel is made by who comes first. */
  #parameters(entry: CatalogFileTopic, index: number): ChannelParameters | undefined {
    const given = Object.fromEntries(
      Object.entries(entry).filter(([key]) => Object.hasOwn(PARAMETER_SCHEMAS, key)),
    );
    if (Object.keys(given).length === 0) return undefined;
    const problem = given.kind === undefined ? `"kind" is missing` : parametersProblem(given);
    if (problem === undefined) return resolveParameters(given);
    this.#refuse(["topics", index], problem);
    return undefined;
  }

  /** Looks a reference up, in `namespace` when it names none. */
  #resolve(
    reference: string,
    {
      known,
      kind,
      namespace,
      path,
    }: {
      known: ReadonlyMap<string, string>;
      kind: string;
      namespace: string;
      path: readonly (string | number)[];
    },
  ): string {
    const key = reference.includes("/") ? reference : `${namespace}/${reference}`;
    const found = known.get(key);
    if (found !== undefined) return found;
    this.#refuse(path, `no ${kind} "${key}"${didYouMean(key, known.keys())}`);
    return key;
  }

  #refuse(path: readonly (string | number)[], message: string): void {
    this.problems.push({ path, message });
  }
}

function toService(
  { key, namespace, ports, pods }: ResolvedService,
  known: ReadonlyMap<string, CatalogPod>,
): CatalogService {
  const targets = new Map(ports.map(({ port, targetPort }) => [port, targetPort]));
  const endpoints = pods.flatMap((uid): CatalogEndpoint[] => {
    const pod = known.get(uid);
    if (pod === undefined) return [];
    return [{ pod: uid, isKnown: true, address: pod.address, node: pod.node, ports: targets }];
  });
  return { key, namespace, ports, endpoints, isSticky: false };
}

function withNamespace({
  namespace = DEFAULT_NAMESPACE,
  name,
}: {
  namespace?: string;
  name: string;
}): {
  namespace: string;
  name: string;
} {
  return { namespace, name };
}

function uidOf(pod: CatalogFilePod): string {
  const { namespace, name } = withNamespace(pod);
  return pod.uid ?? `${namespace}.${name}`;
}

function refuse(
  file: string,
  problems: readonly CatalogProblem[],
  { document, lines }: { document: Document; lines: LineCounter },
): ShimmyError {
  const shown = problems.slice(0, MAX_PROBLEMS).map(({ path, message }) => {
    const place = path.length === 0 ? "" : `${formatPath(path)}: `;
    return `${file}:${lineOf(path, document, lines)}: ${place}${message}`;
  });
  const rest = problems.length - shown.length;
  if (rest > 0) shown.push(`and ${rest} more`);
  return new ShimmyError("SHIMMY_ERR_CATALOG_INVALID", shown.join("; "));
}

/** `pods[0].ports[1]`. */
function formatPath(path: readonly (string | number)[]): string {
  return path
    .map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`))
    .join("")
    .replace(/^\./, "");
}

/** The line of a path, or of the nearest part of it that is in the file. */
function lineOf(
  path: readonly (string | number)[],
  document: Document,
  lines: LineCounter,
): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    const offset = (node as { range?: readonly number[] | null } | undefined)?.range?.[0];
    if (offset !== undefined) return lines.linePos(offset).line;
  }
  return 1;
}
