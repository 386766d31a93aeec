import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";
import { parse } from "yaml";

import { injectManifest } from "../../../cli/inject/manifest.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { readInjectionConfig } from "../../../injector/config.ts";
import { readWalk } from "../../helpers/readme-walk.ts";
import { readSource } from "./sources.ts";

const EXAMPLE = "examples/kubernetes/nginx-and-client.yaml";

describe("the README's walk through a cluster", function () {
  const walk = readWalk();

  it("should install, deploy, opt in, look, and undo", function () {
    expect(walk.map((line) => line.split(" ").slice(0, 2).join(" "))).to.deep.equal([
      "shimmy check",
      "kubectl apply",
      "kubectl apply",
      "shimmy check",
      "kubectl apply",
      "kubectl rollout",
      "kubectl rollout",
      "kubectl annotate",
      "kubectl annotate",
      "kubectl rollout",
      "kubectl rollout",
      "shimmy top",
      "kubectl annotate",
      "kubectl annotate",
      "kubectl rollout",
      "kubectl rollout",
    ]);
  });

  it("should name files that are there", function () {
    const files = walk.flatMap((line) =>
      [...line.matchAll(/ -[fk] (\S+)/g)].map(([, file]) => file),
    );
    expect(files).to.have.length(3);
    for (const file of files) expect(existsSync(join(PACKAGE_ROOT, file ?? ""))).to.equal(true);
  });

  it("should undo every key that it sets", function () {
    const annotations = walk.filter((line) => line.startsWith("kubectl annotate"));
    const words = annotations.flatMap((line) => {
      const [, , , name = "", ...keys] = line.split(" ");
      return keys.map((key) => `${name} ${key}`);
    });
    const set = words.filter((word) => word.includes("=")).map((word) => word.split("=", 1)[0]);
    const removed = words.filter((word) => word.endsWith("-")).map((word) => word.slice(0, -1));
    expect(removed).to.have.members(set);
  });

  it("should set keys with which both programs get a sidecar", function () {
    const annotated = readSource(EXAMPLE).replaceAll(
      /^kind: Deployment\nmetadata:\n {2}name: (\w+)\n/gm,
      (head, name: string) => {
        const line = walk.find((each) => each.startsWith(`kubectl annotate deployment ${name} `));
        const keys = (line ?? "").split(" ").slice(4);
        const entries = keys.map((key) => `    ${key.replace("=", ': "')}"\n`);
        return `${head}  annotations:\n${entries.join("")}`;
      },
    );
    const config = readInjectionConfig({ image: "shimmy:1" });
    const { reports, text } = injectManifest(annotated, { config, defaultNamespace: "default" });
    expect(reports.map(({ name, result }) => [name, result.outcome])).to.deep.equal([
      ["Deployment/nginx", "injected"],
      ["Deployment/client", "injected"],
    ]);
    expect(text).to.include("SHIMMY_NGINX_URL");
  });

  it("should deploy a client that falls back to the Service by itself", function () {
    const client = readFileSync(join(PACKAGE_ROOT, EXAMPLE), "utf8").split("---\n").at(-1) ?? "";
    const { spec } = parse(client) as {
      spec: { template: { spec: { containers: { args: string[] }[] } } };
    };
    expect(spec.template.spec.containers[0]?.args[0]).to.include(
      "${SHIMMY_NGINX_URL:-tcp://nginx}",
    );
  });
});
