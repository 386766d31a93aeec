/**
 * Which pod a process belongs to, by the text of its `/proc/PID/cgroup`.
 *
 * The kernel writes that file, and a process cannot change what it says of itself; `mountinfo`, which
 * others read as well, it can. What a pod can do where a cgroup was delegated to it is to make
 * one below its own and name it like that of another pod: so every part of every line is looked at,
 * and two pods in one text are none.
 *
 *   I1  at most one pod is named, and nothing in the text names another
 *   I2  a part counts only where the kubelet puts it: below `kubepods`, or where a cgroup namespace
 *       hides what is above it
 *   I3  nothing below a user's own slice counts: systemd lets users name cgroups there
 *
 * netns-helper/cgroup.cc has the same rules; test/fixtures/cgroups.txt holds both to one table.
 *
 * @see https://man7.org/linux/man-pages/man7/cgroups.7.html, `/proc/pid/cgroup`
 * @see https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/kubelet/cm/pod_container_manager_linux.go
 */

/** What a text says: a pod, none, or something that no kubelet makes. */
export type CgroupReading =
  | {
      readonly kind: "pod";
      /** As the API server writes it; the hash of a static pod as it is. */
      readonly uid: string;
      /** Id of the container, where all lines that name one name the same. */
      readonly container: string | undefined;
    }
  | { readonly kind: "none" }
  | { readonly kind: "refused"; readonly problem: string };

/** A part that is named as a pod's cgroup is. */
interface PodPart {
  readonly uid: string;
  /** Whether the name itself says that it is the kubelet's. */
  readonly isSlice: boolean;
  readonly container: string | undefined;
}

/** What one line says. */
type LineReading = PodPart | { readonly problem: string } | undefined;

const HEX = "[0-9a-f]";
const UID = `${HEX}{8}([-_])${HEX}{4}\\1${HEX}{4}\\1${HEX}{4}\\1${HEX}{12}|${HEX}{32}`;
const UID_ONLY = new RegExp(`^(?:${UID})$`);
const LINE = /^\d+:[^:]*:\/(.*)$/;
/** Between `kubepods` and `-pod` of a slice's name. */
const SLICE_HEAD = /(?:^|-)kubepods(?:-burstable|-besteffort)?$/;
/** After the UID of a slice's name. Where containerd was not told of systemd, all is one name. */
const SLICE_TAIL = /^\.slice(?::[a-z-]+:([0-9a-f]{64}))?$/;
const QOS_PART = /^(?:burstable|besteffort|(?:.*-)?kubepods-(?:burstable|besteffort)\.slice)$/;
const ROOT_PART = /^(?:kubepods|(?:.*-)?kubepods\.slice)$/;
/** `ID`, or `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`. */
const CONTAINER_PART = /^(?:([a-z-]+)-)?([0-9a-f]{64})(?:\.scope)?$/;
/** CRI-O's monitor, which is in the pod's cgroup and outside the container. */
const MONITOR = "crio-conmon";
const USER_SLICE = "user.slice";

/** Reads the text of `/proc/PID/cgroup`, in whatever layout: v1, v2 or both, any driver. */
export function readCgroup(text: string): CgroupReading {
  let uid: string | undefined;
  const containers = new Set<string>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const reading = readLine(line);
    if (reading === undefined) continue;
    if ("problem" in reading) return { kind: "refused", problem: reading.problem };
    if (uid !== undefined && uid !== reading.uid) return conflict(uid, reading.uid); // I1
    ({ uid } = reading);
    if (reading.container !== undefined) containers.add(reading.container);
  }
  if (uid === undefined) return { kind: "none" };
  const [container] = containers.size === 1 ? containers : [];
  return { kind: "pod", uid, container };
}

function readLine(line: string): LineReading {
  const path = LINE.exec(line)?.[1];
  if (path === undefined) return { problem: `not a line of a cgroup file: ${shown(line)}` };
  const parts = path.replace(/^(?:\.\.\/)+/, "").split("/");
  const at = parts.findIndex((part) => readPart(part) !== undefined);
  const pod = readPart(parts[at] ?? "");
  if (pod === undefined) return undefined;
  const before = parts.slice(0, at);
  const after = parts.slice(at + 1);
  const problem = problemBelow(pod, after) ?? problemAbove(pod, before);
  if (problem !== undefined) return { problem };
  if (!pod.isSlice && !isPlaced(before, path.startsWith("../"))) return undefined; // I2
  return { ...pod, container: pod.container ?? containerOf(after[0]) };
}

function problemBelow({ uid }: PodPart, parts: readonly string[]): string | undefined {
  const other = parts.find((part) => (readPart(part)?.uid ?? uid) !== uid);
  return other === undefined ? undefined : `${shown(other)} is below pod ${uid}`; // I1
}

/** A pod that cannot be read may be any, and what is below it another's work (I1). */
function problemAbove({ uid }: PodPart, parts: readonly string[]): string | undefined {
  const other = parts.find(
    (part) => part === USER_SLICE || part.startsWith("pod") || part.includes("-pod"), // I3
  );
  return other === undefined ? undefined : `pod ${uid} is below ${shown(other)}`;
}

/** Whether a part after these is where the kubelet puts pods. */
function isPlaced(before: readonly string[], isRelative: boolean): boolean {
  const hasQos = QOS_PART.test(before.at(-1) ?? "");
  const above = hasQos ? before.slice(0, -1) : before;
  return above.length === 0 ? isRelative : ROOT_PART.test(above.at(-1) ?? "");
}

function readPart(part: string): PodPart | undefined {
  if (part.startsWith("pod")) {
    const uid = readUid(part.slice("pod".length));
    return uid === undefined ? undefined : { uid, isSlice: false, container: undefined };
  }
  const at = part.lastIndexOf("-pod");
  if (at === -1 || !SLICE_HEAD.test(part.slice(0, at))) return undefined;
  const rest = part.slice(at + "-pod".length);
  const dot = rest.indexOf(".");
  const uid = readUid(rest.slice(0, Math.max(dot, 0)));
  const tail = SLICE_TAIL.exec(rest.slice(dot));
  if (uid === undefined || tail === null) return undefined;
  return { uid, isSlice: true, container: tail[1] };
}

/** In a slice's name a dash is a level of the tree, so systemd's names have underscores in the UID. */
function readUid(text: string): string | undefined {
  return UID_ONLY.test(text) ? text.replaceAll("_", "-") : undefined;
}

function containerOf(part = ""): string | undefined {
  const [, runtime, id] = CONTAINER_PART.exec(part) ?? [];
  return runtime === MONITOR ? undefined : id;
}

function conflict(one: string, other: string): CgroupReading {
  return { kind: "refused", problem: `names two pods, ${one} and ${other}` };
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
