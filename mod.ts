/**
 * Publish/subscribe over UDP datagrams by MQTT-SN 1.2: a broker and its clients,
 * for programs and for tests.
 *
 * {@linkcode Broker} is the broker; {@linkcode Client} publishes, subscribes and
 * sleeps; {@linkcode Publisher} and {@linkcode Subscriber} are clients for the one
 * or the other. {@linkcode ClassicClient} speaks the protocol of JSON datagrams
 * that the broker serves at the same port. The rest is what these are made of:
 * the codec ({@linkcode decodePacket}, {@linkcode encodePacket}), and the cores
 * without sockets and timers ({@linkcode Router}, {@linkcode Device}).
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

export type {
  ClassicTopic,
  DeliveryQos,
  Message,
  TopicFilter,
  TopicName,
} from "./wire/message.ts";
export {
  LocalProtocolError,
  MalformedPacketError,
  NoAnswerError,
  RemoteProtocolError,
} from "./base/errors.ts";
export {
  DEFAULT_PORT,
  isLoopback,
  MAX_DATAGRAM,
  type Peer,
  peerOf,
} from "./base/peer.ts";
export {
  type Clock,
  ManualClock,
  type Millis,
  type Random,
  seededRandom,
} from "./base/clock.ts";
export {
  type BroadcastEffect,
  type Effect,
  EffectQueue,
  type Machine,
  type PersistEffect,
  type SendEffect,
  type TraceEffect,
} from "./base/machine.ts";
export {
  type Advertise,
  type Bare,
  type Connect,
  type Disconnect,
  type Encapsulated,
  type GwInfo,
  type MqttSnPacket,
  MSG_TYPE,
  type MsgIdOnly,
  type MsgType,
  type Pingreq,
  PROTOCOL_ID,
  type Publish,
  type Qos,
  type Register,
  RETURN_CODE,
  type ReturnCodeOnly,
  type SearchGw,
  type Suback,
  type Subscribe,
  type TopicAck,
  type TopicIdType,
  type TopicReference,
  type Unsubscribe,
  type WillMsgPacket,
  type WillTopic,
  type WillTopicPacket,
} from "./wire/packets.ts";
export {
  CLASSIC_REPLY,
  type ClassicInvalid,
  type ClassicPublish,
  type ClassicRefusal,
  type ClassicRequest,
  type ClassicSubscribe,
  type ClassicUnknown,
  decodeReply,
  decodeRequest,
  encodePublish,
  encodeReply,
  encodeSubscribe,
  parseClassicTopic,
  refusalOf,
} from "./wire/classic.ts";
export { isWorker } from "./base/worker.ts";
export type { RecorderStats } from "./journal/recorder.ts";
export {
  parseRecording,
  type RecordedDatagram,
  type Recording,
  RecordingError,
  type RecordingHeader,
} from "./journal/recording.ts";
export type { Answer, Answers, Difference } from "./journal/replay_match.ts";
export {
  type ClientReport,
  describeReplay,
  replay,
  type ReplayOptions,
  type ReplayReport,
} from "./journal/replay.ts";
export type { DatagramBufferOptions, Slice, Way } from "./journal/buffer.ts";
export {
  type Count,
  type DatagramQuery,
  type EntryType,
  type FieldsOf,
  type JournalEntry,
} from "./journal/query.ts";
export {
  type Expectation,
  ExpectationError,
  Journal,
  type JournalOptions,
  type NotedQuery,
  type ReceivedQuery,
  type SentQuery,
} from "./journal/journal.ts";
export { Conversation, type ConversationOptions } from "./wire/conversation.ts";
export { OTHER_TYPES, type Reading, type ReadingType } from "./wire/reading.ts";
export type { TableOptions } from "./journal/table.ts";
export {
  type DecodeOptions,
  decodePacket,
  type EncodeOptions,
  encodePacket,
  isFramed,
  shortTopicId,
  shortTopicName,
} from "./wire/mqttsn.ts";
export {
  hasWildcard,
  matchesFilter,
  MAX_LEVELS,
  MAX_TOPIC_OCTETS,
  parsePredefined,
  parseTopicFilter,
  parseTopicName,
} from "./wire/topics.ts";
export { describeDatagram, describePacket } from "./wire/describe.ts";
export {
  type Chance,
  type Chosen,
  DEFAULT_LIMIT,
  type Delay,
  type Distribution,
  type Down,
  type GeModel,
  type NetSpec,
  type Paths,
  type PathSpec,
  type Rate,
  type Reorder,
} from "./netsim/spec.ts";
export {
  NET_PRESETS,
  type NetPreset,
  type NetTextOptions,
  parseNetSpec,
  printNetSpec,
} from "./netsim/spec_text.ts";
export {
  type Deliver,
  Netem,
  noPathCounts,
  type PathCounts,
} from "./netsim/netem.ts";
export type { ClientState } from "./wire/observer.ts";
export type { Side } from "./wire/packets.ts";
export {
  type DraftType,
  type FieldValue,
  type PacketDraft,
} from "./netsim/fault_packets.ts";
export type {
  FaultAct,
  FaultMatch,
  FaultRule,
  FaultTurn,
} from "./netsim/fault_rules.ts";
export { parseFaults } from "./netsim/fault_text.ts";
export {
  describeFault,
  type FaultEvent,
  Faults,
  type FaultsOptions,
  type FaultVerdict,
  type Late,
} from "./netsim/faults.ts";
export type {
  BegunEnd,
  BegunRecord,
  DatumEnd,
  DatumRecord,
  InFlightRecord,
  PeerRecord,
  QueuedEnd,
  QueuedRecord,
  ReceivedEnd,
  ReceivedRecord,
  RetainedEnd,
  RetainedRecord,
  SessionEnd,
  SessionRecord,
  StoreChange,
  StoreRecord,
  SubscriptionEnd,
  SubscriptionRecord,
  TopicIdEnd,
  TopicIdRecord,
  WillRecord,
} from "./broker/records.ts";
export type { StoreState } from "./broker/persistence.ts";
export type { ForgetReason } from "./broker/classic_history.ts";
export type { LossReason } from "./broker/events.ts";
export {
  SESSION_STATES,
  type SessionEvent,
  type SessionState,
  TRANSITIONS,
} from "./broker/session_states.ts";
export type { ClientCounts, ConnectionStats } from "./broker/connections.ts";
export {
  type ConnectEvent,
  type DeliverEvent,
  DROP_REASONS,
  type DropEvent,
  type DropReason,
  type ExpireEvent,
  type ForgetEvent,
  type HoldEvent,
  type LoseEvent,
  type MoveEvent,
  type PublishEvent,
  type Refusal,
  REFUSALS,
  type RefuseEvent,
  type RegisterEvent,
  type RouterEvent,
  type SessionStateEvent,
  type StoreEvent,
  type SubscribeEvent,
  type UnsubscribeEvent,
  type WillEvent,
} from "./broker/events.ts";
export type { ClassicStats } from "./broker/classic.ts";
export type { SubscriptionStats } from "./broker/subscriptions.ts";
export type { PublicationStats } from "./broker/publications.ts";
export type { DeliveryStats } from "./broker/delivery.ts";
export type { GatewayStats } from "./broker/gateway.ts";
export type { MqttSnStats, RouterStats } from "./broker/sys_topics.ts";
export type { RouterOptions } from "./broker/options.ts";
export { Router } from "./broker/router.ts";
export type { DeviceTopic, DeviceWill } from "./client/commands.ts";
export {
  type DeviceEvent,
  type DeviceState,
  ReceivedMessage,
  type ReceivedMessageProps,
} from "./client/events.ts";
export type { KnownGateway, SearchOptions } from "./client/gateway_search.ts";
export { Device, type DeviceOptions } from "./client/device.ts";
export {
  type AnswerEvent,
  ClassicDevice,
  type ClassicDeviceEvent,
  type RefusedEvent,
  type SilenceEvent,
  type StrayEvent,
} from "./client/classic_device.ts";
export {
  type Access,
  type NetCounts,
  type NetWay,
  VirtualNet,
  type VirtualNetOptions,
} from "./netsim/virtual_net.ts";
export {
  DEFAULT_FLEET,
  type FleetOptions,
  parseQosMix,
  parseRate,
  parseShare,
  parseSizes,
  parseTime,
  type QosMix,
  TopicTree,
} from "./fleet/options.ts";
export { type AirCounts, Fleet, type FleetSample } from "./fleet/fleet.ts";
export { type CurvePoint, Histogram } from "./fleet/histogram.ts";
export {
  Account,
  type Entry,
  Ledger,
  MESSAGE_KINDS,
  type MessageKind,
} from "./fleet/ledger.ts";
export {
  describeReport,
  type FleetReport,
  type FlowReport,
  type LatencyReport,
  reportOf,
  type RunCost,
} from "./fleet/report.ts";
export { pageOf } from "./fleet/page.ts";
export type {
  BindOptions,
  DatagramHandler,
  Membership,
  SenderStats,
  Transport,
  TransportCounts,
  TransportStats,
} from "./transport/transport.ts";
export { resolve } from "./transport/resolve.ts";
export { MemoryNetwork } from "./transport/memory.ts";
export { UdpTransport } from "./transport/udp.ts";
export type { Io } from "./transport/batched.ts";
export {
  Log,
  LOG_LEVELS,
  type LogLevel,
  type LogOptions,
  printable,
} from "./base/log.ts";
export {
  type NetOptions,
  NetSim,
  type NetSimOptions,
  type NetStats,
} from "./netsim/netsim.ts";
export { Template, type TemplateOptions } from "./template.ts";
export type { RequestOptions } from "./client/subscription.ts";
export { REAL_CLOCK } from "./base/system_clock.ts";
export { Interruption } from "./base/interruption.ts";
export { messageOf } from "./base/errors.ts";
export { Subscription, type SubscriptionOwner } from "./client/subscription.ts";
export type {
  ClientOptions,
  ClientStats,
  ClientWill,
  PublishOptions,
  SubscribeOptions,
} from "./client.ts";
export { groupFrom, Multicast } from "./transport/multicast.ts";
export { Client, type ClientSetup, RefusedError } from "./client.ts";
export {
  ClassicClient,
  type ClassicClientOptions,
  ClassicRefusedError,
} from "./classic_client.ts";
export type { BrokerOptions, BrokerStats } from "./broker.ts";
export type { CommitStats } from "./store/committer.ts";
export { Broker } from "./broker.ts";
export { StoreError, type StoreErrorKind } from "./store/error.ts";
export type { Durability } from "./store/file.ts";
export { type PublishAllOptions, Publisher } from "./publisher.ts";
export { Subscriber, type SubscriberOptions } from "./subscriber.ts";
