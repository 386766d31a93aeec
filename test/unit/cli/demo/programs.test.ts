import { expect } from "chai";

import { findPrograms } from "../../../../cli/demo/programs.ts";

describe("findPrograms()", function () {
  it("should name every program that is missing, and what to do", function () {
    // In sbin, which is searched anyway, there is neither wrk nor curl.
    expect(() => findPrograms("/nowhere"))
      .to.throw(/the demo needs .*wrk and curl; in a clone `npm run demo` installs/)
      .with.property("code", "SHIMMY_ERR_NOT_FOUND");
  });
});
