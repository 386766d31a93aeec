/**
 * Fills `${NAME}` placeholders of a committed configuration.
 *
 * @throws Error when the text names one that has no value.
 */
export function fillTemplate(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{([A-Z_]+)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`no value for \${${name}} in a peer's configuration`);
    return value;
  });
}
