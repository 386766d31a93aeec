import { expect } from "chai";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  MAX_MESSAGE_BYTES,
  MAX_MESSAGE_FDS,
  MAX_QUEUED_BYTES,
  MAX_QUEUED_MESSAGES,
} from "../../../../shm-core/lib/control-socket.ts";
import { EventKind } from "../../../../shm-core/lib/native.ts";
import {
  ChannelStatus,
  checked,
  CoreStatus,
  errnoName,
  Status,
  statusError,
} from "../../../../shm-core/lib/status.ts";

const SOURCES = join(import.meta.dirname, "../../../../shm-core/src");

/** The `kName = number` lines of a C++ header, as lowerCamelCase names. */
function constantsOf(header: string, after: string): Record<string, number> {
  const text = readFileSync(join(SOURCES, header), "utf8");
  const body = text.slice(text.indexOf(after)).split("};")[0] ?? "";
  const found = body.matchAll(/^\s+k(\w+) = (-?\d+),/gm);
  return Object.fromEntries(
    [...found].map(([, name = "", value]) => [
      name.charAt(0).toLowerCase() + name.slice(1),
      Number(value),
    ]),
  );
}

describe("native constants", function () {
  it("should have the same statuses in src/addon_status.h and lib/status.ts", function () {
    expect(constantsOf("addon_status.h", "enum class AddonStatus")).to.deep.equal(Status);
  });

  it("should have the same core statuses in include/shimmy/status.h and lib/status.ts", function () {
    const core = constantsOf("../include/shimmy/status.h", "enum class Status");
    const shifted = Object.entries(core).map(([name, value]) => [name, value - 6000]);
    expect(Object.fromEntries(shifted)).to.deep.equal(CoreStatus);
  });

  it("should have the same channel statuses in sdk/c/include/shimmy.h and lib/status.ts", function () {
    const text = readFileSync(join(SOURCES, "../../sdk/c/include/shimmy.h"), "utf8");
    const statuses = [...text.matchAll(/^\s+SHIMMY_(\w+) = (-\d+),?\s/gm)].map(
      ([, name = "", value]) => [
        name.toLowerCase().replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
        Number(value) - 7000,
      ],
    );
    expect(Object.fromEntries(statuses)).to.deep.equal(ChannelStatus);
  });

  it("should have the same event kinds in src/event_sink.h and lib/native.ts", function () {
    expect(constantsOf("event_sink.h", "enum class EventKind")).to.deep.equal(EventKind);
  });

  it("should have the same limits in src/control_limits.h and lib/control-socket.ts", function () {
    const text = readFileSync(join(SOURCES, "control_limits.h"), "utf8");
    expect(text).to.include(`kMaxMessageBytes = ${MAX_MESSAGE_BYTES};`);
    expect(text).to.include(`kMaxMessageFds = ${MAX_MESSAGE_FDS};`);
    expect(text).to.include(`kMaxQueuedMessages = ${MAX_QUEUED_MESSAGES};`);
    expect(text).to.include(`kMaxQueuedBytes = std::size_t{${MAX_QUEUED_BYTES / 2 ** 20}} << 20;`);
  });
});

describe("statusError()", function () {
  it("should keep the name of the errno in the cause", function () {
    const err = statusError(-2, "open");
    expect(err).to.have.property("code", "SHIMMY_ERR_SYSTEM");
    expect(err.message).to.equal("open: ENOENT");
    expect(errnoName(err)).to.equal("ENOENT");
  });

  for (const [status, code] of [
    [-98, "SHIMMY_ERR_ADDRESS_IN_USE"],
    [-99, "SHIMMY_ERR_ADDRESS_NOT_AVAILABLE"],
    [Status.closed, "SHIMMY_ERR_CLOSED"],
    [Status.tooBig, "SHIMMY_ERR_MESSAGE_TOO_BIG"],
    [Status.tooManyFds, "SHIMMY_ERR_LIMIT"],
    [Status.queueFull, "SHIMMY_ERR_SLOW_READER"],
    [-4096, "SHIMMY_ERR_INTERNAL"],
  ] as const) {
    it(`should be ${code} for ${status}`, function () {
      expect(statusError(status, "act")).to.have.property("code", code);
    });
  }
});

describe("checked()", function () {
  it("should return a result that is not negative", function () {
    expect(checked(0, "act")).to.equal(0);
  });

  it("should throw for a negative one", function () {
    expect(() => checked(-1, "act")).to.throw("act: EPERM");
  });
});
