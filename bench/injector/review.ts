// The question of the injector bench: may this pod be created?
import { POD_BYTES } from "./keys.ts";

/** Stands for the UID in {@link makeReview}'s text; as long as one. */
export const UID_PLACE = "@".repeat(36);

/** An AdmissionReview of a pod of {@link POD_BYTES} that opted in, with {@link UID_PLACE} for its UID. */
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
      namespace: "shop",
      operation: "CREATE",
      userInfo: { username: "system:serviceaccount:kube-system:replicaset-controller" },
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
  const env = (container: number): object[] =>
    Array.from({ length: Math.ceil((variables - container) / 3) }, (_, i) => ({
      name: `SETTING_${container}_${i}`,
      value: `https://settings.example/${"v".repeat(40)}/${i}`,
    }));
  const containers = ["web", "worker", "cache"].map((name, index) => ({
    name,
    image: `images.example/shop/${name}:1.4.2`,
    ports: [{ name: `http-${index}`, containerPort: 8080 + index, protocol: "TCP" }],
    env: env(index),
    resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "256Mi" } },
    volumeMounts: [
      { name: "settings", mountPath: "/etc/settings" },
      { name: "token", mountPath: "/var/run/secrets/kubernetes.io/serviceaccount", readOnly: true },
    ],
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    imagePullPolicy: "IfNotPresent",
  }));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      generateName: "web-5d4f8c7b9d-",
      namespace: "shop",
      labels: { app: "web", "pod-template-hash": "5d4f8c7b9d" },
      annotations: {
        "shimmy.io/inject": "enabled",
        "shimmy.io/upstreams": "orders:9001, quotes:9002",
        "checksum/settings": "c".repeat(64),
      },
      ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-5d4f8c7b9d" }],
    },
    spec: {
      containers,
      volumes: [
        { name: "settings", configMap: { name: "settings", defaultMode: 420 } },
        { name: "token", projected: { sources: [{ serviceAccountToken: { path: "token" } }] } },
      ],
      restartPolicy: "Always",
      terminationGracePeriodSeconds: 30,
      serviceAccountName: "web",
      schedulerName: "default-scheduler",
      tolerations: [{ key: "node.kubernetes.io/not-ready", operator: "Exists" }],
    },
  };
}
