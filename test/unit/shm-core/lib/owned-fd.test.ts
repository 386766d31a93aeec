import { expect } from "chai";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { createServer, connect as connectTcp, type Socket } from "node:net";
import { join } from "node:path";

import {
  ControlSocket,
  duplicateFd,
  OwnedFd,
  shutdownFd,
  socketPair,
  unixPeerCgroup,
  unixPeerCredentials,
} from "../../../../shm-core/lib/control-socket.ts";
import { codeOf, Inbox, useControlSockets } from "./control-socket-fixture.ts";

describe("owned descriptors", function () {
  const { track, pair, ...tests } = useControlSockets();

  describe("OwnedFd", function () {
    it("should close exactly once", function () {
      const fd = new OwnedFd(openSync("/dev/zero", "r"));
      const number = fd.number;
      fd.close();
      const reused = openSync("/dev/zero", "r");
      expect(reused).to.equal(number);
      fd.close();
      expect(statSync(`/proc/self/fd/${reused}`).isCharacterDevice()).to.equal(true);
      closeSync(reused);
    });

    it("should give the descriptor up on release", function () {
      const fd = new OwnedFd(openSync("/dev/zero", "r"));
      const number = fd.release();
      fd.close();
      closeSync(number);
      expect(codeOf(() => fd.number)).to.equal("SHIMMY_ERR_CLOSED");
      expect(codeOf(() => fd.release())).to.equal("SHIMMY_ERR_CLOSED");
    });

    for (const value of [-1, 1.5, NaN, 2 ** 31]) {
      it(`should refuse ${value}`, function () {
        expect(codeOf(() => new OwnedFd(value))).to.equal("SHIMMY_ERR_INVALID_OPTION");
      });
    }
  });

  describe("socketPair(), duplicateFd(), shutdownFd()", function () {
    it("should end the peer's side when a duplicate is shut down", async function () {
      const [a, b] = socketPair();
      const duplicate = track(duplicateFd(a.number));
      track(a);
      const inbox = new Inbox(track(ControlSocket.adopt(b)));
      shutdownFd(duplicate.number);
      expect(await inbox.end()).to.equal(undefined);
    });

    it("should keep record boundaries", async function () {
      const [a, b] = socketPair();
      const inbox = new Inbox(track(ControlSocket.adopt(b)));
      writeSync(track(a).number, "one");
      writeSync(a.number, "two");
      await inbox.until(() => inbox.messages.length === 2);
      expect(inbox.messages.map(({ text }) => text)).to.deep.equal(["one", "two"]);
    });

    for (const act of [duplicateFd, shutdownFd, unixPeerCredentials]) {
      it(`should throw from ${act.name}() for a descriptor that is not open`, function () {
        expect(
          codeOf(() => {
            act(1_000_000);
          }),
        ).to.equal("SHIMMY_ERR_SYSTEM");
        expect(
          codeOf(() => {
            act(-1);
          }),
        ).to.equal("SHIMMY_ERR_INVALID_OPTION");
      });
    }
  });

  describe("unixPeerCredentials()", function () {
    it("should tell who is behind a net.Socket", async function () {
      const server = createServer().listen(join(tests.folder(), "api.sock"));
      const client = connectTcp(join(tests.folder(), "api.sock"));
      const [socket] = (await once(server, "connection")) as [
        Socket & { readonly _handle: { readonly fd: number } },
      ];
      expect(unixPeerCredentials(socket._handle.fd)).to.have.property("pid", process.pid);
      client.destroy();
      socket.destroy();
      await Promise.all([once(client, "close"), once(server.close(), "close")]);
    });
  });

  describe("unixPeerCgroup()", function () {
    interface RawSocket extends Socket {
      readonly _handle: { readonly fd: number };
    }

    async function withPeer(
      start: (path: string) => () => Promise<unknown>,
      look: (fd: number) => void,
    ): Promise<void> {
      const options = { allowHalfOpen: true, pauseOnConnect: true };
      const server = createServer(options).listen(join(tests.folder(), "api.sock"));
      const end = start(join(tests.folder(), "api.sock"));
      const [socket] = (await once(server, "connection")) as [RawSocket];
      socket.on("error", () => undefined);
      await end();
      look(socket._handle.fd);
      socket.destroy();
      await once(server.close(), "close");
    }

    it("should be what the kernel says of the process that connected", async function () {
      const [a] = pair();
      const own = readFileSync("/proc/self/cgroup", "utf8");
      expect(a.peerCgroup()).to.equal(own);
      let client: Socket | undefined;
      await withPeer(
        (path) => {
          client = connectTcp(path);
          return () => Promise.resolve();
        },
        (fd) => {
          expect(unixPeerCgroup(fd)).to.equal(own);
        },
      );
      client?.destroy();
    });

    it("should not be known of a process that has ended", async function () {
      await withPeer(
        (path) => {
          const script = `require("net").connect(${JSON.stringify(path)}).write("x")`;
          const child = spawn(process.execPath, ["-e", script], { stdio: "ignore" });
          const ended = once(child, "exit");
          return () => {
            child.kill("SIGKILL");
            return ended;
          };
        },
        (fd) => {
          let error: unknown;
          try {
            unixPeerCgroup(fd);
          } catch (err) {
            error = err;
          }
          expect(error).to.have.nested.property("cause.code", "ESRCH");
        },
      );
    });

    it("should not be known of a socket that is closed, or what is none", function () {
      const [a] = pair();
      a.close();
      expect(codeOf(() => a.peerCgroup())).to.equal("SHIMMY_ERR_CLOSED");
      const zero = track(new OwnedFd(openSync("/dev/zero", "r")));
      expect(codeOf(() => unixPeerCgroup(zero.number))).to.equal("SHIMMY_ERR_SYSTEM");
    });
  });
});
