import { expect } from "chai";

import { judge, judgeCutOff, type CaseRecords } from "../../../../helpers/traffic/judge.ts";
import type { TrafficRecord } from "../../../../helpers/traffic/peer.ts";
import type { Side, Step, TrafficCase } from "../../../../helpers/traffic/script.ts";

const SEND: Step[] = [{ op: "send", bytes: 100 }, { op: "shutdownWrite" }];
const TO_END: Step[] = [{ op: "receiveToEnd" }];

const clean: TrafficCase = { name: "clean", client: side([SEND]), server: side([TO_END]) };
const early: TrafficCase = { name: "early", client: side([SEND, TO_END]), server: side([[]]) };
const reset: TrafficCase = {
  name: "reset",
  client: side([TO_END]),
  server: { ...side([[{ op: "send", bytes: 100 }]]), end: "reset" },
};

const sent = record({ sent: 100 });
const received = record({ received: 100, receiveEnd: "EOF" });

interface Row {
  readonly what: string;
  readonly traffic: TrafficCase;
  readonly client?: TrafficRecord;
  readonly server?: TrafficRecord;
  readonly problem?: RegExp;
}

const ROWS: readonly Row[] = [
  { what: "accept what the script says", traffic: clean },
  {
    what: "see a wrong byte (J1)",
    traffic: clean,
    server: { ...received, wrongAt: 7 },
    problem: /server: wrong byte at 7/,
  },
  {
    what: "see a byte that is missing",
    traffic: clean,
    server: { ...received, received: 99 },
    problem: /server: received is 99, not 100/,
  },
  {
    what: "see a byte too many",
    traffic: clean,
    server: { ...received, received: 101 },
    problem: /only 100 were sent/,
  },
  {
    what: "see a reset where there must be none",
    traffic: clean,
    server: { ...received, receiveEnd: "ECONNRESET" },
    problem: /receiveEnd is ECONNRESET, not EOF/,
  },
  {
    what: "see a call that hangs (J4)",
    traffic: early,
    client: record({ sent: 100, receiveEnd: "stuck" }),
    problem: /stuck in recv/,
  },
  {
    what: "accept a reset by a side that closed early",
    traffic: early,
    client: record({ sent: 100, receiveEnd: "ECONNRESET" }),
    server: record({}),
  },
  {
    what: "see an end of file that comes early (J2)",
    traffic: reset,
    client: record({ received: 99, receiveEnd: "EOF" }),
    server: record({ sent: 100 }),
    problem: /end of file after 99 of 100 bytes/,
  },
  {
    what: "see a reset that looks like an end of file (J3)",
    traffic: reset,
    client: record({ received: 100, receiveEnd: "EOF" }),
    server: record({ sent: 100 }),
    problem: /a reset looks like an orderly end/,
  },
  {
    what: "accept bytes that a reset overtook",
    traffic: reset,
    client: record({ received: 3, receiveEnd: "ECONNRESET" }),
    server: record({ sent: 100 }),
  },
  {
    what: "see a connection that nobody accepted (J5)",
    traffic: clean,
    server: record({ outcome: "not accepted" }),
    problem: /not accepted/,
  },
  {
    what: "accept that a client's reset comes before the connection (J5)",
    traffic: { ...clean, client: { ...clean.client, end: "reset" } },
    server: record({ outcome: "not accepted" }),
  },
];

describe("judge()", function () {
  for (const { what, traffic, client = sent, server = received, problem } of ROWS) {
    it(`should ${what}`, function () {
      const problems = judge(traffic, { client, server });
      if (problem === undefined) expect(problems).to.deep.equal([]);
      else expect(problems.join("; ")).to.match(problem);
    });
  }
});

describe("judgeCutOff()", function () {
  const records: CaseRecords = {
    client: sent,
    server: record({ received: 60, receiveEnd: "EOF" }),
  };

  it("should excuse no early end of file", function () {
    expect(judgeCutOff(clean, records)).to.deep.equal([
      "server: end of file after 60 of 100 bytes",
    ]);
  });
});

function side(lanes: readonly (readonly Step[])[]): Side {
  return { lanes, end: "close", waiting: "blocking", bufferBytes: 0 };
}

function record(parts: Partial<TrafficRecord>): TrafficRecord {
  return {
    outcome: "ran",
    received: 0,
    wrongAt: -1,
    receiveEnd: "open",
    sent: 0,
    sendEnd: "ok",
    ...parts,
  };
}
