import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { ERROR_CODES, messageOf, ShimmyError, toShimmyError } from "../../../common/errors.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";

describe("ERROR_CODES", function () {
  it("should be sorted and listed once each", function () {
    expect([...ERROR_CODES]).to.deep.equal([...new Set(ERROR_CODES)].sort());
  });

  it("should be the sections of docs/reference/errors.md", function () {
    const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/errors.md"), "utf8");
    const sections = [...text.matchAll(/^## (?<code>\w+)$/gm)].map(({ groups }) => groups?.code);
    expect(sections).to.deep.equal([...ERROR_CODES]);
  });

  it("should each have a meaning, a cause and an advice in the docs", function () {
    const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/errors.md"), "utf8");
    for (const section of text.split(/^## /m).slice(1)) {
      for (const part of ["**Meaning.**", "**Cause.**", "**What to do.**"]) {
        expect(section, section.split("\n", 1)[0]).to.include(part);
      }
    }
  });
});

describe("toShimmyError()", function () {
  it("should return a ShimmyError as it is", function () {
    const error = new ShimmyError("SHIMMY_ERR_LIMIT", "too many");
    expect(toShimmyError(error)).to.equal(error);
  });

  it("should keep what was thrown as the cause", function () {
    const cause = new Error("no space left");
    const error = toShimmyError(cause, "SHIMMY_ERR_SYSTEM");
    expect(error).to.include({ code: "SHIMMY_ERR_SYSTEM", message: "no space left", cause });
  });

  it("should turn what is not an error into text", function () {
    expect(toShimmyError("odd")).to.include({ code: "SHIMMY_ERR_INTERNAL", message: "odd" });
    expect(messageOf(undefined)).to.equal("undefined");
  });
});
