import { isIP } from "node:net";

import { integer, list } from "../common/env-parsers.ts";
import { refused, shown } from "./raw.ts";

/** A port of the application: a number, or the name of a port that a container declares. */
export type AppPort = number | string;

// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports
const PORT_NAME = /^(?=.*[a-z])[a-z0-9](?:[-a-z0-9]{0,13}[a-z0-9])?$/;
const IMAGE = /^[a-zA-Z0-9][-a-zA-Z0-9._:/@]{0,511}$/;
const port = integer({ min: 1, max: 65_535 });

/** Reads ports by number or name, at least one. */
export function appPorts(text: string): readonly AppPort[] {
  const ports = list(appPort)(text);
  const double = ports.find((item, index) => ports.indexOf(item) !== index);
  if (double !== undefined) throw refused(`port ${double} is given twice`);
  if (ports.length > 0) return ports;
  throw refused("expected at least one port");
}

/** Reads a numeric address. */
export function appAddress(text: string): string {
  if (isIP(text) !== 0) return text;
  throw refused(`expected an IPv4 or IPv6 address, got ${shown(text)}`);
}

/** Reads the name of an image. */
export function imageReference(text: string): string {
  if (IMAGE.test(text)) return text;
  throw refused(`expected the name of an image such as shimmy:0.1.0, got ${shown(text)}`);
}

function appPort(text: string): AppPort {
  if (/^-?\d+$/.test(text)) return port(text);
  if (PORT_NAME.test(text)) return text;
  throw refused(`expected a port's number or name, got ${shown(text)}`);
}
