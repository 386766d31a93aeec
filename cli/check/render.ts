import type { CheckFinding, CheckStatus } from "./finding.ts";

const WORDS: Readonly<Record<CheckStatus, string>> = {
  ok: "ok",
  warn: "warn",
  fail: "FAIL",
  unknown: "?",
};

const COLOURS: Readonly<Record<CheckStatus, number>> = { ok: 32, warn: 33, fail: 31, unknown: 36 };

/** Lays findings out for people, section by section, and sums them up. */
export function renderFindings(findings: readonly CheckFinding[], isColoured: boolean): string[] {
  const sections = Map.groupBy(findings, ({ section }) => section);
  return [
    ...[...sections].flatMap(([section, group]) => [
      section,
      ...group.flatMap((finding) => linesOf(finding, isColoured)),
      "",
    ]),
    summaryOf(findings),
  ];
}

function linesOf({ status, message, todo }: CheckFinding, isColoured: boolean): string[] {
  const word = WORDS[status].padEnd(4);
  const shown = isColoured ? `\u001B[${COLOURS[status]}m${word}\u001B[0m` : word;
  return [`  ${shown}  ${message}`, ...(todo === undefined ? [] : [`        -> ${todo}`])];
}

function summaryOf(findings: readonly CheckFinding[]): string {
  const counts = Map.groupBy(findings, ({ status }) => status);
  const parts = (
    [
      ["fail", "failed"],
      ["warn", "to look at"],
      ["unknown", "not checked"],
      ["ok", "ok"],
    ] as const
  ).flatMap(([status, words]) => {
    const number = counts.get(status)?.length ?? 0;
    return number === 0 ? [] : [`${number} ${words}`];
  });
  return `${parts.join(", ")}.`;
}
