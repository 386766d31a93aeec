import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { testCases, type Case } from "./cases.ts";
import { putPod, SYSTEM } from "./healthy.ts";

const CASES: readonly Case[] = [
  {
    what: "a part of the version before",
    check: "versions",
    status: "warn",
    says: "versions differ",
    change: (server) => {
      const labels = { "app.kubernetes.io/version": "0.2.7" };
      server.put(KINDS.deployments, {
        metadata: { name: NAMES.master, namespace: SYSTEM, labels },
      });
    },
  },
  {
    what: "a part that is too far away",
    check: "versions",
    status: "fail",
    says: "more than one minor version apart",
    change: (server) => {
      const labels = { "app.kubernetes.io/version": "0.9.0" };
      server.put(KINDS.deployments, {
        metadata: { name: NAMES.master, namespace: SYSTEM, labels },
      });
    },
  },
  {
    what: "a sidecar of another version",
    check: "versions",
    status: "warn",
    says: "0.2.0: shop/old-1",
    todo: "rollout restart",
    change: (server) => {
      putPod(server, "old-1", { version: "0.2.0" });
    },
  },
  {
    what: "a sidecar that is too far away",
    check: "versions",
    status: "fail",
    says: "0.5.0: shop/old-1",
    change: (server) => {
      putPod(server, "old-1", { version: "0.5.0" });
    },
  },
];

testCases("shimmy check: versions", CASES);
