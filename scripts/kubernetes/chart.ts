import { readFileSync } from "node:fs";
import { join } from "node:path";

import { isMap, parse, parseAllDocuments, type Document, type YAMLMap } from "yaml";

import { PACKAGE_ROOT } from "../../common/version.ts";
import { CHART_COMPONENTS, CHART_CONDITIONS, CHART_EDITS, type ChartEdit } from "./chart-edits.ts";

/** The image in manifests/base, which none can have. */
export const UNSET_IMAGE = "shimmy:{image-not-set}";

/** A manifest that becomes a template. */
interface ChartSource {
  /** Below manifests/. */
  readonly path: string;
  /** A condition of templates; always there when not given. */
  readonly when?: string;
}

/** A Prometheus may select these by labels that people choose. */
const MONITORING_KINDS = new Set(["PodMonitor", "PrometheusRule"]);
/** The namespace is the release's, and is there before the chart is installed. */
const NOT_IN_CHART = new Set(["namespace.yaml"]);

/**
 * The files of the chart that are made, by their path: the manifests of Kustomize as templates, with
 * labels, image and values in place of what stands there; and the dashboard.
 */
export function chartFiles(): ReadonlyMap<string, string> {
  const read = (path: string): string =>
    readFileSync(join(PACKAGE_ROOT, "manifests", path), "utf8");
  return new Map([
    ...sources().map((source): [string, string] => {
      const { path } = source;
      const name = path.replace(/^(?:base|components)\//, "").replaceAll("/", "-");
      return [`manifests/chart/templates/${name}`, renderTemplate(source, read(path))];
    }),
    // A chart reads files of its own folder only.
    ["manifests/chart/files/shimmy.json", read("components/dashboard/shimmy.json")],
  ]);
}

function sources(): readonly ChartSource[] {
  const read = (folder: string): string[] => {
    const text = readFileSync(
      join(PACKAGE_ROOT, "manifests", folder, "kustomization.yaml"),
      "utf8",
    );
    return (parse(text) as { resources: string[] }).resources;
  };
  return [
    ...read("base")
      .filter((path) => !NOT_IN_CHART.has(path))
      .map((path) => ({ path: `base/${path}` })),
    ...read("base/crds").map((path) => ({ path: `base/crds/${path}` })),
    ...Object.entries(CHART_COMPONENTS).flatMap(([component, when]) =>
      read(`components/${component}`).map((path) => ({
        path: `components/${component}/${path}`,
        when,
      })),
    ),
  ];
}

/** One manifest as a template. */
export function renderTemplate({ path, when }: ChartSource, manifest: string): string {
  const note = `# Made from manifests/${path} by scripts/kubernetes/write.ts; do not edit.`;
  const documents = parseAllDocuments(manifest).map((document) => {
    const kind = String(document.get("kind"));
    const condition = when ?? CHART_CONDITIONS[kind];
    const text = renderDocument(document);
    return condition === undefined ? text : `{{- if ${condition} }}\n${text}{{- end }}\n`;
  });
  return `${note}\n${documents.join("---\n")}`;
}

/** What stands for lines until the document is text: templates are no YAML. */
interface Placeholder {
  readonly key: string;
  readonly lines: readonly string[];
}

function renderDocument(document: Document): string {
  const placeholders: Placeholder[] = [];
  const placeholderOf = (lines: readonly string[]): YAMLMap["items"][number] => {
    const key = `PLACEHOLDER-${placeholders.length}-`;
    placeholders.push({ key, lines });
    return document.createPair(key, null);
  };
  const kind = String(document.get("kind"));
  const labels = MONITORING_KINDS.has(kind) ? "shimmy.monitoringLabels" : "shimmy.labels";
  addLabels(document, placeholderOf([`{{- include "${labels}" . | nindent INDENT }}`]));
  const id = `${kind}/${String(document.getIn(["metadata", "name"]))}`;
  for (const edit of CHART_EDITS[id] ?? []) applyEdit(document, edit, placeholderOf);
  const text = document
    .toString({ lineWidth: 0, flowCollectionPadding: false })
    .replace(/^---\n/, "")
    // What is for others than Helm, as the templates of alerts.
    .replaceAll(/\{\{|\}\}/g, (braces) => `{{ "${braces}" }}`)
    .replaceAll(UNSET_IMAGE, '{{ include "shimmy.image" . | quote }}');
  return placeholders.reduce(putLines, text);
}

function addLabels(document: Document, ours: YAMLMap["items"][number]): void {
  const metadata = mapAt(document, ["metadata"]);
  if (!metadata.has("labels")) metadata.set("labels", document.createNode({}));
  const labels = mapAt(document, ["metadata", "labels"]);
  labels.flow = false;
  for (const name of ["name", "part-of", "version"]) {
    labels.delete(`app.kubernetes.io/${name}`);
  }
  labels.items.unshift(ours);
}

function applyEdit(
  document: Document,
  { at, key, lines, before, after }: ChartEdit,
  placeholderOf: (lines: readonly string[]) => YAMLMap["items"][number],
): void {
  const { items } = mapAt(document, at);
  const found = items.findIndex((pair) => String(pair.key) === key);
  if (lines !== undefined) {
    if (found < 0) items.push(placeholderOf(lines));
    else items[found] = placeholderOf(lines);
    return;
  }
  if (found < 0) throw new Error(`${at.join(".")} has no ${key}`);
  if (after !== undefined) items.splice(found + 1, 0, placeholderOf(after));
  if (before !== undefined) items.splice(found, 0, placeholderOf(before));
}

function mapAt(document: Document, path: readonly (string | number)[]): YAMLMap {
  const node = document.getIn(path);
  if (isMap(node)) return node;
  throw new Error(`${path.join(".")} is no map`);
}

/** Puts lines where their placeholder stands, as far in as it is. */
function putLines(text: string, { key, lines }: Placeholder): string {
  return text.replace(new RegExp(`^( *)${key}: null$`, "m"), (_, indent: string) =>
    lines
      .map((line) =>
        line
          .replace("INDENT", String(indent.length))
          .replace("DEEPER", String(indent.length + 2))
          .replace(/^/, indent),
      )
      .join("\n"),
  );
}
