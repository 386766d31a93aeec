import { expect } from "chai";

import { sidecarContainer } from "../../../injector/sidecar-container.ts";
import { readSource, table, section } from "../docs/sources.ts";
import { filesBelow, readManifestFile, resourcesOf, workloads } from "./sources.ts";

const PAGE = readSource("docs/reference/metrics.md");
/** A histogram is asked for by its parts. */
const PARTS = ["_bucket", "_sum", "_count"];

/** Metrics of the code; another test holds the page equal to it. */
function knownMetrics(): Set<string> {
  const rows = ["Agent", "Injector", "Master", "Sidecar"].flatMap((part) =>
    table(section(PAGE, part), "| Metric | Type | Labels | Meaning |"),
  );
  return new Set(
    rows.flatMap(([name = "", type]) =>
      type === "histogram" ? PARTS.map((suffix) => name + suffix) : [name],
    ),
  );
}

function metricsIn(text: string): string[] {
  const names = text.match(/\b(?:shimmy|process)_[a-z_]+\b(?!\.)/g) ?? [];
  return [...new Set(names)];
}

/** A panel of a dashboard. */
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets?: readonly { readonly expr: string }[];
}

describe("manifests/components", function () {
  it("should all be named where people choose them", function () {
    const overlay = readManifestFile("install/kustomization.yaml");
    const named = [...overlay.matchAll(/- \.\.\/components\/(\S+)/g)].map(([, name]) => name);
    const there = filesBelow("components")
      .filter((path) => path.endsWith("/kustomization.yaml"))
      .map((path) => path.split("/")[1]);
    expect(named).to.have.members(there);
    const page = readSource("docs/reference/manifests.md");
    for (const name of there) expect(page).to.include(`| \`${name ?? ""}\` |`);
  });

  it("should let alerts ask for metrics that there are", function () {
    const text = readManifestFile("components/alerts/alerts.yaml");
    const expressions = text.replaceAll(/summary: .*|runbook: .*|\{__name__=~[^}]*\}/g, "");
    const used = metricsIn(expressions);
    expect(used.length).to.be.above(15);
    expect(used.filter((name) => !knownMetrics().has(name))).to.deep.equal([]);
  });

  it("should have a dashboard of metrics that there are", function () {
    const { panels } = JSON.parse(readManifestFile("components/dashboard/shimmy.json")) as {
      panels: readonly Panel[];
    };
    const used = metricsIn(
      panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)).join("\n"),
    );
    expect(used.length).to.be.above(20);
    expect(used.filter((name) => !knownMetrics().has(name))).to.deep.equal([]);
    expect(new Set(panels.map(({ id }) => id)).size).to.equal(panels.length);
    for (const { title, type, targets = [], gridPos } of panels) {
      expect(title).not.to.equal("");
      expect(targets.length > 0).to.equal(type !== "row");
      expect(gridPos.x + gridPos.w).to.be.at.most(24);
    }
  });

  it("should scrape the ports that pods have", function () {
    const monitors = resourcesOf("components/pod-monitors");
    const ports = new Map(
      monitors.map(({ metadata, spec }) => {
        const { podMetricsEndpoints } = spec as { podMetricsEndpoints: { port: string }[] };
        return [metadata.name, podMetricsEndpoints.map(({ port }) => port)];
      }),
    );
    for (const { metadata, spec } of workloads()) {
      const declared = spec.template.spec.containers.flatMap(({ ports: each = [] }) =>
        each.map(({ name }) => name),
      );
      expect(ports.get(metadata.name), metadata.name).to.deep.equal(declared);
    }
    expect(ports.get("shimmy-sidecars")).to.deep.equal(["shimmy-admin"]);
    expect(sidecarContainer.toString()).to.include("shimmy-admin");
  });
});
