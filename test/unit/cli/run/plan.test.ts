import { expect } from "chai";

import { parseRunArguments } from "../../../../cli/run/arguments.ts";
import {
  checkPrograms,
  commandWords,
  programEnv,
  requireSeconds,
} from "../../../../cli/run/plan.ts";

describe("checkPrograms()", function () {
  const check = (line: string): unknown => checkPrograms(parseRunArguments(line.split(" ")));

  it("should accept a service behind which several programs stand", function () {
    const line = "--serve web:8080 x --serve web:8080 y --call web:9001 z";
    const programs = parseRunArguments(line.split(" "));
    expect(checkPrograms(programs)).to.equal(programs);
  });

  for (const [line, message] of [
    ["--call web:9001 x", /"x" calls "web", which no program serves/],
    ["--serve web:8080 x --call wbe:9001 y", /did you mean "web"/],
    ["--serve web:8080 x --call web.other:9001 y", /one namespace only/],
    ["--serve web:8080 x --call web:9001?port=80 y", /port 80 of "web", which has 8080 only/],
    ["--serve web:8080 x --serve web:8081 y", /served on port 8080 and, by "web-2", 8081/],
    ["--serve web:14790 x", /port 14790 is the sidecars' own/],
    ["--serve web:8080", /serves web but has no command/],
    ["--serve w:8080 x --call w:9001 y --call w:9001 z", /local port 9001, as "y" does/],
  ] as const) {
    it(`should refuse ${line}`, function () {
      expect(() => check(line))
        .to.throw(message)
        .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    });
  }

  it("should refuse none, two of one name, and one that does nothing", function () {
    const idle = { name: "a", command: "x", serves: [], calls: [] };
    const server = { ...idle, serves: [{ service: "a", port: 1 }] };
    expect(() => checkPrograms([])).to.throw(/no program to run/);
    expect(() => checkPrograms([server, server])).to.throw(/two programs are named "a"/);
    expect(() => checkPrograms([idle])).to.throw(/neither serves nor calls/);
  });
});

describe("programEnv()", function () {
  it("should say where the program and what it calls are", function () {
    const [program] = parseRunArguments(["--call", "my-web:9001?protocol=http,db:9002", "x"]);
    expect(programEnv(program ?? { calls: [] }, "127.0.1.2")).to.deep.equal({
      SHIMMY_ADDRESS: "127.0.1.2",
      SHIMMY_TOPICS_URL: "http://127.0.1.2:14791/v1/topics",
      SHIMMY_MY_WEB_HOST: "127.0.0.1",
      SHIMMY_MY_WEB_PORT: "9001",
      SHIMMY_MY_WEB_URL: "http://127.0.0.1:9001",
      SHIMMY_DB_HOST: "127.0.0.1",
      SHIMMY_DB_PORT: "9002",
      SHIMMY_DB_URL: "tcp://127.0.0.1:9002",
    });
  });
});

describe("commandWords()", function () {
  const env = { SHIMMY_ADDRESS: "127.0.1.2", SHIMMY_WEB_PORT: "9001" };

  it("should fill in what a run knows, and leave the rest", function () {
    expect(commandWords(["x", "${ADDRESS}:${SHIMMY_WEB_PORT}", "${HOME}"], env)).to.deep.equal([
      "x",
      "127.0.1.2:9001",
      "${HOME}",
    ]);
  });

  it("should give a line to the shell", function () {
    expect(commandWords("x ${ADDRESS} | y", env)).to.deep.equal([
      "/bin/sh",
      "-c",
      "x 127.0.1.2 | y",
    ]);
  });
});

describe("requireSeconds()", function () {
  it("should read seconds with a fraction", function () {
    expect(requireSeconds("--interval", "0.5")).to.equal(0.5);
  });

  for (const text of ["0", "-1", "1e3", "x", "4000", ""]) {
    it(`should refuse ${JSON.stringify(text)}`, function () {
      expect(() => requireSeconds("--interval", text)).to.throw(/--interval must be a time/);
    });
  }
});
