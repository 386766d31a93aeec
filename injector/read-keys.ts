import { messageOf } from "../common/errors.ts";
import type { InjectionReason } from "../common/reasons.ts";
import { didYouMean } from "../common/suggest.ts";
import { isObject, objectAt, shown, type Fields } from "./raw.ts";
import {
  isOurKey,
  NOT_BUILT,
  VOCABULARY,
  WRITTEN,
  type Place,
  type SettingName,
  type Settings,
} from "./vocabulary.ts";

/** Why something that was asked for cannot be done. */
export interface Problem {
  readonly reason: InjectionReason;
  /** One sentence that names the token. */
  readonly message: string;
}

/** What the keys at one place say. */
export interface KeyReading {
  readonly settings: Settings;
  readonly problems: readonly Problem[];
}

const NAME_BY_KEY = new Map(
  Object.entries(VOCABULARY).map(([name, { key }]) => [key as string, name as SettingName]),
);
const WRITTEN_PLACES = new Map<string, Place>(
  Object.values(WRITTEN).map(({ key, place }) => [key, place]),
);
const ALL_KEYS = [...NAME_BY_KEY.keys(), ...Object.keys(NOT_BUILT)];

/**
 * Reads those of the keys at one place that are ours; others are left alone.
 *
 * @param entries - Labels or annotations as they came; values may be anything in a file.
 */
export function readKeys(place: Place, entries: Fields): KeyReading {
  const settings: Record<string, unknown> = {};
  const problems: Problem[] = [];
  for (const [key, value] of Object.entries(entries)) {
    if (!isOurKey(key) || WRITTEN_PLACES.get(key) === place) continue;
    try {
      const name = requireSetting(place, key);
      settings[name] = VOCABULARY[name].parse(requireText(value));
    } catch (err) {
      const reason = isNotBuilt(err) ? "not_built" : "bad_value";
      problems.push({ reason, message: `${place} ${key}: ${messageOf(err)}` });
    }
  }
  return { settings, problems };
}

/**
 * The labels or annotations in the metadata of an object; `{}` when there are none.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when something else is there.
 */
export function metadataEntries(object: Fields, kind: "labels" | "annotations"): Fields {
  return objectAt(objectAt(object, "metadata"), kind);
}

/** Both readings, `nearer` before `farther`. */
export function overlay(nearer: Settings, farther: Settings): Settings {
  return { ...farther, ...nearer };
}

class NotBuiltError extends Error {}

function isNotBuilt(err: unknown): boolean {
  return err instanceof NotBuiltError || messageOf(err).endsWith("is not built yet");
}

function requireSetting(place: Place, key: string): SettingName {
  const feature = NOT_BUILT[key];
  if (Object.hasOwn(NOT_BUILT, key) && feature !== undefined) {
    throw new NotBuiltError(`${feature}: this feature is not built yet`);
  }
  if (WRITTEN_PLACES.has(key)) throw new Error("is written by Shimmy and may not be set");
  const name = NAME_BY_KEY.get(key);
  if (name === undefined) throw new Error(`unknown key "${key}"${didYouMean(key, ALL_KEYS)}`);
  const places: readonly Place[] = VOCABULARY[name].places;
  if (places.includes(place)) return name;
  throw new Error(`may not stand there; it may be a ${places.join(", ")}`);
}

function requireText(value: unknown): string {
  if (typeof value === "string") return value;
  const hint = isObject(value) || Array.isArray(value) ? "" : `, put quotes around ${shown(value)}`;
  throw new Error(`must be text${hint}`);
}
