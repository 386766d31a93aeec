import { expect } from "chai";
import { parse } from "yaml";

import { parseCatalog } from "../../../../agent/parse-catalog.ts";
import { catalogText } from "../../../../cli/local/mesh.ts";

const serves = [{ service: "web", port: 8080 }];
const PODS = [
  { name: "web", address: "127.0.1.2", serves, upstreams: "" },
  { name: "web-2", address: "127.0.1.3", serves, upstreams: "" },
  { name: "client", address: "127.0.1.4", serves: [], upstreams: "web:9001" },
];

describe("catalogText()", function () {
  it("should put pods that serve the same service behind it together", function () {
    expect(parse(catalogText(PODS)))
      .to.have.property("services")
      .that.deep.equals([{ name: "web", ports: [{ port: 8080 }], pods: ["web", "web-2"] }]);
  });

  it("should be a catalog that the agent takes", function () {
    const catalog = parseCatalog(catalogText(PODS), "catalog.yaml", { node: "n", uid: 0 });
    expect([...catalog.pods.values()].map(({ address }) => address)).to.deep.equal(
      PODS.map(({ address }) => address),
    );
  });
});
