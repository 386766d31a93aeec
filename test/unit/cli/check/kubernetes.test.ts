import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { type FakeApiServer } from "../../../helpers/fake-api-server.ts";
import { testCases, type Case } from "./cases.ts";
import { putNode, SYSTEM } from "./healthy.ts";

const nothing = (): void => undefined;
const setConfig = (data: object) => (server: FakeApiServer) => {
  server.put(KINDS.configMaps, { metadata: { name: NAMES.config, namespace: SYSTEM }, data });
};

const CASES: readonly Case[] = [
  {
    what: "an API server before 1.28",
    check: "version",
    status: "fail",
    says: "v1.27.3",
    todo: "1.30",
    change: nothing,
    behaviour: { version: "v1.27.3" },
  },
  {
    what: "an API server before 1.30",
    check: "version",
    status: "warn",
    says: "legacy mode only",
    todo: "native-sidecar: disabled",
    change: nothing,
    behaviour: { version: "v1.29.1-eks-1234" },
  },
  {
    what: "an API server before 1.30 in legacy mode",
    check: "version",
    status: "ok",
    says: "legacy mode is set",
    change: setConfig({ "native-sidecar": "disabled" }),
    behaviour: { version: "v1.29.1" },
  },
  {
    what: "a version that is none",
    check: "version",
    status: "unknown",
    says: '"main"',
    change: nothing,
    behaviour: { version: "main" },
  },
  {
    what: "an old kernel",
    check: "nodes",
    status: "fail",
    says: "n2",
    change: (server) => {
      putNode(server, "n2", { kernelVersion: "5.4.0-100" });
    },
  },
  {
    what: "a processor that is not supported",
    check: "nodes",
    status: "fail",
    says: "n2",
    change: (server) => {
      putNode(server, "n2", { architecture: "s390x" });
    },
  },
  {
    what: "Windows nodes only",
    check: "nodes",
    status: "fail",
    says: "no Linux node",
    change: (server) => {
      putNode(server, "n1", { operatingSystem: "windows" });
    },
  },
  {
    what: "a kubelet with a known defect",
    check: "kubelets",
    status: "warn",
    says: "kubelet v1.35.1 of n2: after a restart of the kubelet",
    todo: "pull/137885",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "v1.35.1" });
    },
  },
  {
    what: "a kubelet that is too old",
    check: "kubelets",
    status: "warn",
    says: "too old for native sidecars",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "v1.29.9" });
    },
  },
  {
    what: "a kubelet with a defect in legacy mode",
    check: "kubelets",
    status: "ok",
    says: "legacy mode",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "v1.35.1" });
      setConfig({ "native-sidecar": "disabled" })(server);
    },
  },
  {
    what: "a kubelet without a version",
    check: "kubelets",
    status: "unknown",
    says: "not a version",
    change: (server) => {
      putNode(server, "n2", { kubeletVersion: "dev" });
    },
  },
];

testCases("shimmy check: kubernetes", CASES);
