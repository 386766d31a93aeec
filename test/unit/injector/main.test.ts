import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import { connect } from "node:tls";

import { expect } from "chai";

import type { ClusterAccess } from "../../../common/kubernetes/access.ts";
import { RESOURCES } from "../../../common/kubernetes/resources.ts";
import { FakeApiServer } from "../../helpers/fake-api-server.ts";
import { createInjectorMetrics } from "../../../injector/metrics.ts";
import { INJECTOR_CONFIG, resolveInjectorConfig } from "../../../injector/env.ts";
import { runInjector, type RunningInjector } from "../../../injector/main.ts";
import { describeConfig } from "../../../common/env.ts";
import { FakeClock } from "../agent/fakes.ts";
import { readSource, section } from "../docs/sources.ts";
import { captureLog } from "../sidecar/fakes.ts";

interface Reply {
  readonly status: number | undefined;
  readonly body: string;
}

/** A certificate for `name`, written as a Secret is mounted. */
function writeCertificate(directory: string, name: string): void {
  const files = { key: join(directory, "tls.key"), cert: join(directory, "tls.crt") };
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=${name}`;
  const output = ["-keyout", files.key, "-out", files.cert];
  execFileSync("openssl", [...words.split(" "), ...output], { stdio: "pipe" });
}

const HOST = "shimmy-injector.shimmy-system.svc";

/**
 * What cert-manager puts into a Secret by manifests/components/cert-manager: a certificate with
 * subject alternative names and no common name, its key, and in `ca.crt` the CA that signed it. The CA
 * keeps its key when it is renewed.
 */
class CertManager {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder);
    this.#key("ca.key");
    this.renewAuthority();
  }

  #openssl(words: string, ...others: string[]): void {
    const options = { cwd: this.#folder, stdio: "pipe" } as const;
    execFileSync("openssl", [...words.split(" "), ...others], options);
  }

  #key(file: string): void {
    this.#openssl(`genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out ${file}`);
  }

  renewAuthority(): void {
    const words = "req -x509 -new -key ca.key -days 2 -out ca.crt -subj";
    this.#openssl(words, "/CN=Shimmy webhook CA");
  }

  /** Makes another certificate and writes the Secret, as it is mounted. */
  issue(tlsDir: string): void {
    this.#key("tls.key");
    const names = `subjectAltName=DNS:${HOST}`;
    this.#openssl("req -new -key tls.key -subj / -out tls.csr");
    writeFileSync(join(this.#folder, "names"), `${names}\nextendedKeyUsage=serverAuth\n`);
    const sign = "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1";
    this.#openssl(`${sign} -extfile names -out tls.crt`);
    for (const name of ["tls.crt", "tls.key", "ca.crt"]) {
      copyFileSync(join(this.#folder, name), join(tlsDir, name));
    }
  }

  /** What cert-manager writes into `caBundle`. */
  get bundle(): Buffer {
    return readFileSync(join(this.#folder, "ca.crt"));
  }
}

describe("runInjector()", function () {
  let directory: string;
  let tlsDir: string;
  let clusterConfigDir: string;
  let clock: FakeClock;
  let events: Record<string, unknown>[];
  let injector: RunningInjector | undefined;

  beforeEach(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-injector-"));
    tlsDir = join(directory, "tls");
    clusterConfigDir = join(directory, "config");
    for (const path of [tlsDir, clusterConfigDir]) mkdirSync(path);
    writeFileSync(join(clusterConfigDir, "image"), "shimmy:test\n");
    writeCertificate(tlsDir, "first");
    clock = new FakeClock();
  });

  afterEach(async function () {
    await injector?.close();
    injector = undefined;
    expect(clock.pending).to.equal(0);
    rmSync(directory, { recursive: true });
  });

  async function start(access?: ClusterAccess): Promise<RunningInjector> {
    const config = resolveInjectorConfig({
      flags: { port: "0", tlsDir, clusterConfigDir },
    });
    const captured = captureLog();
    events = captured.events;
    const options = { config, log: captured.log, clock };
    injector = await runInjector(access === undefined ? options : { ...options, access });
    return injector;
  }

  async function ask(path: string, body?: string): Promise<Reply> {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const options = {
      port: injector?.port,
      path,
      method: body === undefined ? "GET" : "POST",
      ca: readFileSync(join(tlsDir, "tls.crt")),
      checkServerIdentity: () => undefined,
      agent: false as const,
    };
    request(options, (response) => {
      readAll(response).then((text) => {
        resolve({ status: response.statusCode, body: text });
      }, reject);
    })
      .on("error", reject)
      .end(body);
    return promise;
  }

  async function certificateName(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const socket = connect({ port: injector?.port ?? 0, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.end();
    }).on("error", reject);
    return promise;
  }

  function review(annotations: Record<string, string>): string {
    return JSON.stringify({
      apiVersion: "admission.k8s.io/v1",
      kind: "AdmissionReview",
      request: {
        uid: "u1",
        kind: { group: "", version: "v1", kind: "Pod" },
        namespace: "shop",
        operation: "CREATE",
        object: { metadata: { name: "web", annotations }, spec: { containers: [{ name: "web" }] } },
      },
    });
  }

  it("should answer reviews over TLS, and count them", async function () {
    await start();
    const { status, body } = await ask("/pods", review({ "shimmy.io/inject": "enabled" }));
    expect(status).to.equal(200);
    expect(body).to.include('"uid":"u1","allowed":true,"patchType":"JSONPatch"');
    expect((await ask("/pods", review({}))).body).not.to.include("patch");
    expect((await ask("/pods-of-namespace", review({}))).body).to.include("patch");
    const metrics = (await ask("/metrics")).body;
    expect(metrics).to.include('shimmy_injector_admissions_total{outcome="injected",reason=""} 2');
    expect(metrics).to.include(
      'shimmy_injector_admissions_total{outcome="skipped",reason="not_opted_in"} 1',
    );
    expect(metrics).to.include("shimmy_injector_admission_seconds_count 3");
    expect(metrics).to.match(/certificate_expiry_timestamp_seconds 1\d{9}\b/);
  });

  it("should be healthy and ready", async function () {
    await start();
    expect(await ask("/healthz")).to.deep.equal({ status: 200, body: '{"status":"ok"}\n' });
    expect(await ask("/readyz")).to.deep.equal({ status: 200, body: '{"ready":true}\n' });
  });

  it("should answer with what namespaces say, and be ready once it knows them", async function () {
    const api = await FakeApiServer.start();
    try {
      api.intercept = () => ({ status: 500 });
      await start(api.access);
      expect((await ask("/readyz")).body).to.include("the namespaces are not known yet");
      await injector?.close();
      api.intercept = () => undefined;
      const annotations = { "config.shimmy.io/log-level": "debug", "example.org/x": "y" };
      api.put(RESOURCES.namespaces, { metadata: { name: "shop", annotations } });
      await start(api.access);
      while ((await ask("/readyz")).status !== 200) await setImmediate();
      const { body } = await ask("/pods", review({ "shimmy.io/inject": "enabled" }));
      const { response } = JSON.parse(body) as { response: { patch: string } };
      const patch = Buffer.from(response.patch, "base64").toString();
      expect(patch).to.include('{"name":"SHIMMY_LOG_LEVEL","value":"debug"}');
    } finally {
      await injector?.close();
      injector = undefined;
      await api.close();
    }
  });

  for (const [what, path, body, status] of [
    ["another path", "/x", undefined, 404],
    ["the wrong method", "/pods", undefined, 404],
    ["what is not JSON", "/pods", "x", 400],
    ["what is no review", "/pods", "{}", 400],
    ["a body that is too large", "/pods", "x".repeat(8 * 1024 * 1024 + 1), 413],
  ] as const) {
    it(`should answer ${what} with ${status}`, async function () {
      await start();
      expect((await ask(path, body)).status).to.equal(status);
    });
  }

  it("should serve a certificate that was renewed, without being restarted", async function () {
    await start();
    expect(await certificateName()).to.equal("first");
    writeCertificate(tlsDir, "second");
    clock.advance(5000);
    expect(await certificateName()).to.equal("second");
    expect((await ask("/metrics")).body).to.include(
      'shimmy_injector_reloads_total{what="certificate",result="loaded"} 1',
    );
  });

  it("should serve what cert-manager writes, and be trusted through its renewals", async function () {
    const certManager = new CertManager(join(directory, "cert-manager"));
    certManager.issue(tlsDir);
    await start();
    /** Shakes hands as the API server does. @returns The serial number of the certificate. */
    const shake = async (ca: Buffer): Promise<string> => {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const options = { port: injector?.port ?? 0, ca, servername: HOST };
      const socket = connect(options, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.end();
      }).on("error", reject);
      return promise;
    };
    const before = certManager.bundle;
    const first = await shake(before);
    // The API server has the new CA before the injector has a certificate by it.
    certManager.renewAuthority();
    expect(certManager.bundle.equals(before)).to.be.false;
    expect(await shake(certManager.bundle)).to.equal(first);
    certManager.issue(tlsDir);
    clock.advance(5000);
    expect(await shake(certManager.bundle)).not.to.equal(first);
    expect(await shake(before)).not.to.equal(first);
    const stranger = new CertManager(join(directory, "stranger"));
    expect(await shake(stranger.bundle).catch((err: unknown) => String(err))).to.match(
      /certificate|signature/,
    );
  });

  it("should keep the certificate while half of a renewal is there", async function () {
    await start();
    const key = readFileSync(join(tlsDir, "tls.key"));
    writeCertificate(tlsDir, "second");
    const newKey = readFileSync(join(tlsDir, "tls.key"));
    writeFileSync(join(tlsDir, "tls.key"), key);
    clock.advance(10_000);
    expect(await certificateName()).to.equal("first");
    expect(events.filter(({ level }) => level === "error")).to.have.lengthOf(1);
    writeFileSync(join(tlsDir, "tls.key"), newKey);
    clock.advance(5000);
    expect(await certificateName()).to.equal("second");
  });

  it("should take settings that changed, and keep the old ones when they are bad", async function () {
    await start();
    const enabled = review({ "shimmy.io/inject": "enabled" });
    const patch = async (): Promise<string> => {
      const { body } = await ask("/pods", enabled);
      const { response } = JSON.parse(body) as { response: { patch: string } };
      return Buffer.from(response.patch, "base64").toString();
    };
    writeFileSync(join(clusterConfigDir, "transport"), "tcp");
    clock.advance(5000);
    expect(await patch()).to.include('{"name":"SHIMMY_TRANSPORT","value":"tcp"}');
    writeFileSync(join(clusterConfigDir, "transport"), "fast");
    clock.advance(5000);
    expect(await patch()).to.include('{"name":"SHIMMY_TRANSPORT","value":"tcp"}');
    const error = events.find(({ level }) => level === "error")?.["err"];
    expect(error).to.have.property("message").that.includes("transport: expected");
  });

  for (const [what, breakIt, message] of [
    [
      "no certificate",
      () => {
        rmSync(join(tlsDir, "tls.crt"));
      },
      "tls.crt and tls.key are needed",
    ],
    [
      "no certificate that can be read",
      () => {
        writeFileSync(join(tlsDir, "tls.crt"), "x");
      },
      "tls",
    ],
    [
      "no directory",
      () => {
        rmSync(clusterConfigDir, { recursive: true });
      },
      "ENOENT",
    ],
    [
      "no image",
      () => {
        rmSync(join(clusterConfigDir, "image"));
      },
      "image is required",
    ],
  ] as const) {
    it(`should throw SHIMMY_ERR_INVALID_CONFIG when there is ${what}`, async function () {
      breakIt();
      const error = await start().catch((err: unknown) => err);
      expect(error).to.have.property("code", "SHIMMY_ERR_INVALID_CONFIG");
      expect(error).to.have.property("message").that.includes(message).and.includes(directory);
    });
  }

  it("should throw SHIMMY_ERR_SYSTEM when the port is taken", async function () {
    const { port } = await start();
    const config = resolveInjectorConfig({
      flags: { port: String(port), tlsDir, clusterConfigDir },
    });
    const error = await runInjector({ config, log: captureLog().log, clock }).catch(
      (err: unknown) => err,
    );
    expect(error).to.have.property("code", "SHIMMY_ERR_SYSTEM");
  });
});

describe("docs/reference", function () {
  it("should have the injector's settings as they are", function () {
    const page = readSource("docs/reference/config.md");
    expect(section(page, "Injector")).to.include(describeConfig(INJECTOR_CONFIG));
  });

  it("should have a row for each metric of the injector, and no other", async function () {
    const { registry } = createInjectorMetrics({ certificateExpiry: () => 0 });
    const rows = (await registry.getMetricsAsJSON()).map(({ name, type, help }) => {
      const { labelNames } = registry.getSingleMetric(name) as unknown as { labelNames: string[] };
      const labels = labelNames.map((label) => `\`${label}\``).join(", ");
      return `| \`${name}\` | ${String(type)} | ${labels} | ${help} |`;
    });
    const text = section(readSource("docs/reference/metrics.md"), "Injector");
    expect(text.split("\n").filter((line) => line.startsWith("| `"))).to.deep.equal(rows);
  });
});
