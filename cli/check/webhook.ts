import { randomBytes } from "node:crypto";

import { ApiError } from "../../common/kubernetes/api-error.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { resourcePath } from "../../common/kubernetes/resources.ts";
import { SIDECAR_NAME } from "../../injector/containers.ts";
import { VOCABULARY } from "../../injector/vocabulary.ts";
import { isStatus } from "../cluster/cluster.ts";
import { KINDS, NAMES } from "../cluster/kinds.ts";
import type { CheckContext, PodObject } from "./context.ts";
import { fail, ok, someOf, unknown, type Finding } from "./finding.ts";

/**
 * Whether a pod that opts in gets its sidecar: one is created on trial (dry run), which goes all the
 * way through admission and leaves nothing.
 */
export async function checkWebhook(context: CheckContext): Promise<Finding[]> {
  const { trialNamespace: namespace } = context.options;
  if ((await context.excludedNamespaces()).has(namespace)) {
    const message = `no pod was created on trial: nothing is injected in ${namespace}`;
    return [unknown(message, "name another namespace: --trial-namespace NAME")];
  }
  try {
    const path = resourcePath(KINDS.pods, { namespace });
    const pod = await context.cluster.request({
      method: "POST",
      path,
      query: { dryRun: "All" },
      body: trialPod(namespace),
    });
    return [judge(pod as PodObject, await context.isLegacy(), await suspectsOf(context))];
  } catch (err) {
    if (!(err instanceof ApiError && err.status > 0)) throw err;
    return [explainRefusal(err, namespace, await suspectsOf(context))];
  }
}

/** What is read of another MutatingWebhookConfiguration. */
interface OtherWebhooks extends KubernetesObject {
  readonly webhooks?: readonly {
    readonly rules?: readonly {
      readonly apiGroups?: readonly string[];
      readonly resources?: readonly string[];
      readonly operations?: readonly string[];
    }[];
  }[];
}

/** How to find who else changes pods, by name if that may be looked at. */
async function suspectsOf(context: CheckContext): Promise<string> {
  const all = await context.list(KINDS.mutatingWebhooks).catch((err: unknown) => {
    if (isStatus(err, 403)) return [];
    throw err;
  });
  const names = (all as readonly OtherWebhooks[])
    .filter(
      ({ metadata, webhooks = [] }) => metadata.name !== NAMES.injector && isForPods(webhooks),
    )
    .map(({ metadata }) => metadata.name);
  if (names.length === 0) return "kubectl get mutatingwebhookconfigurations";
  return `${someOf(names)} (kubectl get mutatingwebhookconfiguration NAME -o yaml)`;
}

function isForPods(webhooks: NonNullable<OtherWebhooks["webhooks"]>): boolean {
  const has = (values: readonly string[] = [], ...wanted: readonly string[]): boolean =>
    wanted.some((each) => values.includes(each));
  return webhooks.some(({ rules = [] }) =>
    rules.some(
      ({ apiGroups, resources, operations }) =>
        has(apiGroups, "", "*") &&
        has(resources, "pods", "*", "*/*") &&
        has(operations, "CREATE", "*"),
    ),
  );
}

/** One that every Pod Security Standard admits. */
function trialPod(namespace: string): unknown {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: `shimmy-check-${randomBytes(4).toString("hex")}`,
      namespace,
      annotations: { [VOCABULARY.inject.key]: "enabled" },
    },
    spec: {
      automountServiceAccountToken: false,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 65_532,
        seccompProfile: { type: "RuntimeDefault" },
      },
      containers: [
        {
          name: "check",
          image: "shimmy-check",
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
        },
      ],
    },
  };
}

function judge({ spec = {} }: PodObject, isLegacy: boolean, suspects: string): Finding {
  const native = spec.initContainers?.find(({ name }) => name === SIDECAR_NAME);
  if (native?.restartPolicy === "Always") return ok("a pod on trial got its sidecar");
  if (native !== undefined) {
    return fail(
      "the sidecar of a pod on trial lost restartPolicy: Always, so the pod would never start",
      `find the webhook that writes pods with an old version of the API: ${suspects}`,
    );
  }
  const legacy = spec.containers?.some(({ name }) => name === SIDECAR_NAME);
  if (legacy === true)
    return ok(`a pod on trial got its sidecar${isLegacy ? "" : ", in legacy mode"}`);
  return fail(
    "a pod on trial got no sidecar: the API server did not call the injector, or another webhook removed the sidecar",
    `compare kubectl get mutatingwebhookconfiguration ${NAMES.injector} -o yaml with the manifests, and look who else changes pods: ${suspects}`,
  );
}

const OURS = /"[^"]*shimmy\.io"/;

function explainRefusal(err: ApiError, namespace: string, suspects: string): Finding {
  const message = err.message.replace(/^POST \S+: \d+: /, "");
  if (/failed calling webhook/.test(message) && OURS.test(message)) {
    return fail(`the API server cannot call the injector: ${message}`, todoOfCall(message));
  }
  if (/admission webhook/.test(message) && OURS.test(message)) {
    const todo = message.includes("another webhook")
      ? `keep these pods from the webhook that does it, or update it: ${suspects}`
      : "correct what it says";
    return fail(`the injector refused a pod on trial: ${message}`, todo);
  }
  if (message.includes(NAMES.injectedPolicy)) {
    return fail(
      `the admission policy found no sidecar on a pod on trial: ${message}`,
      `the injector was not called, or another webhook removed the sidecar: ${suspects}`,
    );
  }
  return unknown(
    `no pod could be created on trial in ${namespace}: ${message}`,
    "name a namespace in which you may create pods: --trial-namespace NAME",
  );
}

function todoOfCall(message: string): string {
  if (/x509|certificate/.test(message)) {
    return "the API server does not trust the injector's certificate: see the findings about certificates";
  }
  if (/deadline exceeded|timeout|timed out/i.test(message)) {
    return "let the API server reach port 10250 of the injector's pods: a firewall or network policy stands between";
  }
  if (/refused|no endpoints|not found/.test(message)) {
    return "no injector answers behind its Service: see the findings about parts";
  }
  return `kubectl -n ${NAMES.namespace} logs deployment/${NAMES.injector}`;
}
