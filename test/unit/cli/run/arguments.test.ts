import { expect } from "chai";

import { parseRunArguments } from "../../../../cli/run/arguments.ts";
import { formatUpstreams } from "../../../../cli/run/plan.ts";

describe("parseRunArguments()", function () {
  it("should read a server and a caller", function () {
    const words = [
      "--serve",
      "web:8080",
      "nginx -c x",
      "--call",
      "web:9001",
      "curl localhost:9001",
    ];
    const [web, curl, ...others] = parseRunArguments(words);
    expect(others).to.deep.equal([]);
    expect(web).to.deep.equal({
      name: "web",
      command: "nginx -c x",
      serves: [{ service: "web", port: 8080 }],
      calls: [],
    });
    expect(curl).to.deep.include({ name: "curl", command: "curl localhost:9001", serves: [] });
    expect(formatUpstreams(curl?.calls ?? [])).to.equal("web:9001");
  });

  it("should take what follows -- as a command as it stands", function () {
    const [program] = parseRunArguments(["--call", "web:9001", "--", "wrk", "-c", "2", "--", "x"]);
    expect(program?.command).to.deep.equal(["wrk", "-c", "2", "--", "x"]);
    expect(program?.name).to.equal("wrk");
  });

  it("should gather flags until a command comes", function () {
    const words = ["--serve", "api:8081,admin:8082", "--call=web:9001,db:9002", "node api.js"];
    const [api] = parseRunArguments(words);
    expect(api?.serves).to.deep.equal([
      { service: "api", port: 8081 },
      { service: "admin", port: 8082 },
    ]);
    expect(formatUpstreams(api?.calls ?? [])).to.equal("web:9001,db:9002");
  });

  it("should keep the options of a call", function () {
    const [program] = parseRunArguments(["--call", "web:9001?protocol=http&transport=tcp", "x"]);
    expect(program?.calls[0]).to.include({ protocol: "http", transport: "tcp" });
  });

  it("should take the address a program listens on", function () {
    expect(parseRunArguments(["--serve", "web:127.0.0.1:8080", "x"])[0]?.address).to.equal(
      "127.0.0.1",
    );
    expect(parseRunArguments(["--serve", "web:[::1]:8080", "x"])[0]?.address).to.equal("::1");
  });

  it("should keep ports open for another terminal when a last call has no command", function () {
    const programs = parseRunArguments(["--serve", "web:8080", "x", "--call", "web:9001"]);
    expect(programs[1]).to.include({ name: "terminal" }).and.not.have.property("command");
  });

  it("should give programs of the same name numbers", function () {
    const words = [
      "--call",
      "a:1",
      "curl 1",
      "--call",
      "a:2",
      "/usr/bin/curl 2",
      "--call",
      "a:3",
      "''",
    ];
    expect(parseRunArguments(words).map(({ name }) => name)).to.deep.equal([
      "curl",
      "curl-2",
      "client",
    ]);
  });

  for (const [words, message] of [
    [["--serve", "web", "x"], /NAME:PORT/],
    [["--serve", "Web:8080", "x"], /service "Web"/],
    [["--serve", "web:0", "x"], /port of web must be a port from 1 to 65535, got "0"/],
    [["--serve", "web:1.2.3:80", "x"], /"1.2.3".*is not an address/],
    [["--serve", "a:127.0.0.1:80,b:127.0.0.2:81", "x"], /one address/],
    [["--serve"], /--serve needs a value/],
    [["--call", "web", "x"], /has no local port/],
    [["--call", "web:9001?frob=1", "x"], /unknown option "frob"/],
    [["--frob", "x"], /unknown option "--frob"/],
    [["--call", "web:9001", "x", "y"], /has to come before "y"/],
    [["--call", "web:9001", "--"], /command has to come behind/],
    [["--call", "web:9001", "x", "--", "y"], /has to come before "--"/],
  ] as const) {
    it(`should refuse ${words.join(" ")}`, function () {
      expect(() => parseRunArguments(words))
        .to.throw(message)
        .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    });
  }
});
