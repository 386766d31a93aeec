/**
 * Answers to the API server, as pure functions of what it asks and of settings in memory.
 *
 * @see https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
 */
import { messageOf, ShimmyError } from "../common/errors.ts";
import type { InjectionReason } from "../common/reasons.ts";
import { carryKeys, type WriteOperation } from "./carry-keys.ts";
import type { InjectionConfig } from "./config.ts";
import { injectPod, type InjectionResult } from "./inject-pod.ts";
import { applyPatch, type JsonPatch } from "./json-patch.ts";
import type { NamespaceMetadata } from "./opt-in.ts";
import { isObject, objectAt, own, textAt, type Fields } from "./raw.ts";
import { VOCABULARY } from "./vocabulary.ts";
import { templateOf, workloadKind } from "./workloads.ts";

/** What admission knows besides the request. */
export interface AdmissionContext {
  readonly config: InjectionConfig;
  /** What is known of a namespace; `undefined` when nothing is. */
  readonly namespaceOf: (name: string) => NamespaceMetadata | undefined;
  /**
   * Whether the request came by the webhook entry whose selector is the namespace's label: the API
   * server knows labels better than any copy.
   */
  readonly isNamespaceOptedIn: boolean;
}

/** The answer, and what to count and log of it. */
export interface AdmissionAnswer {
  /** The AdmissionReview to send back. */
  readonly review: Fields;
  readonly outcome: AdmissionOutcome;
  readonly reason?: InjectionReason;
  readonly message?: string;
  /** As `Pod/shop/web-`; a pod that is being created often has no name yet. */
  readonly object: string;
}

/** What was done; a metric label. */
export const ADMISSION_OUTCOMES = [
  "injected",
  "skipped",
  "refused",
  "carried",
  "unchanged",
] as const;

/** One of {@link ADMISSION_OUTCOMES}. */
export type AdmissionOutcome = (typeof ADMISSION_OUTCOMES)[number];

const API_VERSION = "admission.k8s.io/v1";
/** The API server may cut longer ones. https://pkg.go.dev/k8s.io/api/admission/v1#AdmissionResponse */
const MAX_WARNING_LENGTH = 240;

interface Answer extends Omit<AdmissionAnswer, "review" | "object"> {
  readonly patch: JsonPatch;
  readonly warnings: readonly string[];
}

const UNCHANGED: Answer = { outcome: "unchanged", patch: [], warnings: [] };

/**
 * Answers one AdmissionReview: pods are injected, workloads have their keys carried, anything else
 * is let through.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_PROTOCOL` when it is no AdmissionReview of v1.
 */
export function answerAdmission(review: unknown, context: AdmissionContext): AdmissionAnswer {
  const { uid, request } = readReview(review);
  const object = own(request, "object");
  const answer = isObject(object) ? answerObject(object, request, context) : UNCHANGED;
  const { patch, warnings, ...rest } = answer;
  const response = {
    uid,
    allowed: answer.outcome !== "refused",
    ...(answer.outcome === "refused" ? { status: refusal(answer) } : {}),
    ...(patch.length === 0 ? {} : encodePatch(patch)),
    ...(warnings.length === 0 ? {} : { warnings: warnings.map(cut) }),
  };
  return {
    ...rest,
    review: { apiVersion: API_VERSION, kind: "AdmissionReview", response },
    object: describe(object, request),
  };
}

function readReview(review: unknown): { uid: string; request: Fields } {
  if (!isObject(review) || review["kind"] !== "AdmissionReview")
    throw refused("no AdmissionReview");
  if (review["apiVersion"] !== API_VERSION) {
    throw refused(`AdmissionReview of ${String(review["apiVersion"])}, expected ${API_VERSION}`);
  }
  const request = own(review, "request");
  const uid = isObject(request) ? textAt(request, "uid") : undefined;
  if (!isObject(request) || uid === undefined) throw refused("AdmissionReview without request.uid");
  return { uid, request };
}

function answerObject(object: Fields, request: Fields, context: AdmissionContext): Answer {
  const operation = textAt(request, "operation");
  const isWhole = (textAt(request, "subResource") ?? "") === "";
  if (!isWhole || (operation !== "CREATE" && operation !== "UPDATE")) return UNCHANGED;
  if (isPod(request))
    return operation === "CREATE" ? answerPod(object, request, context) : UNCHANGED;
  return answerWorkload(object, operation, { request, context });
}

function isPod(request: Fields): boolean {
  const kind = own(request, "kind");
  if (!isObject(kind)) return false;
  return (textAt(kind, "group") ?? "") === "" && textAt(kind, "kind") === "Pod";
}

function answerPod(pod: Fields, request: Fields, context: AdmissionContext): Answer {
  return fromResult(injectPod({ pod, ...placeOf(request, context) }, context.config));
}

/** Its pods are looked at ahead of time: who annotates a Deployment learns at once what is wrong. */
function answerWorkload(
  workload: Fields,
  operation: WriteOperation,
  { request, context }: { request: Fields; context: AdmissionContext },
): Answer {
  try {
    const patch = carryKeys(workload, operation);
    const kind = workloadKind(workload);
    const pod = kind === undefined ? undefined : templateOf(applyPatch(workload, patch), kind);
    const place = placeOf(request, context);
    const warnings =
      pod === undefined ? [] : forecast(injectPod({ pod, ...place }, context.config));
    return { outcome: patch.length === 0 ? "unchanged" : "carried", patch, warnings };
  } catch (err) {
    // Others' changes to a workload never fail for our sake; its pods are refused instead.
    return { ...UNCHANGED, warnings: [`shimmy: ${messageOf(err)}`] };
  }
}

function forecast(result: InjectionResult): readonly string[] {
  if (result.outcome !== "refused") return result.warnings.map((warning) => `shimmy: ${warning}`);
  return [`shimmy: its pods will be refused, ${result.reason}: ${result.message}`];
}

function placeOf(
  request: Fields,
  { namespaceOf, isNamespaceOptedIn }: AdmissionContext,
): { podNamespace: string; namespace: NamespaceMetadata } {
  const podNamespace = textAt(request, "namespace") ?? "";
  const known = namespaceOf(podNamespace) ?? {};
  if (!isNamespaceOptedIn) return { podNamespace, namespace: known };
  const labels = { ...known.labels, [VOCABULARY.inject.key]: "enabled" };
  return { podNamespace, namespace: { ...known, labels } };
}

function fromResult(result: InjectionResult): Answer {
  if (result.outcome === "refused") return { ...result, patch: [], warnings: [] };
  return { ...result, warnings: result.warnings.map((warning) => `shimmy: ${warning}`) };
}

function refusal({ reason, message }: Answer): Fields {
  return { code: 403, message: `shimmy: ${String(message)} (${String(reason)})` };
}

function encodePatch(patch: JsonPatch): Fields {
  return { patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch)).toString("base64") };
}

function describe(object: unknown, request: Fields): string {
  const metadata =
    isObject(object) && isObject(own(object, "metadata")) ? objectAt(object, "metadata") : {};
  const name = textAt(metadata, "name") ?? textAt(metadata, "generateName") ?? "?";
  const kind = own(request, "kind");
  const kindName = isObject(kind) ? (textAt(kind, "kind") ?? "?") : "?";
  return `${kindName}/${textAt(request, "namespace") ?? ""}/${name}`;
}

function cut(warning: string): string {
  if (warning.length <= MAX_WARNING_LENGTH) return warning;
  return `${warning.slice(0, MAX_WARNING_LENGTH - 1)}…`;
}

function refused(message: string): ShimmyError {
  return new ShimmyError("SHIMMY_ERR_PROTOCOL", message);
}
