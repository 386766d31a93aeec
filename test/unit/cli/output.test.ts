import { expect } from "chai";

import { PrefixedOutput } from "../../../cli/output.ts";

class FakeSink {
  text = "";
  readonly isTTY: boolean;

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.text += text;
  }
}

describe("PrefixedOutput", function () {
  it("should put names before lines and keep the two streams apart", function () {
    const sinks = { stdout: new FakeSink(false), stderr: new FakeSink(false) };
    const output = new PrefixedOutput(["shimmy", "web"], sinks);
    output.line("web", "hello", "stdout");
    output.line("shimmy", "ready", "stderr");
    expect(sinks.stdout.text).to.equal("web    | hello\n");
    expect(sinks.stderr.text).to.equal("shimmy | ready\n");
  });

  it("should colour names on a terminal only, unless NO_COLOR is set", function () {
    const before = process.env["NO_COLOR"];
    try {
      delete process.env["NO_COLOR"];
      const sinks = { stdout: new FakeSink(true), stderr: new FakeSink(false) };
      const output = new PrefixedOutput(["web"], sinks);
      output.line("web", "a", "stdout");
      expect(sinks.stdout.text).to.equal("\u001B[36mweb |\u001B[0m a\n");
      process.env["NO_COLOR"] = "1";
      output.line("web", "b", "stdout");
      expect(sinks.stdout.text).to.match(/web \| b\n$/);
    } finally {
      if (before === undefined) delete process.env["NO_COLOR"];
      else process.env["NO_COLOR"] = before;
    }
  });
});
