import { expect } from "chai";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { eventually } from "../helpers/eventually.ts";

const MAIN = join(import.meta.dirname, "../../cli/main.ts");
const PYTHON_SERVER = "python3 -m http.server 8080 --bind ${ADDRESS}";

/** The command line, in a directory for temporary files of its own that tells its processes. */
class Cli {
  readonly directory = mkdtempSync("/tmp/cli-"); // short: socket paths are below it
  readonly #children: ChildProcess[] = [];

  /** Starts `shimmy WORDS`. */
  start(...words: readonly string[]): Run {
    const child = spawn(process.execPath, [MAIN, ...words], {
      env: { ...process.env, TMPDIR: this.directory },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#children.push(child);
    return new Run(child);
  }

  /** Runs `shimmy WORDS` to its end. */
  async run(...words: readonly string[]): Promise<Run> {
    const run = this.start(...words);
    await run.ended;
    return run;
  }

  /** Commands of processes that are left. */
  processes(): string[] {
    const marker = `TMPDIR=${this.directory}`;
    return readdirSync("/proc")
      .filter((pid) => /^\d+$/.test(pid))
      .map((pid) => ({
        env: readProc(pid, "environ"),
        command: readProc(pid, "cmdline").join(" "),
      }))
      .filter(({ env, command }) => env.includes(marker) || command.includes(this.directory))
      .map(({ command }) => command);
  }

  /** Files that are left. */
  files(): string[] {
    return readdirSync(this.directory);
  }

  close(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** One `shimmy` that was started. */
class Run {
  readonly child: ChildProcess;
  /** Its exit code; `null` when a signal ended it. */
  readonly ended: Promise<number | null>;
  code: number | null | undefined;
  stdout = "";
  stderr = "";

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on("data", (part: Buffer) => (this.stdout += part.toString()));
    child.stderr?.on("data", (part: Buffer) => (this.stderr += part.toString()));
    this.ended = once(child, "close").then(([code]) => (this.code = code as number | null));
  }

  /** Waits until one of its outputs holds a text. */
  async says(text: string): Promise<void> {
    while (!`${this.stdout}${this.stderr}`.includes(text)) {
      if (this.code !== undefined) throw new Error(`ended without "${text}": ${this.stderr}`);
      await delay(20);
    }
  }
}

function readProc(pid: string, file: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8").split("\0");
  } catch {
    return []; // it has ended
  }
}

describe("the command line", function () {
  this.timeout(40_000);
  let cli: Cli;

  beforeEach(function () {
    cli = new Cli();
  });

  afterEach(function () {
    cli.close();
  });

  function expectNothingLeft(): void {
    expect(cli.processes()).to.deep.equal([]);
    expect(cli.files()).to.deep.equal([]);
  }

  it("should show its version and its help", async function () {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect((await cli.run("--version")).stdout).to.equal(`${version}\n`);
    for (const command of ["run", "top", "demo", "agent", "sidecar"]) {
      const { stdout, stderr, code } = await cli.run(command, "--help");
      expect({ code, stderr }).to.deep.equal({ code: 0, stderr: "" });
      expect(stdout).to.include(`Usage: shimmy ${command}`).and.include("Example");
    }
  });

  it("should refuse wrong usage in one line, with code 2", async function () {
    for (const words of [
      ["frob"],
      ["top", "--frob"],
      ["run", "--serve", "web"],
      ["sidecar", "x"],
    ]) {
      const { code, stderr, stdout } = await cli.run(...words);
      expect({ code, stdout }).to.deep.equal({ code: 2, stdout: "" });
      expect(stderr).to.match(/^shimmy: .+ \(SHIMMY_ERR_INVALID_CONFIG\)\n$/);
    }
  });

  describe("shimmy run", function () {
    it("should carry the example by shared memory and leave nothing", async function () {
      const { code, stdout, stderr } = await cli.run("run", "examples/hello/shimmy.yaml");
      expect(code, stderr).to.equal(0);
      expect(stdout.match(/^client \| hello, you asked for/gm)).to.have.lengthOf(10);
      expect(stderr).to.match(/client +shared memory +10 +0/);
      expect(stderr).to.include("10 connections, by shared memory every one.");
      expectNothingLeft();
    });

    it("should end with the code of the caller", async function () {
      const caller = ["--call", "web:19401?protocol=http", "--", "sh", "-c"];
      const line = "curl -sf $SHIMMY_WEB_URL/ >/dev/null && exit 7";
      const run = await cli.run("run", "--serve", "web:8080", PYTHON_SERVER, ...caller, line);
      expect(run.code, run.stderr).to.equal(7);
      expect(run.stderr).to.include("sh ended with code 7");
      expect(run.stderr).to.include("1 connection, by shared memory every one.");
      expectNothingLeft();
    });

    it("should chain programs that serve and call", async function () {
      writeFileSync(
        join(cli.directory, "chain.yaml"),
        `programs:
  back: { command: "${PYTHON_SERVER}", serves: { back: 8080 } }
  front:
    command: [node, -e, "require('http').createServer((q, s) => require('http').get('http://127.0.0.1:19402/', (r) => r.pipe(s))).listen(8081, process.env.SHIMMY_ADDRESS)"]
    serves: { front: 8081 }
    calls: { back: 19402 }
  caller: { command: "curl -sf http://localhost:19403/", calls: { front: 19403 } }
`,
      );
      const run = await cli.run("run", join(cli.directory, "chain.yaml"));
      expect(run.code, run.stderr).to.equal(0);
      expect(run.stdout).to.include("Directory listing");
      expect(run.stderr).to.include("2 connections, by shared memory every one.");
      rmSync(join(cli.directory, "chain.yaml"));
      expectNothingLeft();
    });

    it("should say why when connections go over TCP", async function () {
      const call = ["--call", "web:19404?transport=tcp", "curl -sf localhost:19404 -o /dev/null"];
      const run = await cli.run("run", "--serve", "web:8080", PYTHON_SERVER, ...call);
      expect(run.code, run.stderr).to.equal(0);
      expect(run.stderr).to.include("0 connections by shared memory, 1 by TCP (disabled 1;");
    });

    it("should fail when a server ends before its callers", async function () {
      const server = `${PYTHON_SERVER} & sleep 2; kill $!; exit 3`;
      const run = await cli.run(
        "run",
        "--serve",
        "web:8080",
        server,
        "--call",
        "web:19405",
        "sleep 60",
      );
      expect(run.code).to.equal(1);
      expect(run.stderr).to.match(/^shimmy: web is needed by its callers; it ended with code 3/m);
      expectNothingLeft();
    });

    it("should end a server that went into the background", async function () {
      const config = join(cli.directory, "nginx.conf");
      const listen = "listen ${ADDRESS}:8080; return 200 ok;";
      const server = `echo "events {} http { server { ${listen} } }" >${config};
        PATH=$PATH:/usr/sbin; nginx -c ${config} -e stderr -g "pid ${config}.pid;"`;
      const words = ["--serve", "web:8080", server, "--call", "web:19411", "sleep 60"];
      const run = await cli.run("run", ...words);
      expect(run.code).to.equal(1);
      expect(run.stderr).to.match(/web left process \d+ in the background; it is ended/);
      expect(run.stderr).to.include("web is needed by its callers; it ended with code 0");
      await eventually("nginx to end", () => cli.processes().length === 0);
    });

    it("should say whose local port is taken", async function () {
      const server = createServer().listen(19410, "127.0.0.1");
      await once(server, "listening");
      const words = ["--serve", "web:8080", "true", "--call", "web:19410", "curl x"];
      const run = await cli.run("run", ...words);
      server.close();
      expect(run.code).to.equal(1);
      expect(run.stderr).to.match(/^shimmy: curl calls web on local port 19410, which another/);
      expectNothingLeft();
    });

    it("should hint at a server that listens on localhost", async function () {
      const server = "python3 -m http.server 18406 --bind 127.0.0.1";
      const words = ["--serve", "web:18406", server, "--call", "web:19406", "true"];
      const run = await cli.run("run", "--ready-timeout", "2", ...words);
      expect(run.code).to.equal(1);
      expect(run.stderr).to.include("something accepts on 127.0.0.1:18406");
      expectNothingLeft();
    });

    for (const [signal, code] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
    ] as const) {
      it(`should stop everything on ${signal}`, async function () {
        const run = cli.start("run", "--serve", "web:8080", PYTHON_SERVER, "--call", "web:19407");
        await run.says("ready; ctrl-C ends it");
        expect((await fetch("http://localhost:19407/")).status).to.equal(200);
        run.child.kill(signal);
        expect(await run.ended).to.equal(code);
        expectNothingLeft();
      });
    }

    it("should leave nothing even when it is killed", async function () {
      const run = cli.start("run", "--serve", "web:8080", PYTHON_SERVER, "--call", "web:19408");
      await run.says("ready; ctrl-C ends it");
      expect(cli.processes()).to.have.length.above(4);
      run.child.kill("SIGKILL");
      await run.ended;
      const deadline = performance.now() + 10_000;
      while (cli.processes().length + cli.files().length > 0 && performance.now() < deadline) {
        await delay(50);
      }
      expectNothingLeft();
    });

    it("should be seen by shimmy top", async function () {
      const run = cli.start("run", "--serve", "web:8080", PYTHON_SERVER, "--call", "web:19409");
      await run.says("ready; ctrl-C ends it");
      await (await fetch("http://localhost:19409/")).text();
      const top = await cli.run("top", "--once");
      expect(top.code, top.stderr).to.equal(0);
      expect(top.stdout).to.match(/default\/terminal +connected +\d+ +0 +1 +0/);
      const { sessions, traffic } = JSON.parse((await cli.run("top", "--json")).stdout) as {
        sessions: unknown[];
        traffic: unknown[];
      };
      expect(sessions).to.have.lengthOf(1);
      expect(traffic).to.have.lengthOf(2);
      run.child.kill("SIGINT");
      await run.ended;
    });
  });

  it("should have top say when there is no agent", async function () {
    const { code, stderr } = await cli.run("top", "--runtime-dir", cli.directory);
    expect(code).to.equal(1);
    expect(stderr).to.match(/^shimmy: no agent answers on .+ \(SHIMMY_ERR_AGENT_UNAVAILABLE\)\n$/);
  });

  it("should show shared memory, then the fallback and its reason, in the demo", async function () {
    this.timeout(80_000);
    const { code, stdout, stderr } = await cli.run("demo", "--quick");
    expect(code, stderr).to.equal(0);
    expect(stdout).to.match(/one at a time( +[\d,]+ +[\d.]+ [µm]?s){3} +2 shm/);
    const calls = [...stdout.matchAll(/hello {2}(\d+) {2}by (.*)/g)];
    expect(calls.map(([, status]) => status)).to.deep.equal(Array(calls.length).fill("200"));
    expect(calls.map(([, , way]) => way).join(", ")).to.match(
      /^(shared memory, ){2}(TCP, reason agent_unavailable, ){2,}(shared memory, ){2}shared memory$/,
    );
    // eslint-disable-next-line no-control-regex -- the point: no terminal, no control characters
    expect(stdout).not.to.match(/\u001B/);
    expectNothingLeft();
  });
});
