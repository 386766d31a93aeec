/** What one side of a connection does; the language of test/fixtures/traffic/script.h. */

/** One step of a lane. `bytes` in calls of `chunk`, with `pauseMs` between them. */
export type Step =
  | {
      readonly op: "send" | "receive";
      readonly bytes: number;
      readonly chunk?: number;
      readonly pauseMs?: number;
    }
  | { readonly op: "receiveToEnd"; readonly chunk?: number; readonly pauseMs?: number }
  | { readonly op: "shutdownWrite" }
  | { readonly op: "pause"; readonly ms: number };

/** One side. At most one lane sends and one receives; lanes run at the same time. */
export interface Side {
  readonly lanes: readonly (readonly Step[])[];
  readonly end: "close" | "reset" | "shutdown";
  /** How the program waits. */
  readonly waiting: "blocking" | "poll" | "edge";
  /** SO_RCVBUF and SO_SNDBUF; 0 leaves them alone. */
  readonly bufferBytes: number;
}

/** One connection. */
export interface TrafficCase {
  readonly name: string;
  readonly client: Side;
  readonly server: Side;
}

const ENDS = { close: "c", reset: "x", shutdown: "f" } as const;
const WAITING = { blocking: "b", poll: "p", edge: "e" } as const;

/** The last words of a command of traffic_peer: how it waits, its buffers, and the script. */
export function encodeSide({ lanes, end, waiting, bufferBytes }: Side): string {
  const script = [...lanes.map(encodeLane), ENDS[end]].join("|");
  return `${WAITING[waiting]} ${bufferBytes} ${script}`;
}

/** Bytes a side sends when nothing stops it. */
export function plannedToSend({ lanes }: Side): number {
  return sum(lanes.flat().map((step) => (step.op === "send" ? step.bytes : 0)));
}

/** Bytes a side takes when there are as many. */
export function plannedToReceive({ lanes }: Side): number {
  return sum(
    lanes.flat().map((step) => {
      if (step.op === "receiveToEnd") return Infinity;
      return step.op === "receive" ? step.bytes : 0;
    }),
  );
}

/** Whether a side has this step. */
export function hasStep({ lanes }: Side, op: Step["op"]): boolean {
  return lanes.flat().some((step) => step.op === op);
}

function encodeLane(lane: readonly Step[]): string {
  return lane.length === 0 ? "-" : lane.map(encodeStep).join(",");
}

function encodeStep(step: Step): string {
  switch (step.op) {
    case "send":
      return `s${step.bytes}${encodePace(step)}`;
    case "receive":
      return `r${step.bytes}${encodePace(step)}`;
    case "receiveToEnd":
      return `e${encodePace(step)}`;
    case "shutdownWrite":
      return "w";
    case "pause":
      return `p${step.ms}`;
  }
}

function encodePace({ chunk = 65_536, pauseMs = 0 }: { chunk?: number; pauseMs?: number }): string {
  return `/${chunk}@${pauseMs}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
