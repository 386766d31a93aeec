import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Ajv2020 } from "ajv/dist/2020.js";
import { expect } from "chai";
import { parse } from "yaml";

import { ERROR_CODES, ShimmyError } from "../../../../common/errors.ts";
import { TOPIC_HTTP_REFUSALS, TOPIC_REASONS } from "../../../../common/reasons.ts";
import { PACKAGE_ROOT } from "../../../../common/version.ts";
import { QUERY_PARAMETERS } from "../../../../sidecar/topics/query.ts";
import { TopicRefusal } from "../../../../sidecar/topics/refusal.ts";
import { MESSAGE_FORMATS, toJsonLine, type TopicEvent } from "../../../../sidecar/topics/render.ts";
import { topicOfPath } from "../../../../sidecar/topics/topic-path.ts";

interface Parameter {
  readonly $ref?: string;
  readonly name?: string;
  readonly in?: string;
}

interface Operation {
  readonly parameters: readonly Parameter[];
  readonly responses: Readonly<Record<string, unknown>>;
}

interface Document {
  readonly paths: Readonly<Record<string, { readonly get: Operation; readonly post: Operation }>>;
  readonly components: {
    readonly parameters: Readonly<Record<string, Parameter>>;
    readonly schemas: Readonly<Record<string, object>>;
  };
}

const DOCUMENT = parse(
  readFileSync(join(PACKAGE_ROOT, "docs/reference/topics-api.openapi.yaml"), "utf8"),
  { merge: true },
) as Document;

const ajv = new Ajv2020({ strict: false });
ajv.addSchema({ $id: "doc", components: DOCUMENT.components });

function expectSchema(name: string, value: unknown): void {
  const validate = ajv.compile({ $ref: `doc#/components/schemas/${name}` });
  expect(validate(value), JSON.stringify([value, validate.errors])).to.equal(true);
}

function queryNames({ parameters }: Operation): (string | undefined)[] {
  return parameters
    .map(({ $ref, ...own }) =>
      $ref === undefined ? own : DOCUMENT.components.parameters[$ref.split("/").at(-1) ?? ""],
    )
    .filter((parameter) => parameter?.in === "query")
    .map((parameter) => parameter?.name);
}

describe("docs/reference/topics-api.openapi.yaml", function () {
  it("should have the paths that are answered", function () {
    expect(Object.keys(DOCUMENT.paths)).to.deep.equal([
      "/v1/topics/{name}",
      "/v1/topics/{namespace}/{name}",
    ]);
    for (const path of Object.keys(DOCUMENT.paths)) {
      const filled = path.replaceAll(/[{}]/g, "");
      expect(topicOfPath(filled, "default")).to.match(/^(default|namespace)\/name$/);
    }
  });

  it("should have the parameters that are understood", function () {
    for (const { get, post } of Object.values(DOCUMENT.paths)) {
      expect(queryNames(get)).to.deep.equal([...QUERY_PARAMETERS.get]);
      expect(queryNames(post)).to.deep.equal([...QUERY_PARAMETERS.post]);
      const formats = get.parameters.find(({ name }) => name === "format");
      expect(formats)
        .to.have.nested.property("schema.enum")
        .that.deep.equals([...MESSAGE_FORMATS]);
    }
  });

  it("should have every reason, and the status of every refusal", function () {
    const problem = DOCUMENT.components.schemas["Problem"];
    expect(problem)
      .to.have.nested.property("properties.reason.enum")
      .that.deep.equals([...TOPIC_HTTP_REFUSALS, ...TOPIC_REASONS]);
    const statuses = new Set(["405"]); // of methods that have no place in the document
    for (const { get, post } of Object.values(DOCUMENT.paths)) {
      for (const status of Object.keys({ ...get.responses, ...post.responses }))
        statuses.add(status);
    }
    for (const reason of TOPIC_HTTP_REFUSALS) {
      const refusal = new TopicRefusal(reason, "SHIMMY_ERR_INTERNAL", "no");
      expectSchema("Problem", refusal.problem);
      expect(statuses).to.include(String(refusal.status));
    }
  });

  it("should describe what any error is answered with", function () {
    for (const code of ERROR_CODES) {
      expectSchema("Problem", TopicRefusal.of(new ShimmyError(code, "no")).problem);
    }
    expectSchema("Problem", TopicRefusal.of(new Error("no")).problem);
    const denied = Object.assign(new ShimmyError("SHIMMY_ERR_TOPIC_DENIED", "no"), {
      reason: "no_role",
    });
    expect(TopicRefusal.of(denied).problem).to.include({ reason: "no_role", status: 403 });
    expectSchema("Problem", TopicRefusal.of(denied).problem);
  });

  it("should describe every event", function () {
    const event = '{"specversion":"1.0","id":"1","source":"s","type":"t"}';
    const release = (): void => undefined;
    const message = (data: Buffer): TopicEvent => ({
      kind: "message",
      id: "1:2",
      delivery: { data, sequence: 2, generation: 1, missed: 0, release },
    });
    const events: TopicEvent[] = [
      message(Buffer.from("x")),
      message(Buffer.of(255)),
      message(Buffer.from(event)),
      { kind: "gap", missed: 1 },
      { kind: "gap", missed: "unknown" },
      { kind: "end" },
    ];
    for (const each of events) expectSchema("Event", JSON.parse(toJsonLine(each, "cloudevents")));
  });
});
