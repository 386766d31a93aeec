import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { testCases, type Case } from "./cases.ts";
import { putAgent, putNode, putShimmyNode, SYSTEM } from "./healthy.ts";

const nothing = (): void => undefined;

const CASES: readonly Case[] = [
  {
    what: "a node without an agent",
    check: "agents",
    status: "warn",
    says: "no agent is ready on n2",
    change: (server) => {
      putNode(server, "n2");
    },
  },
  {
    what: "no agent that is ready",
    check: "agents",
    status: "fail",
    says: "no agent is ready on n1",
    change: (server) => {
      putAgent(server, "n1", "False");
    },
  },
  {
    what: "no DaemonSet",
    check: "agents",
    status: "fail",
    says: "shimmy-system/shimmy-agent is not there",
    change: (server) => {
      server.delete(KINDS.daemonSets, NAMES.agent, SYSTEM);
    },
  },
  {
    what: "an agent that says it is not ready",
    check: "agents",
    status: "warn",
    says: "the agent of n1 is not ready, Because: a sentence",
    change: (server) => {
      putShimmyNode(server, "n1", { Ready: "False" });
    },
  },
  {
    what: "an agent that says nothing",
    check: "agents",
    status: "unknown",
    says: "the agents of n1 have not written a status",
    change: (server) => {
      server.delete(KINDS.shimmyNodes, "n1");
    },
  },
  {
    what: "a node that forbids passing descriptors",
    check: "fd-passing",
    status: "fail",
    says: "pods of n1 may not pass descriptors",
    todo: "SELinux",
    change: nothing,
    behaviour: { fallbacks: [{ pod: "a", reason: "fd_passing_refused", count: 1 }] },
  },
  {
    what: "a node on which it was not tried",
    check: "fd-passing",
    status: "unknown",
    says: "no two have had a stream there",
    todo: "call each other",
    change: nothing,
    behaviour: { streams: [] },
  },
  {
    what: "a node whose agent is not there",
    check: "fd-passing",
    status: "unknown",
    says: "pods of n2 may pass descriptors to each other: the agents there could not be asked",
    change: (server) => {
      putNode(server, "n2");
    },
  },
];

testCases("shimmy check: agents", CASES);
