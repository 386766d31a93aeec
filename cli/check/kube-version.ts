/** A version of Kubernetes, without what distributions add to it. */
export interface KubeVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/**
 * Reads `v1.34.4`, `v1.30.2-gke.1` or `v1.31.0+k3s1`.
 *
 * @returns `undefined` when it is no version.
 */
export function parseKubeVersion(text: string): KubeVersion | undefined {
  const [, major, minor, patch] = /^v?(\d+)\.(\d+)\.(\d+)/.exec(text) ?? [];
  if (major === undefined || minor === undefined || patch === undefined) return undefined;
  return { major: Number(major), minor: Number(minor), patch: Number(patch) };
}

/** A defect of kubelets that touches pods with native sidecars. */
export interface KubeletDefect {
  /** The issue or fix at Kubernetes. */
  readonly url: string;
  /** What happens, and when. */
  readonly effect: string;
  /** For each minor version, the first patch with the fix; `undefined` when there is none. */
  readonly fixedIn: ReadonlyMap<number, number | undefined>;
}

const PULLS = "https://github.com/kubernetes/kubernetes/pull";

/**
 * Known defects, from release notes of Kubernetes; 1.28 and 1.29 are for legacy mode anyway. Which
 * patch of 1.30 and 1.31 has 126543, and which of 1.33 has 134800, is concluded from the dates of
 * fix and release: a patch too many is named at worst.
 */
export const KUBELET_DEFECTS: readonly KubeletDefect[] = [
  {
    url: `${PULLS}/137885`,
    effect:
      "after a restart of the kubelet it does not start crashed containers again in pods whose sidecar has a startup probe",
    fixedIn: new Map([[35, 4]]),
  },
  {
    url: `${PULLS}/134800`,
    effect:
      "pods of restartPolicy Never stay in Init when their sidecar failed once before it started",
    fixedIn: new Map([
      [30, undefined],
      [31, undefined],
      [32, undefined],
      [33, 6],
      [34, 2],
    ]),
  },
  {
    url: `${PULLS}/126543`,
    effect: "a sidecar stays in Created after a passing fault of the container runtime",
    fixedIn: new Map([
      [30, 5],
      [31, 1],
    ]),
  },
  {
    url: `${PULLS}/126331`,
    effect: "pods that are stopped before they were initialised may not end in order",
    fixedIn: new Map([[30, 4]]),
  },
];

/** The defects that a kubelet of this version has. */
export function defectsOf({ major, minor, patch }: KubeVersion): readonly KubeletDefect[] {
  if (major !== 1) return [];
  return KUBELET_DEFECTS.filter(({ fixedIn }) => {
    if (!fixedIn.has(minor)) return false;
    const fixed = fixedIn.get(minor);
    return fixed === undefined || patch < fixed;
  });
}
