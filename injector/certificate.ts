import { createPrivateKey, X509Certificate } from "node:crypto";

import type { Files } from "./mounted-directory.ts";
import { refused } from "./raw.ts";

/** A certificate and its key, which fit together. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  /** In milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/**
 * Reads `tls.crt` and `tls.key` of a Secret of type kubernetes.io/tls.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when one is missing, unreadable, or of
 * another pair: half of a renewal, which the next look will find whole.
 */
export function parseCertificate(files: Files): Certificate {
  const { "tls.crt": cert, "tls.key": key } = files;
  if (cert === undefined || key === undefined) throw refused("tls.crt and tls.key are needed");
  const leaf = new X509Certificate(cert);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw refused("tls.key is not of tls.crt");
  return { cert, key, expiresAtMs: leaf.validToDate.getTime() };
}
