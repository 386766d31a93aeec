import { expect } from "chai";

import { readSource } from "./sources.ts";

describe("docs/reference/sdk-python.md", function () {
  const page = readSource("docs/reference/sdk-python.md");
  const text = page.replaceAll(/^```[\s\S]*?^```/gm, "");
  const code = [...text.matchAll(/`([^`]+)`/g)].map(([, span = ""]) => span);
  // "Loan.array(dtype, shape=None)" → "array"
  const names = new Set(
    code.flatMap((span) => {
      const name = /^(?:[A-Z]\w+\.)?(\w+)(?:\(.*\))?$/.exec(span)?.[1];
      return name === undefined ? [] : [name];
    }),
  );

  it("should have everything that the package exports", function () {
    const exported = /__all__ = \[([\s\S]*?)\]/.exec(
      readSource("sdk/python/shimmy_ipc/__init__.py"),
    )?.[1];
    const all = [...(exported ?? "").matchAll(/"([A-Za-z]\w*)"/g)].map(([, name = ""]) => name);
    expect(all).to.have.lengthOf.at.least(18);
    expect(names).to.include.all.keys(...all);
  });

  it("should have every method and property", function () {
    const stubs = readSource("sdk/python/shimmy_ipc/_shimmy.pyi");
    const endpoints = readSource("sdk/python/shimmy_ipc/_endpoints.py");
    const client = readSource("sdk/python/shimmy_ipc/_client.py");
    const methods = [stubs, endpoints, client].flatMap((source) =>
      [...source.matchAll(/^ {4}(?:async )?(?:def )?([a-z]\w*)(?:\(| = _shimmy| ?: )/gm)].map(
        ([, name = ""]) => name,
      ),
    );
    expect(methods).to.include.members(["publish", "atake", "release", "producer", "max_bytes"]);
    const missing = [...new Set(methods)].filter((name) => !names.has(name) && !isInternal(name));
    expect(missing).to.deep.equal([]);
  });

  it("should have no call that there is not", function () {
    const sources = ["_shimmy.pyi", "_endpoints.py", "_client.py", "_errors.py"]
      .map((file) => readSource(`sdk/python/shimmy_ipc/${file}`))
      .join("\n");
    const calls = code.flatMap((span) => /^(?:[A-Z]\w+\.)?([a-z]\w+)\(/.exec(span)?.[1] ?? []);
    const absent = calls.filter((name) => !new RegExp(`\\b_?${name}\\b`).test(sources));
    // Of Python, and of the system.
    expect(absent.filter((name) => !["bytes", "fork"].includes(name))).to.deep.equal([]);
  });
});

/** Fields of tuples that the page tells of in a sentence, and what the modules keep to themselves. */
function isInternal(name: string): boolean {
  return ["version", "register", "kind", "error", "trace"].includes(name);
}
