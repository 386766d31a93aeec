import type { X509Certificate } from "node:crypto";

import { certificatesOf } from "../../common/certificates.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import { KINDS, NAMES } from "../cluster/kinds.ts";
import { isStatus } from "../cluster/cluster.ts";
import type { CheckContext, DataObject } from "./context.ts";
import { fail, ok, unknown, warn, type Finding } from "./finding.ts";

const DAY_MS = 86_400_000;
/** Renewal is at two thirds of the life; when five sixths have passed, it did not happen. */
const OVERDUE = 5 / 6;

/** What is read of a MutatingWebhookConfiguration. */
export interface WebhookConfiguration extends KubernetesObject {
  readonly webhooks?: readonly {
    readonly name: string;
    readonly clientConfig?: { readonly caBundle?: string };
  }[];
}

/** Whether certificates have life left, and the API server trusts the injector's. */
export async function checkCertificates(context: CheckContext): Promise<Finding[]> {
  const secrets = [
    { name: NAMES.injectorTls, what: "the injector's certificate", isRequired: true },
    { name: NAMES.webhookCa, what: "the webhooks' CA", isRequired: false },
    { name: NAMES.fabricCa, what: "the fabric's CA", isRequired: false },
  ];
  const found = await Promise.all(
    secrets.map(async (secret) => ({ ...secret, ...(await readSecret(context, secret.name)) })),
  );
  const findings = found.flatMap((each) => secretFindings(each, context));
  const [leaf] = found[0]?.certificates ?? [];
  return [...findings, ...(await bundleFindings(context, leaf))];
}

interface SecretState {
  readonly certificates: readonly X509Certificate[];
  readonly problem?: "forbidden" | "missing" | "unreadable";
}

async function readSecret({ cluster, options }: CheckContext, name: string): Promise<SecretState> {
  try {
    const { namespace } = options;
    const secret = await cluster.get<DataObject>(KINDS.secrets, { namespace, name });
    if (secret === undefined) return { certificates: [], problem: "missing" };
    const pem = decode(secret.data?.["tls.crt"]);
    const certificates = certificatesOf(pem);
    return certificates.length > 0 ? { certificates } : { certificates, problem: "unreadable" };
  } catch (err) {
    if (isStatus(err, 403)) return { certificates: [], problem: "forbidden" };
    throw err;
  }
}

function secretFindings(
  secret: SecretState & { name: string; what: string; isRequired: boolean },
  { options }: CheckContext,
): Finding[] {
  const { name, what, isRequired, problem, certificates } = secret;
  const where = `Secret ${options.namespace}/${name}`;
  switch (problem) {
    case "forbidden":
      return [unknown(`${what}: you may not read the ${where}`, "ask somebody who may")];
    case "missing":
      // With cert-manager there are no CAs of ours, and before a fabric there is none for it.
      return isRequired
        ? [fail(`${what}: there is no ${where}`, "look at the log of the master, which makes it")]
        : [];
    case "unreadable":
      return [
        fail(`${what}: the ${where} has no certificate`, `delete it: the master makes another`),
      ];
    default:
      return certificates.slice(0, 1).map((each) => lifeFinding(what, each, options.now()));
  }
}

function lifeFinding(what: string, certificate: X509Certificate, now: number): Finding {
  const { validFromDate, validToDate } = certificate;
  const left = validToDate.getTime() - now;
  const life = validToDate.getTime() - validFromDate.getTime();
  const until = validToDate.toISOString().slice(0, 10);
  const todo =
    "look at the log of the master, or of cert-manager if it makes the certificates; see docs/guides/troubleshoot.md";
  if (left <= 0) return fail(`${what} ended on ${until}`, todo);
  if (now < validFromDate.getTime()) return fail(`${what} is not valid yet`, "compare the clocks");
  if (left < life * (1 - OVERDUE)) {
    return warn(`${what} ends on ${until}, and its renewal is overdue`, todo);
  }
  return ok(`${what} is valid for ${lifeText(left)}`);
}

function lifeText(ms: number): string {
  return ms < 2 * DAY_MS ? `${Math.floor(ms / 3_600_000)} h` : `${Math.floor(ms / DAY_MS)} days`;
}

/** What the API server trusts must be what the injector shows. */
async function bundleFindings(
  { cluster }: CheckContext,
  leaf: X509Certificate | undefined,
): Promise<Finding[]> {
  const name = NAMES.injector;
  const configuration = await cluster.get<WebhookConfiguration>(KINDS.mutatingWebhooks, { name });
  if (configuration === undefined) {
    const todo = "install Shimmy (docs/guides/install.md)";
    return [fail(`the MutatingWebhookConfiguration ${name} is not there`, todo)];
  }
  const { webhooks = [] } = configuration;
  const todo =
    "the master writes caBundle: look at its log; a tool that applies the manifests again must leave that field alone";
  const empty = webhooks.find(({ clientConfig }) => (clientConfig?.caBundle ?? "") === "");
  if (empty !== undefined || webhooks.length === 0) {
    return [fail(`the API server has no CA for the webhook ${empty?.name ?? name}`, todo)];
  }
  if (leaf === undefined) return [];
  const stranger = webhooks.find(
    ({ clientConfig }) => !isTrusted(leaf, decode(clientConfig?.caBundle)),
  );
  if (stranger === undefined) return [ok("the API server trusts the injector's certificate")];
  return [
    fail(`the CA that the API server has for ${stranger.name} is not that of the injector`, todo),
  ];
}

function isTrusted(leaf: X509Certificate, bundle: string): boolean {
  return certificatesOf(bundle).some((ca) => leaf.checkIssued(ca) && leaf.verify(ca.publicKey));
}

function decode(base64 = ""): string {
  return Buffer.from(base64, "base64").toString();
}
