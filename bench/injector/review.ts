// The question of the injector bench: may this pod be created?
import { POD_BYTES } from "./keys.ts";

/** Stands for the UID in {@link makeReview}'s text; as long as one. */
export const UID_PLACE = "@".repeat(36);

const CONTAINERS = ["web", "worker", "cache"] as const;
const VOLUMES = 12;
const ANNOTATIONS = 20;

/**
 * An AdmissionReview of a pod of {@link POD_BYTES} that opted in, with {@link UID_PLACE} for its UID:
 * as a chart with many settings makes pods, and as the API server has them by then, with defaults
 * and managed fields.
 */
export function makeReview(): string {
  let variables = 1;
  while (podJson(variables).length < POD_BYTES) variables += 1;
  return JSON.stringify({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: UID_PLACE,
      kind: { group: "", version: "v1", kind: "Pod" },
      resource: { group: "", version: "v1", resource: "pods" },
      requestKind: { group: "", version: "v1", kind: "Pod" },
      requestResource: { group: "", version: "v1", resource: "pods" },
      namespace: "shop",
      operation: "CREATE",
      userInfo: {
        username: "system:serviceaccount:kube-system:replicaset-controller",
        groups: ["system:serviceaccounts", "system:authenticated"],
      },
      object: pod(variables),
      oldObject: null,
      dryRun: false,
      options: { apiVersion: "meta.k8s.io/v1", kind: "CreateOptions" },
    },
  });
}

function podJson(variables: number): string {
  return JSON.stringify(pod(variables));
}

/** Three containers with `variables` of environment among them. */
function pod(variables: number): object {
  const containers = CONTAINERS.map((name, index) => container(name, index, variables));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      generateName: "web-5d4f8c7b9d-",
      namespace: "shop",
      labels: {
        "app.kubernetes.io/name": "web",
        "app.kubernetes.io/part-of": "shop",
        "pod-template-hash": "5d4f8c7b9d",
      },
      annotations: {
        "shimmy.io/inject": "enabled",
        "shimmy.io/upstreams": "orders:9001, quotes:9002",
        ...entries(ANNOTATIONS, (i) => [`checksum.example/settings-${i}`, `${i}`.padEnd(64, "c")]),
      },
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-5d4f8c7b9d" }],
      managedFields: [managedFields(containers)],
    },
    spec: {
      containers,
      volumes: Array.from({ length: VOLUMES }, (_, i) => volume(i)),
      restartPolicy: "Always",
      terminationGracePeriodSeconds: 30,
      serviceAccountName: "web",
      schedulerName: "default-scheduler",
      enableServiceLinks: true,
      preemptionPolicy: "PreemptLowerPriority",
      tolerations: ["not-ready", "unreachable"].map((each) => ({
        key: `node.kubernetes.io/${each}`,
        operator: "Exists",
        effect: "NoExecute",
        tolerationSeconds: 300,
      })),
    },
    status: { phase: "Pending", qosClass: "Burstable" },
  };
}

interface Container {
  readonly name: string;
  readonly env: readonly { readonly name: string }[];
}

function container(name: string, index: number, variables: number): Container {
  const count = Math.ceil((variables - index) / CONTAINERS.length);
  const rest = {
    image: `images.example/shop/${name}:1.4.2`,
    imagePullPolicy: "IfNotPresent",
    ports: [{ name: `http-${index}`, containerPort: 8080 + index, protocol: "TCP" }],
    resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "256Mi" } },
    volumeMounts: Array.from({ length: VOLUMES }, (_, i) => ({
      name: `settings-${i}`,
      mountPath: `/etc/settings/${i}`,
      readOnly: true,
    })),
    readinessProbe: { httpGet: { path: "/ready", port: `http-${index}`, scheme: "HTTP" } },
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
  };
  return { name, env: Array.from({ length: count }, (_, i) => variable(index, i)), ...rest };
}

/** Every fourth one is from a Secret. */
function variable(container: number, index: number): { readonly name: string } {
  const name = `SETTING_${container}_${index}`;
  if (index % 4 !== 0) {
    const value = `https://settings.example/${index}/${"v".repeat(24)}`;
    return { name, ...{ value } };
  }
  const secretKeyRef = { name: "web-secrets", key: name.toLowerCase() };
  return { name, ...{ valueFrom: { secretKeyRef } } };
}

function volume(index: number): object {
  const name = `settings-${index}`;
  if (index % 3 === 0) return { name, secret: { secretName: name, defaultMode: 420 } };
  if (index % 3 === 1) return { name, configMap: { name, defaultMode: 420, optional: true } };
  const item = { path: "labels", fieldRef: { apiVersion: "v1", fieldPath: "metadata.labels" } };
  return { name, projected: { defaultMode: 420, sources: [{ downwardAPI: { items: [item] } }] } };
}

/** What the API server notes of who set which field; grows with the pod. */
function managedFields(containers: readonly Container[]): object {
  const fields = containers.map(({ name, env }) => {
    const names = entries(env.length, (i) => [
      `k:{"name":"${env[i]?.name ?? ""}"}`,
      { ".": {}, "f:name": {}, "f:value": {} },
    ]);
    return [`k:{"name":"${name}"}`, { "f:env": names, "f:image": {} }] as const;
  });
  return {
    manager: "kube-controller-manager",
    operation: "Update",
    apiVersion: "v1",
    fieldsType: "FieldsV1",
    fieldsV1: { "f:spec": { "f:containers": Object.fromEntries(fields) } },
  };
}

function entries(
  count: number,
  make: (index: number) => readonly [string, unknown],
): Record<string, unknown> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => make(i)));
}
