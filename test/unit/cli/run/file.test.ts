import { expect } from "chai";

import { parseRunFile, readRunFile } from "../../../../cli/run/file.ts";

describe("parseRunFile()", function () {
  it("should read every key", function () {
    const text = `
programs:
  web:
    command: [nginx, -c, nginx.conf]
    serves: { web: 8080 }
    address: 127.0.0.1
    env: { WORKERS: 2, DEBUG: true }
    cwd: conf
  client:
    command: curl $SHIMMY_WEB_URL
    calls: { web: "9001?protocol=http" }
`;
    expect(parseRunFile(text, "/project")).to.deep.equal([
      {
        name: "web",
        command: ["nginx", "-c", "nginx.conf"],
        serves: [{ service: "web", port: 8080 }],
        calls: [],
        address: "127.0.0.1",
        env: { WORKERS: "2", DEBUG: "true" },
        cwd: "/project/conf",
      },
      {
        name: "client",
        command: "curl $SHIMMY_WEB_URL",
        serves: [],
        calls: [{ name: "web", localPort: 9001, protocol: "http", transport: "auto" }],
        cwd: "/project",
      },
    ]);
  });

  for (const [text, message] of [
    ["", /the file must have names and values/],
    ["program: {}", /unknown key "program"; did you mean "programs"/],
    ["programs: [1]", /programs must have names and values/],
    ["programs: { Web: {} }", /program "Web" is not of lower-case/],
    ["programs: { web: { comand: x } }", /programs.web has an unknown key "comand"; did you mean/],
    ["programs: { web: { command: [] } }", /programs.web.command has no words/],
    ["programs: { web: { command: [[1]] } }", /programs.web.command\[0\] must be text or a number/],
    ["programs: { web: { command: 3 } }", /programs.web.command must be text/],
    ["programs: { web: { serves: { web: 70000 } } }", /programs.web.serves.web must be a port/],
    ["programs: { c: { calls: { web: 0 } } }", /programs.c.calls.web: .*local port/],
    [
      "programs: { c: { calls: { web: '1,x:2' } } }",
      /programs.c.calls.web: expected one local port/,
    ],
    ["programs: { c: { address: here } }", /programs.c.address must be an IPv4 or IPv6 address/],
    ["programs: { c: { env: { A: [] } } }", /programs.c.env.A must be text or a number/],
    ["programs: { c: ", /./],
  ] as const) {
    it(`should refuse ${JSON.stringify(text)}`, function () {
      expect(() => parseRunFile(text, "/"))
        .to.throw(message)
        .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    });
  }
});

describe("readRunFile()", function () {
  it("should name the file that cannot be read", function () {
    expect(() => readRunFile("/nowhere/shimmy.yaml"))
      .to.throw(/^\/nowhere\/shimmy.yaml: /)
      .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
  });

  it("should read the example", function () {
    expect(readRunFile("examples/hello/shimmy.yaml").map(({ name }) => name)).to.deep.equal([
      "server",
      "client",
    ]);
  });
});
