import { KINDS } from "../../../../cli/cluster/kinds.ts";
import { type FakeApiServer } from "../../../helpers/fake-api-server.ts";
import { testCases, type Case } from "./cases.ts";
import { putPod } from "./healthy.ts";

const annotated =
  (spec: object, isInjected = false) =>
  (server: FakeApiServer) => {
    putPod(server, "web-1", { sidecar: isInjected });
    server.put(KINDS.deployments, {
      metadata: { name: "web", namespace: "shop", annotations: { "shimmy.io/inject": "enabled" } },
      spec,
    });
  };
const CARRIED = { template: { metadata: { annotations: { "shimmy.io/inject": "enabled" } } } };

const CASES: readonly Case[] = [
  {
    what: "a pod that opted in and has no sidecar",
    check: "uninjected",
    status: "fail",
    says: "1 pod opted in and has no sidecar: shop/bare-1",
    todo: "rollout restart",
    change: (server) => {
      const annotations = { "shimmy.io/inject": "enabled" };
      putPod(server, "bare-1", { sidecar: false, annotations });
    },
  },
  {
    what: "pods of a namespace that opted in",
    check: "uninjected",
    status: "fail",
    says: "2 pods opted in and have no sidecar",
    change: (server) => {
      const labels = { "shimmy.io/inject": "enabled" };
      server.put(KINDS.namespaces, { metadata: { name: "shop", labels } });
      for (const name of ["bare-1", "bare-2"]) putPod(server, name, { sidecar: false });
    },
  },
  {
    what: "a workload that was not carried",
    check: "uncarried",
    status: "warn",
    says: "Deployment shop/web",
    todo: "kubectl annotate",
    change: annotated({ template: {} }),
  },
  {
    what: "a workload that is paused",
    check: "uncarried",
    status: "warn",
    says: "waits until Deployment shop/web",
    todo: "resume",
    change: annotated({ ...CARRIED, paused: true }),
  },
  {
    what: "a workload that was paused after all pods were new",
    check: "uncarried",
    status: "ok",
    says: "carries it",
    change: annotated({ ...CARRIED, paused: true }, true),
  },
  {
    what: "a pod of class BestEffort",
    check: "budgets",
    status: "warn",
    says: "shop/free-1",
    todo: "requests or limits",
    change: (server) => {
      putPod(server, "free-1", { status: { qosClass: "BestEffort" } });
    },
  },
  {
    what: "a pod that was left out",
    check: "skipped",
    status: "warn",
    says: "1 pod left out, host_network: shop/net-1",
    todo: "reasons.md",
    change: (server) => {
      const annotations = { "shimmy.io/skipped": "host_network" };
      putPod(server, "net-1", { sidecar: false, annotations });
    },
  },
];

testCases("shimmy check: workloads", CASES);
