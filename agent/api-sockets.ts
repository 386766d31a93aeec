/**
 * Where a pod finds the agent in Kubernetes: two abstract Unix sockets in the pod's own network
 * namespace. Nothing is mounted, nothing is left behind, and the kernel decides who can reach them.
 */

/** In place of a pod's directory: the sockets are in its network namespace. */
export const ABSTRACT_AGENT_DIR = "@shimmy";
/** Address of a pod's HTTP socket in its network namespace. */
export const ABSTRACT_API_SOCKET = "\0shimmy/api";
/** Address of a pod's message socket in its network namespace. */
export const ABSTRACT_FD_SOCKET = "\0shimmy/fd";
