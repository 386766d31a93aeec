import { expect } from "chai";
import fc from "fast-check";

import type { Catalog, CatalogPod } from "../../../../agent/catalog.ts";
import { endpointsFor } from "../../../../agent/endpoints.ts";
import { CatalogPods } from "../../../../agent/kubernetes/catalog-pods.ts";
import { KubernetesRules } from "../../../../agent/kubernetes/rules.ts";
import { ServiceResolver } from "../../../../agent/kubernetes/service-resolver.ts";
import { SliceIndex } from "../../../../agent/kubernetes/slice-index.ts";
import { KubernetesTopicRules } from "../../../../agent/kubernetes/topic-grants.ts";
import { judge } from "../../../../agent/policy.ts";
import { localPod, podMap, service, slice, type SliceSketch } from "./fakes.ts";

const PODS = podMap(
  localPod({ name: "a1", namespace: "a", address: "10.1.0.1" }),
  localPod({ name: "a2", namespace: "a", address: "10.1.0.2" }),
  localPod({ name: "a3", namespace: "a", address: "10.1.0.3", sidecar: "none" }),
  localPod({ name: "b1", namespace: "b", address: "10.1.0.4" }),
  localPod({ name: "b2", namespace: "b", address: "10.1.0.5", ports: [{ containerPort: 22 }] }),
);
const SERVICES = new Map(
  ["a", "b"].flatMap((namespace) =>
    ["x", "y"].map((name) => [`${namespace}/${name}`, service({ namespace, name })] as const),
  ),
);

const truth = fc
  .constantFrom(...PODS.values())
  .map(({ name, addresses }) => ({ pod: name, address: addresses[0] ?? "", node: "n1" }));
const lie = fc.record({
  pod: fc.constantFrom("a1", "a2", "a3", "b1", "b2", "elsewhere"),
  address: fc.constantFrom("10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"),
  node: fc.constantFrom("n1", "n1", "n2", null),
});

/** Whatever a tenant might write, near the truth often enough to matter. */
const anySlice: fc.Arbitrary<SliceSketch> = fc.record({
  namespace: fc.constantFrom("a", "b"),
  service: fc.constantFrom("x", "y", "none"),
  ports: fc.constantFrom(
    [{ name: "http", port: 8080 }],
    [{ name: "http", port: 22 }],
    [{ name: "ssh", port: 22 }],
  ),
  endpoints: fc.array(fc.oneof(truth, lie), { maxLength: 4 }),
});

function catalogOf(sketches: readonly SliceSketch[]): Catalog {
  const slices = new SliceIndex();
  sketches.forEach((sketch, index) => slices.update(`s${index}`, slice(sketch)));
  const pods = new CatalogPods({ services: SERVICES, slices });
  pods.update(PODS, new Set());
  return {
    node: "n1",
    pods: pods.snapshot(),
    services: new ServiceResolver({
      services: SERVICES,
      slices,
      surroundings: () => ({ pods: PODS, node: "n1", zone: undefined }),
    }),
    topics: new KubernetesTopicRules({ channels: [], pods: PODS }),
    rules: new KubernetesRules({
      pods: PODS,
      grants: { allow: () => false },
      judgeNetwork: () => "allowed",
      isForeign: () => false,
      isClusterOff: false,
      namespacesOff: new Set(),
      isStale: false,
    }),
  };
}

/** A connection that would go through shared memory. */
interface Carried {
  readonly client: CatalogPod;
  readonly server: string;
  readonly service: string;
  readonly address: string | undefined;
  readonly port: number;
}

function carriedBy(catalog: Catalog): Carried[] {
  return [...catalog.pods.values()].flatMap((client) =>
    [...SERVICES.keys()].flatMap((key) => {
      const { service: name, ports, endpoints } = endpointsFor(client, key, catalog);
      const usual = ports[0]?.targetPort ?? 0;
      return endpoints.flatMap((endpoint): Carried[] => {
        const { transport, targetPort } = endpoint.ports?.[0] ?? { ...endpoint, targetPort: usual };
        const { pod: server, address } = endpoint;
        return transport === "shm"
          ? [{ client, server, service: name, address, port: targetPort }]
          : [];
      });
    }),
  );
}

function grantedBy(catalog: Catalog): Carried[] {
  const pods = [...catalog.pods.values()];
  return pods.flatMap((client) =>
    pods.flatMap((server) =>
      judge({ client, server }, catalog, "new").grants.map(({ service: name, port }) => ({
        client,
        server: server.uid,
        service: name,
        address: server.addresses[0],
        port,
      })),
    ),
  );
}

describe("slices that tenants write", function () {
  for (const [what, found] of [
    ["lead through shared memory", carriedBy],
    ["grant", grantedBy],
  ] as const) {
    it(`should never ${what} beyond what the pods are and their namespaces may`, function () {
      let count = 0;
      const property = fc.property(fc.array(anySlice, { maxLength: 6 }), (sketches) => {
        for (const { client, server, service: key, address, port } of found(catalogOf(sketches))) {
          count += 1;
          const pod = PODS.get(server);
          expect(pod?.addresses).to.include(address);
          expect(pod?.appPorts).to.include(port);
          expect([pod?.injected, client.injected]).to.deep.equal([true, true]);
          expect(pod?.namespace).to.equal(client.namespace);
          expect(key.split("/")[0]).to.equal(client.namespace);
        }
      });
      fc.assert(property, { numRuns: 500 });
      // Few slices are of good pods: some hundred connections, by chance once fewer than a hundred.
      expect(count, "connections at all").to.be.greaterThan(20);
    });
  }
});
