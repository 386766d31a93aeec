import { isIP } from "node:net";

import { integer, list } from "../common/env-parsers.ts";
import { SIDECAR_CONFIG } from "../sidecar/env.ts";
import { refused, shown } from "./raw.ts";

/** A port of the application: a number, or the name of a port that a container declares. */
export type AppPort = number | string;

// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports
const PORT_NAME = /^(?=.*[a-z])[a-z0-9](?:[-a-z0-9]{0,13}[a-z0-9])?$/;
const IMAGE = /^[a-zA-Z0-9][-a-zA-Z0-9._:/@]{0,511}$/;
const port = integer({ min: 1, max: 65_535 });

/** A topic that is read, and how the sidecar is told to send its messages to the application. */
export interface SubscribedTopic {
  readonly topic: string;
  /** As SHIMMY_TOPICS_PUSH has it. */
  readonly push?: string;
}

const LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const TOPIC = new RegExp(`^(?:${LABEL}/)?${LABEL}(?:\\.${LABEL})*$`);

/** Reads `name` or `namespace/name`, divided by commas or white space; at least one. */
export function publishedTopics(text: string): readonly string[] {
  return entries(text).map(topicName);
}

/** Reads topics likewise, each with `?push=URL` behind it or not. */
export function subscribedTopics(text: string): readonly SubscribedTopic[] {
  return entries(text).map((entry) => {
    const [, name = "", format = "", url] =
      /^([^?]*)(?:\?(?:format=([^&]*)&)?push=(.*))?$/.exec(entry) ?? [];
    const topic = topicName(name === "" ? entry : name);
    if (url === undefined) return { topic };
    const push = `${format === "" ? "" : `${format}:`}${topic}=${url}`;
    SIDECAR_CONFIG.topicsPush.parse(push);
    return { topic, push };
  });
}

function entries(text: string): readonly string[] {
  const found = text.split(/[,\s]+/).filter((entry) => entry !== "");
  if (found.length > 0) return found;
  throw refused("expected at least one topic");
}

function topicName(text: string): string {
  if (TOPIC.test(text)) return text;
  throw refused(`expected a topic such as prices or shop/orders, got ${shown(text)}`);
}

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
