import { join } from "node:path";

import { AgentProcess } from "../helpers/agent-process.ts";
import { Driver, type Answer, type Fields, type Language } from "./driver.ts";

const PODS = `
pods:
  - { name: writer, address: 127.0.1.1 }
  - { name: reader, address: 127.0.1.2 }
  - { name: stranger, namespace: other, address: 127.0.1.3 }
`;

/** Where a driver is a client: one of the pods. */
export type Side = "writer" | "reader" | "stranger";

/** A role of a driver in a channel. */
export class Role {
  readonly driver: Driver;
  readonly endpoint: string;

  constructor(driver: Driver, endpoint: string) {
    this.driver = driver;
    this.endpoint = endpoint;
  }

  ask(op: string, fields: Fields = {}): Promise<Answer> {
    return this.driver.ask(op, { endpoint: this.endpoint, ...fields });
  }

  must(op: string, fields: Fields = {}): Promise<Answer> {
    return this.driver.must(op, { endpoint: this.endpoint, ...fields });
  }

  publish(seed: number, count: number, fields: Fields = {}): Promise<Answer> {
    return this.ask("publish", {
      seed,
      count,
      sizes: [100],
      timeoutMs: 10_000,
      in: "copy",
      ...fields,
    });
  }

  take(count: number, fields: Fields = {}): Promise<Answer> {
    return this.ask("take", { count, timeoutMs: 10_000, in: "copy", ...fields });
  }

  async counters(): Promise<Record<string, number>> {
    return (await this.must("counters")) as unknown as Record<string, number>;
  }
}

/** An agent with two pods, and a driver in each. */
export class Stage {
  readonly #agent = new AgentProcess(PODS);
  readonly #languages: Readonly<Record<Side, Language>>;
  readonly #drivers = new Map<Side, Driver>();
  readonly #all: Driver[] = [];
  #lastName = 0;

  constructor(writer: Language, reader: Language) {
    this.#languages = { writer, reader, stranger: reader };
  }

  async start(): Promise<void> {
    await this.#agent.start();
    await Promise.all([this.restart("writer"), this.restart("reader")]);
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((driver) => driver.kill()));
    await this.#agent.close();
  }

  /** Starts the driver of one side, without an end for the one before. */
  async restart(side: Side): Promise<void> {
    const driver = new Driver(this.#languages[side]);
    this.#all.push(driver);
    this.#drivers.set(side, driver);
    await this.#open(driver, side, side);
  }

  driver(side: Side): Driver {
    const driver = this.#drivers.get(side);
    if (driver === undefined) throw new Error(`no driver in ${side}`);
    return driver;
  }

  /** A name that was not given before. */
  name(what: string): string {
    return `${what}-${++this.#lastName}`;
  }

  async attach(side: Side, role: string, topic: string, fields: Fields = {}): Promise<Role> {
    const driver = this.driver(side);
    const endpoint = this.name(role);
    await driver.must("attach", { client: side, endpoint, topic, role, ...fields });
    return new Role(driver, endpoint);
  }

  async #open(driver: Driver, client: string, pod: Side): Promise<void> {
    const directory =
      pod === "stranger"
        ? join(this.#agent.runtimeDir, "pods/other/stranger")
        : this.#agent.podDirectory(pod);
    await driver.must("open", { client, socket: join(directory, "fd.sock") });
  }
}
