/**
 * Publish/subscribe over UDP datagrams by MQTT-SN 1.2: a broker and its clients,
 * for programs and for tests.
 *
 * {@linkcode Broker} is the broker. {@linkcode Client} publishes, subscribes and
 * sleeps; {@linkcode Publisher} and {@linkcode Subscriber} are clients for one of
 * the two. {@linkcode ClassicClient} speaks the JSON protocol that the broker serves
 * at the same port.
 *
 * The rest has doors of its own: `./core` has the codec and the cores without sockets
 * and timers, `./testing` the journal, the bad network and a clock that is moved by
 * hand, `./fleet` thousands of clients in virtual time.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 *
 * const messages = await client.subscribe("weather/+", { qos: 1 });
 * await client.publish("weather/roof", "21.5", { qos: 1 });
 * assertEquals((await messages.take()).text(), "21.5");
 * ```
 *
 * @module
 */

// The broker
export {
  Broker,
  type BrokerOptions,
  type BrokerStats,
  IOS,
  MAX_WORKERS,
} from "./broker.ts";
export type { RouterOptions } from "./broker/options.ts";
export type { MqttSnStats, RouterStats } from "./broker/sys_topics.ts";
export type { ClientCounts, ConnectionStats } from "./broker/connections.ts";
export type { ClassicStats } from "./broker/classic.ts";
export type { DeliveryStats } from "./broker/delivery.ts";
export type { GatewayStats } from "./broker/gateway.ts";
export type { PublicationStats } from "./broker/publications.ts";
export type { SubscriptionStats } from "./broker/subscriptions.ts";
export type { StoreState } from "./broker/persistence.ts";
export type { ForgetReason } from "./broker/classic_history.ts";
export type { DropReason, LossReason, Refusal } from "./broker/events.ts";
export type { SessionState } from "./broker/session_states.ts";
export type { CommitStats } from "./store/committer.ts";
export type { Durability } from "./store/file.ts";
export { StoreError, type StoreErrorKind } from "./store/error.ts";

// The clients
export {
  Client,
  type ClientOptions,
  type ClientSetup,
  type ClientStats,
  type ClientWill,
  type PublishOptions,
  type SubscribeOptions,
} from "./client.ts";
export { RefusedError } from "./client/errors.ts";
export {
  type RequestOptions,
  Subscription,
  type SubscriptionOwner,
} from "./client/subscription.ts";
export { ReceivedMessage, type ReceivedMessageProps } from "./client/events.ts";
export type { DeviceState } from "./client/events.ts";
export type { DeviceTopic, DeviceWill } from "./client/commands.ts";
export { type PublishAllOptions, Publisher } from "./publisher.ts";
export { Subscriber, type SubscriberOptions } from "./subscriber.ts";
export {
  ClassicClient,
  type ClassicClientOptions,
  ClassicRefusedError,
} from "./classic_client.ts";
export type { ClassicRefusal } from "./wire/classic.ts";

// What they have in common
export { Template, type TemplateOptions } from "./template.ts";
export type { DeliveryQos } from "./wire/message.ts";
export type { Qos } from "./wire/packets.ts";
export { DEFAULT_PORT, type Peer, peerOf } from "./base/peer.ts";
export {
  LocalProtocolError,
  MalformedPacketError,
  NoAnswerError,
  RemoteProtocolError,
} from "./base/errors.ts";
export { Log, LOG_LEVELS, type LogLevel, type LogOptions } from "./base/log.ts";
export type { Clock, Millis } from "./base/clock.ts";
export { Interruption } from "./base/interruption.ts";
export { matchesFilter, parsePredefined } from "./wire/topics.ts";

// The network
export type {
  DatagramHandler,
  SenderStats,
  Transport,
  TransportCounts,
  TransportStats,
} from "./transport/transport.ts";
export { UdpTransport } from "./transport/udp.ts";
export { Multicast } from "./transport/multicast.ts";
export type { Io } from "./transport/batched.ts";
export type { NetOptions, NetStats } from "./netsim/netsim.ts";
export type { NetSpec } from "./netsim/spec.ts";
export type { DatagramBufferOptions } from "./journal/buffer.ts";
export type { RecorderStats } from "./journal/recorder.ts";
