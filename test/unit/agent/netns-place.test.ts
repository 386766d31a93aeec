import { expect } from "chai";

import type { Entered } from "../../../agent/netns-client.ts";
import { NetnsPlace } from "../../../agent/netns-place.ts";
import type { PodProcess } from "../../../agent/processes.ts";
import type { PodListeners } from "../../../agent/socket-place.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { FakeNative } from "./fakes.ts";

const POD = { uid: "pod-a" };

describe("NetnsPlace", function () {
  let native: FakeNative;
  let live: PodProcess[];
  let asked: { pid: number; known: bigint }[];
  /** The namespace that each process is in, or why it cannot be entered. */
  let namespaces: Map<number, bigint | ShimmyError>;
  let place: NetnsPlace;

  function start(pid: number, namespace: bigint | ShimmyError): void {
    live.push({ pid, startTime: pid, pod: POD.uid });
    namespaces.set(pid, namespace);
  }

  function end(pid: number): void {
    live = live.filter((process) => process.pid !== pid);
  }

  function refusal(code: "SHIMMY_ERR_NOT_ATTESTED" | "SHIMMY_ERR_SYSTEM"): ShimmyError {
    return new ShimmyError(code, "no");
  }

  function enter({ pid }: PodProcess, known: bigint): Promise<Entered> {
    asked.push({ pid, known });
    const namespace = namespaces.get(pid) ?? refusal("SHIMMY_ERR_NOT_ATTESTED");
    if (typeof namespace !== "bigint") return Promise.reject(namespace);
    if (namespace === known) return Promise.resolve({ kind: "same" });
    return Promise.resolve({ kind: "opened", namespace, api: native.fd(), fd: native.fd() });
  }

  async function found(before?: PodListeners): Promise<PodListeners> {
    const listeners = await place.find(POD, before);
    if (listeners === undefined) throw new Error("no place");
    return listeners;
  }

  beforeEach(function () {
    native = new FakeNative();
    live = [];
    asked = [];
    namespaces = new Map();
    place = new NetnsPlace({
      processes: {
        of: () => live,
        isAlive: ({ pid }) => live.some((process) => process.pid === pid),
      },
      helper: { enter },
    });
  });

  it("should be none while the pod has no process", async function () {
    expect(await place.find(POD, undefined)).to.equal(undefined);
    expect(asked).to.deep.equal([]);
  });

  it("should be in the namespace of the oldest process", async function () {
    start(1, 7n);
    start(2, 7n);
    const { api, fd } = await found();
    expect([api, fd]).to.have.nested.property("[0].fd");
    expect(asked).to.deep.equal([{ pid: 1, known: 0n }]);
  });

  it("should be kept without a question for as long as its process lives", async function () {
    start(1, 7n);
    const first = await found();
    expect(await found(first)).to.equal(first);
    expect(asked).to.have.length(1);
  });

  it("should be kept when another process is in the same namespace", async function () {
    start(1, 7n);
    const first = await found();
    start(2, 7n);
    end(1);
    expect(await found(first)).to.equal(first);
    expect(asked.at(-1)).to.deep.equal({ pid: 2, known: 7n });
    // From here on that one tells.
    expect(await found(first)).to.equal(first);
    expect(asked).to.have.length(2);
  });

  it("should be another one when the pod's sandbox was made again", async function () {
    start(1, 7n);
    const first = await found();
    end(1);
    start(2, 8n);
    const second = await found(first);
    expect(second).to.not.equal(first);
    await first.close();
    expect(native.open.size).to.equal(2);
  });

  it("should be none any more when all processes have ended", async function () {
    start(1, 7n);
    const first = await found();
    end(1);
    expect(await place.find(POD, first)).to.equal(undefined);
  });

  it("should be found past a process that is elsewhere, as a runtime's monitor is", async function () {
    start(1, refusal("SHIMMY_ERR_NOT_ATTESTED"));
    start(2, 7n);
    await found();
    expect(asked.map(({ pid }) => pid)).to.deep.equal([1, 2]);
  });

  it("should be given up for now after eight of them", async function () {
    for (let pid = 1; pid <= 20; pid++) start(pid, refusal("SHIMMY_ERR_NOT_ATTESTED"));
    const error: unknown = await place.find(POD, undefined).catch((err: unknown) => err);
    expect(error).to.have.property("code", "SHIMMY_ERR_NOT_ATTESTED");
    expect(asked).to.have.length(8);
  });

  it("should not be looked for further when the helper has trouble of its own", async function () {
    start(1, refusal("SHIMMY_ERR_SYSTEM"));
    start(2, 7n);
    const error: unknown = await place.find(POD, undefined).catch((err: unknown) => err);
    expect(error).to.have.property("code", "SHIMMY_ERR_SYSTEM");
    expect(asked).to.have.length(1);
  });

  it("should close sockets that nobody came to serve", async function () {
    start(1, 7n);
    const listeners = await found();
    await listeners.close();
    await listeners.close();
    expect(native.open.size).to.equal(0);
  });
});
