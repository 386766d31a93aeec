import { expect } from "chai";

import { CHANNEL_CLIENT_SCHEMAS, channelAgentSchemas } from "../../../agent/api-channel-schemas.ts";
import { parseAgentMessage, parseClientMessage } from "../../../agent/api.ts";
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

  it("should show one of each message, as its schema wants it", function () {
    const [ofProcess = [], ofAgent = []] = [
      ...section(PAGE, "Examples").matchAll(/^```json\n(?<lines>[^`]*)```$/gm),
    ].map(({ groups }) => groups?.lines?.trim().split("\n") ?? []);
    const sent = ofProcess.map((line) => parseClientMessage(Buffer.from(line)));
    const answered = ofAgent.map((line) => parseAgentMessage(Buffer.from(line)));
    expect(sent.map((message) => JSON.stringify(message))).to.deep.equal(ofProcess);
    expect(answered.map((message) => JSON.stringify(message))).to.deep.equal(ofAgent);
    const types = (messages: readonly { type: string }[]): string[] => [
      ...new Set(messages.map(({ type }) => type)),
    ];
    expect(types(sent)).to.have.members(Object.keys(CHANNEL_CLIENT_SCHEMAS));
    expect(types(answered)).to.include.members(Object.keys(channelAgentSchemas({})));
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
