/**
 * The form of `shimmy run` that needs no file:
 *
 *   words   = *( group ) [ "--" word *word ]
 *   group   = 1*( "--serve" served | "--call" called ) [ COMMAND ]
 *   served  = NAME ":" [ADDRESS ":"] PORT *( "," … )
 *   called  = an upstream as SHIMMY_UPSTREAMS has it: NAME ":" LOCALPORT [ "?" options ] *( "," … )
 *
 * The flags say what the COMMAND behind them serves and calls. COMMAND is one word, a line for the
 * shell; what follows `--` is a command as it stands. A last group may be without: its ports stay
 * open for another terminal.
 */
import { isIP } from "node:net";
import { basename } from "node:path";

import { parseUpstreams, type UpstreamSpec } from "../../sidecar/upstreams.ts";
import { refused, requireName, requirePort, type ProgramSpec, type ServedPort } from "./plan.ts";

/** A group that is being read. */
interface Group {
  serves: ServedPort[];
  calls: UpstreamSpec[];
  address?: string;
}

/**
 * Reads the words behind `shimmy run` when they begin with a flag.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` that names the word refused.
 */
export function parseRunArguments(words: readonly string[]): ProgramSpec[] {
  const programs: ProgramSpec[] = [];
  const finish = (group: Group, command?: readonly string[] | string): void => {
    const taken = programs.map(({ name }) => name);
    programs.push(toProgram(group, command, taken));
  };
  let group: Group | undefined;
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") {
      if (group === undefined || rest.length === 0) throw misplacedDashes(group);
      finish(group, rest.splice(0));
      group = undefined;
    } else if (word.startsWith("-")) {
      group = addFlag(group ?? { serves: [], calls: [] }, word, rest);
    } else {
      if (group === undefined) throw refused(`--serve or --call has to come before "${word}"`);
      finish(group, word);
      group = undefined;
    }
  }
  if (group !== undefined) finish(group);
  return programs;
}

function addFlag(group: Group, word: string, rest: string[]): Group {
  const match = /^(?<flag>--(?:serve|call))(?:=(?<value>.*))?$/s.exec(word)?.groups;
  if (match?.["flag"] === undefined) throw refused(`unknown option "${word}"`);
  const value = match["value"] ?? rest.shift();
  if (value === undefined) throw refused(`${match["flag"]} needs a value such as web:8080`);
  if (match["flag"] === "--call") {
    return { ...group, calls: [...group.calls, ...parseUpstreams(value)] };
  }
  return value.split(",").reduce(addServed, group);
}

function addServed(group: Group, entry: string): Group {
  const { address = group.address, ...served } = parseServed(entry);
  if (group.address !== undefined && address !== group.address) {
    throw refused(`--serve ${entry}: one program has one address, ${group.address} was given`);
  }
  const serves = [...group.serves, served];
  return address === undefined ? { ...group, serves } : { ...group, serves, address };
}

function parseServed(entry: string): ServedPort & { address?: string } {
  const match = /^(?<name>[^:]*):(?:(?<address>[\d.]+|\[[^\]]*\]):)?(?<port>[^:]*)$/.exec(
    entry.trim(),
  )?.groups;
  if (match === undefined) {
    throw refused(`--serve needs NAME:PORT or NAME:ADDRESS:PORT, got ${JSON.stringify(entry)}`);
  }
  const service = requireName("service", match["name"] ?? "");
  const port = requirePort(`the port of ${service}`, match["port"]);
  const address = match["address"]?.replaceAll(/[[\]]/g, "");
  if (address === undefined) return { service, port };
  if (isIP(address) === 0) throw refused(`"${address}" in --serve ${entry} is not an address`);
  return { service, port, address };
}

function toProgram(
  { serves, calls, address }: Group,
  command: readonly string[] | string | undefined,
  taken: readonly string[],
): ProgramSpec {
  return {
    name: freeName(serves[0]?.service ?? callerName(command), taken),
    serves,
    calls,
    ...(command === undefined ? {} : { command }),
    ...(address === undefined ? {} : { address }),
  };
}

/** A caller is named after its program. */
function callerName(command: readonly string[] | string | undefined): string {
  if (command === undefined) return "terminal";
  const first = typeof command === "string" ? command.trim().split(/\s/, 1)[0] : command[0];
  const name = basename(first ?? "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 40);
  return name === "" ? "client" : name;
}

function freeName(name: string, taken: readonly string[]): string {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? name : `${name}-${number}`;
    if (!taken.includes(candidate)) return candidate;
  }
}

function misplacedDashes(group: Group | undefined): Error {
  return group === undefined
    ? refused(`--serve or --call has to come before "--"`)
    : refused(`a command has to come behind "--"`);
}
