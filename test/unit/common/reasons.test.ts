import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import {
  END_REASONS,
  EVENT_REASONS,
  FALLBACK_REASONS,
  INJECTION_REASONS,
  SESSION_END_REASONS,
  TOPIC_HTTP_REFUSALS,
  TOPIC_REASONS,
} from "../../../common/reasons.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";

const LISTS = [
  { title: "Fallback reasons", reasons: FALLBACK_REASONS },
  { title: "End reasons", reasons: END_REASONS },
  { title: "Session end reasons", reasons: SESSION_END_REASONS },
  { title: "Injection reasons", reasons: INJECTION_REASONS },
  { title: "Event reasons", reasons: EVENT_REASONS },
  { title: "Topic reasons", reasons: TOPIC_REASONS },
  { title: "Topic request refusals", reasons: TOPIC_HTTP_REFUSALS },
];

describe("docs/reference/reasons.md", function () {
  const text = readFileSync(join(PACKAGE_ROOT, "docs/reference/reasons.md"), "utf8");
  const lists = new Map(
    text.split(/^## /m).map((section) => [section.split("\n", 1)[0] ?? "", section] as const),
  );

  for (const { title, reasons } of LISTS) {
    it(`should explain each of "${title}", in order`, function () {
      const sections = (lists.get(title) ?? "").split(/^### /m).slice(1);
      const names = sections.map((section) => section.split("\n", 1)[0]);
      expect(names).to.deep.equal(reasons.map((reason, number) => `${number} ${reason}`));
      for (const section of sections) expect(section).to.include("**What to do.**");
    });
  }

  it("should have no other list", function () {
    const titles = [...lists.keys()].slice(1);
    expect(titles).to.deep.equal(LISTS.map(({ title }) => title));
  });
});

describe("shm-core/include/shimmy/reasons.h", function () {
  const header = readFileSync(join(PACKAGE_ROOT, "shm-core/include/shimmy/reasons.h"), "utf8");
  const macros = [
    { macro: "SHIMMY_FALLBACK_REASONS", reasons: FALLBACK_REASONS },
    { macro: "SHIMMY_END_REASONS", reasons: END_REASONS },
    { macro: "SHIMMY_SESSION_END_REASONS", reasons: SESSION_END_REASONS },
  ];

  for (const { macro, reasons } of macros) {
    it(`should list the same in ${macro}, in the same order`, function () {
      const body = new RegExp(`#define ${macro}\\(X\\)(?<body>(?:[^\n]*\\\\\n)*[^\n]*)`).exec(
        header,
      );
      const names = [...(body?.groups?.body ?? "").matchAll(/"(?<name>\w+)"/g)];
      expect(names.map(({ groups }) => groups?.name)).to.deep.equal([...reasons]);
    });
  }
});
