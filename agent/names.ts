/**
 * What names look like: those of Kubernetes, so that a local catalog can move there.
 *
 * Each pattern is anchored, linear and bounds the length itself. None lets `/`, `..` or a leading
 * dot through where a name becomes part of a path.
 *
 * @see https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
 */

const LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";

/** Namespaces and services: a DNS label. */
export const LABEL_PATTERN = `^${LABEL}$`;

/** Pods: a DNS subdomain, cut to 128 characters because socket paths are short. */
export const SUBDOMAIN_PATTERN = `^(?=.{1,128}$)${LABEL}(?:\\.${LABEL})*$`;

/** UIDs of pods. */
export const UID_PATTERN = "^[A-Za-z0-9][-A-Za-z0-9._]{0,191}$";

/** `namespace/name` of a service. */
export const SERVICE_PATTERN = `^${LABEL}/${LABEL}$`;

/** `name`, or `namespace/name`, of a pod or service in a catalog. */
export const REFERENCE_PATTERN = `^(?:${LABEL}/)?(?=[^/]{1,128}$)${LABEL}(?:\\.${LABEL})*$`;
