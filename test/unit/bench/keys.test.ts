import { expect } from "chai";
import { FIGURES as AGENT_FIGURES } from "../../../bench/agent/size.ts";
import {
  computeFig4Ratios,
  FIG4_TARGETS,
  PEERS as FIG4_PEERS,
  SIZES,
  sizeName,
} from "../../../bench/fig4/cells.ts";
import {
  cellName,
  computeFig56Ratios,
  FIG56_TARGETS,
  PEERS as FIG56_PEERS,
  QUICK_SESSIONS,
} from "../../../bench/fig56/cells.ts";
import {
  computeFig78Ratios,
  FIG78_TARGETS,
  PEERS as FIG78_PEERS,
  SCENARIOS,
} from "../../../bench/fig78/keys.ts";
import { FIGURES as INJECTOR_FIGURES } from "../../../bench/injector/keys.ts";
import { Samples } from "../../../bench/lib/rounds.ts";
import { CELLS, computeRingRatios, RING_TARGETS } from "../../../bench/ring/cells.ts";
import { computeRatios, FIGURES, RATIOS } from "../../../bench/sidecar/keys.ts";
import { listScenarios } from "../../../bench/sidecar/scenarios.ts";

describe("keys of the sidecar bench", function () {
  const keys = [...RATIOS, ...FIGURES].map(({ key }) => key);

  it("should be different from each other", function () {
    expect(new Set(keys).size).to.equal(keys.length);
  });

  it("should say in their names which direction is better, or their unit", function () {
    for (const { key } of RATIOS) expect(key).to.match(/_(speedup|cost)$/);
    for (const { key } of FIGURES) expect(key).to.match(/_(mib|ms_per_s)$/);
  });

  for (const isQuick of [true, false]) {
    it(`should each have its scenario in a ${isQuick ? "quick" : "full"} run`, function () {
      const options = { isQuick, rounds: 5, jsonPath: undefined, only: undefined };
      const names = listScenarios(options, "").map(({ name, regime }) => `${name}, ${regime}`);
      expect(new Set(names).size).to.equal(names.length);
      for (const { scenario, regime } of RATIOS) expect(names).to.include(`${scenario}, ${regime}`);
    });
  }

  it("should be computed from every peer they name", function () {
    const samples = new Samples();
    for (const { scenario, regime, of, over } of RATIOS) {
      for (const peer of new Set([of, over])) {
        const key = { scenario, regime, peer };
        if (samples.values(key, "cpuUs") !== undefined) continue;
        const value = peer.startsWith("shimmy") ? 20 : 10;
        samples.add(key, { perSecond: value, p50Us: value, cpuUs: value });
      }
    }
    const ratios = computeRatios(samples);
    expect(Object.keys(ratios)).to.have.members(RATIOS.map(({ key }) => key));
    expect(ratios["rps_c32_vs_haproxy_speedup"]?.value).to.equal(2);
  });
});

describe("keys of the benches of one part", function () {
  it("should say their unit in their names, and have a bound", function () {
    for (const { key, bound } of [...AGENT_FIGURES, ...INJECTOR_FIGURES]) {
      expect(key).to.match(/_(mib|ms|per_second)$/);
      expect(bound).to.be.a("number");
    }
  });
});

describe("computeRingRatios()", function () {
  const fill = (cells: readonly { readonly name: string }[]): Samples => {
    const samples = new Samples();
    for (const [i, { name }] of cells.entries()) {
      const key = { scenario: name, regime: "idle" } as const;
      samples.add({ ...key, peer: "ring" }, { p50Us: 10 });
      samples.add({ ...key, peer: "tcp" }, { p50Us: 100 + i });
    }
    return samples;
  };

  it("should have a ratio for every key, the worst of all cells included", function () {
    const ratios = computeRingRatios(fill(CELLS));
    expect(Object.keys(ratios)).to.have.members(RING_TARGETS.map(({ key }) => key));
    expect(ratios["worst_vs_tcp_speedup"]?.value).to.equal(10);
  });

  it("should not call the worst of some cells the worst", function () {
    expect(computeRingRatios(fill(CELLS.slice(1)))).to.not.have.property("worst_vs_tcp_speedup");
  });
});

describe("computeFig4Ratios()", function () {
  it("should have the worst size's ratio for every key, in a quick run too", function () {
    for (const sizes of Object.values(SIZES)) {
      const samples = new Samples();
      for (const size of sizes) {
        for (const peer of FIG4_PEERS) {
          const p50Us = peer.startsWith("lock") ? 10 : 100 + (size % 7);
          samples.add({ scenario: sizeName(size), regime: "idle", peer }, { p50Us });
        }
      }
      const ratios = computeFig4Ratios(samples, sizes);
      expect(Object.keys(ratios)).to.have.members(FIG4_TARGETS.map(({ key }) => key));
      const worst = Math.min(
        ...sizes.filter((size) => size < 1e5).map((size) => 10 + (size % 7) / 10),
      );
      expect(ratios["small_worst_vs_rabbitmq_speedup"]?.value).to.equal(worst);
    }
  });
});

describe("computeFig56Ratios()", function () {
  it("should have a ratio for every key in a quick run", function () {
    const samples = new Samples();
    for (const language of ["native", "ts"] as const) {
      for (const sessions of QUICK_SESSIONS[language]) {
        for (const peer of FIG56_PEERS) {
          const value = peer === "tcp" ? 10 : sessions;
          const key = { scenario: cellName(language, sessions), regime: "idle", peer } as const;
          samples.add(key, { cpuUs: value, sessionKib: value });
        }
      }
    }
    const ratios = computeFig56Ratios(samples);
    expect(Object.keys(ratios)).to.have.members(FIG56_TARGETS.map(({ key }) => key));
    expect(ratios["cpu_12_vs_1_session_cost"]?.value).to.equal(12);
    expect(ratios["cpu_12_sessions_vs_tcp_cost"]?.value).to.equal(1.2);
  });
});

describe("computeFig78Ratios()", function () {
  it("should compare what is added to the work without a transport", function () {
    const samples = new Samples();
    const taken = { none: 10, tcp: 30, lock_copy: 20, lock_loan: 15 };
    for (const scenario of Object.values(SCENARIOS)) {
      for (const peer of FIG78_PEERS) {
        const key = { scenario, regime: "idle", peer } as const;
        samples.add(key, { cpuUs: taken[peer], memoryKib: taken[peer] });
      }
    }
    const ratios = computeFig78Ratios(samples);
    expect(Object.keys(ratios)).to.have.members(FIG78_TARGETS.map(({ key }) => key));
    expect(ratios["cpu_added_vs_tcp_cost"]?.value).to.equal(0.25);
  });
});
