import { Option, type Command } from "commander";

import type { ConfigSchema } from "../common/env.ts";

/** Gives a command one option per key of a schema; their values stay text. */
export function addConfigOptions(command: Command, schema: ConfigSchema): void {
  for (const [name, { env, flag, default: preset, required, doc }] of Object.entries(schema)) {
    const notes = [
      `env: ${env}`,
      ...(required === true ? ["required"] : []),
      ...(preset === undefined || preset === "" ? [] : [`default: ${preset}`]),
    ];
    const option = new Option(`--${flag} <value>`, `${doc} (${notes.join(", ")})`);
    option.attributeName = () => name;
    command.addOption(option);
  }
}
