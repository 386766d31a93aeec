// Imports go downwards only: cli → processes (agent, sidecar, injector, master) → sdk → common,
// shm-core.
// The folder names are the architecture (docs/architecture.md).
"use strict";

const PRODUCT = "^(cli|agent|sidecar|injector|master|common|shm-core|sdk)/";

module.exports = {
  forbidden: [
    {
      name: "no-cycles",
      severity: "error",
      comment:
        "Modules that import each other are one module in two files. Types alone may: at run time " +
        "nothing of that is left.",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "processes-know-contracts-only",
      severity: "error",
      comment:
        "A process knows another by its typed contract: agent/api.ts, sidecar/env.ts and its " +
        "grammar of upstreams.",
      from: { path: "^(agent|sidecar|injector|master)/" },
      to: {
        path: "^(agent|sidecar|injector|master)/",
        pathNot: ["^$1/", "^agent/api\\.ts$", "^sidecar/(env|upstreams)\\.ts$"],
      },
    },
    {
      name: "processes-do-not-know-the-cli",
      severity: "error",
      from: { path: "^(agent|sidecar|injector|master|common|shm-core|sdk)/" },
      to: { path: "^cli/" },
    },
    {
      name: "common-is-the-bottom",
      severity: "error",
      from: { path: "^common/" },
      to: { path: "^(agent|sidecar|injector|master|shm-core|sdk)/" },
    },
    {
      name: "shm-core-stands-alone",
      severity: "error",
      comment: "shm-core may import common/errors and common/reasons, nothing else of ours.",
      from: { path: "^shm-core/" },
      to: { path: PRODUCT, pathNot: ["^shm-core/", "^common/(errors|reasons)\\.ts$"] },
    },
    {
      name: "sdk-is-for-any-program",
      severity: "error",
      comment: "What programs import knows shared memory and errors, and none of our processes.",
      from: { path: "^sdk/" },
      to: { path: PRODUCT, pathNot: ["^sdk/", "^shm-core/lib/", "^common/errors\\.ts$"] },
    },
    {
      name: "product-does-not-import-its-surroundings",
      severity: "error",
      from: { path: PRODUCT },
      to: { path: "^(test|bench|scripts|examples)/" },
    },
    {
      name: "product-needs-no-dev-dependency",
      severity: "error",
      from: { path: PRODUCT },
      to: { dependencyTypes: ["npm-dev"] },
    },
    {
      name: "resolvable",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(dist|build|coverage)/" },
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: [".ts", ".js", ".cjs"],
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default"],
    },
  },
};
