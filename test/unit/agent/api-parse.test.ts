import { expect } from "chai";
import fc from "fast-check";

import {
  encodeMessage,
  parseAgentMessage,
  parseClientMessage,
  type AgentMessage,
  type ClientMessage,
  type Grant,
} from "../../../agent/api.ts";
import {
  MAX_ADDRESSES,
  MAX_CHANNEL_LINKS,
  MAX_GRANTS,
  MAX_MESSAGE_BYTES,
  MAX_REPORTED_SESSIONS,
  MAX_REPORTED_STREAMS,
  MAX_WATCHED_SERVICES,
} from "../../../agent/api-limits.ts";
import { ShimmyError } from "../../../common/errors.ts";
import { FALLBACK_REASONS } from "../../../common/reasons.ts";

const LABEL = "a".repeat(63);
const SERVICE = `${LABEL}/${LABEL}`;
const UID = "u".repeat(192);
const BIG = Number.MAX_SAFE_INTEGER;
const grants: Grant[] = Array.from({ length: MAX_GRANTS }, () => ({
  service: SERVICE,
  port: 65_535,
}));
const identity = {
  uid: UID,
  namespace: LABEL,
  name: `${LABEL}.${LABEL}`,
  node: "n".repeat(253),
  addresses: Array.from(
    { length: MAX_ADDRESSES },
    () => "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
  ),
};

const PARAMETERS = {
  kind: "lockfree",
  blocks: 65_536,
  blockBytes: 1_048_576,
  readers: 1024,
  timeToLiveMs: 86_400_000,
  maxLoans: 16,
} as const;
const CHANNEL = {
  ...PARAMETERS,
  topic: `${LABEL}/${LABEL}.${LABEL}`,
  id: "18446744073709551615",
} as const;
const LINK = { generation: 0xffff_ffff, number: 0xffff_ffff } as const;

/** One of each type, as big as its schema lets it be. */
const CLIENT_MESSAGES: ClientMessage[] = [
  {
    type: "hello",
    version: 1,
    pod: { namespace: LABEL, name: `${LABEL}.${LABEL}` },
    pid: 1,
    capabilities: { fdPassing: true },
  },
  { type: "watch", services: Array.from({ length: MAX_WATCHED_SERVICES }, () => SERVICE) },
  { type: "openSession", request: 0xffff_ffff, pod: UID },
  {
    type: "adopt",
    session: "s".repeat(24),
    peer: UID,
    side: "responder",
    held: [...grants, ...grants],
  },
  {
    type: "report",
    streams: Array.from({ length: MAX_REPORTED_STREAMS }, () => ({
      peer: "p".repeat(128),
      service: "s".repeat(128),
      transport: "shm",
      direction: "out",
      open: BIG,
      opened: BIG,
      bytesSent: BIG,
      bytesReceived: BIG,
    })),
    fallbacks: Object.fromEntries(FALLBACK_REASONS.map((reason) => [reason, BIG])),
    sessions: Array.from({ length: MAX_REPORTED_SESSIONS }, () => "s".repeat(24)),
  },
  { type: "sessionEnded", session: "s", reason: "peer_gone" },
  {
    type: "channelsHello",
    version: 3,
    pid: 1,
    pod: { namespace: LABEL, name: `${LABEL}.${LABEL}` },
  },
  {
    type: "attachChannel",
    request: 0xffff_ffff,
    topic: `${LABEL}/${LABEL}.${LABEL}`,
    role: "subscriber",
    start: "newest",
    parameters: PARAMETERS,
  },
  {
    type: "reattachChannel",
    request: 0xffff_ffff,
    attachment: "a".repeat(64),
    role: "subscriber",
    start: "newest",
    channel: CHANNEL,
    generation: 0xffff_ffff,
    links: Array.from({ length: MAX_CHANNEL_LINKS }, () => LINK),
  },
  {
    type: "lodgeRegions",
    attachment: "a".repeat(64),
    ...LINK,
    regions: ["data", "producer", "consumer"],
  },
  { type: "generationFinished", attachment: "a", generation: 0xffff_ffff },
  { type: "linkGone", attachment: "a", ...LINK },
  { type: "detachChannel", attachment: "a" },
];

const AGENT_MESSAGES: AgentMessage[] = [
  { type: "welcome", version: 1, pod: identity, appPorts: [80], appAddress: "127.0.0.1" },
  {
    type: "endpoints",
    services: [
      {
        service: SERVICE,
        ports: [{ name: "http", port: 80, targetPort: 8080 }],
        endpoints: [
          {
            pod: UID,
            address: "::1",
            node: "n",
            injected: true,
            transport: "tcp",
            reason: "quota",
            ports: [{ port: 80, targetPort: 8081, transport: "tcp", reason: "policy_denied" }],
          },
        ],
        problem: "none is ready",
        more: true,
      },
    ],
  },
  {
    type: "session",
    request: 0xffff_ffff,
    session: "s".repeat(24),
    side: "initiator",
    peer: identity,
    accept: grants,
    connect: grants,
  },
  { type: "sessionRefused", request: 1, pod: UID, reason: "quota", message: "m".repeat(1024) },
  { type: "grants", session: "s", accept: grants, connect: grants },
  { type: "revoke", session: "s", grants: [...grants, ...grants] },
  { type: "sessionClosed", session: "s" },
  { type: "error", code: "SHIMMY_ERR_PROTOCOL", message: "m" },
  {
    type: "channelAttached",
    request: 0xffff_ffff,
    attachment: "a".repeat(64),
    channel: CHANNEL,
    state: "standby",
    generation: 0xffff_ffff,
  },
  {
    type: "channelRefused",
    request: 1,
    code: "SHIMMY_ERR_TOPIC_DENIED",
    reason: "other_namespace",
    message: "m".repeat(1024),
  },
  { type: "channelState", attachment: "a", state: "live", generation: 1 },
  {
    type: "channelRing",
    attachment: "a".repeat(64),
    ...LINK,
    writer: identity,
    isEnded: false,
    start: "oldest",
    regions: ["data", "producer", "consumer"],
    previous: 0xffff_ffff,
  },
  { type: "channelPeer", attachment: "a", ...LINK, peer: identity, regions: ["consumer"] },
  { type: "channelPeerGone", attachment: "a", ...LINK, isOver: true },
  {
    type: "channelDetached",
    attachment: "a",
    code: "SHIMMY_ERR_BAD_REGION",
    message: "m".repeat(1024),
  },
];

const HELLO = CLIENT_MESSAGES[0] as ClientMessage;

function refusal(data: string | Uint8Array): ShimmyError {
  try {
    parseClientMessage(typeof data === "string" ? Buffer.from(data) : data);
  } catch (err) {
    if (err instanceof ShimmyError) return err;
    throw err;
  }
  throw new Error("it was not refused");
}

describe("parseClientMessage()", function () {
  for (const message of CLIENT_MESSAGES) {
    it(`should read a ${message.type} message at its bounds`, function () {
      expect(parseClientMessage(encodeMessage(message))).to.deep.equal(message);
    });
  }

  it("should drop fields it does not know, at every level", function () {
    const pod = { namespace: "default", name: "web-1", later: [1] };
    const data = JSON.stringify({ ...HELLO, pod, __proto__: null, later: { deep: 1 } });
    const message = parseClientMessage(
      Buffer.from(data.replace("{", '{"__proto__":{"isAdmin":true},')),
    );
    expect(message).to.deep.equal({ ...HELLO, pod: { namespace: "default", name: "web-1" } });
    expect(message).to.not.have.property("isAdmin");
  });

  const refused: [what: string, data: string | Uint8Array, message: RegExp][] = [
    ["nothing", "", /not JSON/],
    ["text", "hello", /not JSON/],
    ["bytes that are not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), /not JSON/],
    ["an array", "[]", /unknown message type/],
    ["null", "null", /unknown message type/],
    ["a number as its type", '{"type":1}', /unknown message type/],
    ["no type", "{}", /unknown message type \(none\)/],
    ["a type of the other side", '{"type":"welcome"}', /unknown message type "welcome"/],
    ["a type that objects have by themselves", '{"type":"constructor"}', /unknown message type/],
    ["a long unknown type", `{"type":"${"x".repeat(5000)}"}`, /^.{0,80}$/],
    ["a path as service", '{"type":"watch","services":["../etc"]}', /\/services\/0 must match/],
    [
      "too many services",
      JSON.stringify({ type: "watch", services: Array.from({ length: 257 }, () => "a/b") }),
      /more than 256/,
    ],
    ["a fraction", '{"type":"openSession","request":0.5,"pod":"u"}', /\/request must be integer/],
    ["a missing field", '{"type":"openSession","request":1}', /required property 'pod'/],
    [
      "an unknown reason",
      '{"type":"sessionEnded","session":"s","reason":"bored"}',
      /\/reason must be equal/,
    ],
    [
      "parameters out of bounds",
      JSON.stringify({
        type: "attachChannel",
        request: 1,
        topic: "t",
        role: "producer",
        start: "oldest",
        parameters: { kind: "lock", blocks: 1 },
      }),
      /\/parameters\/blocks must be >= 2/,
    ],
    ["a path as topic", '{"type":"attachChannel","request":1,"topic":"a/../b"}', /./],
    ["nesting", `{"type":"watch","x":${"[".repeat(40)}${"]".repeat(40)}}`, /deeper than 8/],
    ["nesting with brackets in strings", `{"x":"]]]]]]]]","y":${"[".repeat(9)}`, /deeper than 8/],
  ];
  for (const [what, data, message] of refused) {
    it(`should refuse ${what}`, function () {
      const error = refusal(data);
      expect(error.code).to.equal("SHIMMY_ERR_PROTOCOL");
      expect(error.message).to.match(message);
    });
  }

  it("should refuse more than 65,536 bytes unread", function () {
    expect(refusal(new Uint8Array(MAX_MESSAGE_BYTES + 1)).code).to.equal(
      "SHIMMY_ERR_MESSAGE_TOO_BIG",
    );
    expect(refusal(new Uint8Array(MAX_MESSAGE_BYTES)).code).to.equal("SHIMMY_ERR_PROTOCOL");
  });

  // Each took quadratic time with some way to look for the end of a string.
  for (const unit of ['"\\', '\\"', '"a', "[", '"']) {
    it(`should not take long over ${JSON.stringify(unit)} again and again`, function () {
      this.timeout(500);
      refusal(unit.repeat(MAX_MESSAGE_BYTES / unit.length));
    });
  }

  it("should throw nothing but a ShimmyError for any bytes", function () {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 512 }), (data) => {
        refusal(data);
      }),
    );
  });

  it("should throw nothing but a ShimmyError for any JSON with a known type", function () {
    const type = fc.constantFrom(...CLIENT_MESSAGES.map((message) => message.type));
    fc.assert(
      fc.property(type, fc.dictionary(fc.string(), fc.jsonValue()), (known, fields) => {
        try {
          parseClientMessage(Buffer.from(JSON.stringify({ ...fields, type: known })));
        } catch (err) {
          expect(err).to.be.instanceOf(ShimmyError);
        }
      }),
    );
  });

  it("should survive any change of one value in a real message", function () {
    const message = fc.constantFrom(...CLIENT_MESSAGES);
    fc.assert(
      fc.property(message, fc.nat(), fc.jsonValue(), (original, position, value) => {
        const keys = Object.keys(original).filter((key) => key !== "type");
        const key = keys[position % keys.length] ?? "";
        const changed = { ...original, [key]: value };
        try {
          const parsed = parseClientMessage(Buffer.from(JSON.stringify(changed)));
          expect(Object.keys(parsed).sort()).to.deep.equal(Object.keys(original).sort());
        } catch (err) {
          expect(err).to.be.instanceOf(ShimmyError);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("parseAgentMessage()", function () {
  for (const message of AGENT_MESSAGES) {
    it(`should read a ${message.type} message at its bounds`, function () {
      expect(parseAgentMessage(encodeMessage(message))).to.deep.equal(message);
    });
  }

  it("should refuse an address that is none", function () {
    const message = { ...AGENT_MESSAGES[0], appAddress: "127.0.0.256" };
    expect(() => parseAgentMessage(Buffer.from(JSON.stringify(message)))).to.throw(/appAddress/);
  });
});

describe("encodeMessage()", function () {
  it("should throw SHIMMY_ERR_MESSAGE_TOO_BIG beyond one record", function () {
    const message: AgentMessage = {
      type: "error",
      code: "SHIMMY_ERR_LIMIT",
      message: "x".repeat(70_000),
    };
    expect(() => encodeMessage(message))
      .to.throw()
      .with.property("code", "SHIMMY_ERR_MESSAGE_TOO_BIG");
  });
});
