import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";

import { createLogin } from "../../../../cli/cluster/login-plugin.ts";
import { findClusterAccess, type Credentials } from "../../../../common/kubernetes/access.ts";

describe("createLogin()", function () {
  let directory: string;

  beforeEach(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-login-"));
  });

  afterEach(function () {
    rmSync(directory, { recursive: true });
  });

  /** A plugin that keeps what it was told, counts its runs, and prints a text. */
  function writePlugin(text: string): void {
    const script = `#!/bin/sh
printf '%s' "$KUBERNETES_EXEC_INFO" > ${directory}/info
echo "$1 $WHO" >> ${directory}/runs
cat <<'END'
${text}
END
`;
    writeFileSync(join(directory, "login"), script);
    chmodSync(join(directory, "login"), 0o755);
  }

  function runs(): string[] {
    return readFileSync(join(directory, "runs"), "utf8").trim().split("\n");
  }

  async function access(exec: object = {}): Promise<() => Promise<Credentials>> {
    const kubeconfig = join(directory, "config");
    const plugin = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "./login",
      args: ["get"],
      env: [{ name: "WHO", value: "me" }],
      provideClusterInfo: true,
      ...exec,
    };
    const config = {
      "current-context": "c",
      contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
      clusters: [{ name: "c", cluster: { server: "https://a:6443" } }],
      users: [{ name: "u", user: { exec: plugin } }],
    };
    writeFileSync(kubeconfig, JSON.stringify(config));
    const found = await findClusterAccess({ kubeconfig, env: {}, login: createLogin() });
    return () => found.credentials();
  }

  const answer = (status: object): string => JSON.stringify({ kind: "ExecCredential", status });

  it("should run the plugin as the kubeconfig says, and take its token", async function () {
    writePlugin(answer({ token: "secret" }));
    const credentials = await access();
    expect(await credentials()).to.deep.equal({ token: "secret" });
    expect(runs()).to.deep.equal(["get me"]);
    expect(JSON.parse(readFileSync(join(directory, "info"), "utf8"))).to.deep.equal({
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      spec: { interactive: false, cluster: { server: "https://a:6443" } },
    });
  });

  it("should take a certificate with its key", async function () {
    writePlugin(answer({ clientCertificateData: "C", clientKeyData: "K" }));
    expect(await (await access())()).to.deep.equal({ cert: "C", key: "K" });
  });

  it("should keep credentials until shortly before they end", async function () {
    const expirationTimestamp = new Date(Date.now() + 3_600_000).toISOString();
    writePlugin(answer({ token: "secret", expirationTimestamp }));
    const credentials = await access();
    await credentials();
    await credentials();
    expect(runs()).to.have.length(1);
  });

  it("should ask again for credentials that end", async function () {
    const expirationTimestamp = new Date(Date.now() + 30_000).toISOString();
    writePlugin(answer({ token: "secret", expirationTimestamp }));
    const credentials = await access();
    await credentials();
    await credentials();
    expect(runs()).to.have.length(2);
  });

  for (const [what, text, exec, says] of [
    ["what is no JSON", "hello", {}, "not valid JSON"],
    ["an answer without credentials", answer({}), {}, "neither a token nor a certificate"],
    ["a plugin that is not there", "", { command: "./no", installHint: "Get it." }, "Get it."],
    ["a plugin without a command", "", { command: undefined }, "it has no command"],
  ] as const) {
    it(`should say what is wrong with ${what}`, async function () {
      writePlugin(text);
      const error: unknown = await (await access(exec))().catch((err: unknown) => err);
      expect(error).to.have.property("code", "SHIMMY_ERR_INVALID_CONFIG");
      expect(error).to.have.property("message").that.includes(says).and.includes("login plugin");
    });
  }
});
