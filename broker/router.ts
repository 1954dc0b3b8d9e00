/**
 * The broker's core: datagrams in, effects out. It tells the protocols apart, joins
 * them, so that what one publishes the others receive, and keeps the broker's own
 * topics. Its surface is that of every machine (`base/machine.ts`).
 *
 * A datagram is MQTT-SN if its length and type are, unless it is JSON: an object
 * in JSON begins with 7B, which as MQTT-SN is a message of 123 octets, and what
 * follows in any that a program writes is no type. Only of a peer that is being
 * asked for its will it is believed to be one.
 *
 * What is published by MQTT-SN enters the topic's classic history, as text; what
 * is published by the classic protocol reaches the subscribers of MQTT-SN at QoS
 * 0, if its topic's name is one of MQTT's. Where no history is kept, text is made
 * only for a client that waits for it.
 *
 * @module
 */

import { decodeRequest, parseClassicTopic } from "../wire/classic.ts";
import { ClassicBroker } from "./classic.ts";
import { earliest, type Millis } from "../base/clock.ts";
import type { RouterEvent } from "./events.ts";
import { Exchange } from "./exchange.ts";
import { Gateway } from "./gateway.ts";
import { type Effect, EffectQueue, type Machine } from "../base/machine.ts";
import { type ClassicTopic, Message, type TopicName } from "../wire/message.ts";
import { LocalProtocolError, MalformedPacketError } from "../base/errors.ts";
import { MAX_DATAGRAM, type Peer } from "../base/peer.ts";
import { decodePacket, isFramed } from "../wire/mqttsn.ts";
import { type RouterOptions, type Settings, settingsFrom } from "./options.ts";
import { Outlet } from "./outlet.ts";
import { MSG_TYPE } from "../wire/packets.ts";
import { Persistence, type StoreState } from "./persistence.ts";
import type { StoreChange, StoreRecord } from "./records.ts";
import { Restorer } from "./restore.ts";
import { type RouterStats, systemTopics } from "./sys_topics.ts";
import { isReserved, parseTopicName, SYSTEM_LEVEL } from "../wire/topics.ts";
import { encodeUtf8 } from "../base/utf8.ts";

/** Between two looks at the broker's own topics, while anyone subscribes. */
const SYSTEM_INTERVAL_MS = 1_000;

/**
 * The broker's core.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "../base/peer.ts";
 * import { Router } from "./router.ts";
 *
 * const router = new Router();
 * const peer = peerOf("127.0.0.1", 4711);
 * const request = '{"type":"publish","topic":"weather","data":"21.5"}';
 * router.handleDatagram(0, peer, new TextEncoder().encode(request));
 *
 * const replies: string[] = [];
 * for (let effect; (effect = router.pollEffect());) {
 *   if (effect.type === "send") {
 *     replies.push(new TextDecoder().decode(effect.bytes));
 *   }
 * }
 * assertEquals(replies, ["Broker has recieved message"]);
 * ```
 */
export class Router implements Machine<RouterEvent, StoreChange> {
  readonly #effects = new EffectQueue<RouterEvent, StoreChange>();
  readonly #persistence = new Persistence(this.#effects);
  readonly #outlet = new Outlet(this.#effects);
  readonly #exchange: Exchange;
  readonly #gateway: Gateway;
  readonly #classic: ClassicBroker;
  readonly #settings: Settings;
  readonly #framing: { readonly lenient: boolean };
  #received = 0;
  #receivedOctets = 0;
  #startedAt: Millis | undefined;
  /** What has been restored so far, until all has. */
  #restoring: Restorer | undefined;
  /** When the broker's own topics are due, while anyone subscribes to them. */
  #systemAt: Millis | undefined;
  /** What they said last. */
  readonly #system = new Map<TopicName, string>();

  /**
   * Makes a router with empty tables.
   *
   * @param options limits and choices other than the defaults
   * @throws {RangeError} when a limit is out of its range
   * @throws {TypeError} when a pre-defined topic is not valid
   */
  constructor(options: RouterOptions = {}) {
    const settings = settingsFrom(options);
    this.#settings = settings;
    this.#framing = { lenient: settings.ignoreTail };
    const outlet = this.#outlet;
    const persistence = this.#persistence;
    if (settings.isDurable) persistence.state = "loading";
    const exchange = new Exchange(settings, persistence);
    const parts = { settings, outlet, exchange, persistence, host: this };
    this.#exchange = exchange;
    this.#classic = new ClassicBroker(parts);
    this.#gateway = new Gateway(parts);
    this.#restoring = settings.isDurable
      ? new Restorer({
        gateway: this.#gateway,
        exchange,
        classic: this.#classic,
      })
      : undefined;
  }

  /**
   * Takes one of the records that were kept, in the order in which a store gives
   * them, at the start and before anything else is done.
   *
   * @returns whether it could be read
   * @throws {LocalProtocolError} when nothing is to be restored, or not any more
   */
  restore(now: Millis, record: StoreRecord): boolean {
    if (this.#restoring === undefined) {
      throw new LocalProtocolError("Cannot restore: all has been restored");
    }
    return this.#restoring.take(now, record);
  }

  /**
   * Goes on where the records ended: all of them have been restored.
   *
   * @param starts how often a broker has started on this store, this time included
   */
  handleRestored(now: Millis, starts: number): void {
    this.#restoring?.end(now, starts);
    this.#restoring = undefined;
    // Nobody has to subscribe to them anew.
    if (this.#exchange.hasSubscriptionBelow(SYSTEM_LEVEL)) this.#systemAt = now;
    this.#setStoreState("ready");
    this.#gateway.handleRestored(now);
  }

  /**
   * Is told how it is with the store. While it is `refusing`, nothing is promised:
   * a request for something that has to be stored is refused.
   */
  handleStore(state: "ready" | "busy" | "refusing"): void {
    if (!this.#persistence.isOn || this.#restoring !== undefined) return;
    this.#setStoreState(state);
  }

  /**
   * Takes back a promise that was to be sent and cannot be kept; a refusal may be
   * sent in its place.
   *
   * @param bytes the octets of a send effect that is a promise
   */
  handleUncommitted(now: Millis, peer: Peer, bytes: Uint8Array): void {
    if (this.#classic.handleUncommitted(now, peer, bytes)) return;
    this.#gateway.handleUncommitted(now, peer, bytes);
  }

  #setStoreState(state: StoreState): void {
    if (this.#persistence.state === state) return;
    this.#persistence.state = state;
    this.#outlet.trace({ type: "store", state });
  }

  /** Takes one datagram from a peer. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.#startedAt ??= now;
    this.#received++;
    this.#receivedOctets += bytes.length;
    if (bytes.length === 0) return this.#outlet.drop(peer, "empty");
    if (bytes.length > MAX_DATAGRAM) {
      return this.#outlet.drop(peer, "malformed", `${bytes.length} octets`);
    }
    if (this.#isMqttSn(peer, bytes)) {
      return this.#gateway.handleDatagram(now, peer, bytes);
    }
    this.#classic.handleDatagram(now, peer, bytes);
  }

  /** Does what is due by `now`. */
  handleTimeout(now: Millis): void {
    this.#startedAt ??= now;
    this.#classic.handleTimeout(now);
    this.#gateway.handleTimeout(now);
    if (this.#systemAt !== undefined && now >= this.#systemAt) {
      this.#publishSystem(now);
    }
  }

  /** When something is due next, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    return earliest(
      this.#systemAt,
      earliest(this.#gateway.nextTimeout(), this.#classic.nextTimeout()),
    );
  }

  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<RouterEvent, StoreChange> | undefined {
    return this.#effects.poll();
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): RouterStats {
    const { sent, sentOctets, sentByType, dropped, refused } = this.#outlet
      .stats();
    const classic = this.#classic.stats();
    const gateway = this.#gateway.stats();
    return {
      received: this.#received,
      receivedOctets: this.#receivedOctets,
      sent,
      sentOctets,
      published: classic.published + gateway.published,
      subscribed: classic.subscribed + gateway.subscribed,
      delivered: classic.delivered + gateway.delivered,
      dropped,
      store: this.#persistence.state,
      unstored: this.#persistence.skipped,
      classic,
      mqttsn: {
        ...gateway,
        sentByType,
        refused,
        subscriptions: this.#exchange.subscriptions,
        retained: this.#exchange.retained,
        retainedMemory: this.#exchange.memory,
        queueMemory: this.#settings.queueBudget.used,
        nameMemory: this.#settings.nameBudget.used,
      },
    };
  }

  /** Hands on what was published by MQTT-SN. */
  publish(now: Millis, message: Message): void {
    this.#exchange.deliver(now, message);
    if (this.#classic.isIdle) return;
    const { topicName, payload, qos } = message;
    // A name that the classic protocol would trim is none that it can ask for.
    const classicTopic = parseClassicTopic(topicName);
    if (classicTopic as string === topicName && !isReserved(topicName)) {
      this.#classic.enter(now, classicTopic!, payload, qos > 0);
    }
  }

  /** Hands on what was published by the classic protocol. */
  publishClassic(now: Millis, topic: ClassicTopic, data: string): void {
    const topicName = parseTopicName(topic);
    if (topicName === undefined || isReserved(topicName)) return;
    const message = new Message(topicName, encodeUtf8(data), 0, false);
    this.#exchange.deliver(now, message);
  }

  /** Drops what is of no protocol, and says how it begins. */
  dropMalformed(peer: Peer, bytes: Uint8Array): void {
    this.#outlet.drop(
      peer,
      "malformed",
      `Neither JSON nor MQTT-SN: ${problemOf(bytes)} in ${hexOf(bytes)}`,
    );
  }

  /** Brings the broker's own topics up to date for a new subscriber. */
  refreshSystem(now: Millis): void {
    if (this.#systemAt !== undefined) return; // less than a second old
    for (const message of this.#systemChanges(now)) {
      this.#exchange.admit(message);
    }
    this.#systemAt = now + SYSTEM_INTERVAL_MS;
  }

  #publishSystem(now: Millis): void {
    if (!this.#exchange.hasSubscriptionBelow(SYSTEM_LEVEL)) {
      for (const topicName of this.#system.keys()) {
        this.#exchange.forget(topicName);
      }
      this.#system.clear();
      this.#systemAt = undefined;
      return;
    }
    for (const message of this.#systemChanges(now)) {
      this.#exchange.admit(message);
      this.#exchange.deliver(now, message);
    }
    this.#systemAt = now + SYSTEM_INTERVAL_MS;
  }

  /** The broker's own topics that say something else than they did last. */
  #systemChanges(now: Millis): Message[] {
    const uptime = Math.floor((now - (this.#startedAt ?? now)) / 1_000);
    const changes: Message[] = [];
    for (
      const [name, value] of systemTopics(
        this.stats(),
        this.#settings.version,
        uptime,
      )
    ) {
      const topicName = parseTopicName(name)!;
      if (this.#system.get(topicName) === value) continue;
      this.#system.set(topicName, value);
      changes.push(new Message(topicName, encodeUtf8(value), 0, true));
    }
    return changes;
  }

  #isMqttSn(peer: Peer, bytes: Uint8Array): boolean {
    if (!isFramed(bytes, this.#framing)) return false;
    if (bytes[0] !== BRACE || !isJson(bytes)) return true;
    return bytes[1] === MSG_TYPE.WILLMSG && this.#gateway.isPrompting(peer);
  }
}

/** Octets that are shown of a datagram that is of no protocol. */
const MAX_SHOWN = 24;

/** What a reader of MQTT-SN has to say of octets. */
function problemOf(bytes: Uint8Array): string {
  try {
    return `${decodePacket(bytes).type} that was not expected`;
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
    return error.message;
  }
}

function hexOf(bytes: Uint8Array): string {
  const hex = bytes.subarray(0, MAX_SHOWN).toHex().replace(/../g, "$& ");
  return hex + (bytes.length > MAX_SHOWN ? "…" : `(${bytes.length} octets)`);
}

/** `{`, with which an object in JSON begins. */
const BRACE = 0x7b;

function isJson(bytes: Uint8Array): boolean {
  try {
    decodeRequest(bytes);
    return true;
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
    return false;
  }
}
