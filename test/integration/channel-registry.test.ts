import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { RedisRegistry, type RedisOptions } from "../../agent/channels/redis-registry.ts";
import { encodeRecord, type ChannelRecord } from "../../agent/channels/record.ts";
import { resolveParameters } from "../../agent/channels/parameters.ts";
import { systemClock } from "../../common/clock.ts";
import { ShimmyError } from "../../common/errors.ts";
import { eventually } from "../helpers/eventually.ts";
import { RedisServer } from "../helpers/redis-server.ts";
import { mustRun } from "../helpers/run-program.ts";
import { silentLog } from "../unit/agent/fakes.ts";

const TOPIC = { namespace: "default", name: "jobs" };
const KEY = "shimmy:channel:default/jobs";
const RECORD: ChannelRecord = {
  topic: TOPIC,
  id: "18446744073709551615",
  parameters: resolveParameters({ kind: "lock", blocks: 8 }),
};

async function codeOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
  } catch (err) {
    if (err instanceof ShimmyError) return err.code;
    throw err;
  }
  return "no error";
}

describe("RedisRegistry with a real server", function () {
  this.timeout(20_000);
  let server: RedisServer;
  let registries: RedisRegistry[];

  function open(options: Partial<RedisOptions> = {}): RedisRegistry {
    const registry = new RedisRegistry({
      url: server.url,
      node: "here",
      clock: systemClock,
      log: silentLog(),
      ...options,
    });
    registries.push(registry);
    return registry;
  }

  beforeEach(async function () {
    registries = [];
    server = await RedisServer.start();
  });

  afterEach(async function () {
    for (const registry of registries) registry.close();
    await server.close();
  });

  it("should keep what was put first, for all agents", async function () {
    const [one, other] = [open(), open({ node: "there" })];
    expect(await one.find(TOPIC)).to.equal(undefined);
    expect(await one.create(RECORD)).to.deep.equal(RECORD);
    expect(await other.create({ ...RECORD, id: "7" })).to.deep.equal(RECORD);
    expect(await other.find(TOPIC)).to.deep.equal(RECORD);
    await other.remove(TOPIC);
    expect(await one.find(TOPIC)).to.equal(undefined);
  });

  it("should show what each node has, for a time", async function () {
    const regions = [{ kind: "data", id: "9", bytes: 1, generation: 2, writer: "default.a" }];
    await open().putRegions(TOPIC, { regions, waitWords: [] });
    const key = "shimmy:regions:default/jobs:here";
    expect(JSON.parse(String(await server.command("GET", key)))).to.deep.equal({
      regions,
      waitWords: [],
    });
    expect(await server.command("TTL", key)).to.be.within(290, 300);
    await open().putRegions(TOPIC, { regions: [], waitWords: [] });
    expect(await server.command("EXISTS", key)).to.equal(0);
  });

  describe("records that somebody else wrote", function () {
    const text = encodeRecord(RECORD);
    const value = JSON.parse(text) as { parameters: object };
    const hostile: [what: string, command: readonly string[]][] = [
      ["no JSON", ["SET", KEY, "{"]],
      ["text without end", ["SETRANGE", KEY, "33554432", "x"]],
      ["the record of another topic", ["SET", KEY, text.replace("default/jobs", "other/jobs")]],
      ["an id of more than 64 bits", ["SET", KEY, text.replace(RECORD.id, "18446744073709551616")]],
      [
        "blocks without bounds",
        [
          "SET",
          KEY,
          JSON.stringify({ ...value, parameters: { ...value.parameters, blocks: 1e9 } }),
        ],
      ],
      ["unknown fields", ["SET", KEY, JSON.stringify({ ...value, isAdmin: true })]],
      ["a list", ["RPUSH", KEY, text]],
      ["bytes that are no text", ["SET", KEY, "\u{0}\u{ffff}"]],
    ];
    for (const [what, command] of hostile) {
      it(`should be refused, and can be replaced: ${what}`, async function () {
        await server.command(...command);
        const registry = open();
        expect(await codeOf(registry.find(TOPIC))).to.equal("SHIMMY_ERR_REGISTRY_RECORD");
        expect(await codeOf(registry.create(RECORD))).to.equal("SHIMMY_ERR_REGISTRY_RECORD");
        // The server itself is well.
        expect(registry.state).to.deep.equal({ kind: "redis" });
        await registry.put(RECORD);
        expect(await registry.find(TOPIC)).to.deep.equal(RECORD);
      });
    }
  });

  describe("a server that", function () {
    async function expectUnavailable(registry: RedisRegistry, problem: RegExp): Promise<void> {
      const begun = performance.now();
      expect(await codeOf(registry.find(TOPIC))).to.equal("SHIMMY_ERR_REGISTRY_UNAVAILABLE");
      expect(performance.now() - begun, "it took too long").to.be.lessThan(2000);
      expect(registry.state.problem).to.match(problem);
    }

    async function expectRecovery(registry: RedisRegistry): Promise<void> {
      await eventually("the registry to answer", async () => {
        return (await codeOf(registry.find(TOPIC))) === "no error";
      });
      expect(registry.state).to.deep.equal({ kind: "redis" });
    }

    it("is down is told at once, and found again", async function () {
      const registry = open();
      await registry.put(RECORD);
      await server.kill();
      await expectUnavailable(registry, /closed|ECONN/i);
      await server.run();
      await expectRecovery(registry);
      expect(await registry.find(TOPIC), "it was wiped").to.equal(undefined);
    });

    it("is stopped is told in time, and found again", async function () {
      const registry = open();
      await registry.put(RECORD);
      server.signal("SIGSTOP");
      await expectUnavailable(registry, /no answer in 1000 ms/);
      // Whoever asks next does not wait.
      await expectUnavailable(registry, /no answer in 1000 ms/);
      server.signal("SIGCONT");
      await expectRecovery(registry);
      expect(await registry.find(TOPIC)).to.deep.equal(RECORD);
    });

    it("is stopped before the first connect is told in time", async function () {
      server.signal("SIGSTOP");
      await expectUnavailable(open(), /no answer in 1000 ms/);
      server.signal("SIGCONT");
    });

    it("was made a replica is not written to, and is once it is none", async function () {
      const registry = open();
      await registry.put(RECORD);
      await server.command("REPLICAOF", "127.0.0.1", "1");
      expect(await codeOf(registry.put(RECORD))).to.equal("SHIMMY_ERR_REGISTRY_UNAVAILABLE");
      expect(registry.state.problem).to.match(/READONLY/);
      await server.command("REPLICAOF", "NO", "ONE");
      await expectRecovery(registry);
    });

    it("wants a password is given the one of the file, also a new one", async function () {
      const passwordFile = join(server.directory, "password");
      writeFileSync(passwordFile, "first\n");
      await server.command("CONFIG", "SET", "requirepass", "first");
      const registry = open({ passwordFile });
      await registry.put(RECORD);
      await expectUnavailable(open(), /NOAUTH/);
      await server.kill();
      await server.run(["--requirepass", "second"]);
      await expectUnavailable(registry, /closed|ECONN|WRONGPASS/i);
      writeFileSync(passwordFile, "second");
      await expectRecovery(registry);
    });
  });

  it("should speak TLS with whom the authority signed, and with nobody else", async function () {
    const { directory } = server;
    const [key, certificate] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    const subject = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"];
    const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    const files = ["-nodes", "-days", "1", "-keyout", key, "-out", certificate];
    await mustRun(["openssl", ...request, ...files, ...subject]);
    await server.kill();
    const tls = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"];
    await server.run(["--tls-port", String(server.port), "--port", "0", ...tls]);
    const url = server.url.replace("redis:", "rediss:");
    await open({ url, caFile: certificate }).put(RECORD);
    expect(await codeOf(open({ url }).put(RECORD))).to.equal("SHIMMY_ERR_REGISTRY_UNAVAILABLE");
  });
});
