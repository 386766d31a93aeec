import { expect } from "chai";
import { createServer, type AddressInfo, type Server } from "node:net";

import { listeningInodes, listenersOn } from "../../../../cli/local/listeners.ts";

const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0201007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100
   1: 0201007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100
`;

describe("listeningInodes()", function () {
  it("should find listeners of exactly that address and port", function () {
    expect(listeningInodes(TABLE, "127.0.1.2", 8080)).to.deep.equal(["4711"]);
    expect(listeningInodes(TABLE, "127.0.1.2", 8081)).to.deep.equal([]);
    expect(listeningInodes(TABLE, "127.0.0.1", 8080)).to.deep.equal([]);
  });
});

describe("listenersOn()", function () {
  let server: Server;

  beforeEach(function (done) {
    server = createServer().listen(0, "127.0.0.1", done);
  });

  afterEach(function (done) {
    server.close(done);
  });

  it("should find the process that listens", function () {
    const { port } = server.address() as AddressInfo;
    expect(listenersOn("127.0.0.1", port)).to.deep.equal([process.pid]);
    expect(listenersOn("127.0.0.2", port)).to.deep.equal([]);
    expect(listenersOn("::1", port)).to.deep.equal([]);
  });
});
