// Ping-pong between two Node processes: the TypeScript twin of bench/native/ping.h.
//
//   node ts-ping.ts --transport tcp|unix|ring --waiting spin|default|sleep --size BYTES
//                   --duration-ms T [--warmup-ms W] [--directory D]
//
// spin: both ends ask synchronously, again and again: a stream by readSync, a socket by reading its
// non-blocking descriptor. default and sleep: both ends are driven by events, and the event loop
// blocks. Prints one JSON object with the fields of the native programs.
import { once } from "node:events";
import { parseArgs } from "node:util";
import { meetChild, type MeetOptions, meetParent, pinMainThread } from "./meet.ts";
import {
  driveByEvents,
  driveBySpinning,
  type EventEnd,
  type SpinningEnd,
  touchEveryByte,
} from "./ping-end.ts";

interface PingOptions extends MeetOptions {
  readonly durationMs: number;
  readonly warmupMs: number;
}

const SERVE = "--serve";
const OUT_BYTE = 1;

function readOptions(): PingOptions {
  const { values } = parseArgs({
    args: process.argv.slice(2).filter((argument) => argument !== SERVE),
    options: {
      transport: { type: "string", default: "tcp" },
      waiting: { type: "string", default: "default" },
      size: { type: "string", default: "100" },
      "duration-ms": { type: "string", default: "1000" },
      "warmup-ms": { type: "string", default: "200" },
      directory: { type: "string", default: "." },
    },
  });
  return {
    transport: values.transport as PingOptions["transport"],
    waiting: values.waiting as PingOptions["waiting"],
    size: Number(values.size),
    durationMs: Number(values["duration-ms"]),
    warmupMs: Number(values["warmup-ms"]),
    directory: values.directory,
  };
}

async function serve(options: PingOptions): Promise<void> {
  const carrier = await meetParent(options);
  if (options.waiting === "spin") {
    pinMainThread(1);
    serveSpinning(driveBySpinning(carrier), options.size);
    process.exit(0);
  }
  const end = driveByEvents(carrier, options.size);
  let sum = 0;
  end.onMessage = (message) => {
    sum = (sum + touchEveryByte(message)) | 0;
    end.send(message);
  };
  end.onEnd = () => process.exit(0);
}

function serveSpinning(end: SpinningEnd, size: number): void {
  const message = Buffer.from(new ArrayBuffer(size));
  let sum = 0;
  while (end.read(message)) {
    sum = (sum + touchEveryByte(message)) | 0;
    end.write(message);
  }
  end.close();
}

async function ping(options: PingOptions): Promise<void> {
  const { carrier, child } = await meetChild(options, import.meta.filename, SERVE);
  if (options.waiting === "spin") pinMainThread(0);
  const record = new Recorder(options);
  const ended = once(child, "exit");
  if (options.waiting === "spin") {
    pingSpinning(driveBySpinning(carrier), record);
  } else {
    await pingByEvents(driveByEvents(carrier, options.size), record);
  }
  await ended;
  record.print();
  process.exit(0);
}

/** What was sent, what must come back, and how long that took. */
class Recorder {
  readonly out: Buffer;
  readonly #expected: number;
  readonly #options: PingOptions;
  #measureFrom = Infinity;
  #until = Infinity;
  #micros = new Float64Array(1024);
  #recorded = 0;
  #operations = 0;
  #before = 0;

  constructor(options: PingOptions) {
    this.#options = options;
    this.out = Buffer.from(new ArrayBuffer(options.size)).fill(OUT_BYTE);
    this.#expected = touchEveryByte(this.out);
  }

  /** Takes an answer; returns whether there is time for one more ping. */
  take(answer: Buffer): boolean {
    if (touchEveryByte(answer) !== this.#expected) {
      throw new Error("the answer differs from what was sent");
    }
    const after = performance.now();
    // The first answer says that the peer has started; from then on time counts.
    if (this.#operations++ === 0) this.#start(after);
    if (this.#before >= this.#measureFrom) this.#keep((after - this.#before) * 1000);
    this.#before = after;
    return after < this.#until;
  }

  print(): void {
    const micros = this.#micros.subarray(0, this.#recorded).sort();
    const at = (quantile: number): number =>
      micros[Math.max(0, Math.ceil(quantile * micros.length) - 1)] ?? 0;
    const figures = {
      p50Us: at(0.5),
      p99Us: at(0.99),
      p999Us: at(0.999),
      maxUs: at(1),
      count: micros.length,
      operations: this.#operations,
      perSecond: (micros.length * 1000) / this.#options.durationMs,
    };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
  }

  #start(now: number): void {
    this.#before = now;
    this.#measureFrom = now + this.#options.warmupMs;
    this.#until = this.#measureFrom + this.#options.durationMs;
  }

  #keep(micros: number): void {
    if (this.#recorded === this.#micros.length) {
      const larger = new Float64Array(this.#micros.length * 2);
      larger.set(this.#micros);
      this.#micros = larger;
    }
    this.#micros[this.#recorded++] = micros;
  }
}

function pingSpinning(end: SpinningEnd, record: Recorder): void {
  const answer = Buffer.from(new ArrayBuffer(record.out.length));
  do {
    end.write(record.out);
    if (!end.read(answer)) throw new Error("the peer closed");
  } while (record.take(answer));
  end.close();
}

function pingByEvents(end: EventEnd, record: Recorder): Promise<void> {
  return new Promise((resolve, reject) => {
    end.onEnd = () => {
      reject(new Error("the peer closed"));
    };
    end.onMessage = (answer) => {
      try {
        if (record.take(answer)) {
          end.send(record.out);
          return;
        }
        end.onEnd = resolve;
        end.close();
      } catch (err) {
        reject(err instanceof Error ? err : new Error(String(err)));
      }
    };
    end.send(record.out);
  });
}

const options = readOptions();
await (process.argv.includes(SERVE) ? serve(options) : ping(options));
