type Words = Readonly<Record<string, string>>;

/** The parts of package.json that a package is made from. */
export interface PackageManifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly type: string;
  readonly bin: Words;
  readonly exports: object;
  readonly engines: Words;
  readonly dependencies: Words;
}

/** What is in the package: FROM in the repository, TO in the package. */
export function packageFiles(machines: readonly string[]): readonly (readonly [string, string])[] {
  return [
    ["cli/bin.js", "cli/bin.js"],
    ["dist", "dist"],
    ...machines.flatMap(nativeFiles),
    ["README.md", "README.md"],
    ["CHANGELOG.md", "CHANGELOG.md"],
    ["LICENSE", "LICENSE"],
  ];
}

function nativeFiles(machine: string): (readonly [string, string])[] {
  const [from, to] =
    machine === "host"
      ? ["build/release", `linux-${process.arch}`]
      : [`build/prebuilds/${machine}`, machine];
  return ["shimmy.node", "shimmy-netns-helper"].map(
    (name) => [`${from}/${name}`, `prebuilds/${to}/${name}`] as const,
  );
}

/**
 * The package.json of the package: without what is for those who work on Shimmy, as the Node.js that
 * a clone brings itself, and with nothing that runs when it is installed.
 */
export function packageManifest(manifest: PackageManifest): object {
  const { name, version, description, license, type, bin, exports, engines, dependencies } =
    manifest;
  const os = ["linux"];
  return {
    name,
    version,
    description,
    license,
    type,
    bin,
    exports,
    engines,
    os,
    dependencies,
  };
}
