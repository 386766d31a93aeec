// Processes of channels killed at any time: what comes, what comes again, and what is left behind.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { expect } from "chai";

import { AgentProcess } from "../helpers/agent-process.ts";
import { eventually } from "../helpers/eventually.ts";
import { Random, scaled, testSeed } from "../helpers/random.ts";

/** Builds of the program that is killed, and how long it is let run at most, in milliseconds. */
const BUILDS = [
  { preset: "release", runMs: 40 },
  { preset: "tsan", runMs: 120 },
] as const;
const PODS = `
pods:
  - { name: a, address: 127.0.1.1 }
  - { name: b, address: 127.0.1.2 }
`;
const KILLS = scaled(50);
const NUMBER_BYTES = 8;

/** One side of a channel: a process, and the one that takes over from it when it is killed. */
class Side {
  readonly #program: string;
  readonly #argv: readonly string[];
  readonly #children: ChildProcess[] = [];
  readonly problems: string[] = [];
  #isOver = false;

  constructor(program: string, argv: readonly string[]) {
    this.#program = program;
    this.#argv = argv;
  }

  start(): void {
    const child = spawn(this.#program, this.#argv, { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.problems.push(text));
    child.once("exit", (code) => {
      if (code !== null && !this.#isOver) this.problems.push(`ended with ${code}`);
    });
    this.#children.push(child);
  }

  /** Kills the oldest process. */
  async kill(): Promise<void> {
    const child = this.#children.shift();
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  async close(): Promise<void> {
    this.#isOver = true;
    while (this.#children.length > 0) await this.kill();
  }
}

for (const { preset, runMs } of BUILDS) {
  const program = join(import.meta.dirname, `../../build/${preset}/crash_peer`);

  describe(`crashes of channels' processes (${preset})`, function () {
    this.timeout(scaled(60_000));
    let agent: AgentProcess;
    let folder: string;
    let sides: Side[];
    const random = new Random(testSeed());

    beforeEach(async function () {
      folder = mkdtempSync(join(tmpdir(), "shimmy-crashes-"));
      sides = [];
      agent = new AgentProcess(PODS);
      await agent.start();
    });

    afterEach(async function () {
      for (const side of sides) await side.close();
      await agent.close();
      rmSync(folder, { recursive: true, force: true });
    });

    function side(role: string, pod: string, file: string): Side {
      const socket = join(agent.podDirectory(pod), "fd.sock");
      const made = new Side(program, [role, socket, "jobs", join(folder, file)]);
      sides.push(made);
      made.start();
      return made;
    }

    function published(): number {
      try {
        return Number(readFileSync(join(folder, "state")).readBigUInt64LE());
      } catch {
        return 0;
      }
    }

    function got(file: string): number[] {
      try {
        const log = readFileSync(join(folder, file));
        const count = Math.floor(log.length / NUMBER_BYTES);
        return Array.from({ length: count }, (_, i) =>
          Number(log.readBigUInt64LE(i * NUMBER_BYTES)),
        );
      } catch {
        return [];
      }
    }

    /** Kills a side again and again; its successor stands by already in half of the cases. */
    async function killAgainAndAgain(victims: readonly Side[]): Promise<void> {
      for (let i = 0; i < KILLS; i++) {
        const victim = victims[i % victims.length] as Side;
        await delay(random.integer(1, runMs));
        const isWarm = random.chance(0.5);
        if (isWarm) {
          victim.start();
          await delay(random.integer(0, 10));
        }
        await victim.kill();
        if (!isWarm) victim.start();
      }
    }

    /** Waits until the reader has got further than everything that was published so far. */
    async function settle(file: string): Promise<void> {
      const goal = published();
      expect(goal, "nothing was published").to.be.greaterThan(KILLS);
      await eventually(
        `the reader to get to ${goal} (${sides.flatMap(({ problems }) => problems).join()})`,
        () => (got(file).at(-1) ?? 0) >= goal,
        20_000,
      );
    }

    function expectNoProblems(): void {
      expect(sides.flatMap(({ problems }) => problems)).to.deep.equal([]);
    }

    /** How often a number was skipped, and how often one came again. */
    function review(numbers: readonly number[]): { skipped: number; again: number } {
      let [skipped, again, next] = [0, 0, 0];
      for (const number of numbers) {
        if (number > next) skipped += number - next;
        if (number < next) again += next - number;
        next = number + 1;
      }
      return { skipped, again };
    }

    it("should deliver all in order when producers are killed, twice at most what was being counted", async function () {
      const producer = side("produce", "a", "state");
      side("take", "b", "log");
      await killAgainAndAgain([producer]);
      await settle("log");
      const { skipped, again } = review(got("log"));
      expect(skipped).to.equal(0);
      // Published, and killed before it was counted.
      expect(again).to.be.most(KILLS);
      expectNoProblems();
    });

    it("should lose nothing when consumers that borrow are killed, and lend again what was lent", async function () {
      side("produce", "a", "state");
      const consumer = side("loan", "b", "log");
      await killAgainAndAgain([consumer]);
      await settle("log");
      const { skipped, again } = review(got("log"));
      expect(skipped).to.equal(0);
      expect(again).to.be.most(KILLS);
      expectNoProblems();
    });

    it("should deliver nothing twice when consumers that take are killed", async function () {
      side("produce", "a", "state");
      const consumer = side("take", "b", "log");
      await killAgainAndAgain([consumer]);
      await settle("log");
      const { skipped, again } = review(got("log"));
      expect(again).to.equal(0);
      // Taken, and killed before it was written down.
      expect(skipped).to.be.most(KILLS);
      expectNoProblems();
    });

    it("should keep its promises when both sides are killed, and leave no descriptor at the agent", async function () {
      const before = readdirSync(`/proc/${agent.pid}/fd`).length;
      const producer = side("produce", "a", "state");
      const consumer = side("loan", "b", "log");
      await killAgainAndAgain([producer, consumer]);
      await settle("log");
      const { skipped } = review(got("log"));
      expect(skipped).to.equal(0);
      expectNoProblems();
      for (const each of sides) await each.close();
      // The last ring and what the consumer before left in it are kept for who comes next.
      await eventually(
        "the agent to let go of the rest",
        () => readdirSync(`/proc/${agent.pid}/fd`).length - before <= 4,
      );
    });

    it("should go on for subscribers when publishers and other subscribers are killed", async function () {
      writeFileSync(join(folder, "log"), "");
      const publisher = side("publish", "a", "state");
      side("subscribe", "b", "log");
      const other = side("subscribe", "b", "other");
      await killAgainAndAgain([publisher, other]);
      await settle("log");
      expect(statSync(join(folder, "log")).size).to.be.greaterThan(0);
      expectNoProblems();
    });
  });
}
