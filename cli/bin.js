#!/usr/bin/env node
// The `shimmy` command. Plain JavaScript that even an old Node.js can read, so that it can say
// what is wrong instead of failing on a syntax it does not know.
import { existsSync } from "node:fs";
import process from "node:process";

// From here on TypeScript sources run as they are; dist/ runs on the same versions.
const MIN_NODE = [22, 19];

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < MIN_NODE[0] || (major === MIN_NODE[0] && minor < MIN_NODE[1])) {
  process.stderr.write(
    `shimmy needs Node.js >= ${MIN_NODE.join(".")}, this is ${process.versions.node} ` +
      `(${process.execPath}). In a clone, \`npx shimmy\` uses the one in node_modules.\n`,
  );
  process.exit(1);
}

const compiled = new URL("../dist/cli/main.js", import.meta.url);
const source = new URL("./main.ts", import.meta.url);
await import(existsSync(compiled) ? compiled.href : source.href);
