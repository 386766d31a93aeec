import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { findClusterAccess } from "../../../../common/kubernetes/access.ts";

const KUBECONFIG = {
  "current-context": "here",
  contexts: [{ name: "here", context: { cluster: "c", user: "u", namespace: "team" } }],
  clusters: [
    { name: "c", cluster: { server: "https://10.0.0.1:6443/", "certificate-authority": "ca.pem" } },
  ],
  users: [{ name: "u", user: { "client-certificate-data": "Q0VSVA==", "client-key": "key.pem" } }],
};

describe("findClusterAccess()", function () {
  let directory: string;

  const write = (name: string, text: string): Promise<void> =>
    writeFile(join(directory, name), text);

  async function refusal(config: unknown): Promise<string> {
    await write("config", typeof config === "string" ? config : JSON.stringify(config));
    try {
      await findClusterAccess({ kubeconfig: join(directory, "config"), env: {} });
    } catch (err) {
      expect(err).to.have.property("code", "SHIMMY_ERR_INVALID_CONFIG");
      return (err as Error).message;
    }
    throw new Error("it was not refused");
  }

  beforeEach(async function () {
    directory = await mkdtemp(join(tmpdir(), "shimmy-access-"));
  });

  afterEach(async function () {
    await rm(directory, { recursive: true });
  });

  it("should use the pod's account, and read it again each time", async function () {
    await write("token", "first\n");
    await write("ca.crt", "CA");
    await write("namespace", "shimmy-system");
    const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" };
    const access = await findClusterAccess({ env, accountDir: directory });
    expect(access).to.include({ server: "https://[fd00::1]:443", namespace: "shimmy-system" });
    expect(await access.credentials()).to.deep.equal({ ca: "CA", token: "first" });
    await write("token", "second");
    expect((await access.credentials()).token).to.equal("second");
  });

  it("should read a kubeconfig, with files beside it and data in it", async function () {
    await write("config", JSON.stringify(KUBECONFIG));
    await write("ca.pem", "CA");
    await write("key.pem", "KEY");
    const env = { KUBECONFIG: join(directory, "config") };
    const access = await findClusterAccess({ env, accountDir: join(directory, "none") });
    expect(access).to.include({ server: "https://10.0.0.1:6443", namespace: "team" });
    expect(await access.credentials()).to.deep.equal({ ca: "CA", cert: "CERT", key: "KEY" });
  });

  it("should refuse what it cannot do, and say so", async function () {
    const user = { exec: { command: "login" } };
    expect(await refusal({ ...KUBECONFIG, users: [{ name: "u", user }] })).to.match(/"exec"/);
    const cluster = { server: "https://a", "insecure-skip-tls-verify": true };
    expect(await refusal({ ...KUBECONFIG, clusters: [{ name: "c", cluster }] })).to.match(
      /insecure/,
    );
    expect(await refusal({ ...KUBECONFIG, "current-context": "b" })).to.match(/no context "b"/);
    expect(await refusal("a: [")).to.match(/kubeconfig .*config: /);
    const none = findClusterAccess({ kubeconfig: join(directory, "no"), env: {} });
    expect(await none.catch(String)).to.match(/ENOENT/);
  });

  it("should refuse an account without the address of the server", async function () {
    await write("token", "first");
    const access = findClusterAccess({ env: {}, accountDir: directory });
    expect(await access.catch(String)).to.match(/KUBERNETES_SERVICE_HOST is not set/);
  });
});
