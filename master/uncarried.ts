import type { KubernetesObject } from "../common/kubernetes/objects.ts";
import { RESOURCES, type Resource } from "../common/kubernetes/resources.ts";

/** Workloads whose keys the injector carries to their template when they change. */
export const CARRIED_RESOURCES: readonly Resource[] = [
  RESOURCES.deployments,
  RESOURCES.statefulSets,
  RESOURCES.daemonSets,
  RESOURCES.cronJobs,
];

/** A workload that opted in by its own annotation, and whose template does not say so. */
export interface UncarriedWorkload {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

interface Template {
  readonly metadata?: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

interface RawWorkload extends KubernetesObject {
  readonly spec?: {
    readonly template?: Template;
    readonly jobTemplate?: { readonly spec?: { readonly template?: Template } };
  };
}

const INJECT_KEY = "shimmy.io/inject";

/**
 * Keeps a workload that was to be carried and was not, as one annotated before the injector was
 * there: its pods never opt in. All others are left out.
 */
export function takeUncarried(
  { apiVersion, kind }: Resource,
  object: KubernetesObject,
): UncarriedWorkload | undefined {
  const { namespace = "", name, uid = "", annotations = {}, deletionTimestamp } = object.metadata;
  if (annotations[INJECT_KEY] !== "enabled" || deletionTimestamp !== undefined) return undefined;
  return saysItself(object) ? undefined : { apiVersion, kind, namespace, name, uid };
}

/** Whatever the template says wins, a refusal too. */
function saysItself({ spec = {} }: RawWorkload): boolean {
  const { metadata = {} } = spec.template ?? spec.jobTemplate?.spec?.template ?? {};
  const { labels = {}, annotations = {} } = metadata;
  return [labels, annotations].some((entries) => Object.hasOwn(entries, INJECT_KEY));
}
