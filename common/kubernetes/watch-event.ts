import { ApiError, statusError } from "./api-error.ts";
import type { KubernetesObject } from "./objects.ts";

/** One line of a watch. */
export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  /** A bookmark has nothing but a version. */
  readonly object: KubernetesObject;
  readonly resourceVersion: string;
}

const TYPES: readonly string[] = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"];

/**
 * Reads one line of a watch.
 *
 * @throws {@link ApiError} The error that the line brings, or reason `Garbage` when it is none of a
 * watch.
 * @see https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
export function parseWatchEvent(line: Buffer): WatchEvent {
  const { type, object } = parseObject(line);
  if (type === "ERROR") throw errorOf(object);
  const resourceVersion = versionOf(object);
  if (typeof type !== "string" || !TYPES.includes(type) || resourceVersion === undefined) {
    throw garbage(line);
  }
  const event = { type, object, resourceVersion } as WatchEvent;
  if (event.type !== "BOOKMARK" && typeof event.object.metadata.name !== "string") {
    throw garbage(line);
  }
  return event;
}

/** The version of an object or a list; `undefined` when there is none. */
export function versionOf(object: unknown): string | undefined {
  const { metadata } = fields(object);
  const { resourceVersion } = fields(metadata);
  return typeof resourceVersion === "string" && resourceVersion !== ""
    ? resourceVersion
    : undefined;
}

function parseObject(line: Buffer): Readonly<Record<string, unknown>> {
  try {
    return fields(JSON.parse(line.toString()));
  } catch {
    throw garbage(line);
  }
}

function errorOf(status: unknown): ApiError {
  const { code } = fields(status);
  return statusError("watch", typeof code === "number" ? code : 500, status);
}

function garbage(line: Buffer): ApiError {
  const shown = JSON.stringify(line.subarray(0, 80).toString());
  return new ApiError(`not an event of a watch: ${shown}`, { status: 0, reason: "Garbage" });
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
