import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  openSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { ShimmyError } from "../../../../common/errors.ts";
import {
  ControlServer,
  ControlSocket,
  duplicateFd,
  MAX_MESSAGE_BYTES,
  MAX_MESSAGE_FDS,
  MAX_QUEUED_MESSAGES,
  OwnedFd,
  socketPair,
} from "../../../../shm-core/lib/control-socket.ts";
import { socketFds } from "../../../helpers/socket-fds.ts";
import { abstractName, codeOf, Inbox, useControlSockets } from "./control-socket-fixture.ts";

const FIXTURES = join(import.meta.dirname, "..", "fixtures");

describe("control sockets", function () {
  const { track, pair, listen, connect, ...tests } = useControlSockets();

  describe("ControlServer.listen()", function () {
    it("should accept connections on an abstract name", async function () {
      const path = abstractName();
      const accepted: ControlSocket[] = [];
      listen(path, accepted);
      const client = await connect(path);
      const inbox = new Inbox(client);
      while (accepted.length === 0) await delay(1);
      accepted[0]?.send(Buffer.from("hello"));
      expect((await inbox.message()).text).to.equal("hello");
    });

    it("should create the socket file with the mode asked for, and remove it on close", function () {
      const path = join(tests.folder(), "fd.sock");
      const server = ControlServer.listen({ path, mode: 0o620, onConnection: () => undefined });
      expect(statSync(path).mode & 0o777).to.equal(0o620);
      server.close();
      expect(existsSync(path)).to.equal(false);
    });

    it("should give only the owner access by default", function () {
      const path = join(tests.folder(), "fd.sock");
      listen(path);
      expect(statSync(path).mode & 0o777).to.equal(0o600);
    });

    it("should refuse a path that another socket listens on", function () {
      const path = join(tests.folder(), "fd.sock");
      listen(path);
      expect(codeOf(() => listen(path))).to.equal("SHIMMY_ERR_ADDRESS_IN_USE");
    });

    it("should leave a file that is not a socket alone", function () {
      const path = join(tests.folder(), "fd.sock");
      writeFileSync(path, "precious");
      expect(codeOf(() => listen(path))).to.equal("SHIMMY_ERR_ADDRESS_IN_USE");
      expect(statSync(path).size).to.equal(8);
    });

    it("should replace the socket file of a process that is gone", async function () {
      const path = join(tests.folder(), "fd.sock");
      const child = spawn("python3", [
        "-c",
        "import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(sys.argv[1])",
        path,
      ]);
      await once(child, "close");
      expect(existsSync(path)).to.equal(true);
      listen(path);
      await connect(path);
    });

    it("should not remove a socket file that replaced its own", function () {
      const path = join(tests.folder(), "fd.sock");
      const server = listen(path);
      rmSync(path);
      writeFileSync(path, "another");
      server.close();
      expect(existsSync(path)).to.equal(true);
    });

    for (const [what, path, code] of [
      ["empty", "", "SHIMMY_ERR_INVALID_OPTION"],
      ["too long", `/${"x".repeat(200)}`, "SHIMMY_ERR_SYSTEM"],
      ["in a folder that does not exist", "/nowhere/at/all", "SHIMMY_ERR_SYSTEM"],
    ] as const) {
      it(`should throw ${code} when the path is ${what}`, function () {
        expect(codeOf(() => listen(path))).to.equal(code);
      });
    }

    it("should refuse connections after close", async function () {
      const path = abstractName();
      listen(path).close();
      const err = await ControlSocket.connect({ path }).catch((error: unknown) => error);
      expect(err).to.have.property("code", "SHIMMY_ERR_SYSTEM");
      expect(err).to.have.nested.property("cause.code", "ECONNREFUSED");
    });
  });

  describe("ControlServer.adopt()", function () {
    /** A descriptor of a socket that listens on `path`, as another process would pass it. */
    function listeningFd(path: string): OwnedFd {
      const before = new Set(socketFds());
      const server = ControlServer.listen({ path, onConnection: () => undefined });
      const [made = -1] = socketFds().filter((fd) => !before.has(fd));
      const fd = track(duplicateFd(made));
      server.close();
      return fd;
    }

    it("should accept connections from a socket that listens already", async function () {
      const path = abstractName();
      const fd = listeningFd(path);
      const accepted = Promise.withResolvers<ControlSocket>();
      const server = track(
        ControlServer.adopt(fd, (socket) => {
          accepted.resolve(track(socket));
        }),
      );
      expect(fd.isClosed).to.equal(true);
      const client = await connect(path);
      const inbox = new Inbox(await accepted.promise);
      client.send(Buffer.from("hello"));
      expect((await inbox.message()).text).to.equal("hello");
      server.close();
      const error: unknown = await ControlSocket.connect({ path }).catch((err: unknown) => err);
      expect(error).to.have.nested.property("cause.code", "ECONNREFUSED");
    });

    it("should refuse what does not listen and leave it to its owner", function () {
      const [a, b] = socketPair();
      const zero = new OwnedFd(openSync("/dev/zero", "r"));
      for (const fd of [a, b, zero]) {
        track(fd);
        expect(codeOf(() => ControlServer.adopt(fd, () => undefined))).to.equal(
          "SHIMMY_ERR_SYSTEM",
        );
        expect(fd.isClosed).to.equal(false);
      }
    });
  });

  describe("ControlSocket.connect()", function () {
    it("should report the peer's credentials on both sides", async function () {
      const path = abstractName();
      const accepted: ControlSocket[] = [];
      listen(path, accepted);
      const client = await connect(path);
      while (accepted.length === 0) await delay(1);
      const self = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
      expect(client.peer).to.deep.equal(self);
      expect(accepted[0]?.peer).to.deep.equal(self);
    });

    it("should reject with SHIMMY_ERR_TIMEOUT when the listener does not accept", async function () {
      const path = abstractName();
      const script =
        "import socket,sys,time; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);" +
        "s.bind('\\0'+sys.argv[1]); s.listen(0); print('ok', flush=True); time.sleep(30)";
      const child = spawn("python3", ["-c", script, path.slice(1)]);
      await once(child.stdout, "data");
      try {
        const results = await Promise.all(
          [1, 2, 3].map(() => connect(path, 30).catch((error: unknown) => error)),
        );
        const codes = results.map((result) => (result as ShimmyError).code);
        expect(codes).to.include("SHIMMY_ERR_TIMEOUT");
      } finally {
        child.kill();
        await once(child, "close");
      }
    });
  });

  describe("ControlSocket#send()", function () {
    it("should keep messages whole and in order", async function () {
      const [a, b] = pair();
      const inbox = new Inbox(b);
      const texts = Array.from({ length: 100 }, (_, i) => `${i}:${"x".repeat(i * 7)}`);
      for (const text of texts) a.send(Buffer.from(text));
      await inbox.until(() => inbox.messages.length === texts.length);
      expect(inbox.messages.map(({ text }) => text)).to.deep.equal(texts);
    });

    it(`should carry ${MAX_MESSAGE_BYTES} bytes and ${MAX_MESSAGE_FDS} descriptors`, async function () {
      const [a, b] = pair();
      const inbox = new Inbox(b);
      const fds = Array.from({ length: MAX_MESSAGE_FDS }, () => openSync("/dev/zero", "r"));
      expect(a.send(Buffer.alloc(MAX_MESSAGE_BYTES, 1), fds)).to.equal(true);
      for (const fd of fds) closeSync(fd);
      const message = await inbox.message();
      expect(message.text).to.have.lengthOf(MAX_MESSAGE_BYTES);
      expect(
        message.fds.map(({ number }) => readlinkSync(`/proc/self/fd/${number}`)),
      ).to.deep.equal(fds.map(() => "/dev/zero"));
      for (const fd of message.fds) fd.close();
    });

    it("should queue for a peer that does not read yet, descriptors included", async function () {
      const [a, b] = pair();
      const fd = openSync("/dev/zero", "r");
      let sent = 0;
      let isTaken = true;
      for (; isTaken; sent++) isTaken = a.send(Buffer.from(String(sent)), [fd]);
      for (let i = 0; i < 10; i++, sent++) a.send(Buffer.from(String(sent)), [fd]);
      closeSync(fd);
      const inbox = new Inbox(b);
      await inbox.until(() => inbox.messages.length === sent);
      expect(inbox.messages.map(({ text }) => Number(text))).to.deep.equal(
        Array.from({ length: sent }, (_, i) => i),
      );
      for (const message of inbox.messages) {
        expect(message.fds).to.have.lengthOf(1);
        message.fds[0]?.close();
      }
    });

    it("should end with SHIMMY_ERR_SLOW_READER when the queue is at its bound", async function () {
      const [a] = pair();
      const inbox = new Inbox(a);
      while (a.send(Buffer.alloc(1000))) continue;
      for (let i = 1; i < MAX_QUEUED_MESSAGES; i++) a.send(Buffer.alloc(1000));
      expect(inbox.errors).to.have.lengthOf(0);
      expect(a.send(Buffer.alloc(1000))).to.equal(false);
      expect(await inbox.end()).to.have.property("code", "SHIMMY_ERR_SLOW_READER");
      expect(a.isClosed).to.equal(true);
    });

    it("should return false when the peer is gone, and onClose should follow", async function () {
      const [a, b] = pair();
      const inbox = new Inbox(a);
      b.close();
      expect(a.send(Buffer.from("x"))).to.equal(false);
      expect(await inbox.end()).to.equal(undefined);
    });

    it("should hold a peer back that sends faster than messages are handled", async function () {
      const [a, b] = pair();
      let handled = 0;
      b.onMessage = () => {
        handled++;
      };
      let sent = 0;
      for (; sent < 2000; sent++) if (!a.send(Buffer.alloc(100))) break;
      // Without bounds on both ways all 2000 would have been taken at once.
      expect(sent).to.be.lessThan(2000);
      while (handled <= sent) await delay(1);
      expect(handled).to.equal(sent + 1);
    });

    for (const [what, data, fds, code] of [
      ["empty", 0, 0, "SHIMMY_ERR_PROTOCOL"],
      ["too big", MAX_MESSAGE_BYTES + 1, 0, "SHIMMY_ERR_MESSAGE_TOO_BIG"],
      ["with nine descriptors", 1, MAX_MESSAGE_FDS + 1, "SHIMMY_ERR_LIMIT"],
    ] as const) {
      it(`should throw ${code} for a message that is ${what}`, function () {
        const [a] = pair();
        const numbers = Array.from({ length: fds }, () => 0);
        expect(codeOf(() => a.send(Buffer.alloc(data), numbers))).to.equal(code);
        expect(a.send(Buffer.from("still open"))).to.equal(true);
      });
    }

    it("should throw SHIMMY_ERR_SYSTEM for a descriptor that is not open", function () {
      const [a] = pair();
      expect(codeOf(() => a.send(Buffer.from("x"), [1_000_000]))).to.equal("SHIMMY_ERR_SYSTEM");
    });

    it("should throw SHIMMY_ERR_CLOSED after close", function () {
      const [a] = pair();
      a.close();
      expect(codeOf(() => a.send(Buffer.from("x")))).to.equal("SHIMMY_ERR_CLOSED");
    });
  });

  describe("ControlSocket#onMessage", function () {
    it("should find messages that came before it was set", async function () {
      const [a, b] = pair();
      a.send(Buffer.from("early"));
      await delay(20);
      expect((await new Inbox(b).message()).text).to.equal("early");
    });

    it("should get what the peer sent before it closed", async function () {
      const [a, b] = pair();
      // Unread at b's close: the kernel would report ECONNRESET in front of b's own message.
      a.send(Buffer.from("unread"));
      b.send(Buffer.from("goodbye"));
      b.close();
      const inbox = new Inbox(a);
      expect((await inbox.message()).text).to.equal("goodbye");
      expect(await inbox.end()).to.equal(undefined);
    });

    it("should get nothing after close, and leak no descriptor of what was on its way", async function () {
      const [a, b] = pair();
      const inbox = new Inbox(b);
      const fd = openSync("/dev/zero", "r");
      for (let i = 0; i < 20; i++) a.send(Buffer.from("x"), [fd]);
      closeSync(fd);
      b.close();
      await delay(20);
      expect(inbox.messages).to.have.lengthOf(0);
      expect(inbox.errors).to.have.lengthOf(0);
    });
  });

  describe("ControlSocket#onClose", function () {
    for (const what of ["oversized", "empty", "nine fds", "empty with fds"]) {
      it(`should get SHIMMY_ERR_PROTOCOL when the peer's message is ${what}`, async function () {
        const [a, b] = socketPair();
        const socket = track(ControlSocket.adopt(a));
        const inbox = new Inbox(socket);
        const child = spawn("python3", [join(FIXTURES, "hostile_peer.py"), what], {
          stdio: ["ignore", "inherit", "inherit", b.number],
        });
        const closed = once(child, "close");
        b.close();
        expect(await inbox.end()).to.have.property("code", "SHIMMY_ERR_PROTOCOL");
        expect(inbox.messages).to.have.lengthOf(0);
        await closed;
      });
    }

    it("should be called when the peer process dies", async function () {
      const [a, b] = socketPair();
      const inbox = new Inbox(track(ControlSocket.adopt(a)));
      const child = spawn("sleep", ["30"], { stdio: ["ignore", "ignore", "ignore", b.number] });
      const closed = once(child, "close");
      b.close();
      child.kill("SIGKILL");
      expect(await inbox.end()).to.equal(undefined);
      await closed;
    });
  });

  describe("ControlSocket.adopt()", function () {
    it("should refuse what is not a SEQPACKET socket and leave it to its owner", function () {
      const fd = track(new OwnedFd(openSync("/dev/zero", "r")));
      expect(codeOf(() => ControlSocket.adopt(fd))).to.equal("SHIMMY_ERR_SYSTEM");
      expect(fd.isClosed).to.equal(false);
    });
  });

  describe("a process without descriptors", function () {
    /** Sends a descriptor to the out-of-fds fixture; returns the last line that it prints. */
    async function sendToFull(when: string): Promise<string | undefined> {
      const path = abstractName();
      const command = 'ulimit -n 64; exec "$0" "$@"';
      const fixture = join(FIXTURES, "out-of-fds.ts");
      const args = ["-c", command, process.execPath, fixture, path.replace("\0", "@"), when];
      const child = spawn("bash", args, { stdio: ["ignore", "pipe", "inherit"] });
      const closed = once(child, "close");
      let output = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
      while (!output.includes("listening")) await once(child.stdout, "data");
      const client = await connect(path);
      const fd = openSync("/dev/zero", "r");
      client.send(Buffer.from("hello"), [fd]);
      closeSync(fd);
      await closed;
      client.close();
      return output.trim().split("\n").at(-1);
    }

    it("should accept again once there are some", async function () {
      expect(await sendToFull("at accept")).to.equal("message hello with 1");
    });

    it("should close with SHIMMY_ERR_PROTOCOL when descriptors cannot be received", async function () {
      expect(await sendToFull("at receive")).to.equal("closed SHIMMY_ERR_PROTOCOL");
    });
  });

  describe("lifetime", function () {
    /** Runs the exit-modes fixture; returns what it printed. Fails unless it exits with 0. */
    async function runMode(mode: string, path = ""): Promise<string> {
      const child = spawn(
        process.execPath,
        ["--expose-gc", join(FIXTURES, "exit-modes.ts"), mode, path],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      let output = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
      const [code, signal] = (await once(child, "close")) as [number | null, string | null];
      expect({ code, signal }).to.deep.equal({ code: 0, signal: null });
      return output;
    }

    for (const mode of ["idle", "unref"]) {
      it(`should let the process end when its sockets are ${mode}`, async function () {
        const path = join(tests.folder(), "fd.sock");
        listen(path);
        await runMode(mode, path);
      });
    }

    it("should survive process.exit() while messages arrive", async function () {
      await runMode("process.exit");
    });

    it("should make an error thrown by a handler an uncaught exception", async function () {
      expect(await runMode("uncaught exception")).to.equal("caught from a handler\n");
    });

    it("should close and count descriptors that were forgotten, and keep open sockets", async function () {
      expect(await runMode("garbage collection")).to.equal("leaked 10\nopen true\n");
    });

    async function startWorker(path: string): Promise<Worker> {
      const worker = new Worker(join(FIXTURES, "echo-worker.ts"), { workerData: path });
      await once(worker, "message");
      return worker;
    }

    it("should work in a worker, which ends by itself when its sockets are closed", async function () {
      const path = abstractName();
      const worker = await startWorker(path);
      const client = await connect(path);
      const inbox = new Inbox(client);
      client.send(Buffer.from("to a worker"));
      expect((await inbox.message()).text).to.equal("to a worker");
      client.close();
      worker.postMessage("stop");
      expect(await once(worker, "exit")).to.deep.equal([0]);
    });

    it("should close what a worker held when it is terminated", async function () {
      const worker = new Worker(join(FIXTURES, "holding-worker.ts"));
      expect(await once(worker, "message")).to.deep.equal([4]);
      // afterEach() checks that no descriptor is left.
      await worker.terminate();
    });

    it("should close everything when a worker is terminated while messages arrive", async function () {
      for (let round = 0; round < 5; round++) {
        const path = abstractName();
        const worker = await startWorker(path);
        const client = await connect(path);
        const inbox = new Inbox(client);
        const fd = openSync("/dev/zero", "r");
        for (let i = 0; i < 50; i++) client.send(Buffer.from("x"), [fd]);
        closeSync(fd);
        await worker.terminate();
        await inbox.end();
        for (const message of inbox.messages) for (const received of message.fds) received.close();
      }
    });
  });
});
