import { expect } from "chai";

import { ShimmyError } from "../../../common/errors.ts";
import { createLogger, type LogSink } from "../../../common/log.ts";

describe("createLogger()", function () {
  let lines: string[];
  let sink: LogSink;

  beforeEach(function () {
    lines = [];
    sink = { write: (line) => lines.push(line) };
  });

  it("should write one line of JSON per event, fields beside a fixed message", function () {
    createLogger({ process: "agent", sink }).info({ session: "s1" }, "session\nopened");
    expect(lines).to.have.length(1);
    expect(lines[0]).to.match(/^[^\n]*\n$/);
    const event = JSON.parse(lines[0] ?? "") as object;
    expect(event).to.include({ process: "agent", level: "info", session: "s1" });
    expect(event)
      .to.have.property("time")
      .that.matches(/^\d{4}-\d\d-\d\dT/);
  });

  it("should leave out what is below the level", function () {
    const log = createLogger({ process: "agent", level: "warn", sink });
    log.info("not written");
    log.warn("written");
    expect(lines).to.have.length(1);
  });

  it("should write the code and the cause of an error", function () {
    const err = new ShimmyError("SHIMMY_ERR_LIMIT", "too many", { cause: new Error("deep") });
    createLogger({ process: "agent", sink }).error({ err }, "failed");
    const event = JSON.parse(lines[0] ?? "") as { err: { code: string; message: string } };
    expect(event.err.code).to.equal("SHIMMY_ERR_LIMIT");
    expect(event.err.message).to.include("deep");
  });
});
