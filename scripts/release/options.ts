import { parseArgs } from "node:util";

/** What a release is made of. */
export const RELEASE_PARTS = ["package", "image", "chart"] as const;

/** One of {@link RELEASE_PARTS}. */
export type ReleasePart = (typeof RELEASE_PARTS)[number];

/** What `npm run release` was asked for. */
export interface ReleaseOptions {
  /** Whether files may differ from the commit. */
  readonly isDirtyAllowed: boolean;
  readonly parts: readonly ReleasePart[];
  /**
   * Machines and C libraries for which the package has native code, as scripts/prebuild.sh has them;
   * `host` is what this machine's own compiler makes for it.
   */
  readonly machines: readonly string[];
  /** Where it is put. */
  readonly folder: string;
}

const ALL_MACHINES = ["linux-x64", "linux-arm64", "linux-x64-musl", "linux-arm64-musl"];

/**
 * Reads the command line.
 *
 * @throws Error that says what is wrong with it.
 */
export function readOptions(args: readonly string[]): ReleaseOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      "allow-dirty": { type: "boolean", default: false },
      part: { type: "string", multiple: true, default: [...RELEASE_PARTS] },
      machine: { type: "string", multiple: true, default: ALL_MACHINES },
      folder: { type: "string", default: "release" },
    },
  });
  return {
    isDirtyAllowed: values["allow-dirty"],
    parts: RELEASE_PARTS.filter((part) => known(values.part, RELEASE_PARTS).includes(part)),
    machines: known(values.machine, [...ALL_MACHINES, "host"]),
    folder: values.folder,
  };
}

function known(words: readonly string[], list: readonly string[]): readonly string[] {
  const unknown = words.find((word) => !list.includes(word));
  if (unknown === undefined) return words;
  throw new Error(`${unknown} is none of ${list.join(", ")}`);
}

/**
 * Refuses what cannot be made again from a commit.
 *
 * @param status - Output of `git status --porcelain`.
 * @throws Error that names the first files.
 */
export function demandClean(status: string): void {
  const changed = status.split("\n").filter((line) => line !== "");
  if (changed.length === 0) return;
  const some = changed.slice(0, 5).map((line) => line.slice(3));
  const more = changed.length > some.length ? ` and ${changed.length - some.length} more` : "";
  throw new Error(
    `files differ from the commit: ${some.join(", ")}${more}; commit them, or --allow-dirty`,
  );
}
