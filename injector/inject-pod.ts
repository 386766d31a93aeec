/**
 * Injection of one pod: a pure function from the pod as it came to a patch.
 *
 *   J1  Every operation adds something where nothing was.
 *   J2  Injecting what was injected changes nothing, unless containers came in between.
 *   J3  What we do not know is neither read nor changed.
 */
import { messageOf } from "../common/errors.ts";
import type { InjectionReason } from "../common/reasons.ts";
import type { TransportCap } from "../sidecar/upstreams.ts";
import { checkInjection } from "./checks.ts";
import type { InjectionConfig } from "./config.ts";
import { findSidecar, foreignContainers, SIDECAR_NAME } from "./containers.ts";
import { isNative, upstreamsOf, type InjectionSubject } from "./injection-plan.ts";
import { pointer, type JsonPatch, type PatchOperation } from "./json-patch.ts";
import { resolveOptIn, type NamespaceMetadata, type OptIn } from "./opt-in.ts";
import { has, objectAt, objectsAt, own, textAt, type Fields } from "./raw.ts";
import { metadataEntries, overlay, readKeys, type KeyReading, type Problem } from "./read-keys.ts";
import { NO_TOKEN_VOLUME, noTokenVolume, sidecarContainer } from "./sidecar-container.ts";
import { upstreamVariables } from "./upstream-variables.ts";
import { WRITTEN, type Settings } from "./vocabulary.ts";

/** A pod, or the template of one, and where it is. */
export interface InjectionRequest {
  /** As it came, with everything that we do not know. */
  readonly pod: Fields;
  readonly podNamespace: string;
  readonly namespace: NamespaceMetadata;
}

/** What is to be done with a pod. */
export type InjectionResult =
  | {
      readonly outcome: "injected";
      readonly patch: JsonPatch;
      readonly warnings: readonly string[];
    }
  | {
      readonly outcome: "skipped";
      readonly reason: InjectionReason;
      readonly message: string;
      /** Says so on the pod, where it had been asked for. */
      readonly patch: JsonPatch;
      readonly warnings: readonly string[];
    }
  | { readonly outcome: "refused"; readonly reason: InjectionReason; readonly message: string };

const MIRROR_KEY = "kubernetes.io/config.mirror";
const DEFAULT_CONTAINER_KEY = "kubectl.kubernetes.io/default-container";

/**
 * Decides about a pod and makes the patch.
 *
 * A pod that asked for the sidecar itself, or whose own keys are wrong, is refused where it cannot
 * have it; one whose namespace asked is left without, and says why in `shimmy.io/skipped`.
 */
export function injectPod(request: InjectionRequest, config: InjectionConfig): InjectionResult {
  try {
    return decide(request, config);
  } catch (err) {
    // A pod of a form that the API server would not have let through.
    return { outcome: "refused", reason: "bad_value", message: messageOf(err) };
  }
}

function decide(request: InjectionRequest, config: InjectionConfig): InjectionResult {
  const { pod, podNamespace, namespace } = request;
  if (own(metadataEntries(pod, "annotations"), MIRROR_KEY) !== undefined) {
    return skip("mirror_pod", "a static pod, whose copy in the API cannot be changed");
  }
  const optIn = resolveOptIn(pod, namespace);
  const reading = readPod(pod);
  if (optIn === "not_opted_in" || optIn === "opted_out") return leave(optIn, reading);
  if (reading.problems.length > 0) return refuse(reading.problems);

  const wider = readNamespace(namespace, config.settings);
  const spec = objectAt(pod, "spec");
  const cap = transportCap(reading.settings.transport, wider.caps);
  const settings = overlay(
    cap === undefined ? {} : { transport: cap },
    overlay(reading.settings, wider.settings),
  );
  const subject: InjectionSubject = {
    pod,
    spec,
    podNamespace,
    own: reading.settings,
    settings,
    config,
  };
  const problems = wider.problems.length > 0 ? wider.problems : checkInjection(subject);
  if (problems.length > 0) return decline(optIn, subject, problems);

  const patch = buildPatch(subject);
  if (patch.length === 0) return skip("already_injected", "it has its sidecar");
  return { outcome: "injected", patch, warnings: warningsOf(subject) };
}

function readPod(pod: Fields): KeyReading {
  const labels = readKeys("pod label", metadataEntries(pod, "labels"));
  const annotations = readKeys("pod annotation", metadataEntries(pod, "annotations"));
  return {
    settings: overlay(annotations.settings, labels.settings),
    problems: [...labels.problems, ...annotations.problems],
  };
}

function readNamespace(
  { labels = {}, annotations = {} }: NamespaceMetadata,
  cluster: Settings,
): KeyReading & { readonly caps: readonly (TransportCap | undefined)[] } {
  const fromLabels = readKeys("namespace label", labels);
  const own = readKeys("namespace annotation", annotations);
  return {
    settings: overlay(own.settings, cluster),
    problems: [...fromLabels.problems, ...own.problems],
    caps: [own.settings.transport, cluster.transport],
  };
}

/** The nearest one set, but `tcp` of namespace or cluster cannot be raised. */
function transportCap(
  nearest: TransportCap | undefined,
  caps: readonly (TransportCap | undefined)[],
): TransportCap | undefined {
  if (caps.includes("tcp")) return "tcp";
  return nearest ?? caps.find((cap) => cap !== undefined);
}

function leave(optIn: "not_opted_in" | "opted_out", { problems }: KeyReading): InjectionResult {
  const message =
    optIn === "opted_out" ? "injection is disabled for it" : "nobody asked for a sidecar";
  return { ...skip(optIn, message), warnings: problems.map((problem) => problem.message) };
}

function decline(
  optIn: OptIn,
  { pod, spec }: InjectionSubject,
  problems: readonly Problem[],
): InjectionResult {
  const [first] = problems;
  if (optIn === "explicit" || first === undefined || findSidecar(spec) !== undefined) {
    return refuse(problems);
  }
  const { reason, message } = first;
  const patch = addEntries(pod, "annotations", { [WRITTEN.skipped.key]: reason });
  return { ...skip(reason, message), patch };
}

function refuse(problems: readonly Problem[]): InjectionResult {
  const message = problems.map((problem) => problem.message).join("; ");
  return { outcome: "refused", reason: problems[0]?.reason ?? "bad_value", message };
}

function skip(
  reason: InjectionReason,
  message: string,
): Extract<InjectionResult, { outcome: "skipped" }> {
  return { outcome: "skipped", reason, message, patch: [], warnings: [] };
}

function warningsOf(subject: InjectionSubject): readonly string[] {
  const { spec, own: asked, settings } = subject;
  const hasInit = objectsAt(spec, "initContainers").length > 0;
  return [
    ...(hasInit && !isNative(subject)
      ? ["init containers cannot use upstreams in legacy mode"]
      : []),
    ...(asked.transport !== undefined && asked.transport !== settings.transport
      ? [`transport is capped at ${String(settings.transport)} by namespace or cluster`]
      : []),
  ];
}

/** Variables first: putting the sidecar before the others moves them. */
function buildPatch(subject: InjectionSubject): JsonPatch {
  const { pod, spec, config } = subject;
  const list = isNative(subject) ? "initContainers" : "containers";
  const isThere = findSidecar(spec) !== undefined;
  const [first] = foreignContainers(spec).filter((entry) => entry.list === "containers");
  const status = {
    version: config.version,
    container: SIDECAR_NAME,
    list,
    volumes: [NO_TOKEN_VOLUME],
  };
  return [
    ...(has(pod, "metadata") ? [] : [add(pointer("metadata"), {})]),
    ...variableOperations(subject),
    ...(isThere ? [] : [addFirst(spec, list, sidecarContainer(subject))]),
    ...(objectsAt(spec, "volumes").some(({ name }) => name === NO_TOKEN_VOLUME)
      ? []
      : [addLast(spec, "volumes", noTokenVolume())]),
    ...addEntries(pod, "annotations", {
      [WRITTEN.status.key]: JSON.stringify(status),
      ...(first === undefined ? {} : { [DEFAULT_CONTAINER_KEY]: textAt(first.container, "name") }),
    }),
    ...addEntries(pod, "labels", { [WRITTEN.injected.key]: "true" }),
  ];
}

/** Before the container's own, which may then refer to ours. */
function variableOperations(subject: InjectionSubject): JsonPatch {
  const variables = upstreamVariables(upstreamsOf(subject));
  return foreignContainers(subject.spec).flatMap(({ list, index, container }) => {
    const taken = new Set(objectsAt(container, "env").map(({ name }) => name));
    const missing = variables.filter(({ name }) => !taken.has(name));
    const path = pointer("spec", list, index, "env");
    if (missing.length === 0) return [];
    if (!has(container, "env")) return [add(path, missing)];
    return missing.toReversed().map((variable) => add(`${path}/0`, variable));
  });
}

function addFirst(spec: Fields, list: string, value: Fields): PatchOperation {
  const path = pointer("spec", list);
  return has(spec, list) ? add(`${path}/0`, value) : add(path, [value]);
}

function addLast(spec: Fields, list: string, value: Fields): PatchOperation {
  const path = pointer("spec", list);
  return has(spec, list) ? add(`${path}/-`, value) : add(path, [value]);
}

function addEntries(pod: Fields, kind: "labels" | "annotations", entries: Fields): JsonPatch {
  const existing = metadataEntries(pod, kind);
  const missing = Object.entries(entries).filter(([key]) => own(existing, key) === undefined);
  if (missing.length === 0) return [];
  if (!has(objectAt(pod, "metadata"), kind)) {
    return [add(pointer("metadata", kind), Object.fromEntries(missing))];
  }
  return missing.map(([key, value]) => add(pointer("metadata", kind, key), value));
}

function add(path: string, value: unknown): PatchOperation {
  return { op: "add", path, value };
}
