import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";

import { expect } from "chai";

import { ApiClient } from "../../../../common/kubernetes/api-client.ts";
import { RESOURCES } from "../../../../common/kubernetes/resources.ts";
import { CertificateKeeper } from "../../../../master/certificates/keeper.ts";
import { createMasterMetrics, type MasterMetrics } from "../../../../master/metrics.ts";
import { eventually } from "../../../helpers/eventually.ts";
import { FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import { FakeClock } from "../../agent/fakes.ts";
import { captureLog } from "../../sidecar/fakes.ts";

const { mutatingWebhooks, secrets } = RESOURCES;
const NAMESPACE = "shimmy-system";
const HOST = "shimmy-injector.shimmy-system.svc";
const DAY_MS = 86_400_000;
const BEGIN = Date.UTC(2026, 0, 1);
const NAMES = ["shimmy-fabric-ca", "shimmy-injector-tls", "shimmy-webhook-ca"];

const DAMAGES: readonly [string, string, Readonly<Record<string, string>>][] = [
  ["nothing in it", "shimmy-webhook-ca", {}],
  [
    "what is no certificate",
    "shimmy-fabric-ca",
    { "tls.crt": "damaged", "tls.key": "x", "ca.crt": "" },
  ],
  ["other keys", "shimmy-injector-tls", { certificate: "x" }],
];

/** A handshake as the API server makes it, with what it trusts. */
async function shake(pair: Readonly<Record<string, string>>, ca: string): Promise<void> {
  const { "tls.crt": cert = "", "tls.key": key = "" } = pair;
  const injector = createServer({ cert, key }).listen(0, "127.0.0.1");
  try {
    await once(injector, "listening");
    const { port } = injector.address() as AddressInfo;
    const socket = connect({ port, host: "127.0.0.1", servername: HOST, ca });
    try {
      await once(socket, "secureConnect");
      expect(socket.authorized).to.equal(true);
    } finally {
      socket.destroy();
    }
  } finally {
    injector.close();
  }
}

describe("CertificateKeeper", function () {
  let server: FakeApiServer;
  let api: ApiClient;
  let clock: FakeClock;
  let wallMs: number;
  let isLeading: boolean;
  let metrics: MasterMetrics;
  let logged: Record<string, unknown>[];
  let keeper: CertificateKeeper | undefined;

  beforeEach(async function () {
    server = await FakeApiServer.start();
    api = new ApiClient(server.access);
    clock = new FakeClock();
    wallMs = BEGIN;
    isLeading = true;
    metrics = createMasterMetrics();
    putWebhooks();
  });

  afterEach(async function () {
    await keeper?.close();
    keeper = undefined;
    await api.close();
    await server.close();
    expect(clock.pending).to.equal(0);
  });

  function putWebhooks(caBundle?: string): void {
    const webhook = (name: string): object => ({
      name,
      failurePolicy: "Fail",
      clientConfig: { service: { name: "shimmy-injector" }, ...(caBundle && { caBundle }) },
    });
    server.put(mutatingWebhooks, {
      metadata: { name: "shimmy-injector", annotations: { kept: "yes" } },
      webhooks: [webhook("pods.shimmy.io"), webhook("workloads.shimmy.io")],
    });
  }

  function start(webhookCertificates: "self" | "external" = "self"): CertificateKeeper {
    const { log, events } = captureLog();
    logged = events;
    keeper = new CertificateKeeper({
      api,
      namespace: NAMESPACE,
      webhookCertificates,
      metrics,
      clock,
      wallClock: () => wallMs,
      log,
      isLeading: () => isLeading,
    });
    keeper.start();
    keeper.refresh();
    return keeper;
  }

  /** The wall clock goes on while timers stand still; then one minute of both. */
  function pause(days: number): void {
    wallMs += days * DAY_MS;
    clock.advance(60_000);
  }

  function held(name: string): Readonly<Record<string, string>> {
    const data = server.get(secrets, name, NAMESPACE)?.["data"] ?? {};
    return Object.fromEntries(
      Object.entries(data).map(([key, value]) => [
        key,
        Buffer.from(String(value), "base64").toString(),
      ]),
    );
  }

  const pem = (name: string, key: string): string => held(name)[key] ?? "";
  const countIn = (text: string): number => text.split("BEGIN CERTIFICATE").length - 1;

  function trusted(): string[] {
    const found = server.get(mutatingWebhooks, "shimmy-injector")?.["webhooks"] as {
      clientConfig: { caBundle?: string };
    }[];
    return found.map(({ clientConfig }) =>
      Buffer.from(clientConfig.caBundle ?? "", "base64").toString(),
    );
  }

  async function settled(): Promise<void> {
    await eventually("certificates, and trust in them", () => {
      const bundle = pem("shimmy-webhook-ca", "ca.crt");
      const isThere = NAMES.every((name) => pem(name, "tls.crt") !== "");
      return isThere && trusted().every((each) => each === bundle);
    });
  }

  async function changed(name: string, before: string): Promise<string> {
    await eventually(`another ${name}`, () => pem(name, "tls.crt") !== before);
    return pem(name, "tls.crt");
  }

  it("should make both CAs and the injector's certificate, and have them trusted", async function () {
    start();
    await settled();
    const leaf = new X509Certificate(pem("shimmy-injector-tls", "tls.crt"));
    const authority = new X509Certificate(pem("shimmy-webhook-ca", "tls.crt"));
    expect(leaf.checkHost(HOST)).to.equal(HOST);
    expect(leaf.checkHost("shimmy-injector.other.svc")).to.equal(undefined);
    expect(leaf.verify(authority.publicKey)).to.equal(true);
    expect([leaf.ca, authority.ca]).to.deep.equal([false, true]);
    expect(leaf.publicKey.asymmetricKeyDetails).to.deep.equal({ namedCurve: "prime256v1" });
    expect(pem("shimmy-injector-tls", "ca.crt")).to.equal(pem("shimmy-webhook-ca", "ca.crt"));
    const fabric = new X509Certificate(pem("shimmy-fabric-ca", "tls.crt"));
    expect(fabric.subject).to.equal("CN=Shimmy fabric CA");
    expect(fabric.verify(authority.publicKey)).to.equal(false);
    const text = await metrics.registry.metrics();
    const end = leaf.validToDate.getTime() / 1000;
    expect(text).to.include(`expiry_timestamp_seconds{certificate="shimmy-injector-tls"} ${end}`);
  });

  it("should change nothing else of the webhooks, and write nothing twice", async function () {
    start();
    await settled();
    const found = server.get(mutatingWebhooks, "shimmy-injector");
    expect(found?.metadata["annotations"]).to.deep.equal({ kept: "yes" });
    const [first] = found?.["webhooks"] as Record<string, unknown>[];
    expect(first).to.include({ name: "pods.shimmy.io", failurePolicy: "Fail" });
    const writes = (): number => server.requests.filter(({ method }) => method !== "GET").length;
    const before = writes();
    const reads = server.seen("GET", secrets.plural).length;
    clock.advance(60_000);
    await eventually("another look", () => server.seen("GET", secrets.plural).length >= reads + 3);
    expect(writes()).to.equal(before);
  });

  it("should say again whom to trust when somebody changed it", async function () {
    start();
    await settled();
    putWebhooks("Zm9yZWlnbg==");
    await settled();
  });

  it("should fail the patch when webhooks have changed places, and try again", async function () {
    start();
    await settled();
    const result = await api
      .request({
        method: "PATCH",
        path: "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/shimmy-injector",
        body: [{ op: "test", path: "/webhooks/0/name", value: "workloads.shimmy.io" }],
      })
      .then(
        () => "done",
        (err: unknown) => String(err),
      );
    expect(result).to.include("422");
  });

  it("should renew the injector's certificate at two thirds of its life", async function () {
    start();
    await settled();
    const before = pem("shimmy-injector-tls", "tls.crt");
    const reads = server.seen("GET", secrets.plural).length;
    pause(59);
    await eventually("a look", () => server.seen("GET", secrets.plural).length >= reads + 3);
    expect(pem("shimmy-injector-tls", "tls.crt")).to.equal(before);
    pause(2);
    await changed("shimmy-injector-tls", before);
    expect(countIn(pem("shimmy-injector-tls", "ca.crt"))).to.equal(1);
  });

  it("should keep every handshake whole while the CA is replaced", async function () {
    const now = Date.now();
    wallMs = now - 520 * DAY_MS;
    start();
    await settled();
    const ended = pem("shimmy-injector-tls", "tls.crt");
    wallMs = now - 80 * DAY_MS;
    clock.advance(60_000);
    await changed("shimmy-injector-tls", ended);
    const old = held("shimmy-injector-tls");
    const authority = pem("shimmy-webhook-ca", "tls.crt");
    await shake(old, trusted()[0] ?? "");

    wallMs = now - 30 * DAY_MS;
    clock.advance(60_000);
    await changed("shimmy-webhook-ca", authority);
    await settled();
    // What the injector has is good on, under the bundle of before and of now.
    expect(pem("shimmy-injector-tls", "tls.crt")).to.equal(old["tls.crt"]);
    expect(countIn(trusted()[0] ?? "")).to.equal(2);
    await shake(old, trusted()[0] ?? "");
    await shake(old, authority);

    wallMs = now - 15 * DAY_MS;
    clock.advance(60_000);
    await changed("shimmy-injector-tls", old["tls.crt"] ?? "");
    const renewed = held("shimmy-injector-tls");
    await shake(renewed, trusted()[0] ?? "");
    await shake(old, trusted()[0] ?? "");
    await shake(renewed, pem("shimmy-webhook-ca", "tls.crt"));
    const refused = await shake(renewed, authority).then(
      () => "trusted",
      (err: unknown) => String(err),
    );
    expect(refused).to.match(/certificate/);

    wallMs = now + 211 * DAY_MS;
    clock.advance(60_000);
    await eventually("trust in one", () => trusted().every((each) => countIn(each) === 1));
  });

  for (const [what, name, data] of DAMAGES) {
    it(`should replace a Secret ${name} with ${what}`, async function () {
      const put = (): void => {
        const entries = Object.entries(data).map(([key, value]) => [
          key,
          Buffer.from(value).toString("base64"),
        ]);
        const metadata = { name, namespace: NAMESPACE, labels: { other: "label" } };
        server.put(secrets, { metadata, type: "Opaque", data: Object.fromEntries(entries) });
      };
      put();
      start();
      await eventually("another certificate", () => /BEGIN CERT/.test(pem(name, "tls.crt")));
      await settled();
      const written = server.get(secrets, name, NAMESPACE);
      expect(written).to.include({ type: "Opaque" });
      expect(written?.metadata["labels"]).to.include({
        other: "label",
        "app.kubernetes.io/name": "shimmy",
      });
      const warnings = logged.filter(({ level }) => level === "warn");
      expect(warnings).to.have.length(1);
      expect(warnings[0]).to.include({ name }).and.have.property("fault");
    });
  }

  it("should replace a certificate of another CA or key", async function () {
    start();
    await settled();
    const before = pem("shimmy-injector-tls", "tls.crt");
    const found = server.get(secrets, "shimmy-injector-tls", NAMESPACE);
    const fabric = server.get(secrets, "shimmy-fabric-ca", NAMESPACE);
    const data = found?.["data"] as object;
    const foreign = fabric?.["data"] as Record<string, string>;
    server.put(secrets, {
      ...found,
      metadata: { name: "shimmy-injector-tls", namespace: NAMESPACE },
      data: { ...data, "tls.key": foreign["tls.key"] },
    });
    clock.advance(60_000);
    const second = await changed("shimmy-injector-tls", before);
    server.put(secrets, {
      ...found,
      metadata: { name: "shimmy-webhook-ca", namespace: NAMESPACE },
      data: foreign,
    });
    clock.advance(60_000);
    await changed("shimmy-injector-tls", second);
    await settled();
    const faults = logged.filter(({ level }) => level === "warn").map(({ fault }) => fault);
    expect(faults).to.deep.equal([
      "tls.key is not of tls.crt",
      'tls.crt is not the CA "Shimmy webhook CA"',
      "tls.crt is not signed by our CA",
    ]);
    expect(trusted()[0]).not.to.include(Buffer.from(foreign["tls.crt"] ?? "", "base64").toString());
  });

  it("should make what is missing even if nobody can be told whom to trust", async function () {
    server.intercept = ({ method }) =>
      method === "PATCH" ? failure(403, "Forbidden", "no") : undefined;
    start();
    await eventually("a certificate", () => pem("shimmy-injector-tls", "tls.crt") !== "");
    const before = pem("shimmy-injector-tls", "tls.crt");
    const reads = server.seen("GET", secrets.plural).length;
    wallMs += 61 * DAY_MS;
    await eventually("looks", () => {
      clock.advance(60_000);
      return server.seen("GET", secrets.plural).length >= reads + 9;
    });
    // It is due, and works: what the API server may not trust does not take its place.
    expect(pem("shimmy-injector-tls", "tls.crt")).to.equal(before);
    wallMs += 30 * DAY_MS;
    await eventually("another certificate", () => {
      clock.advance(60_000);
      return pem("shimmy-injector-tls", "tls.crt") !== before;
    });
    server.intercept = () => undefined;
    clock.advance(60_000);
    await eventually("trust", () => {
      clock.advance(60_000);
      return trusted().every((each) => each === pem("shimmy-webhook-ca", "ca.crt"));
    });
  });

  it("should keep only the fabric's CA where somebody else makes the others", async function () {
    start("external");
    await eventually("a CA", () => pem("shimmy-fabric-ca", "tls.crt") !== "");
    expect(server.get(secrets, "shimmy-webhook-ca", NAMESPACE)).to.equal(undefined);
    expect(server.get(secrets, "shimmy-injector-tls", NAMESPACE)).to.equal(undefined);
    // What somebody else writes is not even looked at.
    const metadata = {
      name: "shimmy-injector",
      annotations: { "cert-manager.io/inject-ca-from": "x" },
    };
    const clientConfig = { caBundle: Buffer.from("theirs").toString("base64") };
    server.put(mutatingWebhooks, {
      metadata,
      webhooks: [{ name: "pods.shimmy.io", clientConfig }],
    });
    const looked = server.seen("GET", "/shimmy-fabric-ca").length;
    clock.advance(60_000);
    await eventually("another look", () => server.seen("GET", "/shimmy-fabric-ca").length > looked);
    expect(trusted()).to.deep.equal(["theirs"]);
    for (const { path } of server.requests) {
      expect(path).not.to.match(/mutatingwebhook|shimmy-webhook-ca|shimmy-injector-tls/);
    }
  });

  it("should leave everything alone while another leads", async function () {
    isLeading = false;
    start();
    clock.advance(180_000);
    await eventually("a watch", () => server.watchCount > 0);
    expect(server.seen("GET", secrets.plural)).to.deep.equal([]);
    expect(server.seen("POST", secrets.plural)).to.deep.equal([]);
  });
});
