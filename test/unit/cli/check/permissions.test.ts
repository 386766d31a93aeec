import { testCases, type Case } from "./cases.ts";

const nothing = (): void => undefined;

const CASES: readonly Case[] = [
  {
    what: "a user who may do everything",
    phase: "before",
    check: "permissions",
    status: "ok",
    says: "everything",
    change: nothing,
  },
  {
    what: "a user who may not create roles",
    phase: "before",
    check: "permissions",
    status: "fail",
    says: "you may not create clusterroles, create clusterrolebindings",
    change: nothing,
    behaviour: {
      allows: (verb, resource) =>
        resource !== "*" && !(verb === "create" && resource.startsWith("clusterrole")),
    },
  },
  {
    what: "a user who may create roles of his own permissions only",
    phase: "before",
    check: "permissions",
    status: "warn",
    says: "permissions you have yourself",
    change: nothing,
    behaviour: { allows: (verb, resource) => resource !== "*" && verb !== "escalate" },
  },
];

testCases("shimmy check: permissions", CASES);
