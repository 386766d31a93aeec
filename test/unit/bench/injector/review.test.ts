import { expect } from "chai";

import { POD_BYTES } from "../../../../bench/injector/keys.ts";
import { makeReview, UID_PLACE } from "../../../../bench/injector/review.ts";

describe("makeReview()", function () {
  it("should ask for a pod of the size that the bench names", function () {
    const text = makeReview();
    expect(text.split(UID_PLACE)).to.have.lengthOf(2);
    const { request } = JSON.parse(text) as { request: { object: object } };
    expect(JSON.stringify(request.object).length).to.be.within(POD_BYTES, POD_BYTES + 200);
  });
});
