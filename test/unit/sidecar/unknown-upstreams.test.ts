import { expect } from "chai";

import { UnknownUpstreams } from "../../../sidecar/unknown-upstreams.ts";
import type { Upstream } from "../../../sidecar/upstreams.ts";
import { FakeClock } from "../agent/fakes.ts";
import { settle } from "./fakes.ts";

describe("UnknownUpstreams", function () {
  const web: Upstream = {
    service: "shop/web",
    localPort: 9001,
    port: 80,
    protocol: "tcp",
    transport: "auto",
  };
  let clock: FakeClock;
  let unknown: Upstream[];
  let asked: string[];
  let answer: () => Promise<readonly string[]>;
  let results: unknown[][];
  let finder: UnknownUpstreams;

  function make(isDnsUsed: boolean): void {
    finder = new UnknownUpstreams({
      upstreams: {
        unknown: () => unknown,
        setAddresses: (...result) => results.push(["addresses", ...result]),
        setProblem: (...result) => results.push(["problem", ...result]),
      },
      isDnsUsed,
      resolve: (host) => {
        asked.push(host);
        return answer();
      },
      clock,
    });
  }

  beforeEach(function () {
    clock = new FakeClock();
    unknown = [web];
    asked = [];
    results = [];
    answer = () => Promise.resolve(["10.0.0.1"]);
    make(true);
  });

  afterEach(function () {
    finder.stop();
    expect(clock.pending).to.equal(0);
  });

  it("should call a Service at the address of its name", async function () {
    finder.start();
    await settle();
    expect(asked).to.deep.equal(["web.shop.svc"]);
    expect(results).to.deep.equal([["addresses", web, 80, ["10.0.0.1"]]]);
  });

  it("should ask again every 10 s, until it is stopped", async function () {
    finder.start();
    finder.start();
    clock.advance(20_000);
    finder.stop();
    clock.advance(20_000);
    await settle();
    expect(asked).to.have.length(3);
  });

  it("should keep an address when its name fails later", async function () {
    finder.start();
    await settle();
    answer = () => Promise.reject(new Error("ENOTFOUND"));
    clock.advance(10_000);
    await settle();
    expect(results).to.have.length(1);
  });

  it("should say why there is no address", async function () {
    answer = () => Promise.reject(new Error("getaddrinfo ENOTFOUND web.shop.svc"));
    finder.start();
    await settle();
    expect(results).to.deep.equal([
      [
        "problem",
        web,
        "the agent cannot be reached, nor the name: getaddrinfo ENOTFOUND web.shop.svc",
      ],
    ]);
  });

  for (const port of [undefined, "http"]) {
    it(`should ask for a numeric port when it is ${port ?? "not given"}`, async function () {
      const { service, localPort, protocol, transport } = web;
      const other = { service, localPort, protocol, transport };
      unknown = [port === undefined ? other : { ...other, port }];
      finder.start();
      await settle();
      expect(asked).to.deep.equal([]);
      expect(results[0]?.[2]).to.include("with ?port=NUMBER");
    });
  }

  it("should leave names alone where they are not in DNS", async function () {
    make(false);
    finder.start();
    await settle();
    expect(asked).to.deep.equal([]);
    expect(results).to.deep.equal([
      ["problem", web, "the agent cannot be reached, and alone knows the pods"],
    ]);
  });

  it("should drop an answer that comes after the agent", async function () {
    finder.start();
    finder.stop();
    await settle();
    expect(results).to.deep.equal([]);
  });
});
