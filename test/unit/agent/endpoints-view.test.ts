import { expect } from "chai";

import type { Catalog, CatalogPod, CatalogService } from "../../../agent/catalog.ts";
import { EndpointsView } from "../../../agent/endpoints-view.ts";
import { catalogOf } from "./fakes.ts";

const TEXT = `
pods:
  - { name: client, address: 127.0.1.1 }
  - { name: one, address: 127.0.1.2 }
  - { name: two, address: 127.0.1.3 }
services:
  - { name: orders, ports: [{ port: 80 }], pods: [one, two] }
`;
const KEY = "default/orders";

function clientOf({ pods }: Catalog): CatalogPod {
  const client = pods.get("default.client");
  if (client === undefined) throw new Error("no client");
  return client;
}

/** The catalog with a service in another state. */
function withService(catalog: Catalog, change: Partial<CatalogService>): Catalog {
  const service = catalog.services.get(KEY);
  if (service === undefined) throw new Error("no service");
  return { ...catalog, services: new Map([[KEY, { ...service, ...change }]]) };
}

describe("EndpointsView", function () {
  let view: EndpointsView;
  const catalog = catalogOf(TEXT);

  function changed(now: Catalog): string[] {
    return view
      .changes(clientOf(now), now)
      .map(({ endpoints }) => endpoints.map(({ pod }) => pod).join(" "));
  }

  beforeEach(function () {
    view = new EndpointsView();
    view.watch([KEY]);
  });

  it("should tell each state once", function () {
    expect(changed(catalog)).to.deep.equal(["default.one default.two"]);
    expect(changed(catalog)).to.deep.equal([]);
    expect(changed(catalogOf(TEXT)), "other objects, the same state").to.deep.equal([]);
    expect(changed(catalogOf(TEXT.replace("[one, two]", "[two]")))).to.deep.equal(["default.two"]);
  });

  it("should not look again at what is made of the same objects", function () {
    changed(catalog);
    let looks = 0;
    const rules = catalog.rules;
    const check = rules.check.bind(rules);
    rules.check = (connection) => {
      looks += 1;
      return check(connection);
    };
    changed({ ...catalog, pods: new Map(catalog.pods) });
    expect(looks).to.equal(0);
    changed(withService(catalog, {}));
    expect(looks).to.equal(2);
  });

  it("should tell everything after a new list", function () {
    changed(catalog);
    view.watch([KEY, "default/none"]);
    expect(changed(catalog)).to.deep.equal(["default.one default.two", ""]);
  });

  it("should keep a client at one endpoint where the service wants it", function () {
    const sticky = withService(catalog, { isSticky: true });
    const [first = ""] = changed(sticky);
    expect(["default.one", "default.two"]).to.include(first);
    view.watch([KEY]);
    expect(changed(sticky), "after a new list").to.deep.equal([first]);
    const others = (sticky.services.get(KEY)?.endpoints ?? []).filter(({ pod }) => pod !== first);
    const [second = ""] = changed(withService(sticky, { endpoints: others }));
    expect(second).to.not.equal(first);
    expect(changed(sticky), "the first is back").to.deep.equal([]);
  });
});
