/** A function of a header, as it is declared. */
export interface Declaration {
  readonly name: string;
  /** On one line, without the export macro. */
  readonly text: string;
}

/** A struct with the names of its fields. */
export interface Struct {
  readonly name: string;
  readonly fields: readonly string[];
}

function withoutComments(header: string): string {
  return header.replaceAll(/\/\*[\s\S]*?\*\//g, "");
}

/** The functions that a header exports, in its order. */
export function declarations(header: string): Declaration[] {
  return [...withoutComments(header).matchAll(/^SHIMMY_API ([^;{]+);/gm)].map(([, text = ""]) => {
    const line = text.replaceAll(/\s+/g, " ");
    return { name: /(shimmy_\w+)\(/.exec(line)?.[1] ?? "", text: `${line};` };
  });
}

/** The structs of a header. */
export function structs(header: string): Struct[] {
  return [...withoutComments(header).matchAll(/^struct (\w+) \{\n([\s\S]*?)^\};/gm)].map(
    ([, name = "", body = ""]) => ({
      name,
      fields: [...body.matchAll(/(\w+)(?:\[\d+\])?;/g)].map(([, field = ""]) => field),
    }),
  );
}

/** The constants of a header's enums. */
export function constants(header: string): string[] {
  return [...withoutComments(header).matchAll(/^enum \w+ \{([^}]*)\}/gm)].flatMap(([, body = ""]) =>
    [...body.matchAll(/\b(SHIMMY_\w+)\s*=/g)].map(([, name = ""]) => name),
  );
}
