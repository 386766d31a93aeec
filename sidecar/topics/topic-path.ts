import { ShimmyError } from "../../common/errors.ts";

/** Path below which topics are. */
export const TOPICS_ROOT = "/v1/topics/";

// Of Kubernetes: labels of DNS. The agent has the last word.
const LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const TOPIC = new RegExp(`^(?:(?<namespace>${LABEL})/)?(?<name>${LABEL}(?:\\.${LABEL})*)$`);
const MAX_LENGTH = 200;

/**
 * Reads `name` or `namespace/name`.
 *
 * @returns `namespace/name`; `undefined` for what is no topic.
 */
export function qualifyTopic(text: string, namespace: string): string | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const match = TOPIC.exec(text)?.groups;
  if (match?.["name"] === undefined) return undefined;
  return `${match["namespace"] ?? namespace}/${match["name"]}`;
}

/**
 * The topic that a path names.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_NOT_FOUND` for every other path.
 */
export function topicOfPath(path: string, namespace: string): string {
  const text = path.startsWith(TOPICS_ROOT) ? path.slice(TOPICS_ROOT.length) : "";
  const topic = qualifyTopic(text, namespace);
  if (topic !== undefined) return topic;
  throw new ShimmyError(
    "SHIMMY_ERR_NOT_FOUND",
    `no such path, there are ${TOPICS_ROOT}NAME and ${TOPICS_ROOT}NAMESPACE/NAME`,
  );
}
