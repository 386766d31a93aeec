import { expect } from "chai";
import { setTimeout as delay } from "node:timers/promises";

import { Cluster } from "../helpers/cluster.ts";
import {
  connectionsSince,
  programContainer,
  readClientLog,
  webClient,
  webServer,
  webService,
  workload,
  type RolloutKind,
} from "../helpers/cluster-workloads.ts";
import { eventually } from "../helpers/eventually.ts";

const ENABLED = { "shimmy.io/inject": "enabled" };
const CALLS_NGINX = { ...ENABLED, "shimmy.io/upstreams": "nginx:9001" };
const IN_TIME_MS = 60_000;
/** What does not change for so long has settled: controllers answer within a second. */
const SETTLED_MS = 1500;
const KINDS: readonly RolloutKind[] = ["Deployment", "StatefulSet", "DaemonSet"];

interface Workload {
  readonly metadata: {
    readonly generation: number;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
      readonly spec: {
        readonly containers: readonly {
          readonly env?: readonly { readonly name: string; readonly value?: string }[];
        }[];
      };
    };
  };
  readonly status: { readonly observedGeneration: number };
}

/** What of a workload a rollout may change. */
interface State {
  readonly isAsked: boolean;
  readonly isCarried: boolean;
  readonly release: string | undefined;
}

const RELEASE_1 = { name: "RELEASE", value: "1" };
const OPTED_IN: State = { isAsked: true, isCarried: true, release: "1" };
const OPTED_OUT: State = { isAsked: false, isCarried: false, release: "1" };

describe("rollouts of workloads that opted in", function () {
  this.timeout(180_000);
  let cluster: Cluster;

  before(async function () {
    this.timeout(1_800_000);
    cluster = await Cluster.start(1);
    await cluster.install();
    await cluster.rolledOut("deployment/shimmy-injector", "shimmy-system");
    await cluster.rolledOut("daemonset/shimmy-agent", "shimmy-system");
    await apply(
      webServer("nginx", { replicas: 2, annotations: ENABLED }),
      webService("nginx"),
      ...KINDS.map((kind) => plain(kind)),
      ...KINDS.map((kind) => held(kind)),
    );
    await cluster.rolledOut("deployment/nginx");
    await apply(webClient("client", { annotations: CALLS_NGINX }));
    await cluster.rolledOut("deployment/client");
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await cluster.describe());
  });

  after(async function () {
    await cluster.close();
  });

  async function apply(...objects: readonly object[]): Promise<void> {
    await cluster.apply(objects.map((each) => JSON.stringify(each)).join("\n---\n"));
  }

  const heldName = (kind: RolloutKind): string => `held-${kind.toLowerCase()}`;

  /** A workload that does nothing, in its first release. */
  function plain(kind: RolloutKind): object {
    return workload(kind.toLowerCase(), { kind, container: { env: [RELEASE_1] } });
  }

  /** One that makes no new pods by itself; of a Deployment not yet, because it has to make the first. */
  function held(kind: RolloutKind): object {
    const spec = kind === "Deployment" ? {} : { updateStrategy: { type: "OnDelete" } };
    return workload(heldName(kind), { kind, spec });
  }

  async function only(app: string): Promise<string> {
    return eventually(
      `one pod of ${app}`,
      async () => {
        const pods = await cluster.pods(`app=${app}`);
        return pods.length === 1 ? pods[0] : undefined;
      },
      IN_TIME_MS,
    );
  }

  /** What failed of all that a pod of the client has asked so far. */
  async function failures(pod: string): Promise<readonly string[]> {
    const logs = ["fresh", "kept"].map((name) => cluster.kubectl("logs", pod, "-c", name));
    return (await Promise.all(logs)).flatMap((text) => readClientLog(text).failures);
  }

  const named = (kind: RolloutKind): string => `${kind}/${kind}`.toLowerCase();

  async function get(what: string): Promise<Workload> {
    return JSON.parse(await cluster.kubectl("get", what, "-o", "json")) as Workload;
  }

  /** Ours of a template's annotations, but for the record of what was carried. */
  function carriedTo({ spec }: Workload): Readonly<Record<string, string>> {
    const entries = Object.entries(spec.template.metadata.annotations ?? {});
    const ours = entries.filter(([key]) => /(^|\.)shimmy\.io\//.test(key));
    const record = ours.find(([key]) => key === "shimmy.io/carried")?.[1] ?? "";
    const recorded = record.split(",").map((entry) => entry.split("=")[0] ?? "");
    const keys = ours.filter(([key]) => key !== "shimmy.io/carried");
    expect(recorded.join()).to.equal(keys.map(([key]) => key).join());
    return Object.fromEntries(keys);
  }

  /** Waits until a workload is as it was a while ago, with all of its controllers done. */
  async function settled(...whats: readonly string[]): Promise<readonly Workload[]> {
    const all = (): Promise<Workload[]> => Promise.all(whats.map(get));
    await Promise.all(whats.map((what) => cluster.rolledOut(what)));
    const first = await all();
    await delay(SETTLED_MS);
    const second = await all();
    const generations = (each: readonly Workload[]): readonly number[] =>
      each.map(({ metadata }) => metadata.generation);
    expect(generations(second)).to.deep.equal(generations(first));
    return second;
  }

  async function expectState(kind: RolloutKind, expected: State): Promise<void> {
    const found = await get(named(kind));
    const { metadata, spec } = found;
    const state: State = {
      isAsked: Object.hasOwn(metadata.annotations ?? {}, "shimmy.io/inject"),
      isCarried: Object.hasOwn(carriedTo(found), "shimmy.io/inject"),
      release: spec.template.spec.containers[0]?.env?.[0]?.value,
    };
    expect(state, kind).to.deep.equal(expected);
    const names = "jsonpath={.items[*].spec.initContainers[*].name}";
    const wanted = expected.isCarried ? "shimmy-sidecar" : "";
    await eventually(
      `${kind}'s pods to be as its template`,
      async () => {
        const args = ["get", "pods", "-l", `app=${kind.toLowerCase()}`, "-o", names];
        return (await cluster.kubectl(...args)) === wanted;
      },
      IN_TIME_MS,
    );
  }

  async function forAll(act: (kind: RolloutKind) => Promise<unknown>): Promise<void> {
    await Promise.all(KINDS.map(act));
    await settled(...KINDS.map(named));
  }

  const undo = (kind: RolloutKind, ...flags: readonly string[]): Promise<string> =>
    cluster.kubectl("rollout", "undo", named(kind), ...flags);

  it("should lose no request while the server is rolled out anew", async function () {
    const client = await only("client");
    const old = await cluster.pods("app=nginx");
    const before = await cluster.metrics(client);
    await cluster.kubectl("rollout", "restart", "deployment/nginx");
    await cluster.rolledOut("deployment/nginx");
    await eventually(
      "the old pods to be gone",
      async () => {
        const names = await cluster.kubectl("get", "pods", "-l", "app=nginx", "-o", "name");
        return !old.some((name) => names.includes(name));
      },
      IN_TIME_MS,
    );
    const after = await cluster.metrics(client);
    expect(await failures(client)).to.deep.equal([]);
    const { shm, tcp } = connectionsSince(before, after);
    expect(shm).to.be.above(100);
    expect(tcp).to.be.below(shm / 10);
  });

  it("should lose no request while the client is rolled out anew, from its first to its last", async function () {
    const old = await only("client");
    const logs = ["fresh", "kept"].map((name) => cluster.kubectl("logs", "-f", old, "-c", name));
    await cluster.kubectl("rollout", "restart", "deployment/client");
    await cluster.rolledOut("deployment/client");
    for (const text of await Promise.all(logs)) {
      const { failures: failed, requests } = readClientLog(text);
      expect(failed).to.deep.equal([]);
      expect(requests).to.be.above(50);
    }
    const client = await only("client");
    expect(client).not.to.equal(old);
    const { shm, tcp } = await eventually("requests of the new pod", async () => {
      const metrics = await cluster.metrics(client);
      const counts = { shm: metrics.outbound("shm"), tcp: metrics.outbound("tcp") };
      return counts.shm + counts.tcp > 100 ? counts : undefined;
    });
    expect(await failures(client)).to.deep.equal([]);
    expect(tcp).to.be.below(shm / 10);
  });

  it("should let an ordinary init container use the pod's upstreams", async function () {
    const line = `for i in $(seq 20); do curl -sf --max-time 5 "http://\${SHIMMY_NGINX_URL#*://}/"; done`;
    const first = programContainer("first", { command: ["sh", "-euc", line] });
    const pod = { initContainers: [first] };
    await apply(workload("early", { annotations: CALLS_NGINX, pod }));
    await cluster.rolledOut("deployment/early");
    const early = await only("early");
    const answers = await cluster.kubectl("logs", early, "-c", "first");
    expect(answers.split("\n")).to.deep.equal(Array<string>(20).fill("hello"));
    const metrics = await cluster.metrics(early);
    expect(metrics.outbound("shm")).to.equal(20);
    expect(metrics.outbound("tcp")).to.equal(0);
  });

  it("should keep keys and metadata together when a release is undone", async function () {
    await forAll((kind) => cluster.kubectl("annotate", named(kind), "shimmy.io/inject=enabled"));
    for (const kind of KINDS) await expectState(kind, OPTED_IN);
    await forAll((kind) => cluster.kubectl("set", "env", named(kind), "RELEASE=2"));
    for (const kind of KINDS) await expectState(kind, { ...OPTED_IN, release: "2" });
    await forAll((kind) => undo(kind));
    for (const kind of KINDS) await expectState(kind, OPTED_IN);
  });

  // Of a Deployment kubectl brings back the annotations too, of the others the template alone.
  it("should keep keys and metadata together when an opt-in is undone", async function () {
    await forAll((kind) => undo(kind, "--to-revision=1"));
    await expectState("Deployment", OPTED_OUT);
    await expectState("StatefulSet", OPTED_IN);
    await expectState("DaemonSet", OPTED_IN);
  });

  it("should keep keys and metadata together when an opt-out is undone", async function () {
    await forAll((kind) => cluster.kubectl("annotate", named(kind), "shimmy.io/inject-"));
    for (const kind of KINDS) await expectState(kind, OPTED_OUT);
    await forAll((kind) => undo(kind));
    await expectState("Deployment", OPTED_IN);
    await expectState("StatefulSet", OPTED_OUT);
    await expectState("DaemonSet", OPTED_OUT);
  });

  const appliers: readonly (readonly [how: string, flags: readonly string[]])[] = [
    ["by the server", ["--server-side", "--field-manager=team"]],
    ["by the client", []],
  ];
  for (const [how, flags] of appliers) {
    it(`should carry, and not fight, what is applied again and again ${how}`, async function () {
      const name = `applied-${how.split(" ").at(-1) ?? ""}`;
      const what = `deployment/${name}`;
      const reapply = async (
        annotations: Readonly<Record<string, string>>,
        release = "1",
      ): Promise<Workload> => {
        const env = [{ ...RELEASE_1, value: release }];
        const text = JSON.stringify(workload(name, { annotations, container: { env } }));
        await cluster.kubectl("apply", ...flags, "-f", cluster.write(text));
        return get(what);
      };
      const first = await reapply(ENABLED);
      expect(carriedTo(first)).to.deep.equal(ENABLED);
      const again = await reapply(ENABLED);
      expect(again.metadata.generation).to.equal(first.metadata.generation);

      // Somebody else's key, which the manifest knows nothing about.
      await cluster.kubectl("annotate", what, "shimmy.io/upstreams=nginx:9001");
      expect(carriedTo(await get(what))).to.deep.equal(CALLS_NGINX);
      const released = await reapply(ENABLED, "2");
      expect(carriedTo(released)).to.deep.equal(CALLS_NGINX);
      expect(released.metadata.generation).to.equal(first.metadata.generation + 2);
      const [rolled] = await settled(what);
      expect(rolled?.metadata.generation).to.equal(released.metadata.generation);

      await cluster.kubectl("annotate", what, "shimmy.io/upstreams-");
      const last = await reapply({}, "2");
      expect(carriedTo(last)).to.deep.equal({});
      expect(last.metadata.generation).to.equal(released.metadata.generation + 2);
      const untouched = await reapply({}, "2");
      expect(untouched.metadata.generation).to.equal(last.metadata.generation);
    });
  }

  it("should tell of opt-ins that a pause or OnDelete holds back, until they are not", async function () {
    const all = KINDS.map((kind) => `${kind.toLowerCase()}/${heldName(kind)}`);
    const [paused = "", ...onDelete] = all;
    const uncarried = async (): Promise<number> => {
      const label = "app.kubernetes.io/component=master";
      const [master = ""] = await cluster.pods(label, "shimmy-system");
      const metrics = await cluster.scrape(await cluster.addressOf(master, "shimmy-system"));
      return metrics.sum("shimmy_master_uncarried_workloads");
    };
    expect(await uncarried()).to.equal(0);
    await cluster.kubectl("rollout", "pause", paused);
    await cluster.kubectl("annotate", ...all, "shimmy.io/inject=enabled");
    await eventually("all to be counted", async () => (await uncarried()) === all.length);
    const notes = await eventually("an event about each", async () => {
      const what = ["--field-selector", "reason=NotCarried"];
      const list = "jsonpath={range .items[*]}{.involvedObject.name}: {.message}{'\\n'}{end}";
      const lines = (await cluster.kubectl("get", "events", ...what, "-o", list)).split("\n");
      return lines.length === all.length ? lines.toSorted() : undefined;
    });
    expect(notes[0]).to.match(/^held-daemonset: .*OnDelete/);
    expect(notes[1]).to.match(/^held-deployment: .*rollout resume/);
    expect(notes[2]).to.match(/^held-statefulset: .*OnDelete/);

    await cluster.kubectl("rollout", "resume", paused);
    const pods = onDelete.map((what) => what.split("/")[1] ?? "").join(", ");
    await cluster.kubectl("delete", "pods", "-l", `app in (${pods})`, "--wait=false");
    await eventually("none to be left", async () => (await uncarried()) === 0, IN_TIME_MS);
    await cluster.rolledOut(paused);
    for (const kind of KINDS) {
      const names = "jsonpath={.items[*].spec.initContainers[*].name}";
      const pods = ["get", "pods", "-l", `app=${heldName(kind)}`, "-o", names];
      await eventually(
        `${kind}'s pods to be injected`,
        async () => (await cluster.kubectl(...pods)) === "shimmy-sidecar",
        IN_TIME_MS,
      );
    }
  });
});
