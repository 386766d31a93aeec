import { expect } from "chai";
import { EventEmitter } from "node:events";

import { Screen, type ScreenStreams } from "../../../cli/screen.ts";

class FakeInput extends EventEmitter {
  readonly isTTY = true;
  isRaw = false;

  setRawMode(isRaw: boolean): this {
    this.isRaw = isRaw;
    return this;
  }

  resume(): this {
    return this;
  }

  pause(): this {
    return this;
  }
}

describe("Screen", function () {
  function fakeStreams(): { input: FakeInput; text: () => string; streams: ScreenStreams } {
    const input = new FakeInput();
    const parts: string[] = [];
    const stdout = { rows: 4, columns: 10, write: (text: string) => parts.push(text) };
    const streams = { stdout, stdin: input as unknown as ScreenStreams["stdin"] };
    return { input, text: () => parts.join(""), streams };
  }

  it("should cut what does not fit", function () {
    const { streams, text } = fakeStreams();
    using screen = new Screen(streams);
    screen.show(["a line too long", "two", "three", "four", "five"]);
    expect(text()).to.include("a line too\u001B[K\n").and.include("three");
    expect(text()).not.to.include("four");
  });

  it("should leave the terminal as it was", function () {
    const { streams, input, text } = fakeStreams();
    const screen = new Screen(streams);
    expect(input.isRaw).to.be.true;
    screen[Symbol.dispose]();
    expect(input.isRaw).to.be.false;
    expect(input.listenerCount("data")).to.equal(0);
    expect(text().endsWith("\u001B[?25h\u001B[?1049l")).to.be.true;
  });

  it("should end when q is pressed", async function () {
    const { streams, input } = fakeStreams();
    using screen = new Screen(streams);
    input.emit("data", Buffer.from("q"));
    expect(await screen.quit).to.equal("quit");
  });
});
