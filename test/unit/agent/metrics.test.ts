import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { addAgentGauges, addCacheGauges, createAgentMetrics } from "../../../agent/metrics.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";

describe("docs/reference/metrics.md", function () {
  it("should have a row for each metric of the agent, and no other", async function () {
    const metrics = createAgentMetrics();
    const none = (): number => 0;
    addAgentGauges(metrics, {
      sessions: none,
      sidecars: none,
      pods: none,
      failedPods: none,
      channels: none,
      channelAttachments: none,
      channelProcesses: none,
      channelBytes: none,
    });
    const caches = [{ name: "pods", objects: 0, silentMs: 0 }];
    addCacheGauges(metrics, {
      caches: () => caches,
      isStale: () => false,
      foreignKinds: () => 0,
    });
    const rows = (await metrics.registry.getMetricsAsJSON()).map(({ name, type, help }) => {
      const { labelNames } = metrics.registry.getSingleMetric(name) as unknown as {
        labelNames: string[];
      };
      const labels = labelNames.map((label) => `\`${label}\``).join(", ");
      return `| \`${name}\` | ${String(type)} | ${labels} | ${help} |`;
    });
    const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/metrics.md"), "utf8");
    const [section = ""] = text.split("\n## Agent\n")[1]?.split("\n## ") ?? [];
    expect(section.split("\n").filter((line) => line.startsWith("| `"))).to.deep.equal(rows);
  });
});
