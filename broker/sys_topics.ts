/**
 * What the broker's core counts, and the broker's own topics that tell it,
 * `$SYS/broker/...`.
 *
 * @module
 */

import type { ClassicStats } from "./classic.ts";
import type { DropReason, Refusal } from "./events.ts";
import type { GatewayStats } from "./gateway.ts";
import type { MsgType } from "../wire/packets.ts";
import type { StoreState } from "./persistence.ts";

/**
 * What the broker's core counted since its start, and what its tables hold.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().store, "none");
 * ```
 */
export interface RouterStats {
  /** Datagrams taken. */
  readonly received: number;
  /** Their octets. */
  readonly receivedOctets: number;
  /** Datagrams sent. */
  readonly sent: number;
  /** Their octets. */
  readonly sentOctets: number;
  /** Publishes accepted, of both protocols. */
  readonly published: number;
  /** Subscribes accepted, of both protocols. */
  readonly subscribed: number;
  /** Messages and histories sent to subscribers, of both protocols. */
  readonly delivered: number;
  /** Datagrams and classic subscriptions left unanswered, by reason. */
  readonly dropped: Readonly<Record<DropReason, number>>;
  /** How it is with the store. */
  readonly store: StoreState;
  /** What nobody was promised and was left out as the store had no room. */
  readonly unstored: number;
  /** The classic protocol's. */
  readonly classic: ClassicStats;
  /** MQTT-SN's. */
  readonly mqttsn: MqttSnStats;
}

/**
 * What was counted of MQTT-SN, and what its tables hold.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.clients.active, 1);
 * ```
 */
export interface MqttSnStats extends GatewayStats {
  /** Messages sent, by type. */
  readonly sentByType: Readonly<Record<MsgType, number>>;
  /** Requests refused, by reason. */
  readonly refused: Readonly<Record<Refusal, number>>;
  /** Subscriptions now. */
  readonly subscriptions: number;
  /** Topics that have a retained message now. */
  readonly retained: number;
  /** Memory of retained messages, in octets, estimated. */
  readonly retainedMemory: number;
  /** Memory of messages that wait for clients, in octets, estimated. */
  readonly queueMemory: number;
  /** Memory of topic ids, filters and wills, in octets, estimated. */
  readonly nameMemory: number;
}

/** What a topic of the broker's own says. */
export type SystemTopic = readonly [topicName: string, value: string];

/**
 * All of the broker's own topics with their values, in order.
 *
 * @param stats what was counted
 * @param version the broker's version
 * @param uptime whole seconds since its start
 */
export function systemTopics(
  stats: RouterStats,
  version: string,
  uptime: number,
): readonly SystemTopic[] {
  const { mqttsn, classic } = stats;
  const { clients } = mqttsn;
  const connected = clients.active + clients.asleep + clients.awake;
  const lost = Object.values(mqttsn.lost).reduce((sum, n) => sum + n, 0);
  const topics: [string, number | string][] = [
    ["version", `mock-mqtt ${version}`],
    ["uptime", `${uptime} seconds`],

    // mosquitto's names
    ["clients/total", clients.total],
    ["clients/maximum", clients.maximum],
    ["clients/connected", connected],
    ["clients/disconnected", clients.total - connected],
    ["clients/expired", mqttsn.expired],
    ["messages/received", sumOf(mqttsn.receivedByType)],
    ["messages/sent", sumOf(mqttsn.sentByType)],
    ["publish/messages/received", stats.published],
    ["publish/messages/sent", mqttsn.delivered],
    ["publish/messages/dropped", lost],
    ["publish/bytes/received", mqttsn.publishedOctets],
    ["publish/bytes/sent", mqttsn.deliveredOctets],
    ["bytes/received", stats.receivedOctets],
    ["bytes/sent", stats.sentOctets],
    ["subscriptions/count", mqttsn.subscriptions],
    ["retained messages/count", mqttsn.retained],
    ["store/messages/count", mqttsn.queued + mqttsn.retained],
    ["store/messages/bytes", mqttsn.queueMemory + mqttsn.retainedMemory],

    // and what it has none for
    ["datagrams/received", stats.received],
    ["datagrams/sent", stats.sent],
    ["clients/prompted", mqttsn.prompts],
    ["clients/taken over", mqttsn.takenOver],
    ["clients/moved", mqttsn.moved],
    ["clients/unanswered", mqttsn.unanswered],
    ["clients/prompts expired", mqttsn.promptsExpired],
    ["messages/queued", mqttsn.queued],
    ["messages/retried", mqttsn.retried],
    ["messages/repeated", mqttsn.repeated],
    ["wills/published", mqttsn.wills],
    ["store/state", stats.store],
    ["store/skipped", stats.unstored],
    ["classic/published", classic.published],
    ["classic/subscribed", classic.subscribed],
    ["classic/delivered", classic.delivered],
    ["classic/held", classic.held],
    ["classic/waiting", classic.waiting],
    ["classic/topics", classic.topics],
  ];
  const { total: _total, maximum: _maximum, ...states } = clients;
  const byReason: [string, Readonly<Record<string, number>>][] = [
    ["clients/by state", states],
    ["clients/lost by", mqttsn.lostBy],
    ["publish/messages/dropped by", mqttsn.lost],
    ["datagrams/dropped by", stats.dropped],
    ["refused by", mqttsn.refused],
    ["classic/refused by", classic.refused],
    ["classic/forgotten by", classic.forgotten],
  ];
  for (const [name, counts] of byReason) {
    for (const [reason, count] of Object.entries(counts)) {
      topics.push([`${name}/${reason}`, count]);
    }
  }
  return topics.map(([name, value]) => [
    `$SYS/broker/${name}`,
    String(value),
  ]);
}

function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
