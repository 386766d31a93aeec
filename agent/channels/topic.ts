import { ShimmyError } from "../../common/errors.ts";
import { LABEL_PATTERN, REFERENCE_PATTERN } from "../names.ts";

const REFERENCE = new RegExp(REFERENCE_PATTERN);
const NAMESPACE = new RegExp(LABEL_PATTERN);

/** A topic, whole. */
export interface Topic {
  readonly namespace: string;
  readonly name: string;
}

/**
 * Reads a topic as an application writes it: `name`, of `namespace`, or `namespace/name`.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_OPTION` when it is neither.
 */
export function parseTopic(text: string, namespace: string | undefined): Topic {
  if (!REFERENCE.test(text)) throw refused("a name such as prices, or namespace/name", text);
  const [first = "", second] = text.split("/");
  if (second !== undefined) return { namespace: first, name: second };
  if (namespace === undefined || !NAMESPACE.test(namespace)) throw refused("namespace/name", text);
  return { namespace, name: first };
}

/** `namespace/name`, what records and lists know a topic by. */
export function topicKey({ namespace, name }: Topic): string {
  return `${namespace}/${name}`;
}

function refused(expected: string, text: string): ShimmyError {
  return new ShimmyError(
    "SHIMMY_ERR_INVALID_OPTION",
    `topic must be ${expected}, got ${JSON.stringify(text.slice(0, 80))}`,
  );
}
