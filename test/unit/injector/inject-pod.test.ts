// The invariants at the top of injector/inject-pod.ts, on pods with fields that nobody knows.
import { expect } from "chai";
import fc from "fast-check";

import { readInjectionConfig } from "../../../injector/config.ts";
import { injectPod, type InjectionResult } from "../../../injector/inject-pod.ts";
import { applyPatch, pointerSegments, type JsonPatch } from "../../../injector/json-patch.ts";
import { isObject, type Fields } from "../../../injector/raw.ts";
import { resolveSidecarConfig } from "../../../sidecar/env.ts";

const CONFIG = readInjectionConfig({ image: "shimmy:test" });

function inject(pod: Fields): InjectionResult {
  return injectPod({ pod, podNamespace: "shop", namespace: {} }, CONFIG);
}

function patchOf(pod: Fields): JsonPatch {
  const result = inject(pod);
  if (result.outcome !== "injected") throw new Error(JSON.stringify(result));
  return result.patch;
}

/** Anything, under names that are not ours to read. */
const unknown = fc.dictionary(
  fc.string().map((name) => `x-${name}`),
  fc.jsonValue(),
  { maxKeys: 3 },
);
const env = fc.array(
  fc.record({ name: fc.constantFrom("A", "SHIMMY_ORDERS_URL", "SHIMMY_ORDERS_PORT") }),
  { maxLength: 3 },
);

const container = fc
  .tuple(
    unknown,
    fc.record({ env, ports: fc.constant([{ containerPort: 80 }]) }, { requiredKeys: [] }),
  )
  .map(([extra, known]) => ({ ...extra, ...known, image: "x" }));

const containers = fc
  .array(container, { minLength: 1, maxLength: 3 })
  .map((list) => list.map((fields, index) => ({ ...fields, name: `c${index}` })));

const pod = fc
  .tuple(
    unknown,
    fc.record(
      {
        containers,
        initContainers: containers.map((list) =>
          list.map((fields) => ({ ...fields, name: `i${fields.name}`, restartPolicy: "Always" })),
        ),
        volumes: fc.constant([{ name: "data", emptyDir: {} }]),
      },
      { requiredKeys: ["containers"] },
    ),
    fc.dictionary(
      fc.string().map((name) => `example.org/${name}`),
      fc.string(),
      { maxKeys: 3 },
    ),
  )
  .map(([extra, spec, annotations]) => ({
    ...extra,
    metadata: {
      ...extra,
      annotations: { ...annotations, "shimmy.io/upstreams": "orders:9001" },
      labels: { "shimmy.io/inject": "enabled" },
    },
    spec: { ...extra, ...spec },
  }));

/** `whole` has everything that `part` has, in the same order, and perhaps more. */
function contains(whole: unknown, part: unknown): boolean {
  if (Array.isArray(part)) {
    if (!Array.isArray(whole)) return false;
    let from = 0;
    return part.every((item) => {
      const index = whole.findIndex((candidate, i) => i >= from && contains(candidate, item));
      from = index + 1;
      return index >= 0;
    });
  }
  if (!isObject(part)) return Object.is(whole, part);
  return (
    isObject(whole) &&
    Object.entries(part).every(
      ([key, value]) => Object.hasOwn(whole, key) && contains(whole[key], value),
    )
  );
}

describe("injectPod()", function () {
  it("should keep everything that was there, known or not (J3)", function () {
    fc.assert(
      fc.property(pod, (before) => {
        const after = applyPatch<Fields>(before, patchOf(before));
        expect(contains(after, before)).to.equal(true);
      }),
    );
  });

  it("should only add, and only where nothing was (J1)", function () {
    fc.assert(
      fc.property(pod, (before) => {
        let current: Fields = before;
        for (const operation of patchOf(before)) {
          expect(operation.op).to.equal("add");
          const segments = pointerSegments(operation.path);
          const parent = segments
            .slice(0, -1)
            .reduce<unknown>((value, name) => (value as Fields)[name], current);
          if (!Array.isArray(parent)) {
            expect(Object.hasOwn(parent as Fields, segments.at(-1) ?? "")).to.equal(false);
          }
          current = applyPatch(current, [operation]);
        }
      }),
    );
  });

  it("should change nothing a second time (J2)", function () {
    fc.assert(
      fc.property(pod, (before) => {
        const again = inject(applyPatch(before, patchOf(before)));
        expect(again).to.include({ outcome: "skipped", reason: "already_injected" });
        expect(again).to.have.property("patch").that.deep.equals([]);
      }),
    );
  });

  it("should give its variables to a container that came after the first pass (J2)", function () {
    const before = {
      metadata: { annotations: { "shimmy.io/inject": "enabled", "shimmy.io/upstreams": "a:1" } },
      spec: { containers: [{ name: "web" }] },
    };
    const once = applyPatch<Fields>(before, patchOf(before));
    const late = applyPatch(once, [
      { op: "add", path: "/spec/containers/-", value: { name: "b" } },
    ]);
    expect(patchOf(late).map(({ path }) => path)).to.deep.equal(["/spec/containers/1/env"]);
  });

  it("should answer anything with a result", function () {
    const anything = fc.record(
      { metadata: fc.jsonValue(), spec: fc.jsonValue() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(anything, (value) => {
        const labels = { "shimmy.io/inject": "enabled" };
        const result = injectPod(
          { pod: value, podNamespace: "shop", namespace: { labels } },
          CONFIG,
        );
        expect(result.outcome).to.be.oneOf(["injected", "skipped", "refused"]);
      }),
    );
  });

  it("should give the sidecar settings that it accepts", function () {
    const before = {
      metadata: {
        annotations: {
          "shimmy.io/inject": "enabled",
          "shimmy.io/upstreams": "orders:9001, quotes.md:9002?port=http&protocol=grpc",
          "shimmy.io/app-address": "127.0.0.1",
          "shimmy.io/transport": "tcp",
          "config.shimmy.io/log-level": "debug",
          "config.shimmy.io/ring-budget": "16Mi",
          "config.shimmy.io/drain-timeout": "1500ms",
        },
      },
      spec: {
        containers: [{ name: "web", ports: [{ containerPort: 80 }, { containerPort: 8443 }] }],
      },
    };
    const after = applyPatch<Fields>(before, patchOf(before)) as {
      spec: { initContainers: [{ env: { name: string; value?: string }[] }] };
    };
    const values = after.spec.initContainers[0].env.map(({ name, value }) => [
      name,
      value?.replace("$(POD_NAMESPACE)/$(POD_NAME)", "shop/web-1"),
    ]);
    const config = resolveSidecarConfig({
      env: Object.fromEntries(values) as Record<string, string | undefined>,
    });
    expect(config).to.deep.include({
      pod: { namespace: "shop", name: "web-1" },
      adminAddress: { address: "0.0.0.0", port: 14_790 },
      appAddress: "127.0.0.1",
      appPorts: [80, 8443],
      transport: "tcp",
      dnsFallback: true,
      ringBudgetBytes: 16 * 1024 ** 2,
      drainTimeoutMs: 1500,
      logLevel: "debug",
    });
    expect(config.upstreams.map(({ service }) => service)).to.deep.equal([
      "shop/orders",
      "md/quotes",
    ]);
  });
});
