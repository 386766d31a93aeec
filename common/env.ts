import { ShimmyError, messageOf } from "./errors.ts";
import { didYouMean } from "./suggest.ts";

/** One setting of a process: where it comes from, how it is read, and what its documentation says. */
export interface ConfigKey<T> {
  /** Environment variable; starts with `SHIMMY_`. */
  readonly env: string;
  /** Command-line flag without its dashes; kebab-case. */
  readonly flag: string;
  /** Reads the text given; throws with a message that says what was expected. */
  readonly parse: (text: string) => T;
  /** Used when neither is given; text, so that it is read and documented like a given one. */
  readonly default?: string;
  /** `true`: it is an error to leave it out. A key with neither this nor a default may be `undefined`. */
  readonly required?: boolean;
  /** One sentence for docs/reference/config.md and `--help`. */
  readonly doc: string;
}

/** The settings of one process, by the name its code uses. */
export type ConfigSchema = Readonly<Record<string, ConfigKey<unknown>>>;

/** What {@link resolveConfig} makes of a schema. */
export type Config<S extends ConfigSchema> = {
  readonly [K in keyof S]: S[K] extends { default: string } | { required: true }
    ? ReturnType<S[K]["parse"]>
    : ReturnType<S[K]["parse"]> | undefined;
};

/** Where {@link resolveConfig} looks; a flag wins over the environment. */
export interface ConfigSources {
  /** @defaultValue no variables */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Values by the name in the schema, as {@link parseFlags} or a command-line parser gives them. */
  readonly flags?: Readonly<Record<string, string | undefined>>;
  /** `SHIMMY_*` variables that belong to other processes and are let through. */
  readonly foreign?: readonly string[];
}

const PREFIX = "SHIMMY_";

/** Variables with our prefix that are not settings of the process that finds them, and their values. */
const FOREIGN_PATTERNS: readonly (readonly [name: RegExp, value: RegExp])[] = [
  [/^SHIMMY_PRELOAD$/, /^/], // the preload library's own switch
  [/^SHIMMY_TEST_/, /^/], // test and bench scaling
  [/^SHIMMY_NATIVE_BUILD$/, /^/], // which addon is loaded
  // Written by Kubernetes for each Service, ours included.
  // https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
  [/^SHIMMY_\w+_SERVICE_(HOST|PORT(_\w+)?)$/, /^/],
  [/^SHIMMY_\w+_PORT$/, /^(tcp|udp|sctp):\/\//],
  [/^SHIMMY_\w+_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/, /^/],
];

/**
 * Resolves a process's settings, once, at its edge.
 *
 * @returns A frozen object with one property per key of the schema.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names every setting refused: values
 * that cannot be read, required ones left out, and unknown `SHIMMY_*` variables or flags.
 */
export function resolveConfig<const S extends ConfigSchema>(
  schema: S,
  { env = {}, flags = {}, foreign = [] }: ConfigSources,
): Config<S> {
  const problems = [...unknownVariables(schema, env, foreign), ...unknownFlags(schema, flags)];
  const values: Record<string, unknown> = {};
  for (const [name, key] of Object.entries(schema)) {
    const { source, text } = lookUp(name, key, { env, flags });
    try {
      if (text === undefined) refuseAbsence(key);
      values[name] = text === undefined ? undefined : key.parse(text);
    } catch (err) {
      problems.push(`${source}: ${messageOf(err)}`);
    }
  }
  if (problems.length > 0) {
    throw new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", problems.join("; "));
  }
  return Object.freeze(values) as Config<S>;
}

/**
 * Reads `--flag value` and `--flag=value`; every flag of a schema takes a value.
 *
 * @returns The values by their name in the schema, for {@link ConfigSources.flags}.
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` on an unknown flag, one given twice, one
 * without its value, or a word that is not a flag.
 */
export function parseFlags(schema: ConfigSchema, argv: readonly string[]): Record<string, string> {
  const nameByFlag = new Map(Object.entries(schema).map(([name, { flag }]) => [flag, name]));
  const flags: Record<string, string> = {};
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const match = /^--(?<flag>[^=]+)(?:=(?<value>.*))?$/s.exec(word)?.groups;
    if (match?.flag === undefined) throw invalid(`unexpected argument "${word}"`);
    const name = nameByFlag.get(match.flag);
    if (name === undefined) {
      throw invalid(`unknown flag "--${match.flag}"${didYouMean(match.flag, nameByFlag.keys())}`);
    }
    if (Object.hasOwn(flags, name)) throw invalid(`--${match.flag} is given twice`);
    const value = match.value ?? words.shift();
    if (value === undefined) throw invalid(`--${match.flag} needs a value`);
    flags[name] = value;
  }
  return flags;
}

/**
 * The settings as a Markdown table, as docs/reference/config.md shows them.
 *
 * @returns Lines joined by line feeds, without one at the end.
 */
export function describeConfig(schema: ConfigSchema): string {
  const rows = Object.values(schema).map(({ env, flag, default: value, required, doc }) => {
    const shown = value === undefined ? "" : `\`${value === "" ? '""' : value}\``;
    return `| \`${env}\` | \`--${flag}\` | ${required === true ? "required" : shown} | ${escapeCell(doc)} |`;
  });
  return ["| Variable | Flag | Default | Meaning |", "|---|---|---|---|", ...rows].join("\n");
}

function escapeCell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function unknownVariables(
  schema: ConfigSchema,
  env: Readonly<Record<string, string | undefined>>,
  foreign: readonly string[],
): string[] {
  const known = new Set(Object.values(schema).map((key) => key.env));
  return Object.entries(env)
    .filter(([name]) => name.startsWith(PREFIX) && !known.has(name) && !foreign.includes(name))
    .filter(([name, value]) => value !== undefined && !isForeign(name, value))
    .map(([name]) => `unknown variable "${name}"${didYouMean(name, known)}`);
}

function isForeign(name: string, value: string): boolean {
  return FOREIGN_PATTERNS.some(([names, values]) => names.test(name) && values.test(value));
}

function unknownFlags(
  schema: ConfigSchema,
  flags: Readonly<Record<string, string | undefined>>,
): string[] {
  return Object.keys(flags)
    .filter((name) => !Object.hasOwn(schema, name))
    .map((name) => `unknown setting "${name}"${didYouMean(name, Object.keys(schema))}`);
}

function lookUp(
  name: string,
  key: ConfigKey<unknown>,
  { env, flags }: Required<Pick<ConfigSources, "env" | "flags">>,
): { source: string; text: string | undefined } {
  const flag = flags[name];
  if (flag !== undefined) return { source: `--${key.flag}`, text: flag };
  return { source: key.env, text: env[key.env] ?? key.default };
}

function refuseAbsence(key: ConfigKey<unknown>): void {
  if (key.required === true) throw invalid(`is required: ${key.doc}`);
}

function invalid(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", message);
}
