import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { ABSTRACT_API_SOCKET, ABSTRACT_FD_SOCKET } from "../../../agent/api-sockets.ts";
import { PACKAGE_ROOT } from "../../../common/version.ts";

describe("sockets in pods", function () {
  it("should be named as shimmy-netns-helper binds them", function () {
    const path = join(PACKAGE_ROOT, "agent/netns-helper/entrance.cc");
    const names = [...readFileSync(path, "utf8").matchAll(/ k(?:Api|Fd)Name = "(.*)";/g)];
    expect(names.map(([, name = ""]) => `\0${name}`)).to.deep.equal([
      ABSTRACT_API_SOCKET,
      ABSTRACT_FD_SOCKET,
    ]);
  });
});
