import { Document, isAlias, isMap, isSeq, parseAllDocuments, visit } from "yaml";

import { messageOf, ShimmyError } from "../../common/errors.ts";
import { injectObject } from "../../injector/inject-object.ts";
import type { InjectionConfig } from "../../injector/config.ts";
import type { InjectionResult } from "../../injector/inject-pod.ts";
import {
  applyPatch,
  pointer,
  pointerSegments,
  prefixPatch,
  type JsonPatch,
  type PatchOperation,
} from "../../injector/json-patch.ts";
import type { NamespaceMetadata } from "../../injector/opt-in.ts";
import { isObject, objectAt, objectsAt, textAt, type Fields } from "../../injector/raw.ts";

/** What was done with one object of a file. */
export interface ObjectReport {
  /** As `Deployment/web`. */
  readonly name: string;
  readonly result: InjectionResult;
}

/** Files after injection, and what was done. */
export interface ManifestResult {
  /** All documents; comments and formatting of what was not touched stay as they are. */
  readonly text: string;
  /** One entry for each object that makes pods. */
  readonly reports: readonly ObjectReport[];
}

/** Options for {@link injectManifest}. */
export interface ManifestOptions {
  readonly config: InjectionConfig;
  /** Of objects that name none. */
  readonly defaultNamespace: string;
}

/** What we add is written out, however often it is the same. */
const NO_ALIASES = { aliasDuplicateObjects: false };

/**
 * Injects every object of a YAML or JSON text, Namespaces in it counting for the objects in them.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when the text cannot be read.
 */
export function injectManifest(text: string, options: ManifestOptions): ManifestResult {
  const documents = readDocuments(text);
  const namespaces = collectNamespaces(documents);
  const reports: ObjectReport[] = [];
  const injected = documents.map((document) => {
    const patch: PatchOperation[] = [];
    for (const { path, object } of objectsOf(document.toJS({ maxAliasCount: 100 }))) {
      const podNamespace = textAt(objectAt(object, "metadata"), "namespace");
      const name = podNamespace ?? options.defaultNamespace;
      const place = { podNamespace: name, namespace: namespaces.get(name) ?? {} };
      const result = injectObject(object, place, options.config);
      if (result === undefined) continue;
      reports.push({ name: nameOf(object), result });
      if (result.outcome !== "refused") patch.push(...prefixPatch(path, result.patch));
    }
    return patchDocument(document, patch);
  });
  return { text: writeDocuments(injected), reports };
}

function readDocuments(text: string): readonly Document[] {
  const documents = parseAllDocuments(text);
  if (!Array.isArray(documents)) return [];
  for (const { errors } of documents) {
    const [problem] = errors;
    if (problem !== undefined) throw refused(problem.message.split("\n", 1)[0] ?? "not YAML");
  }
  return documents;
}

/** The object of a document, or the items of a List in it. */
function objectsOf(value: unknown): readonly { path: string; object: Fields }[] {
  if (!isObject(value)) return [];
  if (textAt(value, "kind") !== "List") return [{ path: "", object: value }];
  return objectsAt(value, "items").map((object, index) => ({
    path: pointer("items", index),
    object,
  }));
}

function collectNamespaces(documents: readonly Document[]): ReadonlyMap<string, NamespaceMetadata> {
  const objects = documents.flatMap((document) => objectsOf(readDocument(document)));
  return new Map(
    objects
      .filter(({ object }) => textAt(object, "kind") === "Namespace")
      .map(({ object }) => {
        const metadata = objectAt(object, "metadata");
        const labels = objectAt(metadata, "labels");
        return [
          textAt(metadata, "name") ?? "",
          { labels, annotations: objectAt(metadata, "annotations") },
        ];
      }),
  );
}

function readDocument(document: Document): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 }) as unknown;
  } catch (err) {
    throw refused(messageOf(err));
  }
}

function nameOf(object: Fields): string {
  const metadata = objectAt(object, "metadata");
  const name = textAt(metadata, "name") ?? textAt(metadata, "generateName") ?? "?";
  return `${textAt(object, "kind") ?? "?"}/${name}`;
}

/** In place, so that comments stay; a document with aliases is written anew, for they may be shared. */
function patchDocument(document: Document, patch: JsonPatch): Document {
  if (patch.length === 0) return document;
  if (hasAlias(document))
    return new Document(applyPatch(document.toJS() as unknown, patch), NO_ALIASES);
  for (const operation of patch) patchNode(document, operation);
  return document;
}

function patchNode(document: Document, operation: PatchOperation): void {
  const segments = pointerSegments(operation.path);
  const parent = document.getIn(segments.slice(0, -1), true);
  const key = segments.at(-1) ?? "";
  if (isSeq(parent) && operation.op === "add") {
    const index = key === "-" ? parent.items.length : Number(key);
    parent.items.splice(index, 0, document.createNode(operation.value, NO_ALIASES));
  } else if (isMap(parent) && operation.op === "remove") parent.delete(key);
  else if (isMap(parent) && operation.op !== "remove") {
    parent.set(key, document.createNode(operation.value, NO_ALIASES));
  } else throw new ShimmyError("SHIMMY_ERR_INTERNAL", `patch: ${operation.path} leads nowhere`);
}

function hasAlias(document: Document): boolean {
  let isFound = false;
  visit(document, (_key, node) => {
    isFound ||= isAlias(node);
  });
  return isFound;
}

function writeDocuments(documents: readonly Document[]): string {
  return documents
    .filter(({ contents }) => contents !== null)
    .map((document) => {
      if (document.directives !== undefined) document.directives.docStart = null;
      return document.toString({ lineWidth: 0 });
    })
    .join("---\n");
}

function refused(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
