import { expect } from "chai";

import {
  constant,
  documentedFields,
  enumMembers,
  readSource,
  section,
  structFields,
  structSize,
  table,
} from "./sources.ts";

const HEADER_BYTES = 8;

describe("docs/reference/session-protocol.md", function () {
  const page = readSource("docs/reference/session-protocol.md");
  const header = readSource("shm-core/include/shimmy/session_wire.h");
  const messages = table(
    section(page, "Messages"),
    "| Type | Message | Struct | Bytes | Descriptors |",
  );

  it("should have every type of message with its number", function () {
    const types = enumMembers(header, "MessageType").map(([name, number]) => [
      String(number),
      name.slice(1).toUpperCase(),
    ]);
    expect(types).not.to.have.lengthOf(0);
    expect(messages.map(([number, name]) => [number, name])).to.deep.equal(types);
  });

  for (const [, name = "", struct = "", bytes = ""] of messages) {
    it(`should give ${name} the size of ${struct}`, function () {
      expect(Number.parseInt(bytes, 10)).to.equal(structSize(header, struct));
    });
  }

  for (const struct of new Set(["MessageHeader", ...messages.map((row) => row[2] ?? "")])) {
    it(`should lay ${struct} out as session_wire.h does`, function () {
      const isHeader = struct === "MessageHeader";
      const fields = structFields(header, struct).filter(
        ({ offset }) => isHeader || offset >= HEADER_BYTES,
      );
      expect(documentedFields(section(page, struct))).to.deep.equal(fields);
    });
  }

  for (const { name, heading, head } of [
    { name: "WelcomeStatus", heading: "WelcomeMessage", head: "| Status | Name | Meaning |" },
    {
      name: "RefuseReason",
      heading: "RefuseMessage",
      head: "| Reason | Name | Meaning | What the opener does |",
    },
  ]) {
    it(`should have every ${name}`, function () {
      const rows = table(section(page, heading), head).map(([number, member]) => [
        member,
        Number(number),
      ]);
      expect(rows).to.deep.equal(enumMembers(header, name));
    });
  }

  it("should state the bounds", function () {
    const session = readSource("shm-core/relay/session.cc");
    const greeting = /kGreetingTimeoutNs = (\d)'000'000'000;/.exec(session)?.[1];
    expect(table(page, "| Bound | Value |").map(([, value]) => value)).to.deep.equal([
      String(constant(header, "kMaxMessageBytes")),
      String(constant(header, "kMaxMessageFds")),
      String(constant(header, "kMaxServiceBytes")),
      String(constant(header, "kMaxUnanswered")),
      `${String(greeting)} s`,
    ]);
  });

  it("should state version and magic", function () {
    expect(page).to.include(`Version ${constant(header, "kSessionVersion")}.`);
    const [, digits = "0"] = /kSessionMagic = 0x([0-9a-f]{8})/.exec(header) ?? [];
    expect(Buffer.from(digits, "hex").reverse().toString()).to.equal("SMS1");
  });
});
