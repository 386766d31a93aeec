import { existsSync, globSync } from "node:fs";
import type { Step } from "./run-step.ts";

/** A group of steps with a time budget (docs/architecture.md, tests). */
export interface Tier {
  readonly name: string;
  readonly budgetSeconds: number;
  readonly steps: readonly Step[];
  /** Run by `npm run test:long`, or when it is named. */
  readonly isLong?: true;
}

const check = (name: string, ...command: [string, ...string[]]): Step => ({
  name,
  command,
  count: "check",
});

const mocha = (folder: string, name = folder): Step => ({
  name: `${name} tests`,
  command: [
    "mocha",
    "--forbid-only",
    "--reporter",
    "scripts/test/mocha-reporter.cjs",
    "--spec",
    `test/${folder}/**/*.test.ts`,
  ],
  count: "mocha",
});

const build = (preset: string, ...targets: string[]): Step => ({
  name: `build (${[preset, ...targets].join(" ")})`,
  command: ["bash", "scripts/build-native.sh", preset, ...targets],
  count: "prepare",
});

/** What tests of the C SDK and of all SDKs together use. */
const SDK_TARGETS = [
  "shimmy_c",
  "shimmy_c_static",
  "shimmy_python",
  "conformance_driver",
  "crash_peer",
] as const;

const buildDist: Step = {
  name: "build (dist)",
  command: ["bash", "scripts/build-dist.sh"],
  count: "prepare",
};

const SYMBOLIZER = "/usr/bin/llvm-symbolizer-14";
const symbolizer = (variable: string): Record<string, string> =>
  existsSync(SYMBOLIZER) ? { [variable]: SYMBOLIZER } : {};

// ThreadSanitizer of this age does not start where addresses are more random than it knows;
// setarch -R turns that off for the one process.
const gtest = (preset: string): Step[] => [
  build(preset),
  {
    name: `native tests (${preset})`,
    command: ["setarch", "-R", `build/${preset}/shimmy_tests`, "--gtest_brief=1"],
    env: {
      ...symbolizer("ASAN_SYMBOLIZER_PATH"),
      ...symbolizer("TSAN_SYMBOLIZER_PATH"),
      UBSAN_OPTIONS: "print_stacktrace=1",
      TSAN_OPTIONS: "halt_on_error=1",
    },
    count: "gtest",
  },
];

// What qemu's user mode does not do as a kernel does: descriptors beyond the room for them, pidfds
// with records, holes in a file, and what /proc says of other processes.
const NOT_EMULATED = [
  "*Pidfds*",
  "Counts/BadFdCountTest.*",
  "DoorbellTest.D1OtherFdCountsAreStrayAndNothingLeaks",
  "HalfTest.I6SealedHalfCannotBeChangedByAnyone",
  "EntranceTest.*",
  "ServerTest.*",
  "Free/FdShortageTest.*",
];

/** Native tests for another C library or machine; `emulator` runs what this one cannot. */
const foreign = (preset: string, emulator?: string): Step[] => {
  const filter = emulator === undefined ? [] : [`--gtest_filter=-${NOT_EMULATED.join(":")}`];
  const tests = [`build/${preset}/shimmy_tests`, "--gtest_brief=1", ...filter] as const;
  return [
    build(preset, "shimmy_tests"),
    {
      name: `native tests (${preset})`,
      command: emulator === undefined ? [...tests] : [emulator, ...tests],
      count: "gtest",
    },
  ];
};

/** Steps that exist only once what they check exists. */
const when = (pattern: string, ...steps: Step[]): Step[] =>
  globSync(pattern).length > 0 ? steps : [];

/** Every tier, in the order they run. */
export const TIERS: readonly Tier[] = [
  {
    name: "static",
    budgetSeconds: 150,
    steps: [
      check("types", "tsc", "--noEmit", "-p", "."),
      check("eslint", "eslint", "--max-warnings", "0", "."),
      check("prettier", "prettier", "--check", "--log-level", "warn", "."),
      check("clang-format", "bash", "scripts/format.sh", "--check-native"),
      check("clang-tidy", "bash", "scripts/clang-tidy.sh"),
      check("types of Python", "bash", "scripts/mypy.sh"),
      check("imports", "bash", "scripts/check-imports.sh"),
      check("knip", "knip", "--no-progress", "--no-config-hints"),
      check("sync comments", "node", "scripts/checks/sync-comments.ts"),
      check("repository", "node", "scripts/checks/repository.ts"),
    ],
  },
  { name: "unit", budgetSeconds: 90, steps: [build("release", "shimmy_addon"), mocha("unit")] },
  {
    name: "native",
    budgetSeconds: 480,
    steps: [
      ...when("test/native/*_test.cc", ...["release", "asan", "tsan"].flatMap(gtest)),
      ...when(
        "test/native/freestanding/*.cc",
        check(
          "core is freestanding",
          "bash",
          "scripts/build-native.sh",
          "release",
          "core_freestanding",
        ),
      ),
      ...when("test/fuzz/*_fuzzer.cc", {
        name: "fuzz targets",
        command: ["bash", "scripts/fuzz.sh", "5"],
        count: "lines",
      }),
      ...when("shm-core/model/check.sh", {
        name: "models",
        command: ["bash", "shm-core/model/check.sh"],
        count: "lines",
      }),
    ],
  },
  {
    name: "integration",
    budgetSeconds: 600,
    steps: [
      build("release", "shimmy_addon", "shimmy_netns_helper", ...SDK_TARGETS),
      build("tsan", "crash_peer"),
      buildDist,
      mocha("integration"),
      mocha("conformance"),
    ],
  },
  {
    name: "cluster",
    budgetSeconds: 840,
    steps: [build("release", "shimmy_addon", "shimmy_netns_helper"), buildDist, mocha("cluster")],
  },
  {
    name: "vm",
    budgetSeconds: 360,
    steps: [
      build("release", "shimmy_addon", "shimmy_netns_helper"),
      buildDist,
      process.arch === "x64"
        ? { name: "vm tests", command: ["bash", "test/vm/run.sh"], count: "mocha" }
        : {
            name: "vm tests",
            command: ["echo", "skip vm tests: the virtual machine is built for x86-64 only"],
            count: "lines",
          },
    ],
  },
  {
    name: "targets",
    isLong: true,
    budgetSeconds: 900,
    steps: [
      check("prebuilt for every machine", "bash", "scripts/prebuild.sh"),
      {
        ...mocha("unit/shm-core", "addon for glibc 2.17"),
        env: { SHIMMY_NATIVE_BUILD: "linux-x64" },
      },
      ...foreign("linux-x64-musl"),
      ...foreign("linux-arm64-musl", "qemu-aarch64-static"),
    ],
  },
];
