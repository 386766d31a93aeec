import type { Command } from "commander";
import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import { parse } from "yaml";

import { messageOf, ShimmyError } from "../common/errors.ts";
import { readInjectionConfig, type InjectionConfig } from "../injector/config.ts";
import { isObject, objectAt, textAt } from "../injector/raw.ts";
import { ExitCode, type Finish } from "./command.ts";
import { injectManifest, type ManifestResult, type ObjectReport } from "./inject/manifest.ts";

const HELP = `
Writes the objects to standard output as the webhook of a cluster would have them, and to standard
error what was done with each. Only pods that opted in are changed, by shimmy.io/inject on the pod
template, the workload, or a Namespace in the same files: docs/reference/annotations.md. If one is
refused, nothing is written.

Examples:
  $ shimmy inject --image shimmy:0.1.0 -f deployment.yaml | kubectl apply -f -
  $ kubectl get deployment web -o yaml | shimmy inject --image shimmy:0.1.0 -f -
  $ shimmy inject --config shimmy-config.yaml -f namespace.yaml -f deployment.yaml`;

interface InjectFlags {
  readonly filename: readonly string[];
  readonly config?: string;
  readonly image?: string;
  readonly namespace: string;
}

/** `shimmy inject`. */
export function define(command: Command, finish: Finish): void {
  command
    .requiredOption(
      "-f, --filename <file...>",
      "YAML or JSON, of any number of objects; - is standard input",
    )
    .option("--config <file>", "settings of the cluster: the ConfigMap shimmy-config, or its data")
    .option("--image <image>", "image of the sidecar, if the settings name none")
    .option("-n, --namespace <name>", "namespace of objects that name none", "default")
    .addHelpText("after", HELP)
    .action(async (flags: InjectFlags) => {
      finish(await run(flags));
    });
}

async function run({ filename, config, image, namespace }: InjectFlags): Promise<number> {
  const settings = await readSettings(config, image);
  const texts: string[] = [];
  for (const file of filename) texts.push(await readText(file));
  const result = withFileName(filename.join(", "), () =>
    injectManifest(texts.join("\n---\n"), { config: settings, defaultNamespace: namespace }),
  );
  return report(result);
}

function report({ text, reports }: ManifestResult): number {
  for (const entry of reports) for (const line of lines(entry)) process.stderr.write(`${line}\n`);
  if (reports.some(({ result }) => result.outcome === "refused")) return ExitCode.failure;
  process.stdout.write(text);
  return ExitCode.ok;
}

function lines({ name, result }: ObjectReport): readonly string[] {
  if (result.outcome === "refused") {
    return [`${name}: refused, ${result.reason}: ${result.message}`];
  }
  const warnings = result.warnings.map((warning) => `${name}: warning: ${warning}`);
  const outcome =
    result.outcome === "injected" ? "injected" : `skipped, ${result.reason}: ${result.message}`;
  return [`${name}: ${outcome}`, ...warnings];
}

async function readSettings(
  file: string | undefined,
  image: string | undefined,
): Promise<InjectionConfig> {
  if (file === undefined) return readInjectionConfig(image === undefined ? {} : { image });
  const text = await readText(file);
  return withFileName(file, () =>
    readInjectionConfig({ ...(image === undefined ? {} : { image }), ...clusterData(text) }),
  );
}

function clusterData(text: string): Record<string, unknown> {
  const value: unknown = parse(text) ?? {};
  if (!isObject(value)) throw refused("expected keys and values");
  return { ...(textAt(value, "kind") === "ConfigMap" ? objectAt(value, "data") : value) };
}

async function readText(file: string): Promise<string> {
  try {
    return file === "-" ? await readAll(process.stdin) : await readFile(file, "utf8");
  } catch (err) {
    throw refused(`${file}: ${messageOf(err)}`);
  }
}

function withFileName<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (err) {
    throw refused(`${file}: ${messageOf(err)}`);
  }
}

function refused(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
