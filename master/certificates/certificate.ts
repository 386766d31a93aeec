// Reads certificates as they lie in Secrets, and says what is wrong with them. Whatever is there may
// have been written by anybody.
import { createPrivateKey, X509Certificate } from "node:crypto";

import { certificatesOf } from "../../common/certificates.ts";
import { messageOf } from "../../common/errors.ts";
import type { KeyPair } from "./issue.ts";

/** The data of a Secret, decoded. */
export type SecretData = Readonly<Record<string, string>>;

/** Why a certificate is not good any more; `undefined` when it is. */
export type Fault = string | undefined;

/** A certificate with its key, and the certificates that are trusted besides. */
export interface Kept extends KeyPair {
  /** `ca.crt`: the CA of now first, and those before while they are valid. */
  readonly bundle: string;
}

const RENEW_AT = 2 / 3;

/** What is kept in a Secret; text says why nothing can be read from it. */
export function readKept(data: SecretData): Kept | string {
  const { "tls.crt": cert, "tls.key": key, "ca.crt": bundle } = data;
  if (cert === undefined || key === undefined || bundle === undefined) {
    return "tls.crt, tls.key and ca.crt are not all there";
  }
  try {
    const isPair = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
    return isPair ? { cert, key, bundle } : "tls.key is not of tls.crt";
  } catch (err) {
    return `tls.crt or tls.key cannot be read: ${messageOf(err)}`;
  }
}

/** Why a pair is not, or not any more, the CA of this name. */
export function authorityFault({ cert }: KeyPair, name: string): Fault {
  if (isAuthority(new X509Certificate(cert), name)) return undefined;
  return `tls.crt is not the CA "${name}"`;
}

/** Why a pair is not the certificate of this host, signed by one of the bundle. */
export function serverFault({ cert }: KeyPair, host: string, bundle: string): Fault {
  const certificate = new X509Certificate(cert);
  if (certificate.checkHost(host) === undefined) return `tls.crt is not of ${host}`;
  const isSigned = certificatesOf(bundle).some(
    (each) => certificate.checkIssued(each) && certificate.verify(each.publicKey),
  );
  return isSigned ? undefined : "tls.crt is not signed by our CA";
}

/** Whether a certificate is not valid at this time. */
export function isInvalid({ cert }: KeyPair, nowMs: number): boolean {
  return !isValid(new X509Certificate(cert), nowMs);
}

/** Whether two thirds of its life are over, or it has not begun. */
export function isDue({ cert }: KeyPair, nowMs: number): boolean {
  const certificate = new X509Certificate(cert);
  const begin = certificate.validFromDate.getTime();
  const end = certificate.validToDate.getTime();
  return nowMs < begin || nowMs >= begin + (end - begin) * RENEW_AT;
}

/** When a certificate ends, in milliseconds since 1970. */
export function endOf({ cert }: KeyPair): number {
  return new X509Certificate(cert).validToDate.getTime();
}

/** The CA of now, and of those before the ones of this name that are still valid. */
export function bundleOf(
  current: string,
  before: string,
  { name, nowMs }: { readonly name: string; readonly nowMs: number },
): string {
  const [first, ...rest] = certificatesOf(`${current}\n${before}`);
  const valid = rest.filter((each) => isAuthority(each, name) && isValid(each, nowMs));
  const all = [...(first === undefined ? [] : [first]), ...valid];
  return [...new Map(all.map((each) => [each.fingerprint256, each.toString()])).values()].join("");
}

function isAuthority(certificate: X509Certificate, name: string): boolean {
  const isOwn = certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
  return certificate.ca && isOwn && certificate.subject === `CN=${name}`;
}

function isValid({ validFromDate, validToDate }: X509Certificate, nowMs: number): boolean {
  return validFromDate.getTime() <= nowMs && nowMs < validToDate.getTime();
}
