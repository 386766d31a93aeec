import { expect } from "chai";

import { parseTopic } from "../../../../agent/channels/topic.ts";

describe("parseTopic()", function () {
  it("should be of the namespace given unless it names one", function () {
    expect(parseTopic("prices.eu", "shop")).to.deep.equal({ namespace: "shop", name: "prices.eu" });
    expect(parseTopic("md/prices", "shop")).to.deep.equal({ namespace: "md", name: "prices" });
  });

  for (const text of ["", "/", "a/", "/a", "a/b/c", "../a", "A", "a_b", "a b", "a".repeat(200)]) {
    it(`should refuse ${JSON.stringify(text.slice(0, 20))}`, function () {
      expect(() => parseTopic(text, "shop"))
        .to.throw(/^topic must be/)
        .with.property("code", "SHIMMY_ERR_INVALID_OPTION");
    });
  }

  it("should need a namespace where there is none", function () {
    expect(() => parseTopic("prices", undefined)).to.throw(/namespace\/name/);
  });
});
