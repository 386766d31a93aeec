import { expect } from "chai";

import { CHANNEL_CLIENT_SCHEMAS, channelAgentSchemas } from "../../../agent/api-channel-schemas.ts";
import { DEFAULT_QUOTAS } from "../../../agent/quotas.ts";
import { readSource, section, table } from "./sources.ts";

const PAGE = readSource("docs/reference/channel-protocol.md");

function messagesOf(title: string): string[] {
  return table(section(PAGE, title), "| Message | Descriptors | Meaning |").map(([name = ""]) =>
    name.replaceAll("`", ""),
  );
}

describe("docs/reference/channel-protocol.md", function () {
  it("should have a row for each message of a process, and no other", function () {
    expect(messagesOf("From the process")).to.have.members(Object.keys(CHANNEL_CLIENT_SCHEMAS));
  });

  it("should have a row for each message of the agent, and no other", function () {
    const types = Object.keys(channelAgentSchemas({}));
    expect(messagesOf("From the agent")).to.have.members(types);
  });

  it("should state the bounds there are", function () {
    const quotas = DEFAULT_QUOTAS;
    const rows = table(section(PAGE, "Bounds of one pod"), "| Bound | Value |");
    const values = rows.map(([, value = ""]) => value.replaceAll(",", ""));
    expect(values).to.deep.equal([
      String(quotas.channelProcessesPerPod),
      String(quotas.channelsPerPod),
      String(quotas.attachmentsPerPod),
      String(quotas.channelRegionsPerPod),
      `${quotas.channelBytesPerPod / 1024 ** 3} GiB`,
      `${quotas.channelRequests.perSecond} a second after a burst of ${quotas.channelRequests.burst}`,
    ]);
  });
});
