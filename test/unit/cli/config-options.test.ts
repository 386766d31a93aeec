import { expect } from "chai";
import { Command } from "commander";

import { AGENT_CONFIG } from "../../../agent/env.ts";
import { addConfigOptions } from "../../../cli/config-options.ts";
import type { ConfigSchema } from "../../../common/env.ts";
import { SIDECAR_CONFIG } from "../../../sidecar/env.ts";

describe("addConfigOptions()", function () {
  const schemas: Readonly<Record<string, ConfigSchema>> = {
    agent: AGENT_CONFIG,
    sidecar: SIDECAR_CONFIG,
  };
  for (const [process, schema] of Object.entries(schemas)) {
    it(`should give one option per setting of the ${process}, by its name in the schema`, function () {
      const command = new Command().exitOverride();
      addConfigOptions(command, schema);
      const words = Object.values(schema).flatMap(({ flag }) => [`--${flag}`, flag]);
      command.parse(words, { from: "user" });
      const expected = Object.entries(schema).map(([name, { flag }]) => [name, flag]);
      expect(command.opts()).to.deep.equal(Object.fromEntries(expected));
    });
  }

  it("should name variable and default in the help", function () {
    const command = new Command();
    addConfigOptions(command, AGENT_CONFIG);
    const help = command.helpInformation().replaceAll(/\s+/g, " ");
    expect(help).to.include("(env: SHIMMY_RUNTIME_DIR, default: /run/shimmy)");
  });
});
