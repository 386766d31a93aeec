/**
 * What HTTP clients are sent. Payload is never mixed up with what we say about it: in lines of JSON it
 * is the value of `data`, in server-sent events it stands behind `data:` on each of its lines, and in
 * WebSocket without a subprotocol it is a binary frame, while what we say is a text frame.
 */
import { asEvent, decode } from "./cloud-event.ts";
import type { Missed } from "./position.ts";
import type { Delivery } from "./transport.ts";

/** What readers take messages for. */
export const MESSAGE_FORMATS = ["raw", "cloudevents"] as const;

/** One of {@link MESSAGE_FORMATS}. */
export type MessageFormat = (typeof MESSAGE_FORMATS)[number];

/** What a subscriber is told. */
export type TopicEvent =
  | {
      readonly kind: "message";
      readonly delivery: Delivery;
      /** To resume behind it; empty for a lock-based channel. */
      readonly id: string;
    }
  | { readonly kind: "gap"; readonly missed: Missed }
  | { readonly kind: "end" };

/** One line of JSON, without a line feed. */
export function toJsonLine(event: TopicEvent, format: MessageFormat): string {
  if (event.kind === "gap") return JSON.stringify({ gap: { missed: event.missed } });
  if (event.kind === "end") return '{"end":true}';
  const { delivery, id } = event;
  const { sequence, generation } = delivery;
  const about = JSON.stringify({ ...(id === "" ? {} : { id }), sequence, generation });
  return `${about.slice(0, -1)},${payload(delivery.data, format)}}`;
}

function payload(data: Buffer, format: MessageFormat): string {
  const event = format === "cloudevents" ? asEvent(data) : undefined;
  if (event !== undefined) return `"event":${event}`;
  const text = decode(data);
  return text === undefined
    ? `"data_base64":"${data.toString("base64")}"`
    : `"data":${JSON.stringify(text)}`;
}

/** One server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html */
export function toServerSentEvent(event: TopicEvent, format: MessageFormat): string {
  if (event.kind === "gap") {
    return `event: gap\ndata: ${JSON.stringify({ missed: event.missed })}\n\n`;
  }
  if (event.kind === "end") return "event: end\ndata: {}\n\n";
  const { delivery, id } = event;
  const head = id === "" ? "" : `id: ${id}\n`;
  const cloudEvent = format === "cloudevents" ? asEvent(delivery.data) : undefined;
  if (cloudEvent !== undefined) return `${head}event: cloudevent\ndata: ${cloudEvent}\n\n`;
  const text = decode(delivery.data);
  // A carriage return would reach the client as a line feed.
  if (text === undefined || text.includes("\r")) {
    return `${head}event: binary\ndata: ${delivery.data.toString("base64")}\n\n`;
  }
  return `${head}data: ${text.replaceAll("\n", "\ndata: ")}\n\n`;
}
