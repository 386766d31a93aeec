import { expect } from "chai";

import type { CaseRecords } from "./judge.ts";
import { encodeSide, type TrafficCase } from "./script.ts";

/** Problems of a connection, with all that is needed to run it again. */
export function explain(
  traffic: TrafficCase,
  records: CaseRecords,
  problems: readonly string[],
): string[] {
  const { name, client, server } = traffic;
  const scripts = `client ${encodeSide(client)}, server ${encodeSide(server)}`;
  return problems.map((problem) => `${name}: ${problem}; ${scripts}: ${JSON.stringify(records)}`);
}

const SHOWN = 10;

/** Fails with the first problems, if there are any. */
export function expectNone(problems: readonly string[]): void {
  const shown = problems.slice(0, SHOWN).join("\n");
  expect(problems.length, `${problems.length} problems\n${shown}\n`).to.equal(0);
}
