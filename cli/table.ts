/** One column of a table. */
export interface Column {
  readonly title: string;
  /** @defaultValue "left" */
  readonly align?: "left" | "right";
}

/**
 * Lays text out in columns, two spaces apart.
 *
 * @returns One line per row, the titles first, without spaces at their ends.
 */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string[] {
  const lines = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, index) =>
    Math.max(...lines.map((cells) => (cells[index] ?? "").length)),
  );
  return lines.map((cells) =>
    columns
      .map(({ align }, index) => {
        const cell = cells[index] ?? "";
        const width = widths[index] ?? 0;
        return align === "right" ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd(),
  );
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** A size for people: `999 B`, `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const text = unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1);
  return `${text} ${BYTE_UNITS[unit] ?? "B"}`;
}

/** A whole number with its thousands apart: `12,345`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString("en-US");
}

/** A time for people: `85 µs`, `1.25 ms`, `2.00 s`. */
export function formatMicros(micros: number): string {
  if (micros < 1000) return `${micros.toFixed(0)} µs`;
  if (micros < 1e6) return `${(micros / 1000).toFixed(2)} ms`;
  return `${(micros / 1e6).toFixed(2)} s`;
}
