/**
 * The closed lists of reasons. A reason is a metric label, a log field and what `shimmy top` shows,
 * so a value never changes its meaning, and new ones are added at the end only.
 *
 * A reason's number is its index. shm-core/include/shimmy/reasons.h has the lists of the data path in
 * the same order, and docs/reference/reasons.md one section per reason; tests keep them equal.
 */

/** Why a connection went over plain TCP instead of shared memory. */
export const FALLBACK_REASONS = [
  "disabled",
  "peer_not_injected",
  "other_node_no_fabric",
  "policy_denied",
  "policy_unknown",
  "quota",
  "agent_unavailable",
  "version_mismatch",
  "peer_refused",
  "fd_passing_refused",
] as const;

/** One of {@link FALLBACK_REASONS}. */
export type FallbackReason = (typeof FALLBACK_REASONS)[number];

/** Why a stream, or a connection relayed over TCP, ended. */
export const END_REASONS = [
  "closed",
  "reset_by_app",
  "reset_by_peer",
  "peer_died",
  "app_unreachable",
  "connect_timeout",
  "idle_timeout",
  "revoked",
  "drained",
  "stray_io",
  "cursor_out_of_range",
  "bad_half",
  "bad_replace",
  "no_memory",
  "limit",
  "internal",
] as const;

/** One of {@link END_REASONS}. */
export type EndReason = (typeof END_REASONS)[number];

/** Why the session between two sidecars ended. */
export const SESSION_END_REASONS = [
  "closed",
  "peer_gone",
  "revoked",
  "protocol_error",
  "version_mismatch",
  "fd_passing_refused",
  "bad_fd",
  "limit",
] as const;

/** One of {@link SESSION_END_REASONS}. */
export type SessionEndReason = (typeof SESSION_END_REASONS)[number];

/** Why a pod was left without a sidecar, or refused because it could not have the one it asked for. */
export const INJECTION_REASONS = [
  "not_opted_in",
  "opted_out",
  "already_injected",
  "mirror_pod",
  "excluded_namespace",
  "host_network",
  "host_pid",
  "windows",
  "unknown_runtime_class",
  "bad_value",
  "not_built",
  "name_taken",
  "port_clash",
  "drain_too_long",
  "runs_as_root",
  "resources",
  "legacy_completes",
  "sidecar_altered",
] as const;

/** One of {@link INJECTION_REASONS}. */
export type InjectionReason = (typeof INJECTION_REASONS)[number];

/** Reasons of the Kubernetes events that Shimmy writes; CamelCase, as the API wants it. */
export const EVENT_REASONS = ["NotInjected", "NotCarried", "Skipped", "EvictedForSidecar"] as const;

/** One of {@link EVENT_REASONS}. */
export type EventReason = (typeof EVENT_REASONS)[number];

/** Why a pod may not make, write or read a topic. */
export const TOPIC_REASONS = [
  "no_role",
  "other_namespace",
  "not_declared",
  "policy_unknown",
] as const;

/** One of {@link TOPIC_REASONS}. */
export type TopicReason = (typeof TOPIC_REASONS)[number];

/** Why a request to the topics over HTTP was refused. */
export const TOPIC_HTTP_REFUSALS = [
  "host",
  "origin",
  "path",
  "method",
  "content_type",
  "not_acceptable",
  "bad_request",
  "too_big",
  "limit",
  "denied",
  "unknown_topic",
  "full",
  "agent_away",
  "draining",
  "internal",
] as const;

/** One of {@link TOPIC_HTTP_REFUSALS}. */
export type TopicHttpRefusal = (typeof TOPIC_HTTP_REFUSALS)[number];
