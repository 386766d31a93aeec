/**
 * Reads objects of Kubernetes as they came, without types of ours in between: what an API type does
 * not know is lost on its way back, `restartPolicy` of other people's containers first of all.
 */
import { ShimmyError } from "../common/errors.ts";

/** An object of JSON. */
export type Fields = Readonly<Record<string, unknown>>;

/**
 * The object at a key; `{}` when there is none.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when something else is there.
 */
export function objectAt(parent: Fields, key: string): Fields {
  const value = own(parent, key) ?? {};
  if (isObject(value)) return value;
  throw refused(`${key} must be an object, got ${shown(value)}`);
}

/**
 * The objects of the list at a key; `[]` when there is none.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when something else is there.
 */
export function objectsAt(parent: Fields, key: string): readonly Fields[] {
  const value = own(parent, key) ?? [];
  if (Array.isArray(value) && value.every(isObject)) return value;
  throw refused(`${key} must be a list of objects, got ${shown(value)}`);
}

/** The text at a key; `undefined` when it is not there or no text. */
export function textAt(parent: Fields, key: string): string | undefined {
  const value = own(parent, key);
  return typeof value === "string" ? value : undefined;
}

/** The number at a key; `undefined` when it is not there or no number. */
export function numberAt(parent: Fields, key: string): number | undefined {
  const value = own(parent, key);
  return typeof value === "number" ? value : undefined;
}

/** Whether something is at a key; `null` is nothing, as in the API. */
export function has(parent: Fields, key: string): boolean {
  return (own(parent, key) ?? undefined) !== undefined;
}

/** Whether a value is an object of JSON. */
export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at a key of the object itself; a key may be `constructor`. */
export function own(parent: Fields, key: string): unknown {
  return Object.hasOwn(parent, key) ? parent[key] : undefined;
}

/** A value for a message, cut. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** An error about what somebody wrote. */
export function refused(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
