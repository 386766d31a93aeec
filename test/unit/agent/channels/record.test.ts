import { expect } from "chai";
import fc from "fast-check";

import { encodeRecord, parseRecord } from "../../../../agent/channels/record.ts";
import { resolveParameters } from "../../../../agent/channels/parameters.ts";
import { ShimmyError } from "../../../../common/errors.ts";

const TOPIC = { namespace: "default", name: "jobs" };
const RECORDS = [resolveParameters({ kind: "lock" }), resolveParameters({ kind: "lockfree" })].map(
  (parameters) => ({ topic: TOPIC, id: "18446744073709551615", parameters }),
);

describe("parseRecord()", function () {
  for (const record of RECORDS) {
    it(`should read what was written of a ${record.parameters.kind} channel`, function () {
      expect(parseRecord(encodeRecord(record), TOPIC)).to.deep.equal(record);
    });
  }

  it("should refuse the times of a lock-free channel for a lock-based one", function () {
    const [record] = RECORDS;
    if (record === undefined) throw new Error("no record");
    const text = encodeRecord({ ...record, parameters: { ...record.parameters, readers: 2 } });
    expect(() => parseRecord(text, TOPIC))
      .to.throw(/for lockfree channels only/)
      .with.property("code", "SHIMMY_ERR_REGISTRY_RECORD");
  });

  it("should throw nothing but SHIMMY_ERR_REGISTRY_RECORD for any text", function () {
    const changed = fc
      .tuple(fc.constantFrom(...RECORDS), fc.string(), fc.jsonValue())
      .map(([record, key, value]) =>
        JSON.stringify({ ...(JSON.parse(encodeRecord(record)) as object), [key]: value }),
      );
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), changed), (text) => {
        try {
          parseRecord(text, TOPIC);
        } catch (err) {
          expect((err as ShimmyError).code).to.equal("SHIMMY_ERR_REGISTRY_RECORD");
        }
      }),
    );
  });
});
