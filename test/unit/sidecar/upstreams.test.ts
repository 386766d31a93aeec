import { expect } from "chai";
import fc from "fast-check";

import { MAX_WATCHED_SERVICES } from "../../../agent/api-limits.ts";
import { ShimmyError } from "../../../common/errors.ts";
import {
  formatUpstream,
  MAX_UPSTREAMS,
  parseUpstreams,
  qualifyUpstreams,
  TRANSPORT_CAPS,
  UPSTREAM_PROTOCOLS,
  type UpstreamSpec,
} from "../../../sidecar/upstreams.ts";

function spec(
  part: Partial<UpstreamSpec> & Pick<UpstreamSpec, "name" | "localPort">,
): UpstreamSpec {
  return { protocol: "tcp", transport: "auto", ...part };
}

describe("parseUpstreams()", function () {
  const accepted: [text: string, specs: UpstreamSpec[]][] = [
    ["", []],
    [" \n ", []],
    ["orders:9001", [spec({ name: "orders", localPort: 9001 })]],
    [
      "orders:9001, quotes.md:9002?port=http&protocol=grpc&transport=tcp",
      [
        spec({ name: "orders", localPort: 9001 }),
        spec({
          name: "quotes",
          namespace: "md",
          localPort: 9002,
          port: "http",
          protocol: "grpc",
          transport: "tcp",
        }),
      ],
    ],
    ["a:1?port=65535", [spec({ name: "a", localPort: 1, port: 65_535 })]],
    ["a:1,\n  b:2,\n\n", [spec({ name: "a", localPort: 1 }), spec({ name: "b", localPort: 2 })]],
    ["a:1\nb:2", [spec({ name: "a", localPort: 1 }), spec({ name: "b", localPort: 2 })]],
  ];
  for (const [text, specs] of accepted) {
    it(`should read ${JSON.stringify(text)}`, function () {
      expect(parseUpstreams(text)).to.deep.equal(specs);
    });
  }

  const refused: [text: string, message: string][] = [
    ["orders", 'upstream "orders": has no local port, as in orders:9001'],
    ["orders:", 'upstream "orders:": local port must be from 1 to 65535, got ""'],
    ["orders:90x1", 'upstream "orders:90x1": local port must be from 1 to 65535, got "90x1"'],
    ["orders:0", 'upstream "orders:0": local port must be from 1 to 65535, got "0"'],
    ["orders:65536", 'upstream "orders:65536": local port must be from 1 to 65535, got "65536"'],
    ["orders:1:2", 'upstream "orders:1:2": more than one ":"'],
    ["a:1?port=2?port=3", 'upstream "a:1?port=2?port=3": more than one "?"'],
    ["a:1,,b:2", 'upstream "": nothing between two commas'],
    [
      "Orders:1",
      'upstream "Orders:1": Service name "Orders" is not of lower-case letters, digits and inner dashes',
    ],
    ["a.:1", 'upstream "a.:1": namespace "" is not of lower-case letters, digits and inner dashes'],
    ["a.b.svc:1", 'upstream "a.b.svc:1": "a.b.svc" is not a name or name.namespace of a Service'],
    [
      "a:1?transprot=shm",
      'upstream "a:1?transprot=shm": unknown option "transprot"; did you mean "transport"?',
    ],
    ["a:1?toString=1", 'upstream "a:1?toString=1": unknown option "toString"'],
    ["a:1?", 'upstream "a:1?": unknown option ""'],
    ["a:1?port", 'upstream "a:1?port": option "port" is not of the form port=value'],
    ["a:1?port=1&port=2", 'upstream "a:1?port=1&port=2": option "port" is given twice'],
    [
      "a:1?port=-x",
      'upstream "a:1?port=-x": port name "-x" is not of lower-case letters, digits and inner dashes',
    ],
    ["a:1?port=99999", 'upstream "a:1?port=99999": port must be from 1 to 65535, got "99999"'],
    [
      "a:1?protocol=htp",
      'upstream "a:1?protocol=htp": protocol must be one of http, grpc, tcp, got "htp"; did you mean "http"?',
    ],
    ["a:1?transport=rdma", 'upstream "a:1?transport=rdma": transport rdma is not built yet'],
    ["a:1, b.c:1", 'upstreams "a:1" and "b.c:1" have the same local port 1'],
  ];
  for (const [text, message] of refused) {
    it(`should refuse ${JSON.stringify(text)}`, function () {
      expect(() => parseUpstreams(text))
        .to.throw(ShimmyError, message)
        .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    });
  }

  it("should refuse more upstreams than the agent lets a client watch", function () {
    expect(MAX_UPSTREAMS).to.equal(MAX_WATCHED_SERVICES);
    const text = Array.from({ length: MAX_UPSTREAMS + 1 }, (_, i) => `a${i}:${i + 1}`).join();
    expect(() => parseUpstreams(text)).to.throw("257 upstreams, at most 256");
  });

  it("should cut a token that is a whole file", function () {
    expect(() => parseUpstreams("x".repeat(5000)))
      .to.throw(ShimmyError)
      .with.property("message")
      .that.has.lengthOf.below(200);
    expect(() => parseUpstreams("x".repeat(70_000))).to.throw("70000 characters");
  });

  it("should read back whatever it can write", function () {
    const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?$/);
    const upstream = fc.record(
      {
        name: label,
        namespace: label,
        localPort: fc.integer({ min: 1, max: 65_535 }),
        port: fc.oneof(
          fc.integer({ min: 1, max: 65_535 }),
          label.filter((text) => !/^\d+$/.test(text)),
        ),
        protocol: fc.constantFrom(...UPSTREAM_PROTOCOLS),
        transport: fc.constantFrom(...TRANSPORT_CAPS),
      },
      { requiredKeys: ["name", "localPort", "protocol", "transport"] },
    );
    const upstreams = fc.uniqueArray(upstream, {
      maxLength: 20,
      selector: ({ localPort }) => localPort,
    });
    fc.assert(
      fc.property(upstreams, fc.constantFrom(",", ", ", "\n", ",\n  "), (specs, separator) => {
        const text = specs.map(formatUpstream).join(separator);
        expect(parseUpstreams(text)).to.deep.equal(specs);
      }),
    );
  });

  it("should answer any text with upstreams or a refusal, and quickly", function () {
    const piece = fc.constantFrom(
      "a",
      "b.c",
      ":",
      "9001",
      "?",
      "&",
      "=",
      "port",
      ",",
      "\n",
      " ",
      ".",
    );
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(piece).map((all) => all.join("")),
    );
    fc.assert(
      fc.property(text, (input) => {
        try {
          parseUpstreams(input);
        } catch (err) {
          expect(err).to.have.property("code", "SHIMMY_ERR_INVALID_CONFIG");
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("qualifyUpstreams()", function () {
  it("should complete names with the pod's namespace", function () {
    const [own, other] = qualifyUpstreams(parseUpstreams("a:1,b.md:2"), "shop");
    expect([own?.service, other?.service]).to.deep.equal(["shop/a", "md/b"]);
  });

  it("should refuse a port of a Service that is named twice", function () {
    expect(() => qualifyUpstreams(parseUpstreams("a:1,a.shop:2"), "shop")).to.throw(
      "shop/a is an upstream twice, on local ports 1 and 2",
    );
    expect(() => qualifyUpstreams(parseUpstreams("a:1?port=x,a:2?port=x"), "shop")).to.throw(
      "shop/a port x is an upstream twice",
    );
  });

  it("should allow several ports of a Service", function () {
    expect(qualifyUpstreams(parseUpstreams("a:1?port=x,a:2?port=y"), "shop")).to.have.length(2);
  });
});
