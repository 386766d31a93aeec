/**
 * The part of JSON Patch that we use. https://www.rfc-editor.org/rfc/rfc6902
 */
import { ShimmyError } from "../common/errors.ts";
import { isObject } from "./raw.ts";

/** One operation; `replace` and `remove` are for keys that we carried to a template ourselves. */
export type PatchOperation =
  | { readonly op: "add" | "replace"; readonly path: string; readonly value: unknown }
  | { readonly op: "remove"; readonly path: string };

/** Operations in the order in which they apply. */
export type JsonPatch = readonly PatchOperation[];

/** Writes a path. https://www.rfc-editor.org/rfc/rfc6901 */
export function pointer(...segments: readonly (string | number)[]): string {
  return segments
    .map((segment) => `/${String(segment).replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}

/** Reads a path. */
export function pointerSegments(path: string): readonly string[] {
  return path
    .split("/")
    .slice(1)
    .map((segment) => segment.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** The same operations on an object that lies at `prefix` of another. */
export function prefixPatch(prefix: string, patch: JsonPatch): JsonPatch {
  return patch.map((operation) => ({ ...operation, path: `${prefix}${operation.path}` }));
}

/**
 * Applies operations to a copy.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INTERNAL` when a path leads nowhere.
 */
export function applyPatch<T>(document: T, patch: JsonPatch): T {
  const copy = structuredClone(document);
  for (const operation of patch) apply(copy, operation);
  return copy;
}

function apply(document: unknown, operation: PatchOperation): void {
  const segments = pointerSegments(operation.path);
  const parent = segments.slice(0, -1).reduce<unknown>(step, document);
  const key = segments.at(-1) ?? "";
  if (Array.isArray(parent)) applyToList(parent, key, operation);
  else if (isObject(parent)) applyToObject(parent, key, operation);
  else throw nowhere(operation.path);
}

function applyToList(list: unknown[], key: string, operation: PatchOperation): void {
  const index = key === "-" ? list.length : Number(key);
  const removed = operation.op === "add" ? 0 : 1;
  if (!Number.isInteger(index) || index + removed > list.length) throw nowhere(operation.path);
  list.splice(index, removed, ...("value" in operation ? [structuredClone(operation.value)] : []));
}

function applyToObject(
  target: Record<string, unknown>,
  key: string,
  operation: PatchOperation,
): void {
  if (operation.op !== "add" && !Object.hasOwn(target, key)) throw nowhere(operation.path);
  if (operation.op === "remove") Reflect.deleteProperty(target, key);
  else target[key] = structuredClone(operation.value);
}

function step(parent: unknown, segment: string): unknown {
  if (Array.isArray(parent)) return parent[Number(segment)] as unknown;
  return isObject(parent) && Object.hasOwn(parent, segment) ? parent[segment] : undefined;
}

function nowhere(path: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INTERNAL", `patch: ${path} leads nowhere`);
}
