import { expect } from "chai";

import { formatBytes, formatCount, formatMicros, renderTable } from "../../../cli/table.ts";

describe("renderTable()", function () {
  it("should align columns by their widest cell", function () {
    const lines = renderTable(
      [{ title: "POD" }, { title: "OPEN", align: "right" }, { title: "WHY" }],
      [
        ["default/client", "1", ""],
        ["web", "12,345", "quota 1"],
      ],
    );
    expect(lines).to.deep.equal([
      "POD               OPEN  WHY",
      "default/client       1",
      "web             12,345  quota 1",
    ]);
  });
});

describe("formatBytes()", function () {
  for (const [bytes, text] of [
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [200 * 1024, "200 KiB"],
    [1024 ** 3 * 1.25, "1.3 GiB"],
    [1024 ** 5 * 2, "2048 TiB"],
  ] as const) {
    it(`should write ${bytes} as ${text}`, function () {
      expect(formatBytes(bytes)).to.equal(text);
    });
  }
});

describe("formatMicros()", function () {
  for (const [micros, text] of [
    [85.4, "85 µs"],
    [1250, "1.25 ms"],
    [2_000_000, "2.00 s"],
  ] as const) {
    it(`should write ${micros} as ${text}`, function () {
      expect(formatMicros(micros)).to.equal(text);
    });
  }
});

describe("formatCount()", function () {
  it("should keep thousands apart", function () {
    expect(formatCount(1_234_567.4)).to.equal("1,234,567");
  });
});
