// Golden files of injection: test/fixtures/injection/NAME.input.yaml and what becomes of it.
// SHIMMY_TEST_UPDATE=1 rewrites them; read the difference before you commit it.
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";
import { parse, parseAllDocuments } from "yaml";

import { injectManifest, type ManifestResult } from "../../../cli/inject/manifest.ts";
import { INJECTION_REASONS } from "../../../common/reasons.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { readInjectionConfig, type InjectionConfig } from "../../../injector/config.ts";
import { isObject } from "../../../injector/raw.ts";
import { NOT_BUILT, VOCABULARY } from "../../../injector/vocabulary.ts";

const FOLDER = join(PACKAGE_ROOT, "test/fixtures/injection");
const UPDATE = process.env["SHIMMY_TEST_UPDATE"] === "1";

/** The first line may be `# cluster: {…}`, settings besides the image. */
function readConfig(text: string): InjectionConfig {
  const settings = parse(/^# cluster: (.*)$/m.exec(text)?.[1] ?? "{}") as unknown;
  const data = { image: "shimmy:test", ...(isObject(settings) ? settings : {}) };
  return { ...readInjectionConfig(data), version: "0.0.0" };
}

function inject(text: string): ManifestResult {
  return injectManifest(text, { config: readConfig(text), defaultNamespace: "shop" });
}

function golden({ text, reports }: ManifestResult): string {
  const lines = reports.flatMap(({ name, result }) => {
    if (result.outcome === "injected") return [`${name}: injected`, ...result.warnings];
    const line = `${name}: ${result.outcome}, ${result.reason}: ${result.message}`;
    return result.outcome === "refused" ? [line] : [line, ...result.warnings];
  });
  const head = lines.map((line) => `# ${line}\n`).join("");
  const isRefused = reports.some(({ result }) => result.outcome === "refused");
  return isRefused ? head : `${head}---\n${text}`;
}

describe("golden files of injection", function () {
  const inputs = globSync("*.input.yaml", { cwd: FOLDER }).toSorted();
  const names = inputs.map((file) => file.replace(/\.input\.yaml$/, ""));

  for (const name of names) {
    it(`should inject ${name} as its golden file has it, and a second time change nothing`, function () {
      const input = readFileSync(join(FOLDER, `${name}.input.yaml`), "utf8");
      const file = join(FOLDER, `${name}.golden.yaml`);
      const result = inject(input);
      const actual = golden(result);
      if (UPDATE) writeFileSync(file, actual);
      expect(existsSync(file), `${file} is missing`).to.equal(true);
      expect(actual).to.equal(readFileSync(file, "utf8"));

      if (result.reports.some((report) => report.result.outcome === "refused")) return;
      const config = readConfig(input);
      const second = injectManifest(result.text, { config, defaultNamespace: "shop" });
      expect(second.text).to.equal(result.text);
      for (const { result: again } of second.reports) {
        expect(again.outcome).to.equal("skipped");
        expect(again).to.have.property("patch").that.is.an("array").with.lengthOf(0);
      }
    });
  }

  it("should have no golden file without its input", function () {
    const goldens = globSync("*.golden.yaml", { cwd: FOLDER });
    const stale = goldens.filter((file) => !names.includes(file.replace(/\.golden\.yaml$/, "")));
    expect(stale).to.deep.equal([]);
    expect(names).to.have.lengthOf.at.least(60);
  });

  const all = inputs.map((file) => readFileSync(join(FOLDER, file), "utf8"));

  it("should have a case for every kind, key and reserved key", function () {
    const text = all.join("\n");
    for (const { key } of Object.values(VOCABULARY)) expect(text).to.include(`${key}:`);
    for (const key of Object.keys(NOT_BUILT)) expect(text).to.include(`${key}:`);
    const kinds = all.flatMap((input) =>
      parseAllDocuments(input).map((document) => String(document.get("kind"))),
    );
    expect(kinds).to.include.members(
      "Pod Deployment StatefulSet DaemonSet ReplicaSet ReplicationController Job CronJob PodTemplate List".split(
        " ",
      ),
    );
  });

  it("should have a case for every reason", function () {
    const seen = new Set(
      all.flatMap((input) => {
        const { text, reports } = inject(input);
        const second = reports.some(({ result }) => result.outcome === "refused")
          ? []
          : inject(text).reports;
        return [...reports, ...second].map(({ result }) =>
          result.outcome === "injected" ? undefined : result.reason,
        );
      }),
    );
    for (const reason of INJECTION_REASONS) expect(seen).to.include(reason);
  });
});
