// `shimmy inject` as a person runs it, and `shimmy injector` as a pod does.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";
import { parseAllDocuments } from "yaml";

import { FakeApiServer } from "../helpers/fake-api-server.ts";
import { runProgram, type ProgramResult } from "../helpers/run-program.ts";

const MAIN = join(import.meta.dirname, "../../cli/main.ts");

const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web # a comment
  annotations:
    shimmy.io/inject: enabled
spec:
  template:
    spec:
      containers:
        - name: web
          image: nginx
`;

describe("injection from the command line", function () {
  let directory: string;

  beforeEach(function () {
    directory = mkdtempSync(join(tmpdir(), "shimmy-inject-"));
  });

  afterEach(function () {
    rmSync(directory, { recursive: true });
  });

  function write(name: string, text: string): string {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  }

  describe("shimmy inject", function () {
    function inject(words: readonly string[], input = ""): Promise<ProgramResult> {
      return runProgram([process.execPath, MAIN, "inject", ...words], { input });
    }

    it("should write the injected objects, and say what it did", async function () {
      const file = write("web.yaml", DEPLOYMENT);
      const { code, stdout, stderr } = await inject(["--image", "shimmy:1", "-f", file]);
      expect(stderr).to.equal("Deployment/web: injected\n");
      expect(code).to.equal(0);
      expect(stdout).to.include("name: web # a comment").and.include("image: shimmy:1");
    });

    it("should read standard input, and change nothing the second time", async function () {
      const first = await inject(["--image", "shimmy:1", "-f", "-"], DEPLOYMENT);
      const second = await inject(["--image", "shimmy:1", "-f", "-"], first.stdout);
      expect(second.stderr).to.equal(
        "Deployment/web: skipped, already_injected: it has its sidecar\n",
      );
      expect(second.stdout).to.equal(first.stdout);
    });

    it("should take settings from a ConfigMap, and opt-in from a Namespace in another file", async function () {
      const settings = "kind: ConfigMap\ndata: { image: 'shimmy:2', transport: tcp }\n";
      const namespace =
        "kind: Namespace\nmetadata: { name: shop, labels: { shimmy.io/inject: enabled } }\n";
      const pod =
        "apiVersion: v1\nkind: Pod\nmetadata: { name: p, namespace: shop }\nspec: { containers: [{ name: c }] }\n";
      const words = [
        "--config",
        write("config.yaml", settings),
        "-f",
        write("ns.yaml", namespace),
        write("pod.yaml", pod),
      ];
      const { code, stdout } = await inject(words);
      expect(code).to.equal(0);
      expect(parseAllDocuments(stdout)).to.have.lengthOf(2);
      expect(stdout).to.include("image: shimmy:2").and.include("SHIMMY_TRANSPORT");
    });

    it("should write nothing when one is refused", async function () {
      const bad = `${DEPLOYMENT}---\n${DEPLOYMENT.replace("inject: enabled", "inject: on1")}`;
      const { code, stdout, stderr } = await inject(["--image", "shimmy:1", "-f", "-"], bad);
      expect(code).to.equal(1);
      expect(stdout).to.equal("");
      expect(stderr).to.include(
        "Deployment/web: refused, bad_value: pod annotation shimmy.io/inject",
      );
    });

    for (const [what, words, input, message] of [
      ["no file", ["--image", "x"], "", "required option '-f, --filename <file...>' not specified"],
      ["a file that is not there", ["-f", "/nope.yaml"], "", "/nope.yaml: ENOENT"],
      ["what is not YAML", ["-f", "-"], "a: [", "-: "],
      [
        "a bad setting",
        ["--config", "-", "-f", "/dev/null"],
        "imag: x",
        'unknown key "imag"; did you mean "image"?',
      ],
    ] as const) {
      it(`should exit with 2 on ${what}`, async function () {
        const { code, stdout, stderr } = await inject(words, input);
        expect(stderr).to.include(message);
        expect([code, stdout]).to.deep.equal([2, ""]);
      });
    }
  });

  describe("shimmy injector", function () {
    it("should serve until it is told to stop", async function () {
      const api = await FakeApiServer.start();
      const [tls, config] = [join(directory, "tls"), join(directory, "config")];
      for (const path of [tls, config]) mkdirSync(path);
      writeFileSync(join(config, "image"), "shimmy:1");
      const words =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x";
      const output = ["-keyout", join(tls, "tls.key"), "-out", join(tls, "tls.crt")];
      execFileSync("openssl", [...words.split(" "), ...output], { stdio: "pipe" });
      const kubeconfig = write(
        "kubeconfig",
        JSON.stringify({
          "current-context": "c",
          contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
          clusters: [{ name: "c", cluster: { server: api.access.server } }],
          users: [{ name: "u", user: { token: "t" } }],
        }),
      );
      const flags = ["--port", "0", "--tls-dir", tls, "--cluster-config-dir", config];
      const child = spawn(
        process.execPath,
        [MAIN, "injector", ...flags, "--kubeconfig", kubeconfig],
        { stdio: ["ignore", "pipe", "inherit"] },
      );
      try {
        let log = "";
        for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
          const text = chunk.toString();
          log += text;
          if (text.includes("injector started")) child.kill("SIGTERM");
        }
        if (child.exitCode === null) await once(child, "exit");
        expect(log).to.include("injector stopped");
        expect(child.exitCode).to.equal(0);
      } finally {
        child.kill("SIGKILL");
        await api.close();
      }
    });
  });
});
