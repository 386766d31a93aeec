import { expect } from "chai";

import { EVENT_REASONS } from "../../../common/reasons.ts";
import { readSource } from "./sources.ts";

describe("docs/reference/events.md", function () {
  it("should have a row for each reason there is, and for no other", function () {
    const rows = readSource("docs/reference/events.md").matchAll(
      /^\| (?:Warning|Normal) \| \[(\w+)\]/gm,
    );
    expect([...rows].map(([, reason]) => reason)).to.have.members([...EVENT_REASONS]);
  });
});
