import { expect } from "chai";

import {
  defectsOf,
  KUBELET_DEFECTS,
  parseKubeVersion,
} from "../../../../cli/check/kube-version.ts";

describe("parseKubeVersion()", function () {
  for (const [text, expected] of [
    ["v1.34.4", [1, 34, 4]],
    ["v1.30.2-gke.1587003", [1, 30, 2]],
    ["v1.31.0+k3s1", [1, 31, 0]],
    ["1.29.10", [1, 29, 10]],
  ] as const) {
    it(`should read ${text}`, function () {
      const [major, minor, patch] = expected;
      expect(parseKubeVersion(text)).to.deep.equal({ major, minor, patch });
    });
  }

  for (const text of ["", "v1.34", "dev", "v1.x.0"]) {
    it(`should not read "${text}"`, function () {
      expect(parseKubeVersion(text)).to.equal(undefined);
    });
  }
});

describe("defectsOf()", function () {
  const pulls = (minor: number, patch: number): number[] =>
    defectsOf({ major: 1, minor, patch }).map(({ url }) => Number(url.split("/").at(-1)));

  for (const [minor, patch, expected] of [
    [30, 3, [134800, 126543, 126331]],
    [30, 4, [134800, 126543]],
    [30, 14, [134800]],
    [31, 0, [134800, 126543]],
    [32, 99, [134800]],
    [33, 5, [134800]],
    [33, 6, []],
    [34, 1, [134800]],
    [34, 2, []],
    [35, 3, [137885]],
    [35, 4, []],
    [36, 0, []],
  ] as const) {
    it(`should know those of 1.${minor}.${patch}`, function () {
      expect(pulls(minor, patch)).to.deep.equal(expected);
    });
  }

  it("should say of each what happens, and where it was mended", function () {
    for (const { url, effect } of KUBELET_DEFECTS) {
      expect(url).to.match(/^https:\/\/github\.com\/kubernetes\/kubernetes\/pull\/\d+$/);
      expect(effect).to.not.equal("");
    }
  });
});
