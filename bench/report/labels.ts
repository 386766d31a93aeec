/** Peers as people call them. */
const PEERS: Readonly<Record<string, string>> = {
  direct: "direct TCP",
  haproxy: "HAProxy TCP pair",
  nginx_stream: "nginx stream pair",
  envoy_tcp: "Envoy TCP pair",
  envoy_http: "Envoy HTTP pair",
  shimmy: "Shimmy",
  shimmy_nospin: "Shimmy, spin off",
  tcp: "TCP loopback",
  unix: "Unix socket",
  ring: "Shimmy ring",
  none: "no transport",
  rabbitmq: "RabbitMQ",
  redis: "Redis pub/sub",
  nats: "NATS",
  udp: "UDP loopback",
  lock_copy: "Shimmy lock-based, copy",
  lock_loan: "Shimmy lock-based, loan",
  lockfree_copy: "Shimmy lock-free, copy",
  lock_async: "Shimmy lock-based, asynchronous",
  lockfree_async: "Shimmy lock-free, asynchronous",
  lockfree_loan: "Shimmy lock-free, loan",
};

/** Metrics as the head of a column. */
const METRICS: Readonly<Record<string, string>> = {
  perSecond: "per second",
  mbPerSecond: "MB/s",
  p50Us: "p50 µs",
  p99Us: "p99 µs",
  p999Us: "p99.9 µs",
  maxUs: "max µs",
  unanswered: "unanswered",
  cpuUs: "CPU µs, all",
  loadCpuUs: "load generator",
  appCpuUs: "server",
  proxyCpuUs: "between them",
  setPerSecond: "SET/s",
  getPerSecond: "GET/s",
  setP50Us: "SET p50 µs",
  getP50Us: "GET p50 µs",
  p50Ms: "p50 ms",
  p99Ms: "p99 ms",
  maxMs: "max ms",
  connections: "connections made",
  injectorCpuUs: "injector CPU µs",
  peakRssMib: "peak RSS MiB",
  untilToldS: "until told, s",
  cpuShare: "CPUs",
  codecCpuUs: "codecs, apart",
  sleeps: "sleeps",
  wakes: "wakes",
  memoryKib: "KiB, most",
  sessionKib: "KiB per session, most",
  usualSessionKib: "KiB per session, median",
  socketKib: "of it in sockets, KiB",
};

/** A peer's name for people; the name itself when it has no other. */
export function peerLabel(peer: string): string {
  return PEERS[peer] ?? peer;
}

/** A metric's name for people; the name itself when it has no other. */
export function metricLabel(metric: string): string {
  return METRICS[metric] ?? metric;
}
