// The npm package `shimmy`: docs/reference/sdk-typescript.md.
export { ERROR_CODES, ShimmyError, type ShimmyErrorCode } from "../../common/errors.ts";
export type { ConnectOptions } from "../../shm-core/lib/channel-client.ts";
export { TopicDeniedError } from "../../shm-core/lib/channel-native.ts";
export { forgottenLoanCount, type ChannelCounters } from "../../shm-core/lib/channel-endpoint.ts";
export type { AsyncWaitOptions, WaitOptions } from "../../shm-core/lib/channel-waits.ts";
export type { WaitMode } from "../../shm-core/lib/stream-waits.ts";
export { ShimmyClient } from "./client.ts";
export { Consumer } from "./consumer.ts";
export type { ChannelInfo } from "./endpoint.ts";
export { Loan, type Message, type MessageInfo, type MessageInto } from "./message.ts";
export type {
  EndpointOptions,
  LockFreeParameters,
  LockParameters,
  SubscriberOptions,
} from "./options.ts";
export { Producer } from "./producer.ts";
export { Publisher } from "./publisher.ts";
export { Room } from "./room.ts";
export { Subscriber } from "./subscriber.ts";
