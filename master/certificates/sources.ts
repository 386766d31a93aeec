/** Who makes the injector's certificate: the master, or somebody else. */
export const WEBHOOK_CERTIFICATE_SOURCES = ["self", "external"] as const;

/** One of {@link WEBHOOK_CERTIFICATE_SOURCES}. */
export type WebhookCertificateSource = (typeof WEBHOOK_CERTIFICATE_SOURCES)[number];
