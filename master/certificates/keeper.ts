// Keeps certificates: the CA of the webhooks, the injector's certificate, and the CA of the fabric.
// Only the leader writes. The wall clock is looked at each minute, because timers stand still while
// a machine sleeps and certificates do not.
//
// A rotation breaks no handshake: a new CA is trusted by the API server before it signs anything,
// and the one before stays trusted until it ends, which is after everything that it signed.
import { isDeepStrictEqual } from "node:util";

import type { Clock } from "../../common/clock.ts";
import { messageOf, ShimmyError } from "../../common/errors.ts";
import type { KubernetesApi } from "../../common/kubernetes/api-client.ts";
import { ApiError } from "../../common/kubernetes/api-error.ts";
import { ListWatch, type ListWatchLimits } from "../../common/kubernetes/list-watch.ts";
import { RESOURCES } from "../../common/kubernetes/resources.ts";
import { CERTIFICATE_SECRETS, INJECTOR_NAME } from "../../common/kubernetes/vocabulary.ts";
import type { Logger } from "../../common/log.ts";
import { watchCounter, type MasterMetrics } from "../metrics.ts";
import { WorkQueue } from "../work-queue.ts";
import { hasBundle, takeWebhooks, writeBundle, type FoundWebhook } from "./ca-bundle.ts";
import {
  authorityFault,
  bundleOf,
  endOf,
  isDue,
  isInvalid,
  readKept,
  serverFault,
  type Fault,
  type Kept,
  type SecretData,
} from "./certificate.ts";
import { issueAuthority, issueServer, type KeyPair } from "./issue.ts";
import { decodeSecret, readSecret, writeSecret } from "./secret.ts";
import type { WebhookCertificateSource } from "./sources.ts";

/** Options for {@link CertificateKeeper}. */
export interface CertificateKeeperOptions {
  readonly api: KubernetesApi;
  /** Where the Secrets are. */
  readonly namespace: string;
  readonly webhookCertificates: WebhookCertificateSource;
  readonly metrics: MasterMetrics;
  readonly clock: Clock;
  /** Milliseconds since 1970. @defaultValue the system's */
  readonly wallClock?: () => number;
  readonly log: Logger;
  /** Asked before every write. */
  readonly isLeading: () => boolean;
  readonly limits?: Partial<ListWatchLimits>;
}

const DAY_MS = 86_400_000;
/** A CA goes on for a third of its life after it was replaced: longer than what it signed. */
const AUTHORITY_LIFE_MS = 730 * DAY_MS;
const SERVER_LIFE_MS = 90 * DAY_MS;
const LOOK_MS = 60_000;

const WEBHOOK_CA = { secret: CERTIFICATE_SECRETS.webhookCa, name: "Shimmy webhook CA" } as const;
const FABRIC_CA = { secret: CERTIFICATE_SECRETS.fabricCa, name: "Shimmy fabric CA" } as const;
/** There is one piece of work. */
const ALL = "all";

/** Makes certificates, renews them, and says which CA the API server is to trust. */
export class CertificateKeeper {
  readonly #options: CertificateKeeperOptions;
  readonly #webhooks: ListWatch<readonly FoundWebhook[]>;
  readonly #queue: WorkQueue;
  #stopLooking: (() => void) | undefined;

  constructor(options: CertificateKeeperOptions) {
    this.#options = options;
    const { api, clock, log, metrics, limits = {} } = options;
    this.#webhooks = new ListWatch({
      api,
      resource: RESOURCES.mutatingWebhooks,
      fieldSelector: `metadata.name=${INJECTOR_NAME}`,
      take: takeWebhooks,
      onChange: () => {
        this.refresh();
      },
      onEvent: watchCounter(metrics, RESOURCES.mutatingWebhooks.plural),
      clock,
      log,
      limits,
    });
    this.#queue = new WorkQueue({
      work: () => this.#keep(),
      onFailure: (_, err) => this.#noteFailure(err),
      clock,
    });
  }

  /** Begins to look. */
  start(): void {
    if (this.#isOwn) this.#webhooks.start();
    this.#stopLooking = this.#options.clock.every(LOOK_MS, () => {
      this.refresh();
    });
  }

  /** Looks now, as when this process begins to lead. */
  refresh(): void {
    if (this.#options.isLeading()) this.#queue.add(ALL);
  }

  /** Ends; what is being written is finished. */
  async close(): Promise<void> {
    this.#stopLooking?.();
    await Promise.all([this.#queue.close(), this.#webhooks.close()]);
  }

  get #isOwn(): boolean {
    return this.#options.webhookCertificates === "self";
  }

  get #nowMs(): number {
    return this.#options.wallClock?.() ?? Date.now();
  }

  async #keep(): Promise<void> {
    let failure: unknown;
    if (this.#isOwn) {
      const authority = await this.#keepAuthority(WEBHOOK_CA);
      let isTrusted = false;
      try {
        isTrusted = await this.#trust(authority.bundle);
      } catch (err) {
        failure = err;
      }
      await this.#keepServer(authority, isTrusted);
    }
    await this.#keepAuthority(FABRIC_CA);
    if (failure !== undefined) throw failure as Error;
  }

  async #keepAuthority({ secret, name }: { secret: string; name: string }): Promise<Kept> {
    const nowMs = this.#nowMs;
    return await this.#keepSecret(secret, {
      faultOf: (kept) => authorityFault(kept, name),
      isDue: (kept) => isDue(kept, nowMs),
      make: () => issueAuthority(name, { nowMs, lifeMs: AUTHORITY_LIFE_MS }),
      bundleFor: (cert, { "tls.crt": last = "", "ca.crt": before = "" }) =>
        bundleOf(cert, `${last}\n${before}`, { name, nowMs }),
    });
  }

  async #keepServer(authority: Kept, isTrusted: boolean): Promise<void> {
    const nowMs = this.#nowMs;
    const host = `${INJECTOR_NAME}.${this.#options.namespace}.svc`;
    const { bundle } = authority;
    await this.#keepSecret(CERTIFICATE_SECRETS.injectorTls, {
      faultOf: (kept) => serverFault(kept, host, bundle),
      // What works is not replaced by what the API server may not trust yet.
      isDue: (kept) => isDue(kept, nowMs) && (isTrusted || isInvalid(kept, nowMs)),
      make: () => issueServer(host, authority, { nowMs, lifeMs: SERVER_LIFE_MS }),
      bundleFor: () => bundle,
    });
  }

  /** Whether the API server trusts the CA of now; also when there are no webhooks to tell it. */
  async #trust(bundle: string): Promise<boolean> {
    const webhooks = this.#webhooks.items.get(INJECTOR_NAME);
    if (webhooks === undefined) return this.#webhooks.isSynced;
    if (hasBundle(webhooks, bundle)) return true;
    this.#demandLead();
    await writeBundle(this.#options.api, INJECTOR_NAME, webhooks, bundle);
    this.#noteWritten(RESOURCES.mutatingWebhooks.kind, INJECTOR_NAME);
    return true;
  }

  async #keepSecret(name: string, { faultOf, isDue, make, bundleFor }: Wanted): Promise<Kept> {
    const { api, namespace, metrics, log } = this.#options;
    const found = await readSecret(api, { namespace, name });
    const data = found === undefined ? {} : decodeSecret(found);
    const read = readKept(data);
    const fault = typeof read === "string" ? read : faultOf(read);
    let pair: KeyPair;
    if (typeof read !== "string" && fault === undefined && !isDue(read)) pair = read;
    else {
      if (found === undefined) log.info({ name }, "certificate made");
      else if (fault === undefined) log.info({ name }, "certificate renewed");
      else log.warn({ name, fault }, "the Secret held no certificate of ours: replaced");
      pair = await make();
    }
    const kept = { cert: pair.cert, key: pair.key, bundle: bundleFor(pair.cert, data) };
    if (!isDeepStrictEqual(kept, read)) {
      this.#demandLead();
      await writeSecret(api, { namespace, name }, kept, found);
      this.#noteWritten(RESOURCES.secrets.kind, name);
    }
    metrics.certificateExpiry.set({ certificate: name }, endOf(kept) / 1000);
    return kept;
  }

  #demandLead(): void {
    if (this.#options.isLeading()) return;
    throw new ShimmyError("SHIMMY_ERR_KUBERNETES_API", "another master leads now");
  }

  #noteWritten(kind: string, name: string): void {
    const { metrics, log } = this.#options;
    metrics.writes.inc({ kind, result: "written" });
    log.info({ kind, name }, "certificates written");
  }

  #noteFailure(err: unknown): number {
    const { metrics, log } = this.#options;
    const isConflict = err instanceof ApiError && err.status === 409;
    metrics.writes.inc({ kind: "certificates", result: isConflict ? "conflict" : "failed" });
    log[isConflict ? "debug" : "error"]({ error: messageOf(err) }, "certificates not kept");
    return err instanceof ApiError ? err.retryAfterMs : 0;
  }
}

/** What a Secret is to hold. */
interface Wanted {
  readonly faultOf: (kept: Kept) => Fault;
  readonly isDue: (kept: Kept) => boolean;
  readonly make: () => Promise<KeyPair>;
  readonly bundleFor: (cert: string, data: SecretData) => string;
}
