import { SIDECAR_CONFIG } from "../sidecar/env.ts";
import { formatUpstream } from "../sidecar/upstreams.ts";
import { ADMIN_PORT, TOPICS_PORT } from "./config.ts";
import { declaredPorts, SIDECAR_NAME } from "./containers.ts";
import {
  drainTimeoutMs,
  hasTopics,
  isNative,
  ringBudgetBytes,
  upstreamsOf,
  type InjectionSubject,
} from "./injection-plan.ts";
import { formatBytes } from "./quantity.ts";
import type { Fields } from "./raw.ts";
import { planResources } from "./resources.ts";

/** Name of the empty volume that stands where the service account's token would be. */
export const NO_TOKEN_VOLUME = "shimmy-no-token";

// The ServiceAccount plugin leaves a container alone that has something mounted there.
// kubernetes/plugin/pkg/admission/serviceaccount/admission.go, mountServiceAccountToken()
const TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Sockets of the agent in the network namespace of each pod; see docs/architecture.md. */
const AGENT_SOCKETS = "@shimmy";

/** `/readyz` answers when listeners are bound, and waits 2 s for the agent at most. */
const STARTUP_PROBE = {
  httpGet: { path: "/readyz", port: ADMIN_PORT },
  periodSeconds: 1,
  timeoutSeconds: 1,
  failureThreshold: 60,
};

/** The sidecar's container. */
export function sidecarContainer(subject: InjectionSubject): Fields {
  const { spec, settings, config } = subject;
  const given = { ...subject, ringBudgetBytes: ringBudgetBytes(subject) };
  const { resources } = planResources(spec, given);
  return {
    name: SIDECAR_NAME,
    image: settings.image,
    ...(config.imagePullPolicy === undefined ? {} : { imagePullPolicy: config.imagePullPolicy }),
    ...(isNative(subject) ? { restartPolicy: "Always" } : {}),
    args: ["sidecar"],
    env: sidecarVariables(subject),
    ports: [{ name: "shimmy-admin", containerPort: ADMIN_PORT, protocol: "TCP" }],
    startupProbe: STARTUP_PROBE,
    ...(resources === undefined ? {} : { resources }),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      ...(config.runAsUser === undefined ? {} : { runAsUser: config.runAsUser }),
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: [{ name: NO_TOKEN_VOLUME, mountPath: TOKEN_PATH, readOnly: true }],
  };
}

/** A volume in memory: one on disk would keep autoscalers from removing the node. */
export function noTokenVolume(): Fields {
  return { name: NO_TOKEN_VOLUME, emptyDir: { medium: "Memory" } };
}

function sidecarVariables(subject: InjectionSubject): readonly Fields[] {
  const { own, settings, config } = subject;
  const upstreams = upstreamsOf(subject).map(formatUpstream);
  const ports = appPortNumbers(subject);
  const pushes = (own.subscribe ?? []).flatMap(({ push }) => push ?? []);
  const values: readonly (readonly [keyof typeof SIDECAR_CONFIG, string | undefined])[] = [
    ["pod", "$(POD_NAMESPACE)/$(POD_NAME)"],
    ["agentDir", AGENT_SOCKETS],
    ["adminAddress", config.adminAddress],
    [
      "topicsAddresses",
      hasTopics(subject) ? `127.0.0.1:${TOPICS_PORT},[::1]:${TOPICS_PORT}` : undefined,
    ],
    ["topicsPush", pushes.length === 0 ? undefined : pushes.join(",")],
    ["upstreams", upstreams.length === 0 ? undefined : upstreams.join(", ")],
    ["appAddress", own.appAddress],
    ["appPorts", ports.length === 0 ? undefined : ports.join(",")],
    ["transport", settings.transport],
    // Until the agent is there, upstreams are called by TCP at their Services' names.
    ["dnsFallback", "true"],
    ["ringBudgetBytes", formatBytes(ringBudgetBytes(subject))],
    ["drainTimeoutMs", `${drainTimeoutMs(subject)}ms`],
    ["logLevel", settings.logLevel],
  ];
  return [
    // Without our prefix, whose unknown variables the sidecar refuses.
    fromField("POD_NAMESPACE", "metadata.namespace"),
    fromField("POD_NAME", "metadata.name"),
    ...values
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => ({ name: SIDECAR_CONFIG[name].env, value })),
  ];
}

function fromField(name: string, fieldPath: string): Fields {
  return { name, valueFrom: { fieldRef: { apiVersion: "v1", fieldPath } } };
}

function appPortNumbers({ own, spec }: InjectionSubject): readonly number[] {
  const declared = declaredPorts(spec);
  const ports = own.appPorts?.flatMap((wanted) =>
    typeof wanted === "number"
      ? [wanted]
      : declared.filter(({ name }) => name === wanted).map(({ port }) => port),
  );
  return [...new Set(ports ?? declared.map(({ port }) => port))].toSorted((a, b) => a - b);
}
