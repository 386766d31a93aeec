import { expect } from "chai";

import { upstreamVariables } from "../../../injector/upstream-variables.ts";
import { parseUpstreams } from "../../../sidecar/upstreams.ts";

function urls(text: string): string[] {
  const variables = upstreamVariables(parseUpstreams(text));
  return variables.filter(({ name }) => name.endsWith("_URL")).map(({ name }) => name);
}

describe("upstreamVariables()", function () {
  it("should give host, port and URL", function () {
    expect(upstreamVariables(parseUpstreams("my-api:9001?protocol=grpc"))).to.deep.equal([
      { name: "SHIMMY_MY_API_HOST", value: "127.0.0.1" },
      { name: "SHIMMY_MY_API_PORT", value: "9001" },
      { name: "SHIMMY_MY_API_URL", value: "http://127.0.0.1:9001" },
    ]);
  });

  for (const [text, names] of [
    ["a:1, b:2", ["A", "B"]],
    ["a.md:1", ["A"]],
    ["a:1, a.md:2", ["A", "A_MD"]],
    ["a:1?port=http, a:2?port=81", ["A_HTTP", "A_81"]],
    ["a.x:1?port=http, a.y:2?port=http", ["A_X_HTTP", "A_Y_HTTP"]],
  ] as const) {
    it(`should name those of ${text}`, function () {
      expect(urls(text)).to.deep.equal(names.map((name) => `SHIMMY_${name}_URL`));
    });
  }

  it("should refuse two of one name", function () {
    expect(() => urls("a-b:1, a.b:2, a:3")).to.throw(
      "upstreams on local ports 1 and 2 would both be SHIMMY_A_B_URL",
    );
  });
});
