import { messageOf } from "../common/errors.ts";
import type { InjectionReason } from "../common/reasons.ts";
import { qualifyUpstreams } from "../sidecar/upstreams.ts";
import { ADMIN_PORT, TOPICS_PORT } from "./config.ts";
import { declaredPorts, findSidecar } from "./containers.ts";
import {
  drainTimeoutMs,
  gracePeriodMs,
  hasTopics,
  isNative,
  ringBudgetBytes,
  upstreamsOf,
  type InjectionSubject,
} from "./injection-plan.ts";
import { numberAt, objectAt, objectsAt, own, textAt } from "./raw.ts";
import { metadataEntries, type Problem } from "./read-keys.ts";
import { planResources } from "./resources.ts";
import { NO_TOKEN_VOLUME } from "./sidecar-container.ts";
import { upstreamVariables } from "./upstream-variables.ts";
import { VOCABULARY, WRITTEN } from "./vocabulary.ts";

type Check = (subject: InjectionSubject) => string | undefined;

/** In this order; docs/reference/reasons.md explains each. */
const CHECKS: readonly (readonly [InjectionReason, Check])[] = [
  [
    "excluded_namespace",
    ({ podNamespace, config }) =>
      config.excludedNamespaces.includes(podNamespace)
        ? `nothing is injected in the namespace ${podNamespace}`
        : undefined,
  ],
  // On the host's network loopback is the node's and not the pod's.
  ["host_network", ({ spec }) => isTrue(spec, "hostNetwork", "localhost is the node's")],
  ["host_pid", ({ spec }) => isTrue(spec, "hostPID", "its processes cannot be told from others")],
  ["windows", ({ spec }) => (isWindows(spec) ? "Shimmy runs on Linux only" : undefined)],
  ["unknown_runtime_class", checkRuntimeClass],
  ["name_taken", checkNames],
  ["sidecar_altered", checkAltered],
  ["bad_value", checkImage],
  ["bad_value", checkUpstreams],
  ["bad_value", checkAppPorts],
  ["port_clash", checkPortClash],
  ["drain_too_long", checkDrain],
  ["runs_as_root", checkUser],
  ["legacy_completes", checkLegacy],
];

/** Everything that stands against injecting a pod; nothing in almost all cases. */
export function checkInjection(subject: InjectionSubject): readonly Problem[] {
  const problems = CHECKS.flatMap(([reason, check]) => {
    const message = check(subject);
    return message === undefined ? [] : [{ reason, message }];
  });
  if (problems.length > 0 || findSidecar(subject.spec) !== undefined) return problems;
  const given = { ...subject, ringBudgetBytes: ringBudgetBytes(subject) };
  return planResources(subject.spec, given).problems;
}

function isTrue(
  spec: InjectionSubject["spec"],
  key: "hostNetwork" | "hostPID",
  why: string,
): string | undefined {
  return own(spec, key) === true ? `${key} is true: ${why}` : undefined;
}

function isWindows(spec: InjectionSubject["spec"]): boolean {
  const selected = own(objectAt(spec, "nodeSelector"), "kubernetes.io/os");
  return textAt(objectAt(spec, "os"), "name") === "windows" || selected === "windows";
}

function checkRuntimeClass({ spec, config }: InjectionSubject): string | undefined {
  const name = textAt(spec, "runtimeClassName");
  if (name === undefined || name === "" || config.runtimeClasses.includes(name)) return undefined;
  return `runtime class ${name} is not among those whose containers are known to share the node's kernel`;
}

function checkNames({ pod, spec }: InjectionSubject): string | undefined {
  const isOurs = own(metadataEntries(pod, "annotations"), WRITTEN.status.key) !== undefined;
  if (isOurs) return undefined;
  const sidecar = findSidecar(spec)?.container;
  if (sidecar !== undefined)
    return `a container has the sidecar's name, ${String(sidecar["name"])}`;
  const volume = objectsAt(spec, "volumes").find(({ name }) => name === NO_TOKEN_VOLUME);
  return volume === undefined ? undefined : `a volume has the name ${NO_TOKEN_VOLUME}`;
}

/** What other webhooks do to pods: see docs/reference/reasons.md. */
function checkAltered({ pod, spec }: InjectionSubject): string | undefined {
  const { key } = WRITTEN.status;
  if (own(metadataEntries(pod, "annotations"), key) === undefined) return undefined;
  const sidecar = findSidecar(spec);
  if (sidecar === undefined) {
    return `${key} is there and the sidecar is not: another webhook removed it, or the annotation was copied from a pod`;
  }
  const { list, container } = sidecar;
  if (list === "containers" || textAt(container, "restartPolicy") === "Always") return undefined;
  return "the sidecar lost restartPolicy: Always, probably to another webhook that drops fields it does not know";
}

function checkImage({ settings }: InjectionSubject): string | undefined {
  return settings.image === undefined ? `no image: ${VOCABULARY.image.key} is not set` : undefined;
}

function checkUpstreams(subject: InjectionSubject): string | undefined {
  const upstreams = upstreamsOf(subject);
  try {
    qualifyUpstreams(upstreams, subject.podNamespace);
    upstreamVariables(upstreams);
    return undefined;
  } catch (err) {
    return `${VOCABULARY.upstreams.key}: ${messageOf(err)}`;
  }
}

function checkAppPorts({ own: { appPorts = [] }, spec }: InjectionSubject): string | undefined {
  const names = new Set(declaredPorts(spec).map(({ name }) => name));
  const unknown = appPorts.find((port) => typeof port === "string" && !names.has(port));
  if (unknown === undefined) return undefined;
  return `${VOCABULARY.appPorts.key}: no container declares a TCP port named "${unknown}"`;
}

function checkPortClash(subject: InjectionSubject): string | undefined {
  const declared = declaredPorts(subject.spec);
  const reserved = hasTopics(subject) ? [ADMIN_PORT, TOPICS_PORT] : [ADMIN_PORT];
  const taken = declared.find(({ port }) => reserved.includes(port));
  if (taken !== undefined) {
    return `container ${taken.container} declares port ${taken.port}, the sidecar's own`;
  }
  for (const { name, localPort } of upstreamsOf(subject)) {
    if (reserved.includes(localPort)) {
      return `upstream ${name} has the sidecar's own port, ${localPort}`;
    }
    const clash = declared.find(({ port }) => port === localPort);
    if (clash === undefined) continue;
    return `upstream ${name} has local port ${localPort}, which container ${clash.container} declares`;
  }
  return undefined;
}

function checkDrain(subject: InjectionSubject): string | undefined {
  const graceMs = gracePeriodMs(subject);
  if (subject.own.drainTimeoutMs === undefined || drainTimeoutMs(subject) < graceMs)
    return undefined;
  return `${VOCABULARY.drainTimeoutMs.key} of ${drainTimeoutMs(subject)} ms is not shorter than the pod's grace period of ${graceMs} ms`;
}

function checkUser({ spec, config }: InjectionSubject): string | undefined {
  const user = numberAt(objectAt(spec, "securityContext"), "runAsUser");
  if (config.runAsUser !== undefined || user !== 0) return undefined;
  return "the pod runs as root, the sidecar must not, and the cluster leaves its user to the pod";
}

function checkLegacy(subject: InjectionSubject): string | undefined {
  const policy = textAt(subject.spec, "restartPolicy") ?? "Always";
  if (isNative(subject) || policy === "Always") return undefined;
  return `without native sidecars a pod of restartPolicy ${policy} would never complete`;
}
