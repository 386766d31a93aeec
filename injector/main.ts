import { systemClock, type Clock } from "../common/clock.ts";
import { ShimmyError } from "../common/errors.ts";
import type { ClusterAccess } from "../common/kubernetes/access.ts";
import type { Logger } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { answerAdmission, type AdmissionAnswer } from "./admission.ts";
import { parseCertificate } from "./certificate.ts";
import { readInjectionConfig, type InjectionConfig } from "./config.ts";
import type { InjectorConfig } from "./env.ts";
import { createInjectorMetrics } from "./metrics.ts";
import { Namespaces } from "./namespaces.ts";
import { MountedDirectory, type MountedDirectoryOptions } from "./mounted-directory.ts";
import { WebhookServer, type WebhookReply, type WebhookRoute } from "./webhook-server.ts";

/** Options for {@link runInjector}. */
export interface InjectorOptions {
  readonly config: InjectorConfig;
  readonly log: Logger;
  /** Where namespaces are read. @defaultValue nowhere: only their opt-in is known, by the entry called */
  readonly access?: ClusterAccess;
  /** @defaultValue the process's time */
  readonly clock?: Clock;
}

/** An injector that serves. */
export interface RunningInjector {
  readonly port: number;
  /** Stops accepting and lets requests end. */
  close(): Promise<void>;
}

/**
 * Starts the webhooks in this process. Certificate and settings are read again when they change;
 * bad ones are logged and counted, and those before them stay.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when certificate or settings are bad from
 * the beginning, `SHIMMY_ERR_SYSTEM` when the port cannot be had.
 */
export async function runInjector(options: InjectorOptions): Promise<RunningInjector> {
  const opened: Disposable[] = [];
  try {
    return await start(options, opened);
  } catch (err) {
    for (const mounted of opened) mounted[Symbol.dispose]();
    throw err;
  }
}

async function start(options: InjectorOptions, opened: Disposable[]): Promise<RunningInjector> {
  const { config, log, access, clock = systemClock } = options;
  const metrics = createInjectorMetrics({
    certificateExpiry: () => certificate.value.expiresAtMs / 1000,
  });
  const reloaded = (what: "certificate" | "settings", error?: ShimmyError): void => {
    metrics.reloads.inc({ what, result: error === undefined ? "loaded" : "refused" });
    if (error === undefined) log.info({ what }, "loaded anew");
    else log.error({ what, err: error }, "refused, the one before stays");
  };
  const open = <T>(directory: MountedDirectoryOptions<T>): MountedDirectory<T> => {
    const mounted = MountedDirectory.open(directory);
    opened.push(mounted);
    return mounted;
  };
  const settings = open({
    path: config.clusterConfigDir,
    parse: readSettings,
    clock,
    onReload: (result) => {
      reloaded("settings", "error" in result ? result.error : undefined);
    },
  });
  const certificate = open({
    path: config.tlsDir,
    parse: parseCertificate,
    clock,
    onReload: (result) => {
      if ("value" in result) server.setCertificate(result.value);
      reloaded("certificate", "error" in result ? result.error : undefined);
    },
  });

  const admit =
    (isNamespaceOptedIn: boolean): WebhookRoute =>
    (body) => {
      const stop = metrics.admissionSeconds.startTimer();
      const context = {
        config: settings.value,
        namespaceOf: (name: string) => namespaces?.get(name),
        isNamespaceOptedIn,
      };
      const answer = answerAdmission(parseJson(body), context);
      stop();
      const { outcome, reason = "" } = answer;
      metrics.admissions.inc({ outcome, reason });
      logAnswer(log, answer);
      return json(answer.review);
    };
  const server = await WebhookServer.listen({
    port: config.port,
    certificate: certificate.value,
    log,
    onReply: (status) => {
      metrics.httpRequests.inc({ status: String(status) });
    },
    routes: {
      "POST /pods": admit(false),
      "POST /pods-of-namespace": admit(true),
      "POST /workloads": admit(false),
      "GET /healthz": () => json({ status: "ok" }),
      "GET /readyz": () => readiness(certificate.value.expiresAtMs, namespaces?.isSynced !== false),
      "GET /metrics": async () => ({
        contentType: metrics.registry.contentType,
        body: await metrics.registry.metrics(),
      }),
    },
  });
  const namespaces = access === undefined ? undefined : new Namespaces({ access, clock, log });
  log.info({ port: server.port, version: VERSION }, "injector started");
  return {
    port: server.port,
    close: async () => {
      for (const mounted of opened) mounted[Symbol.dispose]();
      await server.close();
      await namespaces?.close();
      log.info("injector stopped");
    },
  };
}

/** An injector without an image could refuse pods only. */
function readSettings(files: Readonly<Record<string, string>>): InjectionConfig {
  const settings = readInjectionConfig(files);
  if (settings.settings.image !== undefined) return settings;
  throw new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", "image is required");
}

function readiness(certificateEndsMs: number, areNamespacesKnown: boolean): WebhookReply {
  if (Date.now() >= certificateEndsMs) return notReady("the certificate has expired");
  return areNamespacesKnown ? json({ ready: true }) : notReady("the namespaces are not known yet");
}

function notReady(reason: string): WebhookReply {
  return { ...json({ ready: false, reason }), status: 503 };
}

function logAnswer(log: Logger, { outcome, reason, message, object }: AdmissionAnswer): void {
  if (outcome === "unchanged" || reason === "not_opted_in" || reason === "already_injected") {
    log.debug({ object, outcome, reason }, "admission");
  } else log.info({ object, outcome, reason, message }, "admission");
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch (err) {
    throw new ShimmyError("SHIMMY_ERR_PROTOCOL", "the body is not JSON", { cause: err });
  }
}

function json(value: unknown): WebhookReply {
  return { body: `${JSON.stringify(value)}\n` };
}
