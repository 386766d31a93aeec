import { expect } from "chai";

import type { Catalog, CatalogPod } from "../../../agent/catalog.ts";
import { createAgentMetrics, type AgentMetrics } from "../../../agent/metrics.ts";
import { PodSocketSet } from "../../../agent/pod-socket-set.ts";
import type { PodSockets } from "../../../agent/pod-sockets.ts";
import type { PodListeners } from "../../../agent/socket-place.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { catalogOf, FakeClock, silentLog } from "./fakes.ts";

const TWO = "pods: [{ name: a, address: ::1 }, { name: b, address: ::1 }]";
const ONE = "pods: [{ name: a, address: ::1 }]";
const OTHERS = "{ name: c, address: ::1, node: far }, { name: d, address: ::1, injected: false }";

describe("PodSocketSet", function () {
  let catalog: Catalog;
  let clock: FakeClock;
  let metrics: AgentMetrics;
  /** What a pod's place is at present: a new one when it is not that of before. */
  let places: Map<string, PodListeners | ShimmyError>;
  /** In order, what was done. */
  let events: string[];
  let set: PodSocketSet;

  function listeners(): PodListeners {
    const file = { path: "/x", mode: 0o600 };
    return { api: file, fd: file, close: () => Promise.resolve() };
  }

  function open({ name }: CatalogPod, where: PodListeners): Promise<PodSockets> {
    events.push(`open ${name}`);
    const sockets: Pick<PodSockets, "listeners" | "report" | "catalogChanged" | "close"> = {
      listeners: where,
      report: undefined,
      catalogChanged: () => {
        events.push(`tell ${name}`);
      },
      close: () => {
        events.push(`close ${name}`);
        return Promise.resolve();
      },
    };
    return Promise.resolve(sockets as PodSockets);
  }

  function find({ name }: CatalogPod): Promise<PodListeners | undefined> {
    const place = places.get(name);
    return place instanceof ShimmyError ? Promise.reject(place) : Promise.resolve(place);
  }

  function taken(): string[] {
    return events.splice(0);
  }

  async function results(): Promise<Record<string, number>> {
    const { values } = await metrics.podSockets.get();
    return Object.fromEntries(values.map(({ labels, value }) => [String(labels.result), value]));
  }

  beforeEach(function () {
    catalog = catalogOf(TWO);
    clock = new FakeClock();
    metrics = createAgentMetrics();
    places = new Map(["a", "b", "c", "d"].map((name) => [name, listeners()]));
    events = [];
    set = new PodSocketSet({
      place: { find },
      open,
      catalog: () => catalog,
      metrics,
      clock,
      log: silentLog(),
    });
  });

  it("should open sockets of the node's pods that have a sidecar", async function () {
    catalog = catalogOf(`pods: [{ name: a, address: ::1 }, ${OTHERS}]`);
    expect(set.isIncomplete).to.equal(true);
    await set.reconcile();
    expect(taken()).to.deep.equal(["open a", "tell a"]);
    expect(set.isIncomplete).to.equal(false);
  });

  it("should close those of pods that are gone, and tell the others", async function () {
    await set.reconcile();
    taken();
    catalog = catalogOf(ONE);
    await set.reconcile();
    expect(taken()).to.deep.equal(["close b", "tell a"]);
    expect(await results()).to.deep.equal({ opened: 2, closed: 1 });
  });

  it("should leave alone what is where it was, and tell nobody, at a look", async function () {
    await set.reconcile();
    taken();
    await set.check();
    expect(taken()).to.deep.equal([]);
  });

  it("should follow a pod to another place", async function () {
    await set.reconcile();
    taken();
    places.set("a", listeners());
    await set.check();
    expect(taken()).to.deep.equal(["close a", "open a"]);
  });

  it("should close sockets that have no place any more, without calling that a failure", async function () {
    await set.reconcile();
    taken();
    places.delete("a");
    await set.check();
    expect(taken()).to.deep.equal(["close a"]);
    expect(set.failures).to.deep.equal([]);
    expect(set.isIncomplete).to.equal(true);
  });

  it("should say what failed, keep the others, and try again after a time", async function () {
    places.set("a", new ShimmyError("SHIMMY_ERR_SOCKET_SQUATTED", "taken"));
    await set.reconcile();
    expect(taken()).to.deep.equal(["open b", "tell b"]);
    expect(set.failures).to.deep.equal([{ pod: "default.a", error: "taken" }]);
    expect(await results()).to.deep.equal({ opened: 1, SHIMMY_ERR_SOCKET_SQUATTED: 1 });
    places.set("a", listeners());
    await set.check();
    expect(taken()).to.deep.equal([]);
    clock.advance(5000);
    await set.check();
    expect(taken()).to.deep.equal(["open a"]);
    expect(set.failures).to.deep.equal([]);
  });

  it("should keep sockets while their place cannot be asked for", async function () {
    await set.reconcile();
    taken();
    places.set("a", new ShimmyError("SHIMMY_ERR_SYSTEM", "no helper"));
    await set.check();
    expect(taken()).to.deep.equal([]);
    expect(set.failures).to.have.length(1);
  });

  it("should forget the failure of a pod that is gone", async function () {
    places.set("b", new ShimmyError("SHIMMY_ERR_SYSTEM", "no"));
    await set.reconcile();
    catalog = catalogOf(ONE);
    await set.reconcile();
    expect(set.failures).to.deep.equal([]);
  });

  it("should do nothing after its end", async function () {
    await set.reconcile();
    taken();
    await set.close();
    expect(taken().sort()).to.deep.equal(["close a", "close b"]);
    await set.reconcile();
    await set.check();
    expect(taken()).to.deep.equal([]);
  });
});
