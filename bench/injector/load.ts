// Asks an injector as an API server does: HTTPS over kept connections.
//
//   load.ts PORT CA closed SECONDS     a new question as soon as one is answered
//   load.ts PORT CA open SECONDS       at fixed times, whether or not those before were answered
//
// A latency of the open loop counts from the time when the question was due: what an injector that
// stood still would have kept waiting is not left out. It prints one line of JSON.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { setTimeout as delay } from "node:timers/promises";

import { CONNECTIONS, OFFERED_PER_SECOND } from "./keys.ts";
import { makeReview, UID_PLACE } from "./review.ts";

const [port = "", ca = "", mode = "", seconds = "0"] = process.argv.slice(2);
const [head = "", tail = ""] = makeReview().split(UID_PLACE);
const agent = new Agent({
  keepAlive: true,
  maxSockets: CONNECTIONS,
  ca: readFileSync(ca),
  servername: "shimmy-injector",
});
const latencies: number[] = [];

/** Asks once; `due` is when it should have been asked. */
async function ask(due: number): Promise<void> {
  const uid = randomUUID();
  const body = Buffer.from(`${head}${uid}${tail}`);
  const answer = await new Promise<string>((resolve, reject) => {
    const sent = request(
      {
        agent,
        host: "127.0.0.1",
        port,
        path: "/pods?timeout=5s",
        method: "POST",
        headers: { "Content-Type": "application/json", "Content-Length": body.length },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => {
          resolve(Buffer.concat(chunks).toString());
        });
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
  if (!answer.includes(uid) || !answer.includes('"patch"')) {
    throw new Error(`not injected: ${answer.slice(0, 300)}`);
  }
  latencies.push(performance.now() - due);
}

async function closedLoop(until: number): Promise<void> {
  const connection = async (): Promise<void> => {
    while (performance.now() < until) await ask(performance.now());
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
}

async function openLoop(begin: number, until: number): Promise<void> {
  const asked: Promise<void>[] = [];
  const intervalMs = 1000 / OFFERED_PER_SECOND;
  for (let due = begin; due < until; due += intervalMs) {
    while (performance.now() < due) await delay(1);
    asked.push(ask(due));
  }
  await Promise.all(asked);
}

const begin = performance.now();
const until = begin + Number(seconds) * 1000;
await (mode === "open" ? openLoop(begin, until) : closedLoop(until));
const took = (performance.now() - begin) / 1000;
agent.destroy();

const sorted = latencies.toSorted((a, b) => a - b);
const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN;
process.stdout.write(
  `${JSON.stringify({
    requests: sorted.length,
    perSecond: sorted.length / took,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
  })}\n`,
);
