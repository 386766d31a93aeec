import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { type FakeApiServer } from "../../../helpers/fake-api-server.ts";
import { testCases, type Case } from "./cases.ts";
import { SYSTEM } from "./healthy.ts";

const nothing = (): void => undefined;
const setDeployment = (name: string, readyReplicas: number) => (server: FakeApiServer) => {
  server.put(KINDS.deployments, {
    metadata: { name, namespace: SYSTEM },
    spec: { replicas: 2 },
    status: { readyReplicas },
  });
};

const CASES: readonly Case[] = [
  {
    what: "a namespace that agents may not run in",
    phase: "before",
    check: "pod-security",
    status: "fail",
    says: "restricted",
    todo: "enforce=privileged",
    change: (server) => {
      const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
      server.put(KINDS.namespaces, { metadata: { name: SYSTEM, labels } });
    },
  },
  {
    what: "an installation that is there",
    phase: "before",
    check: "absent",
    status: "warn",
    says: "installed already",
    todo: "docs/upgrade.md",
    change: nothing,
  },
  {
    what: "a kind that is not defined",
    check: "definitions",
    status: "fail",
    says: "ShimmyNode is not defined",
    change: (server) => {
      server.delete(KINDS.definitions, "shimmynodes.shimmy.io");
    },
  },
  {
    what: "a kind that is not served",
    check: "definitions",
    status: "fail",
    says: "not served as v1alpha1",
    change: (server) => {
      server.put(KINDS.definitions, {
        metadata: { name: "shimmynodes.shimmy.io" },
        spec: { versions: [{ name: "v1", served: true }] },
      });
    },
  },
  {
    what: "a kind that is not established",
    check: "definitions",
    status: "fail",
    says: "not established: names clash",
    change: (server) => {
      server.put(KINDS.definitions, {
        metadata: { name: "shimmynodes.shimmy.io" },
        spec: { versions: [{ name: "v1alpha1", served: true }] },
        status: { conditions: [{ type: "Established", status: "False", message: "names clash" }] },
      });
    },
  },
  {
    what: "no injector",
    check: "parts",
    status: "fail",
    says: "shimmy-system/shimmy-injector is not there",
    change: (server) => {
      server.delete(KINDS.deployments, NAMES.injector, SYSTEM);
    },
  },
  {
    what: "an injector that is not ready",
    check: "parts",
    status: "fail",
    says: "opted-in pods are not admitted",
    change: setDeployment(NAMES.injector, 0),
  },
  {
    what: "one of two masters",
    check: "parts",
    status: "warn",
    says: "1 of 2 pods of shimmy-master",
    change: setDeployment(NAMES.master, 1),
  },
  {
    what: "no leader",
    check: "parts",
    status: "fail",
    says: "no master leads",
    change: (server) => {
      server.delete(KINDS.leases, NAMES.master, SYSTEM);
    },
  },
  {
    what: "a leader that is silent",
    check: "parts",
    status: "fail",
    says: "renewed its Lease 302 s ago",
    change: nothing,
    nowMs: 300_000,
  },
  {
    what: "a policy that is not there",
    check: "policies",
    status: "fail",
    says: "shimmy-injected is not there",
    change: (server) => {
      server.delete(KINDS.admissionPolicies, NAMES.injectedPolicy);
    },
  },
  {
    what: "a policy that is not bound",
    check: "policies",
    status: "fail",
    says: "shimmy-injected is bound to nothing",
    change: (server) => {
      server.delete(KINDS.admissionBindings, NAMES.injectedPolicy);
    },
  },
  {
    what: "an API server without policies",
    check: "policies",
    status: "unknown",
    says: "before Kubernetes 1.30",
    change: nothing,
    behaviour: { version: "v1.29.1" },
  },
];

testCases("shimmy check: installation", CASES);
