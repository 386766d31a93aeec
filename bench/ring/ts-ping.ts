// Ping-pong between two Node processes: the TypeScript twin of bench/native/ping.h.
//
//   node ts-ping.ts --transport tcp|unix --waiting spin|default|sleep --size BYTES
//                   --duration-ms T [--warmup-ms W] [--directory D]
//
// spin: the event loop keeps turning and polls. default and sleep: it blocks in epoll.
// Prints one JSON object with the fields of the native programs.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { type PingEnd, spinEventLoop, touchEveryByte } from "./ping-end.ts";
import { connectEnd, listenOnce, type SocketAddress } from "./socket-end.ts";

interface PingOptions {
  readonly transport: string;
  readonly waiting: string;
  readonly size: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  /** Where the Unix socket goes. */
  readonly directory: string;
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
    transport: values.transport,
    waiting: values.waiting,
    size: Number(values.size),
    durationMs: Number(values["duration-ms"]),
    warmupMs: Number(values["warmup-ms"]),
    directory: values.directory,
  };
}

async function serve({ transport, size, directory }: PingOptions): Promise<void> {
  const where = transport === "tcp" ? transport : { path: `${directory}/ping-${process.pid}.sock` };
  const end = await listenOnce(where, size, (address) => process.send?.(address));
  process.disconnect();
  let sum = 0;
  end.onMessage = (message) => {
    sum = (sum + touchEveryByte(message)) | 0;
    end.send(message);
  };
  end.onEnd = () => process.exit(0);
}

async function ping(options: PingOptions): Promise<void> {
  const child = fork(import.meta.filename, [SERVE, ...process.argv.slice(2)], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const end = await connectEnd(await addressOf(child), options.size);
  const durations = await runPings(end, options);
  printFigures(durations, options);
  end.close();
  await once(child, "exit");
  process.exit(0);
}

async function addressOf(child: ChildProcess): Promise<SocketAddress> {
  const [address] = (await Promise.race([
    once(child, "message"),
    once(child, "exit").then(() => Promise.reject(new Error("the other process ended"))),
  ])) as [SocketAddress];
  return address;
}

interface Durations {
  readonly micros: Float64Array;
  readonly operations: number;
}

function runPings(end: PingEnd, { size, durationMs, warmupMs }: PingOptions): Promise<Durations> {
  const out = Buffer.alloc(size, OUT_BYTE);
  const expected = touchEveryByte(out);
  let micros = new Float64Array(1024);
  let recorded = 0;
  let operations = 0;
  const measureFrom = performance.now() + warmupMs;
  const until = measureFrom + durationMs;
  let before = performance.now();
  return new Promise((resolve, reject) => {
    end.onEnd = () => {
      reject(new Error(`the peer closed after ${operations} operations`));
    };
    end.onMessage = (message) => {
      if (touchEveryByte(message) !== expected) {
        reject(new Error("the answer differs from what was sent"));
        return;
      }
      const after = performance.now();
      operations++;
      if (before >= measureFrom) {
        if (recorded === micros.length) micros = grown(micros);
        micros[recorded++] = (after - before) * 1000;
      }
      before = after;
      if (after < until) end.send(out);
      else resolve({ micros: micros.subarray(0, recorded).sort(), operations });
    };
    end.send(out);
  });
}

function grown(values: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(values.length * 2);
  larger.set(values);
  return larger;
}

function printFigures({ micros, operations }: Durations, { durationMs }: PingOptions): void {
  const at = (quantile: number): number =>
    micros[Math.max(0, Math.ceil(quantile * micros.length) - 1)] ?? 0;
  const figures = {
    p50Us: at(0.5),
    p99Us: at(0.99),
    p999Us: at(0.999),
    maxUs: at(1),
    count: micros.length,
    operations,
    perSecond: (micros.length * 1000) / durationMs,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

const options = readOptions();
if (options.waiting === "spin") spinEventLoop();
await (process.argv.includes(SERVE) ? serve(options) : ping(options));
