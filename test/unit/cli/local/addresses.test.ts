import { expect } from "chai";
import { createServer, type Server } from "node:net";

import { allocateAddresses, freePort } from "../../../../cli/local/addresses.ts";

describe("allocateAddresses()", function () {
  const claim = (): Promise<boolean> => Promise.resolve(true);

  it("should give each pod an address of its own", async function () {
    const canBind = (): Promise<boolean> => Promise.resolve(true);
    expect(await allocateAddresses([[80], [80], []], { canBind, claim })).to.deep.equal([
      "127.0.1.2",
      "127.0.1.3",
      "127.0.1.4",
    ]);
  });

  it("should pass over addresses that are taken, or where a port is", async function () {
    const canBind = (address: string, port: number): Promise<boolean> =>
      Promise.resolve(!(address === "127.0.1.3" && port === 81));
    const options = { taken: ["127.0.1.2"], canBind, claim };
    expect(await allocateAddresses([[80, 81]], options)).to.deep.equal(["127.0.1.4"]);
  });

  it("should throw SHIMMY_ERR_ADDRESS_IN_USE when a port is free nowhere", async function () {
    const canBind = (): Promise<boolean> => Promise.resolve(false);
    const error: unknown = await allocateAddresses([[80]], { canBind, claim }).catch(
      (err: unknown) => err,
    );
    expect(error).to.have.property("code", "SHIMMY_ERR_ADDRESS_IN_USE");
  });

  it("should give no address that another run has", async function () {
    const canBind = (): Promise<boolean> => Promise.resolve(true);
    const [first] = await allocateAddresses([[]], { canBind });
    const [second] = await allocateAddresses([[]], { canBind });
    expect(first).to.match(/^127\.0\.1\.\d+$/);
    expect(second)
      .to.match(/^127\.0\.1\.\d+$/)
      .and.not.equal(first);
  });

  describe("with real ports", function () {
    let server: Server;

    beforeEach(function (done) {
      server = createServer().listen(0, "127.0.1.2", done);
    });

    afterEach(function (done) {
      server.close(done);
    });

    it("should see that one is in use", async function () {
      const { port } = server.address() as { port: number };
      expect(await allocateAddresses([[port]], { claim })).not.to.include("127.0.1.2");
    });
  });
});

describe("freePort()", function () {
  it("should give a port", async function () {
    expect(await freePort("127.0.0.1")).to.be.greaterThan(0);
  });
});
