import { expect } from "chai";
import { createClient } from "redis";

import { startAppMesh, startRedis, type AppMesh } from "../helpers/apps.ts";
import { noise } from "../helpers/noise.ts";
import { scaled } from "../helpers/random.ts";
import { mustRun } from "../helpers/run-program.ts";

const COMMANDS = scaled(20_000);
const BIG_VALUE_BYTES = 64 * 1024 * 1024;

type Client = ReturnType<typeof createClient>;

describe("Redis over shared memory", function () {
  let apps: AppMesh;
  let client: Client;

  before(async function () {
    this.timeout(30_000);
    apps = await startAppMesh({ redis: 6379, protected: 6380 });
    await startRedis(apps.mesh.workspace, apps.server("redis"));
    await startRedis(apps.mesh.workspace, apps.server("protected"), []);
    client = await connect();
  });

  after(async function () {
    client.destroy();
    await apps.mesh.close();
  });

  it("should answer a long pipeline in order", async function () {
    this.timeout(20_000);
    const replies = await Promise.all(
      Array.from({ length: COMMANDS }, () => client.incr("counter")),
    );
    expect(replies).to.deep.equal(Array.from({ length: COMMANDS }, (_, index) => index + 1));
  });

  it("should keep a big value as it is", async function () {
    this.timeout(20_000);
    const value = Buffer.concat([...noise("redis", BIG_VALUE_BYTES)]).toString("latin1");
    await client.set("big", value);
    expect((await client.get("big")) === value).to.be.true;
  });

  it("should deliver published messages to subscribers, in order", async function () {
    this.timeout(10_000);
    const subscribers = await Promise.all(Array.from({ length: 5 }, connect));
    const heard = subscribers.map(() => [] as string[]);
    const total = 1000;
    const all = subscribers.map(async (subscriber, index) => {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      await subscriber.subscribe("news", (message) => {
        heard[index]?.push(message);
        if (heard[index]?.length === total) resolve(undefined);
      });
      return () => promise;
    });
    const done = await Promise.all(all);
    for (let i = 0; i < total; i++) void client.publish("news", String(i));
    await Promise.all(done.map((wait) => wait()));
    const expected = Array.from({ length: total }, (_, i) => String(i));
    for (const messages of heard) expect(messages).to.deep.equal(expected);
    for (const subscriber of subscribers) subscriber.destroy();
  });

  it("should wake a client that blocks until there is something", async function () {
    const waiting = await connect();
    const popped = waiting.blPop("queue", 5);
    await client.rPush("queue", "job");
    expect(await popped).to.deep.equal({ key: "queue", element: "job" });
    waiting.destroy();
  });

  it("should carry the load of redis-benchmark", async function () {
    this.timeout(20_000);
    const { address, port } = apps.local("redis");
    const load = ["-c", "20", "-n", "10000", "-P", "8", "-t", "set,get,lpush", "-d", "512", "-q"];
    const argv = ["redis-benchmark", "-h", address, "-p", String(port), ...load];
    const { stdout } = await mustRun(argv);
    expect(stdout).to.match(/SET:[^]*GET:[^]*LPUSH:/);
  });

  it("should have carried all of it", async function () {
    // 1 + 5 + 1 clients, and at least 20 of redis-benchmark for each of its tests.
    await apps.mesh.assertCarried("client", 67, 200);
  });

  // A remote pod must not look local: protected mode serves 127.0.0.1 only.
  it("should be refused in protected mode, as over a network", async function () {
    const { address, port } = apps.local("protected");
    const argv = ["redis-cli", "-h", address, "-p", String(port), "ping"];
    const { stdout } = await mustRun(argv);
    expect(stdout).to.match(/DENIED Redis is running in protected mode/);
  });

  async function connect(): Promise<Client> {
    const { address: host, port } = apps.local("redis");
    const created = createClient({ socket: { host, port, reconnectStrategy: false } });
    created.on("error", () => undefined); // the command that fails says so
    await created.connect();
    return created as Client;
  }
});
