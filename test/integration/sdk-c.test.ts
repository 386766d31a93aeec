import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { expect } from "chai";

import { AgentProcess } from "../helpers/agent-process.ts";
import { constants, declarations, structs } from "../helpers/c-header.ts";
import { mustRun } from "../helpers/run-program.ts";

const ROOT = join(import.meta.dirname, "../..");
const BUILD = join(ROOT, "build/release");
const HEADER = readFileSync(join(ROOT, "sdk/c/include/shimmy.h"), "utf8");
const ABI = join(ROOT, "sdk/c/abi.txt");
const STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];
const EXAMPLES = ["producer", "consumer", "publisher", "subscriber"] as const;

describe("C SDK", function () {
  this.timeout(30_000);
  let folder: string;

  before(async function () {
    folder = mkdtempSync(join(tmpdir(), "shimmy-c-"));
    // The agent's sockets are open to other users, and so may be what they run.
    chmodSync(folder, 0o755);
    await mustRun(["cmake", "--install", BUILD, "--prefix", join(folder, "installed")]);
  });

  after(function () {
    rmSync(folder, { recursive: true, force: true });
  });

  describe("libshimmy.so.1", function () {
    it("should show the functions of its header, with their version, and nothing else", async function () {
      const { stdout } = await mustRun([
        "nm",
        "-D",
        "--defined-only",
        join(BUILD, "libshimmy.so.1"),
      ]);
      const shown = stdout
        .trim()
        .split("\n")
        .map((line) => line.split(" ").slice(1).join(" "));
      const wanted = declarations(HEADER).map(({ name }) => `T ${name}@@SHIMMY_1`);
      expect(wanted).to.have.lengthOf.at.least(22);
      expect(shown.sort()).to.deep.equal(["A SHIMMY_1", ...wanted].sort());
    });

    it("should be named so that another version can lie beside it", async function () {
      const { stdout } = await mustRun(["readelf", "-d", join(BUILD, "libshimmy.so.1")]);
      expect(stdout).to.include("soname: [libshimmy.so.1]");
      expect(stdout).not.to.match(/NEEDED.*(?:libstdc\+\+|libgcc_s)/);
    });
  });

  describe("shimmy.h", function () {
    /** Compiles and runs a program that prints every size, offset and value of the header. */
    async function layout(compiler: string, standard: string): Promise<string> {
      const lines = [
        ...structs(HEADER).flatMap(({ name, fields }) => [
          `printf("struct ${name} %zu\\n", sizeof(struct ${name}));`,
          ...fields.map(
            (field) =>
              `printf("struct ${name}.${field} %zu %zu\\n", offsetof(struct ${name}, ${field}), ` +
              `sizeof(((struct ${name}*)0)->${field}));`,
          ),
        ]),
        ...constants(HEADER).map((name) => `printf("${name} %d\\n", (int)${name});`),
      ];
      const source = join(folder, compiler === "cc" ? "abi.c" : "abi.cc");
      const program = [
        "#include <shimmy.h>",
        "#include <stdio.h>",
        "int main(void) {",
        ...lines,
        "}",
      ];
      writeFileSync(source, `${program.join("\n")}\n`);
      const output = join(folder, `abi-${standard}`);
      const include = `-I${join(folder, "installed/include")}`;
      await mustRun([compiler, `-std=${standard}`, ...STRICT, include, source, "-o", output]);
      return (await mustRun([output])).stdout;
    }

    for (const [compiler, standard] of [
      ["cc", "c11"],
      ["c++", "c++11"],
    ] as const) {
      it(`should have the recorded layout in ${standard}`, async function () {
        const found = await layout(compiler, standard);
        if (process.argv.includes("--update")) writeFileSync(ABI, found);
        // What is recorded stays for ever; what is new is added to the record.
        expect(found.split("\n")).to.deep.equal(readFileSync(ABI, "utf8").split("\n"));
      });
    }
  });

  describe("examples", function () {
    let agent: AgentProcess;

    before(async function () {
      agent = new AgentProcess("pods: [{ name: app, address: 127.0.1.1 }]");
      await agent.start();
      const env = { PKG_CONFIG_PATH: join(folder, "installed/lib/pkgconfig") };
      const flags = await mustRun(["pkg-config", "--cflags", "--libs", "shimmy"], { env });
      const { stdout: version } = await mustRun(["pkg-config", "--modversion", "shimmy"], { env });
      const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
        version: string;
      };
      expect(version.trim()).to.equal(manifest.version);
      mkdirSync(join(folder, "bin"));
      await Promise.all(
        EXAMPLES.map((name) =>
          mustRun([
            "cc",
            ...STRICT,
            join(ROOT, `examples/c/${name}.c`),
            ...flags.stdout.trim().split(" "),
            "-o",
            join(folder, "bin", name),
          ]),
        ),
      );
    });

    after(async function () {
      await agent.close();
    });

    async function run(name: (typeof EXAMPLES)[number], ...args: string[]): Promise<string> {
      const child = spawn(join(folder, "bin", name), args, {
        stdio: ["ignore", "pipe", "inherit"],
        env: {
          LD_LIBRARY_PATH: join(folder, "installed/lib"),
          SHIMMY_FD_SOCKET: join(agent.podDirectory("app"), "fd.sock"),
        },
      });
      const [output, code] = await Promise.all([
        text(child.stdout),
        new Promise((resolve) => child.once("close", resolve)),
      ]);
      expect(code, name).to.equal(0);
      return output;
    }

    it("should hand each job to the consumer", async function () {
      const [output] = await Promise.all([run("consumer", "jobs"), run("producer", "jobs", "300")]);
      const jobs = Array.from({ length: 300 }, (_, i) => `job ${i}\n`);
      expect(output).to.equal(jobs.join(""));
    });

    it("should tell each reading to every subscriber", async function () {
      const [one, other] = await Promise.all([
        run("subscriber", "readings"),
        run("subscriber", "readings"),
        run("publisher", "readings", "50", "2"),
      ]);
      expect([one, other]).to.deep.equal(["50 readings, sum 612.5\n", "50 readings, sum 612.5\n"]);
    });

    it("should be linked with the static library as well", async function () {
      const output = join(folder, "static");
      await mustRun([
        "cc",
        join(ROOT, "examples/c/consumer.c"),
        `-I${join(folder, "installed/include")}`,
        join(folder, "installed/lib/libshimmy.a"),
        ...["-lstdc++", "-pthread", "-o", output],
      ]);
      const { stdout } = await mustRun(["ldd", output]);
      expect(stdout).not.to.include("libshimmy");
    });
  });
});
