/**
 * The cores without sockets, timers and promises, and the codec: datagrams and the
 * time go in, effects come out. For a program that brings its own loop, and for tools
 * that read MQTT-SN.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodePacket, encodePacket } from "./core.ts";
 *
 * const bytes = encodePacket({ type: "PINGREQ", clientId: "lamp" });
 * assertEquals(decodePacket(bytes), { type: "PINGREQ", clientId: "lamp" });
 * ```
 *
 * @module
 */

// The machines
export {
  type BroadcastEffect,
  type Effect,
  EffectQueue,
  type Machine,
  type PersistEffect,
  type SendEffect,
  type TraceEffect,
} from "../base/machine.ts";
export { type Random, seededRandom } from "../base/clock.ts";
export { Router } from "../broker/router.ts";
export {
  SESSION_STATES,
  type SessionEvent,
  TRANSITIONS,
} from "../broker/session_states.ts";
export {
  type ConnectEvent,
  type DeliverEvent,
  DROP_REASONS,
  type DropEvent,
  type ExpireEvent,
  type ForgetEvent,
  type HoldEvent,
  type LoseEvent,
  type MoveEvent,
  type PublishEvent,
  REFUSALS,
  type RefuseEvent,
  type RegisterEvent,
  type RouterEvent,
  type SessionStateEvent,
  type StoreEvent,
  type SubscribeEvent,
  type UnsubscribeEvent,
  type WillEvent,
} from "../broker/events.ts";
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
} from "../broker/records.ts";
export { Device, type DeviceOptions } from "../client/device.ts";
export type { DeviceEvent } from "../client/events.ts";
export type { KnownGateway, SearchOptions } from "../client/gateway_search.ts";
export {
  type AnswerEvent,
  ClassicDevice,
  type ClassicDeviceEvent,
  type RefusedEvent,
  type SilenceEvent,
  type StrayEvent,
} from "../client/classic_device.ts";

// The codec of MQTT-SN
export {
  type DecodeOptions,
  decodePacket,
  type EncodeOptions,
  encodePacket,
  isFramed,
  shortTopicId,
  shortTopicName,
} from "../wire/mqttsn.ts";
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
  type Register,
  RETURN_CODE,
  type ReturnCodeOnly,
  type SearchGw,
  type Side,
  type Suback,
  type Subscribe,
  type TopicAck,
  type TopicIdType,
  type TopicReference,
  type Unsubscribe,
  type WillMsgPacket,
  type WillTopic,
  type WillTopicPacket,
} from "../wire/packets.ts";
export { describeDatagram, describePacket } from "../wire/describe.ts";

// The codec of the JSON protocol
export {
  CLASSIC_REPLY,
  type ClassicInvalid,
  type ClassicPublish,
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
} from "../wire/classic.ts";

// Topics and messages
export {
  hasWildcard,
  MAX_LEVELS,
  MAX_TOPIC_OCTETS,
  parseTopicFilter,
  parseTopicName,
} from "../wire/topics.ts";
export type {
  ClassicTopic,
  Message,
  TopicFilter,
  TopicName,
} from "../wire/message.ts";
export { MAX_DATAGRAM } from "../base/peer.ts";
