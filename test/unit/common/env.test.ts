import { expect } from "chai";

import { bytes, duration, integer, list, oneOf, text } from "../../../common/env-parsers.ts";
import {
  describeConfig,
  parseFlags,
  resolveConfig,
  type ConfigSchema,
} from "../../../common/env.ts";

const SCHEMA = {
  pod: { env: "SHIMMY_POD", flag: "pod", parse: text, required: true, doc: "Who this is." },
  ring: {
    env: "SHIMMY_MAX_RING",
    flag: "max-ring",
    parse: bytes({ min: 1, max: 1e9 }),
    default: "1Mi",
    doc: "Largest ring | of all.",
  },
  note: { env: "SHIMMY_NOTE", flag: "note", parse: text, doc: "Left out." },
} as const satisfies ConfigSchema;

function problemOf(action: () => unknown): string {
  try {
    action();
  } catch (err) {
    expect(err).to.have.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    return (err as Error).message;
  }
  throw new Error("nothing was refused");
}

describe("resolveConfig()", function () {
  it("should let flags win over the environment, and that over defaults", function () {
    const env = { SHIMMY_POD: "from-env", SHIMMY_MAX_RING: "2Ki" };
    expect(resolveConfig(SCHEMA, { env }).ring).to.equal(2048);
    expect(resolveConfig(SCHEMA, { env, flags: { ring: "3Ki" } }).ring).to.equal(3072);
    const config = resolveConfig(SCHEMA, { env: { SHIMMY_POD: "p" } });
    expect(config).to.deep.equal({ pod: "p", ring: 1_048_576, note: undefined });
  });

  it("should return a frozen object", function () {
    expect(resolveConfig(SCHEMA, { env: { SHIMMY_POD: "p" } })).to.be.frozen;
  });

  it("should name every problem at once", function () {
    const message = problemOf(() =>
      resolveConfig(SCHEMA, { env: { SHIMMY_MAX_RINGS: "1", SHIMMY_MAX_RING: "1MB" } }),
    );
    expect(message).to.include(
      'unknown variable "SHIMMY_MAX_RINGS"; did you mean "SHIMMY_MAX_RING"?',
    );
    expect(message).to.include("SHIMMY_MAX_RING: expected a size such as 64Ki or 1Mi");
    expect(message).to.include('got "1MB"');
    expect(message).to.include("SHIMMY_POD: is required: Who this is.");
  });

  it("should name the flag when it is the flag that is wrong", function () {
    const sources = { env: { SHIMMY_POD: "p" }, flags: { ring: "x" } };
    expect(problemOf(() => resolveConfig(SCHEMA, sources))).to.match(/^--max-ring: /);
  });

  it("should refuse unknown settings given by name", function () {
    const sources = { env: { SHIMMY_POD: "p" }, flags: { rings: "1" } };
    expect(problemOf(() => resolveConfig(SCHEMA, sources))).to.include('did you mean "ring"?');
  });

  it("should not show a long wrong value whole", function () {
    const sources = { env: { SHIMMY_POD: "p", SHIMMY_MAX_RING: "x".repeat(5000) } };
    expect(problemOf(() => resolveConfig(SCHEMA, sources))).to.have.length.below(300);
  });

  const foreign: [name: string, value: string][] = [
    ["SHIMMY_PRELOAD", "off"],
    ["SHIMMY_TEST_SCALE", "50"],
    ["SHIMMY_INJECTOR_SERVICE_HOST", "10.0.0.1"],
    ["SHIMMY_INJECTOR_SERVICE_PORT_HTTPS", "443"],
    ["SHIMMY_INJECTOR_PORT", "tcp://10.0.0.1:443"],
    ["SHIMMY_INJECTOR_PORT_443_TCP_ADDR", "10.0.0.1"],
  ];
  for (const [name, value] of foreign) {
    it(`should let ${name}=${value} through`, function () {
      resolveConfig(SCHEMA, { env: { SHIMMY_POD: "p", [name]: value } });
    });
  }

  it("should refuse a misspelt port variable that Kubernetes cannot have written", function () {
    const sources = { env: { SHIMMY_POD: "p", SHIMMY_ADMIN_PORT: "14790" } };
    expect(problemOf(() => resolveConfig(SCHEMA, sources))).to.include("SHIMMY_ADMIN_PORT");
  });

  it("should let variables through that the caller says belong to others", function () {
    const sources = { env: { SHIMMY_POD: "p", SHIMMY_CATALOG: "x" }, foreign: ["SHIMMY_CATALOG"] };
    expect(resolveConfig(SCHEMA, sources).pod).to.equal("p");
  });
});

describe("parseFlags()", function () {
  it("should read both ways of writing a flag", function () {
    expect(parseFlags(SCHEMA, ["--pod", "a", "--max-ring=1Ki", "--note="])).to.deep.equal({
      pod: "a",
      ring: "1Ki",
      note: "",
    });
  });

  const refused: [argv: string[], message: string][] = [
    [["--max-rin", "1"], 'unknown flag "--max-rin"; did you mean "max-ring"?'],
    [["--pod"], "--pod needs a value"],
    [["--pod=a", "--pod=b"], "--pod is given twice"],
    [["stray"], 'unexpected argument "stray"'],
    [["--constructor=1"], 'unknown flag "--constructor"'],
  ];
  for (const [argv, message] of refused) {
    it(`should refuse ${argv.join(" ")}`, function () {
      expect(problemOf(() => parseFlags(SCHEMA, argv))).to.equal(message);
    });
  }
});

describe("describeConfig()", function () {
  it("should make a table with one row per setting", function () {
    const rows = describeConfig(SCHEMA).split("\n");
    expect(rows).to.have.length(5);
    expect(rows[2]).to.equal("| `SHIMMY_POD` | `--pod` | required | Who this is. |");
    expect(rows[3]).to.equal(
      "| `SHIMMY_MAX_RING` | `--max-ring` | `1Mi` | Largest ring \\| of all. |",
    );
  });
});

describe("parsers", function () {
  const range = { min: 0, max: 10_000_000_000 };
  const accepted: [name: string, parse: (text: string) => unknown, text: string, value: unknown][] =
    [
      ["integer", integer(range), "42", 42],
      ["integer", integer({ min: -5, max: 5 }), "-5", -5],
      ["bytes", bytes(range), "64Ki", 65_536],
      ["bytes", bytes(range), "1.5Mi", 1_572_864],
      ["bytes", bytes(range), "2G", 2_000_000_000],
      ["duration", duration(range), "250ms", 250],
      ["duration", duration(range), "1.5s", 1500],
      ["duration", duration(range), "0", 0],
      ["oneOf", oneOf(["auto", "tcp"]), "tcp", "tcp"],
      ["list", list(integer(range)), "1, 2,\t3", [1, 2, 3]],
      ["list", list(text), " ", []],
    ];
  for (const [name, parse, given, value] of accepted) {
    it(`${name} should read "${given}"`, function () {
      expect(parse(given)).to.deep.equal(value);
    });
  }

  const refused: [name: string, parse: (text: string) => unknown, text: string][] = [
    ["integer", integer(range), "1e3"],
    ["integer", integer(range), ""],
    ["integer", integer(range), "-1"],
    ["integer", integer(range), "99999999999999999999"],
    ["bytes", bytes(range), "64KB"],
    ["bytes", bytes(range), "1.0001Ki"],
    ["bytes", bytes(range), "1constructor"],
    ["duration", duration(range), "5"],
    ["duration", duration(range), "5 s"],
    ["oneOf", oneOf(["auto", "tcp"]), "TCP"],
    ["list", list(text), "a,,b"],
  ];
  for (const [name, parse, given] of refused) {
    it(`${name} should refuse "${given}"`, function () {
      expect(() => parse(given))
        .to.throw(/^expected /)
        .with.property("code", "SHIMMY_ERR_INVALID_CONFIG");
    });
  }
});
