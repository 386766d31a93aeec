// Runs the test tiers, all or those named: node scripts/test-all.ts [static] [unit] [native] …
// Every tier runs even if one before it failed. The last line is `N passed, N failed`.
import { closingLine, sumCounts, type Counts } from "./test/counts.ts";
import { runStep } from "./test/run-step.ts";
import { TIERS, type Tier } from "./test/tiers.ts";

// A step is stopped after this many times its tier's whole budget.
const HANG_FACTOR = 2;
const SCALE = Math.max(1, Number(process.env["SHIMMY_TEST_SCALE"] ?? 1));

async function runTier({ name, budgetSeconds, steps }: Tier): Promise<Counts> {
  const startedMs = Date.now();
  const all: Counts[] = [];
  for (const step of steps) {
    console.log(`--- ${name}: ${step.name}`);
    const stepStartedMs = Date.now();
    const timeoutMs = budgetSeconds * HANG_FACTOR * SCALE * 1000;
    all.push(await runStep(step, { timeoutMs, print: (text) => process.stdout.write(text) }));
    console.log(`    ${((Date.now() - stepStartedMs) / 1000).toFixed(1)} s`);
  }
  const total = sumCounts(all);
  const seconds = (Date.now() - startedMs) / 1000;
  const over = seconds > budgetSeconds ? ", OVER BUDGET" : "";
  console.log(
    `=== ${name}: ${closingLine(total)}; ${seconds.toFixed(0)} s of ${budgetSeconds} s${over}`,
  );
  return total;
}

function chooseTiers(names: readonly string[]): readonly Tier[] {
  const unknown = names.filter((name) => !TIERS.some((tier) => tier.name === name));
  if (unknown.length > 0) {
    const known = TIERS.map(({ name }) => name).join(", ");
    throw new Error(`no such tier: ${unknown.join(", ")}; there are ${known}`);
  }
  if (names.length > 0) return TIERS.filter(({ name }) => names.includes(name));
  return SCALE > 1 ? TIERS : TIERS.filter(({ isLong }) => isLong !== true);
}

const results: Counts[] = [];
for (const tier of chooseTiers(process.argv.slice(2))) results.push(await runTier(tier));

const total = sumCounts(results);
for (const reason of total.skipped) console.log(`skipped: ${reason}`);
console.log(closingLine(total));
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
