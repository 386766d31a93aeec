import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import type { Credentials, Fd, MessageHandlers, MessageSocket } from "../../../agent/native.ts";
import { decodeReply, encodeRequest, NetnsHelper } from "../../../agent/netns-client.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";
import { FakeClock, FakeNative } from "./fakes.ts";

const POD = "2c48913c-b29f-11e7-9350-020968147796";
const PROCESS = { pid: 4242, startTime: 1_234_567, pod: POD };
const HEADER = readFileSync(join(PACKAGE_ROOT, "agent/netns-helper/protocol.h"), "utf8");

function reply(result: number, { error = 0, inode = 0n, magic = 0x52484e53 } = {}): Buffer {
  const data = Buffer.alloc(24);
  data.writeUInt32LE(magic, 0);
  data.writeUInt32LE(1, 4);
  data.writeInt32LE(result, 8);
  data.writeInt32LE(error, 12);
  data.writeBigUInt64LE(inode, 16);
  return data;
}

/** The number that protocol.h gives a name. */
function inHeader(name: string): number {
  const [, value = ""] = new RegExp(`\\b${name} = (0x[0-9a-f]+|\\d+)`).exec(HEADER) ?? [];
  return Number(value);
}

describe("encodeRequest()", function () {
  it("should lay a request out as protocol.h has it", function () {
    const request = encodeRequest(PROCESS, 99n);
    expect(request).to.have.length(96);
    expect(HEADER).to.include("static_assert(sizeof(Request) == 96");
    expect(request.readUInt32LE(0)).to.equal(inHeader("kRequestMagic"));
    expect(request.readUInt32LE(4)).to.equal(inHeader("kProtocolVersion"));
    expect(request.readInt32LE(8)).to.equal(4242);
    expect(request.readUInt32LE(12)).to.equal(0);
    expect(request.readBigUInt64LE(16)).to.equal(1_234_567n);
    expect(request.readBigUInt64LE(24)).to.equal(99n);
    expect(request.subarray(32).toString("latin1").replace(/\0+$/, "")).to.equal(POD);
  });

  it("should leave room for the end of a name, however long that is", function () {
    const request = encodeRequest({ ...PROCESS, pod: "a".repeat(200) }, 0n);
    expect(request).to.have.length(96);
    expect(request[95]).to.equal(0);
  });
});

describe("decodeReply()", function () {
  let native: FakeNative;

  beforeEach(function () {
    native = new FakeNative();
  });

  function errorOf(data: Buffer): ShimmyError {
    try {
      decodeReply(data, [], PROCESS);
    } catch (err) {
      return err as ShimmyError;
    }
    throw new Error("it was not refused");
  }

  it("should give both sockets and their namespace", function () {
    const [api, fd] = [native.fd(), native.fd()];
    const entered = decodeReply(reply(inHeader("kOpened"), { inode: 7n }), [api, fd], PROCESS);
    expect(entered).to.deep.equal({ kind: "opened", namespace: 7n, api, fd });
  });

  it("should tell that the namespace is known", function () {
    expect(decodeReply(reply(inHeader("kSame")), [], PROCESS)).to.deep.equal({ kind: "same" });
  });

  const refusals: readonly (readonly [name: string, code: string, message: RegExp])[] = [
    ["kGone", "SHIMMY_ERR_NOT_ATTESTED", /process 4242 .*: the process has ended$/],
    ["kNotOfPod", "SHIMMY_ERR_NOT_ATTESTED", /its cgroup does not name the pod$/],
    ["kHostNamespace", "SHIMMY_ERR_NOT_ATTESTED", /a network namespace of the node$/],
    ["kNameTaken", "SHIMMY_ERR_SOCKET_SQUATTED", /a process in pod 2c48913c/],
    ["kBadRequest", "SHIMMY_ERR_NOT_ATTESTED", /the request is not understood$/],
    ["kSystemError", "SHIMMY_ERR_SYSTEM", /error 24$/],
  ];
  for (const [name, code, message] of refusals) {
    it(`should throw ${code} for ${name}`, function () {
      const error = errorOf(reply(inHeader(name), { error: 24 }));
      expect(error).to.have.property("code", code);
      expect(error.message).to.match(message);
    });
  }

  it("should throw for sockets that did not come along", function () {
    expect(errorOf(reply(inHeader("kOpened"))).code).to.equal("SHIMMY_ERR_SYSTEM");
  });

  it("should throw SHIMMY_ERR_PROTOCOL for what is no reply", function () {
    const bad = [Buffer.alloc(0), Buffer.alloc(24), reply(0, { magic: 1 }), Buffer.alloc(25, 1)];
    for (const data of bad) expect(errorOf(data).code).to.equal("SHIMMY_ERR_PROTOCOL");
  });
});

describe("NetnsHelper", function () {
  let native: FakeNative;
  let clock: FakeClock;
  let socket: HelperSocket;

  /** The agent's end of a connection to the helper; the test is the helper. */
  class HelperSocket implements MessageSocket {
    readonly peer: Credentials;
    readonly sent: Buffer[] = [];
    handlers: MessageHandlers | undefined;
    isClosed = false;

    constructor(uid: number) {
      this.peer = { pid: 1, uid };
    }

    start(handlers: MessageHandlers): void {
      this.handlers = handlers;
    }

    send(data: Buffer): boolean {
      this.sent.push(data);
      return true;
    }

    close(): void {
      this.isClosed = true;
    }
  }

  function enter(uid = 0): ReturnType<NetnsHelper["enter"]> {
    socket = new HelperSocket(uid);
    const connect = (): Promise<MessageSocket> => Promise.resolve(socket);
    return new NetnsHelper({ path: "/helper", connect, clock }).enter(PROCESS, 3n);
  }

  async function answer(data: Buffer, fds: Fd[]): Promise<void> {
    await Promise.resolve();
    await Promise.resolve();
    socket.handlers?.onMessage(data, fds);
  }

  async function codeOf(promise: Promise<unknown>): Promise<string> {
    return promise.then(
      () => "none",
      (err: unknown) => (err as ShimmyError).code,
    );
  }

  beforeEach(function () {
    native = new FakeNative();
    clock = new FakeClock();
  });

  it("should ask once and hand the sockets on", async function () {
    const entering = enter();
    const [api, fd] = [native.fd(), native.fd()];
    await answer(reply(0, { inode: 7n }), [api, fd]);
    expect(await entering).to.deep.include({ kind: "opened", namespace: 7n });
    expect(socket.sent).to.deep.equal([encodeRequest(PROCESS, 3n)]);
    expect(socket.isClosed).to.equal(true);
    expect(native.open.size).to.equal(2);
    expect(clock.pending).to.equal(0);
  });

  it("should close what comes with a refusal, or beside the sockets", async function () {
    const refused = codeOf(enter());
    await answer(reply(4), [native.fd(), native.fd()]);
    expect(await refused).to.equal("SHIMMY_ERR_NOT_ATTESTED");
    expect(native.open.size).to.equal(0);
    const entering = enter();
    await answer(reply(0), [native.fd(), native.fd(), native.fd()]);
    await entering;
    expect(native.open.size).to.equal(2);
  });

  it("should not believe a helper that is another user", async function () {
    expect(await codeOf(enter((process.geteuid?.() ?? 0) + 1))).to.equal("SHIMMY_ERR_NOT_ATTESTED");
    expect(socket.sent).to.deep.equal([]);
    expect(socket.isClosed).to.equal(true);
  });

  it("should give up on a helper that does not answer, or leaves", async function () {
    const late = codeOf(enter());
    await Promise.resolve();
    await Promise.resolve();
    clock.advance(5000);
    expect(await late).to.equal("SHIMMY_ERR_TIMEOUT");
    const left = codeOf(enter());
    await Promise.resolve();
    await Promise.resolve();
    socket.handlers?.onClose();
    expect(await left).to.equal("SHIMMY_ERR_CLOSED");
    expect(clock.pending).to.equal(0);
  });
});
