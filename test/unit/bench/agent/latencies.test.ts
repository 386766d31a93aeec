import { expect } from "chai";

import { latenciesOf } from "../../../../bench/agent/latencies.ts";
import type { Received } from "../../../../bench/agent/pods.ts";
import { calledBy, serviceName, SIZE } from "../../../../bench/agent/size.ts";

const ADDRESS = "10.100.0.1";

function told(pod: number, service: number, at: number): Received {
  const endpoint = { pod: "x", address: ADDRESS, node: "n2", injected: false, transport: "tcp" };
  return {
    at,
    pod,
    message: {
      type: "endpoints",
      services: [
        { service: `shop/${serviceName(service)}`, ports: [], endpoints: [endpoint as never] },
      ],
    },
  };
}

describe("latenciesOf()", function () {
  const watchers = Map.groupBy(
    Array.from({ length: SIZE.localPods }, (_, pod) =>
      calledBy(pod).map((s) => [s, pod] as const),
    ).flat(),
    ([service]) => service,
  );
  const [service, pairs] =
    [...watchers].find(([, { length }]) => length === 2) ?? expect.fail("no Service of two pods");
  const [one, other] = pairs.map(([, pod]) => pod) as [number, number];
  const changes = [{ service, address: ADDRESS, at: 1000 }];

  it("should count until the last of the pods that watch the Service was told", function () {
    const received = [told(one, service, 1070), told(other, service, 1090)];
    expect(latenciesOf(changes, received)).to.deep.equal([90]);
  });

  it("should take the first time that a pod was told", function () {
    const received = [70, 80, 200].map((late) => told(one, service, 1000 + late));
    expect(latenciesOf(changes, [...received, told(other, service, 1075)])).to.deep.equal([75]);
  });

  it("should have none while a pod was not told", function () {
    expect(latenciesOf(changes, [told(one, service, 1070)])).to.deep.equal([undefined]);
    expect(latenciesOf(changes, [])).to.deep.equal([undefined]);
  });
});
