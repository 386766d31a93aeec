// The API server of the agent bench, in a process of its own: a large cluster, and, once /begin is
// asked for, changes of slices. It prints its address, then a line for each change of a Service that
// somebody calls.
//
//   cluster.ts CHANGES PER_SECOND
import { setTimeout as delay } from "node:timers/promises";

import { RESOURCES } from "../../common/kubernetes/resources.ts";
import { FakeApiServer, type StoredObject } from "../../test/helpers/fake-api-server.ts";
import {
  calledBy,
  type Change,
  NAMESPACE,
  NODE,
  podName,
  podUid,
  serviceName,
  SIZE,
} from "./size.ts";

const { pods, services, endpointSlices, namespaces, nodes, shimmyNodes } = RESOURCES;
const [changes = 0, perSecond = 1] = process.argv.slice(2).map(Number);

/** As large as what a real server adds to each object. */
const MANAGED_FIELDS = [
  { manager: "kube-controller-manager", operation: "Update", fieldsV1: { "f:x": "x".repeat(700) } },
];

const server = await FakeApiServer.start();
let addresses = 0;

/** Unlike all others, and not one of the node's pods. */
function newAddress(): string {
  addresses += 1;
  return `10.${100 + (addresses >> 16)}.${(addresses >> 8) & 255}.${addresses & 255}`;
}

function podAddress(index: number): string {
  return `10.1.0.${index}`;
}

function localPod(index: number): StoredObject {
  const address = podAddress(index);
  const env = Array.from({ length: 40 }, (_, i) => ({
    name: `VARIABLE_${i}`,
    value: "v".repeat(60),
  }));
  return {
    metadata: {
      name: podName(index),
      namespace: NAMESPACE,
      uid: podUid(index),
      labels: { app: `app-${index % 25}`, "pod-template-hash": "5d4f8c7b9d" },
      managedFields: MANAGED_FIELDS,
    },
    spec: {
      nodeName: NODE,
      containers: [{ name: "app", ports: [{ containerPort: 8080 }], env }],
      initContainers: [{ name: "shimmy-sidecar", restartPolicy: "Always" }],
    },
    status: { phase: "Running", podIP: address, podIPs: [{ ip: address }] },
  };
}

/** The first pods of the node are behind the first Services, one each. */
function endpoint(slice: number, index: number): object {
  const isLocal = index === 0 && slice < SIZE.localPods;
  const conditions = { ready: true, serving: true, terminating: false };
  const targetRef = { kind: "Pod", namespace: NAMESPACE, name: `pod-${slice}-5d4f8c7b9d-${index}` };
  return isLocal
    ? {
        addresses: [podAddress(slice)],
        conditions,
        nodeName: NODE,
        zone: "zone-a",
        targetRef: { ...targetRef, uid: podUid(slice) },
      }
    : {
        addresses: [newAddress()],
        conditions,
        nodeName: `node-pool-a-5d4f8c7b-${addresses % 100}`,
        zone: "zone-b",
        targetRef: { ...targetRef, uid: podUid(1000 + addresses) },
      };
}

function put(slice: number, endpoints: readonly object[]): void {
  const name = serviceName(slice);
  server.put(endpointSlices, {
    metadata: {
      name: `${name}-x7k2p`,
      namespace: NAMESPACE,
      labels: { "kubernetes.io/service-name": name },
      annotations: { "endpoints.kubernetes.io/last-change-trigger-time": new Date().toISOString() },
      managedFields: MANAGED_FIELDS,
    },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    endpoints,
  });
}

function fill(): void {
  server.put(namespaces, { metadata: { name: NAMESPACE } });
  server.put(nodes, { metadata: { name: NODE } });
  server.put(shimmyNodes, { metadata: { name: NODE }, spec: { attachments: [] } });
  for (let index = 0; index < SIZE.localPods; index++) server.put(pods, localPod(index));
  for (let slice = 0; slice < SIZE.slices; slice++) {
    server.put(services, {
      metadata: { name: serviceName(slice), namespace: NAMESPACE, managedFields: MANAGED_FIELDS },
      spec: { ports: [{ name: "http", port: 80, targetPort: 8080 }], ipFamilies: ["IPv4"] },
    });
    const endpoints = Array.from({ length: SIZE.endpointsPerSlice }, (_, i) => endpoint(slice, i));
    put(slice, endpoints);
  }
}

/** One pod of a slice is replaced by another, as in a rollout. */
function change(slice: number): string {
  const stored = server.get(endpointSlices, `${serviceName(slice)}-x7k2p`, NAMESPACE);
  const endpoints = stored?.["endpoints"] as readonly object[];
  const address = newAddress();
  put(slice, [...endpoints.slice(0, -1), { ...endpoints.at(-1), addresses: [address] }]);
  return address;
}

/**
 * As many changes of Services that nobody calls beside those that are measured; at uneven times, so
 * that they do not fall in step with the agent.
 */
async function churn(): Promise<void> {
  const called = [...new Set(Array.from({ length: SIZE.localPods }, (_, i) => calledBy(i)).flat())];
  const uncalled = SIZE.slices / 2;
  for (let done = 0; done < changes; done++) {
    await delay((Math.random() * 2000) / perSecond);
    const at = Date.now();
    const service = called[(done * 31) % called.length] ?? 0;
    const address = change(service);
    process.stdout.write(`${JSON.stringify({ service, address, at } satisfies Change)}\n`);
    change(uncalled + (done % uncalled));
  }
}

fill();
server.intercept = ({ path }) => {
  if (path !== "/begin") return undefined;
  void churn();
  return { status: 200 };
};
process.stdout.write(`${server.access.server}\n`);
