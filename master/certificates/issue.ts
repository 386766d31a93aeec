// Makes certificates; reading and judging them is certificate.ts's.
import "reflect-metadata";

import { webcrypto } from "node:crypto";

import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

/** A certificate and its key, PEM. */
export interface KeyPair {
  readonly cert: string;
  /** PKCS #8. */
  readonly key: string;
}

/** For how long a certificate is good, in milliseconds since 1970. */
export interface Validity {
  readonly nowMs: number;
  readonly lifeMs: number;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" } as const;
/** Clocks of nodes differ. */
const BACKDATED_MS = 3_600_000;

/** Makes a CA that signs itself. */
export async function issueAuthority(name: string, validity: Validity): Promise<KeyPair> {
  const keys = await makeKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: SIGNATURE,
    ...datesOf(validity),
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return await exportPair(certificate, keys);
}

/** Makes the certificate of a server, signed by a CA; it does not outlive the CA. */
export async function issueServer(
  host: string,
  authority: KeyPair,
  validity: Validity,
): Promise<KeyPair> {
  const keys = await makeKeys();
  const issuer = new X509Certificate(authority.cert);
  const { notBefore, notAfter } = datesOf(validity);
  const certificate = await X509CertificateGenerator.create({
    // A common name is short by RFC 5280, and nobody reads it where there are others.
    subject: "CN=shimmy-injector",
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    signingAlgorithm: SIGNATURE,
    notBefore,
    notAfter: new Date(Math.min(notAfter.getTime(), issuer.notAfter.getTime())),
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension([{ type: "dns", value: host }]),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return await exportPair(certificate, keys);
}

function datesOf({ nowMs, lifeMs }: Validity): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(nowMs - BACKDATED_MS), notAfter: new Date(nowMs + lifeMs) };
}

async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = PemConverter.decodeFirst(pem);
  return await webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
}

async function exportPair(
  certificate: X509Certificate,
  keys: webcrypto.CryptoKeyPair,
): Promise<KeyPair> {
  const key = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  const end = (pem: string): string => `${pem.trimEnd()}\n`;
  return {
    cert: end(certificate.toString("pem")),
    key: end(PemConverter.encode(key, "PRIVATE KEY")),
  };
}
