// Reads what documentation and headers say of the same thing, so that tests can compare them.
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { PACKAGE_ROOT } from "../../../common/version.ts";

/** A field of a C struct or of a documented table. */
export interface Field {
  readonly offset: number;
  readonly bytes: number;
  readonly name: string;
}

/** Text of a file of the repository. */
export function readSource(path: string): string {
  return readFileSync(join(PACKAGE_ROOT, path), "utf8");
}

/** The text from a heading of any level to the next one. */
export function section(markdown: string, heading: string): string {
  const found = markdown
    .split(/^(?=#{1,6} )/m)
    .find((part) => part.split("\n", 1)[0]?.replace(/^#+ /, "") === heading);
  if (found === undefined) throw new Error(`no heading "${heading}"`);
  return found;
}

/** Rows of the table with this head, without their backquotes; the cells of the head first. */
export function table(markdown: string, head: string): string[][] {
  const lines = markdown.split("\n");
  const start = lines.indexOf(head);
  if (start < 0) throw new Error(`no table ${head}`);
  const rest = lines.slice(start + 2);
  const end = rest.findIndex((line) => !line.startsWith("|"));
  return (end < 0 ? rest : rest.slice(0, end)).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("`", "")),
  );
}

/** Offset, size and name of each row of a table of fields. */
export function documentedFields(markdown: string): Field[] {
  return table(markdown, "| Offset | Bytes | Field | Meaning |").map(([offset, bytes, name]) => ({
    offset: Number(offset),
    bytes: Number(bytes),
    name: name ?? "",
  }));
}

const SIZES: Readonly<Record<string, number>> = {
  uint16_t: 2,
  uint32_t: 4,
  uint64_t: 8,
  MessageHeader: 8,
};

/**
 * The fields of a struct as a compiler lays them out.
 *
 * @throws Error when the header's own `static_assert` says another size.
 */
export function structFields(header: string, name: string): Field[] {
  const body = new RegExp(`^struct ${name} \\{[^\\n]*\\n(.*?)^\\};`, "ms").exec(header)?.[1] ?? "";
  let end = 0;
  let widest = 1;
  const fields = [...body.matchAll(/^ {2}(\w+) (\w+);/gm)].map(([, type = "", field = ""]) => {
    const bytes = SIZES[type];
    if (bytes === undefined) throw new Error(`${name}.${field} is of unknown type ${type}`);
    const offset = alignUp(end, Math.min(bytes, type === "MessageHeader" ? 4 : 8));
    widest = Math.max(widest, bytes === 8 && type !== "MessageHeader" ? 8 : 4);
    end = offset + bytes;
    return { offset, bytes, name: field };
  });
  const size = structSize(header, name);
  if (alignUp(end, widest) !== size) throw new Error(`${name} has ${end} bytes, not ${size}`);
  return fields;
}

/** What `static_assert(sizeof(name) == N)` says. */
export function structSize(header: string, name: string): number {
  return Number(new RegExp(`static_assert\\(sizeof\\(${name}\\) == (\\d+)\\)`).exec(header)?.[1]);
}

/** Value of `inline constexpr TYPE name = N;`. */
export function constant(header: string, name: string): number {
  const text = new RegExp(`inline constexpr \\w+ ${name} = (\\d+);`).exec(header)?.[1];
  if (text === undefined) throw new Error(`no constant ${name}`);
  return Number(text);
}

/** Members of an `enum class` and their numbers. */
export function enumMembers(header: string, name: string): [name: string, value: number][] {
  const body = new RegExp(`^enum class ${name} : \\w+ \\{(.*?)^\\};`, "ms").exec(header)?.[1] ?? "";
  return [...body.matchAll(/^ {2}(k\w+) = (\d+),/gm)].map(([, member = "", value]) => [
    member,
    Number(value),
  ]);
}

function alignUp(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}
