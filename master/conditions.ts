import type { Condition } from "../common/kubernetes/objects.ts";
import type { Outcome } from "./plan.ts";
import type { FoundObject } from "./world.ts";

/** Reasons of conditions; docs/reference/shared-memory-object.md has a row for each. */
export const CONDITION_REASONS = {
  Accepted: ["Valid", "Invalid"],
  Attached: ["Attached", "NoPods", "NodeFull", "NodeUnknown"],
  Supported: ["Supported", "DuplexUnavailable", "OtherNodes"],
  Ready: ["Ready"],
} as const;

type ConditionType = keyof typeof CONDITION_REASONS;

interface Verdict {
  readonly type: ConditionType;
  readonly holds: boolean;
  readonly reason: (typeof CONDITION_REASONS)[ConditionType][number];
  readonly message: string;
}

const PROBLEM_CHARACTERS = 1000;

/**
 * The conditions of an object; the time of one that has not changed stays.
 *
 * The first that does not hold is also the reason why the object is not Ready.
 */
export function decideConditions(
  object: FoundObject,
  outcome: Outcome,
  now: Date,
): readonly Condition[] {
  const verdicts = [accepted(object), ...channelVerdicts(object, outcome)];
  const failed = verdicts.find(({ holds }) => !holds);
  const ready: Verdict =
    failed === undefined
      ? { type: "Ready", holds: true, reason: "Ready", message: "all of it is in effect" }
      : { ...failed, type: "Ready" };
  return [ready, ...verdicts].map((verdict) => toCondition(verdict, object, now));
}

function accepted({ problem }: FoundObject): Verdict {
  if (problem === undefined) {
    return { type: "Accepted", holds: true, reason: "Valid", message: "the object is sound" };
  }
  const message = problem.slice(0, PROBLEM_CHARACTERS);
  return { type: "Accepted", holds: false, reason: "Invalid", message };
}

function channelVerdicts({ spec }: FoundObject, outcome: Outcome): Verdict[] {
  if (spec === undefined) return [];
  if (spec.type !== undefined) return [supported(spec.duplex === true, outcome), attached(outcome)];
  const message = "connections are supported";
  return [{ type: "Supported", holds: true, reason: "Supported", message }];
}

function supported(isDuplex: boolean, { nodes }: Outcome): Verdict {
  const verdict = (reason: Verdict["reason"], message: string): Verdict => ({
    type: "Supported",
    holds: reason === "Supported",
    reason,
    message,
  });
  if (isDuplex) {
    const message = "records flow from publishers to subscribers only; duplex is not there yet";
    return verdict("DuplexUnavailable", message);
  }
  if (nodes > 1) {
    const message = `a channel does not reach other nodes yet: its pods run on ${nodes} nodes, and meet on each`;
    return verdict("OtherNodes", message);
  }
  return verdict("Supported", "the channel is made when it is attached first");
}

function attached({ publishers, subscribers, nodes, left, astray }: Outcome): Verdict {
  const verdict = (reason: Verdict["reason"], message: string): Verdict => ({
    type: "Attached",
    holds: reason === "Attached",
    reason,
    message,
  });
  if (publishers + subscribers === 0) {
    return verdict("NoPods", "no pod with a sidecar takes a role");
  }
  if (left > 0) {
    return verdict("NodeFull", `${left} attachments have no room in the ShimmyNode of their node`);
  }
  if (astray > 0) return verdict("NodeUnknown", `${astray} pods run on nodes that are not known`);
  return verdict("Attached", `attachments are on ${nodes} nodes`);
}

function toCondition(verdict: Verdict, object: FoundObject, now: Date): Condition {
  const { type, holds, reason, message } = verdict;
  const status = holds ? "True" : "False";
  const before = object.status?.conditions?.find((condition) => condition.type === type);
  const isSame = before?.status === status;
  return {
    type,
    status,
    reason,
    message,
    lastTransitionTime: isSame ? before.lastTransitionTime : secondsOf(now),
    observedGeneration: object.metadata.generation ?? 0,
  };
}

/** Time of the API: whole seconds. */
function secondsOf(date: Date): string {
  return date.toISOString().replace(/\.\d{3}Z$/, "Z");
}
