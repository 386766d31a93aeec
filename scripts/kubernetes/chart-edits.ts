/** A change of one map of a manifest that makes it a template. */
export interface ChartEdit {
  /** Where the map is. */
  readonly at: readonly (string | number)[];
  /** The entry that is changed; with `lines` it may be missing. */
  readonly key: string;
  /**
   * Stand in place of the entry. `INDENT` is how far in they are, `DEEPER` is two more.
   */
  readonly lines?: readonly string[];
  /** Stand around the entry, which stays. */
  readonly before?: readonly string[];
  readonly after?: readonly string[];
}

const POD = ["spec", "template", "spec"] as const;
const END = "{{- end }}";

/** An entry that is what a value says. */
const block = (at: ChartEdit["at"], key: string, value: string): ChartEdit => ({
  at,
  key,
  lines: [`${key}:`, `  {{- toYaml .Values.${value} | nindent DEEPER }}`],
});

/** An entry that is there when its value is not empty. */
const optional = (at: ChartEdit["at"], key: string, value: string): ChartEdit => ({
  at,
  key,
  lines: [`{{- with .Values.${value} }}`, `${key}:`, "  {{- toYaml . | nindent DEEPER }}", END],
});

/** An entry that is one word. */
const word = (at: ChartEdit["at"], key: string, value: string): ChartEdit => ({
  at,
  key,
  lines: [`${key}: {{ .Values.${value} }}`],
});

const pullPolicy = (container: number): ChartEdit => ({
  at: [...POD, "containers", container],
  key: "imagePullPolicy",
  lines: ["{{- with .Values.imagePullPolicy }}", "imagePullPolicy: {{ . }}", END],
});

const pods = (part: string): ChartEdit[] => [
  optional(POD, "imagePullSecrets", "imagePullSecrets"),
  optional(POD, "nodeSelector", `${part}.nodeSelector`),
  optional(POD, "tolerations", `${part}.tolerations`),
  word(POD, "priorityClassName", `${part}.priorityClassName`),
  pullPolicy(0),
];

const USER_LINES = (key: string): readonly string[] => [
  '{{- if include "shimmy.setsUser" . }}',
  `${key}: {{ .Values.runAsUser }}`,
  END,
];

const deployment = (part: string): ChartEdit[] => [
  ...pods(part),
  word(["spec"], "replicas", `${part}.replicas`),
  block([...POD, "containers", 0], "resources", `${part}.resources`),
  ...["runAsGroup", "runAsUser"].map((key) => ({
    at: [...POD, "securityContext"],
    key,
    lines: USER_LINES(key),
  })),
];

/** What becomes of which object, by kind and name. */
export const CHART_EDITS: Readonly<Record<string, readonly ChartEdit[]>> = {
  "ConfigMap/shimmy-config": [
    {
      at: ["data"],
      key: "settings",
      lines: [
        "{{- $config := .Values.config }}",
        '{{- if not (or (include "shimmy.setsUser" .) (hasKey $config "run-as-user")) }}',
        "run-as-user: unset",
        END,
        "{{- range $key, $value := $config }}",
        "{{ $key }}: {{ $value | quote }}",
        END,
      ],
    },
  ],
  "DaemonSet/shimmy-agent": [
    ...pods("agent"),
    block([...POD, "containers", 0], "resources", "agent.resources"),
    block([...POD, "containers", 1], "resources", "agent.helperResources"),
    pullPolicy(1),
  ],
  "Deployment/shimmy-injector": [
    ...deployment("injector"),
    {
      at: [...POD, "containers", 0],
      key: "lifecycle",
      before: ['{{- if include "shimmy.since130" . }}'],
      after: [END],
    },
  ],
  "Deployment/shimmy-master": [
    ...deployment("master"),
    {
      at: [...POD, "containers", 0],
      key: "env",
      lines: [
        "{{- if or .Values.certManager .Values.master.evictUninjected }}",
        "env:",
        "{{- if .Values.master.evictUninjected }}",
        "  - name: SHIMMY_EVICT_UNINJECTED",
        '    value: "true"',
        END,
        "{{- if .Values.certManager }}",
        "  - name: SHIMMY_WEBHOOK_CERTIFICATES",
        "    value: external",
        END,
        END,
      ],
    },
  ],
  "MutatingWebhookConfiguration/shimmy-injector": [
    {
      at: ["metadata"],
      key: "annotations",
      lines: [
        "{{- if .Values.certManager }}",
        "annotations:",
        "  cert-manager.io/inject-ca-from: shimmy-system/shimmy-injector-tls",
        END,
      ],
    },
  ],
  "CustomResourceDefinition/sharedmemoryobjects.shimmy.io": [
    {
      at: ["metadata"],
      key: "annotations",
      lines: [
        "annotations:",
        "  # Deleting it would delete all objects that people wrote.",
        "  helm.sh/resource-policy: keep",
      ],
    },
  ],
};

/** When an object of a kind is there, if not always. */
export const CHART_CONDITIONS: Readonly<Record<string, string>> = {
  CustomResourceDefinition: ".Values.crds.install",
  ValidatingAdmissionPolicy: 'include "shimmy.since130" .',
  ValidatingAdmissionPolicyBinding: 'include "shimmy.since130" .',
};

/** Components of Kustomize whose resources are in the chart, and when they are. */
export const CHART_COMPONENTS: Readonly<Record<string, string>> = {
  "pod-monitors": ".Values.monitoring.podMonitors",
  alerts: ".Values.monitoring.alerts",
  "cert-manager": ".Values.certManager",
  eviction: ".Values.master.evictUninjected",
  openshift: ".Values.openshift",
};
