import { expect } from "chai";

import { unpackSlice } from "../../../../agent/kubernetes/endpoint-slice.ts";
import { chooseEndpoints } from "../../../../agent/kubernetes/traffic-policy.ts";
import { service, slice, type EndpointSketch } from "./fakes.ts";

const READY = { ready: true, serving: true, terminating: false };
const NOT_READY = { ready: false, serving: false, terminating: false };
const ENDING = { ready: false, serving: true, terminating: true };
const ENDED = { ready: false, serving: false, terminating: true };

const zone = (...names: string[]): object => ({ forZones: names.map((name) => ({ name })) });
const node = (...names: string[]): object => ({ forNodes: names.map((name) => ({ name })) });

/** One endpoint by its last number. */
function at(number: number, part: Partial<EndpointSketch> = {}): EndpointSketch {
  return { address: `10.1.0.${number}`, node: "n2", conditions: READY, ...part };
}

describe("chooseEndpoints()", function () {
  const table: [what: string, spec: object, endpoints: EndpointSketch[], chosen: number[]][] = [
    ["all that are ready", {}, [at(1), at(2, { conditions: NOT_READY }), at(3)], [1, 3]],
    ["not one that ends while others are ready", {}, [at(1, { conditions: ENDING }), at(2)], [2]],
    [
      "those that end and serve, when none is ready",
      {},
      [
        at(1, { conditions: ENDING }),
        at(2, { conditions: NOT_READY }),
        at(3, { conditions: ENDED }),
      ],
      [1],
    ],
    ["none of those not ready", {}, [at(1, { conditions: NOT_READY })], []],
    [
      "those of this node, by internal policy",
      { internalTrafficPolicy: "Local" },
      [at(1), at(2, { node: "n1" })],
      [2],
    ],
    ["none of other nodes, by internal policy", { internalTrafficPolicy: "Local" }, [at(1)], []],
    [
      "one of this node that ends, by internal policy",
      { internalTrafficPolicy: "Local" },
      [at(1), at(2, { node: "n1", conditions: ENDING })],
      [2],
    ],
    [
      "those hinted for the zone",
      {},
      [at(1, { hints: zone("z1") }), at(2, { hints: zone("z2") })],
      [1],
    ],
    ["all, when one has no hint", {}, [at(1, { hints: zone("z1") }), at(2)], [1, 2]],
    [
      "all, when no hint is for the zone",
      {},
      [at(1, { hints: zone("z2") }), at(2, { hints: zone("z3") })],
      [1, 2],
    ],
    [
      "those hinted for the zone, though one that is not ready has no hint",
      {},
      [
        at(1, { hints: zone("z1") }),
        at(2, { hints: zone("z2") }),
        at(3, { conditions: NOT_READY }),
      ],
      [1],
    ],
    [
      "those hinted for the node before those for the zone",
      {},
      [
        at(1, { hints: { ...zone("z1"), ...node("n1") } }),
        at(2, { hints: { ...zone("z1"), ...node("n2") } }),
      ],
      [1],
    ],
    [
      "those hinted for the zone, when none is for the node",
      {},
      [
        at(1, { hints: { ...zone("z1"), ...node("n3") } }),
        at(2, { hints: { ...zone("z2"), ...node("n2") } }),
      ],
      [1],
    ],
    [
      "this node's by internal policy, whatever hints say",
      { internalTrafficPolicy: "Local" },
      [at(1, { node: "n1", hints: zone("z2") }), at(2, { hints: zone("z1") })],
      [1],
    ],
  ];
  for (const [what, spec, endpoints, expected] of table) {
    it(`should choose ${what}`, function () {
      const all = unpackSlice(slice({ endpoints })).endpoints;
      const chosen = chooseEndpoints(service({ spec }), all, { node: "n1", zone: "z1" });
      expect(chosen.endpoints.map(({ address }) => Number(address.split(".")[3]))).to.deep.equal(
        expected,
      );
      expect(chosen.problem === undefined).to.equal(expected.length > 0);
    });
  }

  it("should leave hints for zones aside where the node's is not known", function () {
    const hinted = [at(1, { hints: zone("z1") }), at(2, { hints: zone("z2") })];
    const all = unpackSlice(slice({ endpoints: hinted })).endpoints;
    expect(
      chooseEndpoints(service(), all, { node: "n1", zone: undefined }).endpoints,
    ).to.have.length(2);
  });

  it("should say why there is none", function () {
    const place = { node: "n1", zone: "z1" };
    const [notReady] = unpackSlice(
      slice({ endpoints: [at(1, { conditions: NOT_READY })] }),
    ).endpoints;
    const all = notReady === undefined ? [] : [notReady];
    expect(chooseEndpoints(service(), all, place).problem).to.equal(
      "service shop/orders has no ready pod, of 1",
    );
    const local = service({ spec: { internalTrafficPolicy: "Local" } });
    expect(chooseEndpoints(local, all, place).problem).to.equal(
      "service shop/orders has internalTrafficPolicy Local and no ready pod on this node",
    );
    expect(chooseEndpoints(service(), [], place)).to.deep.equal({ endpoints: [] });
    expect(chooseEndpoints(service({ spec: { ports: [] } }), all, place).endpoints).to.deep.equal(
      [],
    );
  });
});
