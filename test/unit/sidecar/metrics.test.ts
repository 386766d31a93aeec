import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { describeConfig } from "../../../common/env.ts";
import { END_REASONS, FALLBACK_REASONS, SESSION_END_REASONS } from "../../../common/reasons.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { native } from "../../../shm-core/lib/native.ts";
import { SIDECAR_CONFIG } from "../../../sidecar/env.ts";
import {
  describeMetrics,
  SIDECAR_METRICS,
  type MetricsSnapshot,
  type Sample,
} from "../../../sidecar/metric-definitions.ts";
import { SidecarMetrics } from "../../../sidecar/metrics.ts";
import { createTopicCounters } from "../../../sidecar/topics/counters.ts";
import { skipBecause } from "../../helpers/skip.ts";
import { countersOf } from "./fakes.ts";

const PROMTOOL = "promtool";

function snapshot(part: Partial<MetricsSnapshot> = {}): MetricsSnapshot {
  const ends = Object.fromEntries(SESSION_END_REASONS.map((reason) => [reason, 0]));
  return {
    relay: countersOf({}),
    sessionEnds: ends as MetricsSnapshot["sessionEnds"],
    ringBudgetBytes: 1,
    agentConnected: true,
    agentConnects: 1,
    isReady: true,
    topics: createTopicCounters(),
    endpoints: { shm: 1, tcp: 0 },
    ...part,
  };
}

describe("SidecarMetrics#text()", function () {
  it("should give Prometheus's own checker nothing to say", async function () {
    const text = await new SidecarMetrics(snapshot).text();
    try {
      execFileSync(PROMTOOL, ["check", "metrics"], { input: text, encoding: "utf8" });
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === "ENOENT") skipBecause(this, "no promtool");
      throw new Error((err as { stderr?: string }).stderr, { cause: err });
    }
  });

  it("should have every reason from the start", async function () {
    const text = await new SidecarMetrics(snapshot).text();
    for (const [metric, reasons] of [
      ["shimmy_fallbacks_total", FALLBACK_REASONS],
      ["shimmy_connection_ends_total", END_REASONS],
      ["shimmy_session_ends_total", SESSION_END_REASONS],
    ] as const) {
      for (const reason of reasons) expect(text).to.include(`${metric}{reason="${reason}"} 0\n`);
    }
  });

  it("should read the counters at each scrape", async function () {
    let bytes = 1;
    const metrics = new SidecarMetrics(() =>
      snapshot({ relay: countersOf({ bytes_to_shm: bytes++ }) }),
    );
    const line = 'shimmy_bytes_total{direction="sent",transport="shm"} ';
    const [first, second] = [await metrics.text(), await metrics.text()];
    expect(first).to.include(`${line}2\n`);
    expect(second).to.include(`${line}3\n`);
  });

  it("should add native buckets up, in seconds", async function () {
    const relay = {
      ...countersOf({}),
      openLatency: { boundsMicros: [50, 1000], buckets: [2, 3, 4], sumNanos: 1_500_000_000 },
    };
    const text = await new SidecarMetrics(() => snapshot({ relay })).text();
    expect(text).to.include(
      [
        'shimmy_stream_setup_seconds_bucket{le="0.00005"} 2',
        'shimmy_stream_setup_seconds_bucket{le="0.001"} 5',
        'shimmy_stream_setup_seconds_bucket{le="+Inf"} 9',
        "shimmy_stream_setup_seconds_sum 1.5",
        "shimmy_stream_setup_seconds_count 9",
      ].join("\n"),
    );
  });
});

describe("SIDECAR_METRICS", function () {
  it("should show every native counter", function () {
    const read = new Set<string>();
    class Recording extends Map<string, number> {
      override get(name: string): number {
        read.add(name);
        return 0;
      }
    }
    const relay = { ...countersOf({}), values: new Recording() };
    for (const metric of SIDECAR_METRICS) metric.read(snapshot({ relay }));
    expect([...read]).to.have.members(native().relayCounterLayout.names);
  });

  for (const { name, labels, read, type } of SIDECAR_METRICS) {
    if (type === "histogram") continue;
    it(`should document the labels of ${name}`, function () {
      const documented = new Map(
        labels
          .split("; ")
          .filter((text) => text !== "")
          .map((text) => text.split(": ") as [string, string]),
      );
      for (const sample of read(snapshot())) expectLabels(sample, documented);
    });
  }
});

function expectLabels({ labels = {} }: Sample, documented: ReadonlyMap<string, string>): void {
  expect(Object.keys(labels)).to.have.members([...documented.keys()]);
  for (const [label, value] of Object.entries(labels)) {
    const values = documented.get(label) ?? "";
    if (values.startsWith("see ") || values.startsWith("of ")) continue;
    expect(values.split(", ")).to.include(value);
  }
}

/** What a page says between the heading of a section and the next. */
function section(page: string, heading: string): string {
  const text = readFileSync(join(PACKAGE_ROOT, "docs/reference", page), "utf8");
  return text.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
}

describe("docs/reference/metrics.md", function () {
  it("should have the sidecar's metrics as they are", function () {
    expect(section("metrics.md", "Sidecar")).to.include(describeMetrics(SIDECAR_METRICS));
  });
});

describe("docs/reference/config.md", function () {
  it("should have the sidecar's settings as they are", function () {
    expect(section("config.md", "Sidecar")).to.include(describeConfig(SIDECAR_CONFIG));
  });
});
