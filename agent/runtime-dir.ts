import { chmod, lstat, mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { connect } from "node:net";
import { dirname, join } from "node:path";

import { ShimmyError, toShimmyError } from "../common/errors.ts";
import { API_SOCKET, FD_SOCKET, podDirectory, type PodName } from "./api.ts";

/** Others may pass through, but not list. */
const PASSAGE_MODE = 0o711;
/** `sun_path` of sockaddr_un has 108 bytes, the closing NUL included (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Makes the agent's runtime directory, or checks the one there is.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_RUNTIME_DIR` when it is not a directory, is another
 * user's, or others may write to it: whoever can write there can stand in for the agent.
 */
export async function prepareRuntimeDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: PASSAGE_MODE });
    await requireOwnDirectory(path);
    await makePassage(join(path, "pods"));
  } catch (err) {
    throw toShimmyError(err, "SHIMMY_ERR_RUNTIME_DIR");
  }
}

/**
 * Makes the directory for what the agent and its helper share in Kubernetes, if it is not there: a
 * volume of their pod, whose owner is the kubelet's choice and which nobody else sees.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_RUNTIME_DIR` when it cannot be made.
 */
export async function prepareSharedDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (err) {
    throw toShimmyError(err, "SHIMMY_ERR_RUNTIME_DIR");
  }
}

/**
 * Makes the directory of one pod's sockets.
 *
 * @param isShared - Whether users other than the agent's own and root may be this pod.
 * @returns Its path.
 * @throws {@link ShimmyError} `SHIMMY_ERR_RUNTIME_DIR` when it cannot be made, or the paths of its
 * sockets are too long.
 */
export async function preparePodDirectory(
  runtimeDir: string,
  pod: PodName,
  isShared: boolean,
): Promise<string> {
  const directory = podDirectory(runtimeDir, pod);
  const longest = Buffer.byteLength(join(directory, API_SOCKET));
  if (longest > MAX_SOCKET_PATH_BYTES) {
    throw new ShimmyError(
      "SHIMMY_ERR_RUNTIME_DIR",
      `${directory} is too long for a socket: ${longest} bytes, at most ${MAX_SOCKET_PATH_BYTES}`,
    );
  }
  try {
    await makePassage(dirname(directory));
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await requireOwnDirectory(directory);
    await chmod(directory, isShared ? PASSAGE_MODE : 0o700);
    return directory;
  } catch (err) {
    throw toShimmyError(err, "SHIMMY_ERR_RUNTIME_DIR");
  }
}

/** Mode of a pod's socket files; who may be the pod is decided when they connect. */
export function socketMode(isShared: boolean): number {
  return isShared ? 0o666 : 0o600;
}

/** Removes a pod's sockets and its directory, and its namespace's when that is empty. */
export async function removePodDirectory(runtimeDir: string, pod: PodName): Promise<void> {
  const directory = podDirectory(runtimeDir, pod);
  for (const name of [API_SOCKET, FD_SOCKET]) await rm(join(directory, name), { force: true });
  await removeIfEmpty(directory);
  await removeIfEmpty(dirname(directory));
}

/**
 * Removes what an agent that was killed left behind.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` when another agent serves the directory.
 */
export async function removeStalePods(runtimeDir: string): Promise<void> {
  for (const pod of await listPods(runtimeDir)) {
    await claimSocketPath(join(podDirectory(runtimeDir, pod), API_SOCKET));
    await removePodDirectory(runtimeDir, pod);
  }
}

/**
 * Removes a socket file that nobody listens on.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_ADDRESS_IN_USE` when somebody does.
 */
export async function claimSocketPath(path: string): Promise<void> {
  if (await isServed(path)) {
    throw new ShimmyError("SHIMMY_ERR_ADDRESS_IN_USE", `another agent listens on ${path}`);
  }
  await rm(path, { force: true });
}

async function listPods(runtimeDir: string): Promise<PodName[]> {
  const root = join(runtimeDir, "pods");
  const pods: PodName[] = [];
  for (const namespace of await readdir(root)) {
    for (const name of await readdir(join(root, namespace))) pods.push({ namespace, name });
  }
  return pods;
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => {
      resolve(false);
    });
  });
}

async function makePassage(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: PASSAGE_MODE });
  await requireOwnDirectory(path);
  await chmod(path, PASSAGE_MODE);
}

async function requireOwnDirectory(path: string): Promise<void> {
  const found = await lstat(path);
  const { uid, mode } = found;
  const problem = [
    found.isDirectory() ? undefined : "is not a directory",
    uid === process.geteuid?.() ? undefined : `belongs to user ${uid}`,
    (mode & 0o022) === 0
      ? undefined
      : `may be written by others (mode ${(mode & 0o777).toString(8)})`,
  ].find((text) => text !== undefined);
  if (problem !== undefined) throw new ShimmyError("SHIMMY_ERR_RUNTIME_DIR", `${path} ${problem}`);
}

async function removeIfEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch {
    // Not empty, or gone already: either way it is as it should be.
  }
}
