import { expect } from "chai";
import { CommanderError } from "commander";

import { commanderFailure, describeFailure } from "../../../cli/failure.ts";
import { ShimmyError } from "../../../common/errors.ts";

describe("describeFailure()", function () {
  it("should name message and code in one line", function () {
    const error = new ShimmyError("SHIMMY_ERR_SYSTEM", "nginx\n  does not accept");
    expect(describeFailure(error)).to.deep.equal({
      line: "shimmy: nginx does not accept (SHIMMY_ERR_SYSTEM)",
      exitCode: 1,
    });
  });

  it("should exit with 2 when what the person wrote is wrong", function () {
    const error = new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", "unknown option");
    expect(describeFailure(error).exitCode).to.equal(2);
  });

  it("should call anything else an internal error", function () {
    expect(describeFailure(new TypeError("x is undefined")).line).to.equal(
      "shimmy: x is undefined (SHIMMY_ERR_INTERNAL)",
    );
  });
});

describe("commanderFailure()", function () {
  it("should keep the hint and drop the prefix", function () {
    const error = new CommanderError(
      1,
      "x",
      "error: unknown option '--onc'\n(Did you mean --once?)",
    );
    expect(commanderFailure(error)).to.include({
      code: "SHIMMY_ERR_INVALID_CONFIG",
      message: "unknown option '--onc' (Did you mean --once?)",
    });
  });
});
