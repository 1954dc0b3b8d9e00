/**
 * A router with a clock, spoken to in MQTT-SN, and what it sends as a test reads
 * it.
 *
 * @module
 */

import { ManualClock, type Millis } from "../../base/clock.ts";
import type { RouterEvent } from "../../broker/events.ts";
import type { Peer } from "../../base/peer.ts";
import { decodePacket, encodePacket, shortTopicId } from "../../wire/mqttsn.ts";
import type {
  Connect,
  MqttSnPacket,
  Publish,
  Qos,
} from "../../wire/packets.ts";
import type { RouterOptions } from "../../broker/options.ts";
import type { StoreChange } from "../../broker/records.ts";
import { Router } from "../../broker/router.ts";
import { UdpTransport } from "../../transport/udp.ts";
import { MemoryStore } from "./memory_store.ts";

/** What was sent: to which peer, and the packet. */
export type SentPacket = readonly [peer: string, packet: MqttSnPacket];

/** A broadcast is sent to nobody in particular. */
export const EVERYBODY = "everybody";

/** A topic as PUBLISH and SUBSCRIBE name it. */
export type TopicOf =
  | { readonly id: number }
  | { readonly predefined: number }
  | { readonly short: string };

const text = new TextEncoder();

/** A router at work in a test, on a virtual clock. */
export class GatewayBench {
  readonly clock = new ManualClock();
  router: Router;
  /** All events so far. */
  readonly events: RouterEvent[] = [];
  /** What the router keeps, if it is durable. */
  readonly store = new MemoryStore();
  /** What it told to be kept, and the store was not told yet. */
  readonly changes: StoreChange[] = [];
  readonly #options: RouterOptions;

  constructor(options: RouterOptions = {}) {
    this.#options = options;
    this.router = new Router(options);
    if (options.isDurable) this.router.handleRestored(this.clock.now(), 1);
  }

  /** Keeps what the router told to be kept. */
  commit(): void {
    this.store.commit(this.changes.splice(0));
  }

  /** Ends the router without a word, and starts one with what was kept. */
  restart(options: RouterOptions = {}): SentPacket[] {
    this.changes.length = 0;
    const router = this.router = new Router({ ...this.#options, ...options });
    const now = this.clock.now();
    for (const record of this.store.load()) {
      if (!router.restore(now, record)) throw new Error(`lost ${record.type}`);
    }
    router.handleRestored(now, ++this.store.starts);
    const sent = this.drain();
    this.commit();
    return sent;
  }

  /** What the router counted of MQTT-SN. */
  get stats(): ReturnType<Router["stats"]>["mqttsn"] {
    return this.router.stats().mqttsn;
  }

  /** Hands the router a packet, or octets in hexadecimal, and gives what it sent. */
  take(peer: Peer, packet: MqttSnPacket | string | Uint8Array): SentPacket[] {
    const bytes = typeof packet === "string"
      ? octets(packet)
      : packet instanceof Uint8Array
      ? packet
      : encodePacket(packet);
    this.router.handleDatagram(this.clock.now(), peer, bytes);
    return this.drain();
  }

  /** Moves the clock by so much at once, and gives what the router sent then. */
  advance(ms: Millis): SentPacket[] {
    this.clock.advance(ms);
    this.router.handleTimeout(this.clock.now());
    return this.drain();
  }

  /** Moves the clock from deadline to deadline, and gives all that was sent. */
  run(ms: Millis): SentPacket[] {
    const end = this.clock.now() + ms;
    const sent: SentPacket[] = [];
    for (
      let at;
      (at = this.router.nextTimeout()) !== undefined && at <= end;
    ) sent.push(...this.advance(Math.max(0, at - this.clock.now())));
    sent.push(...this.advance(end - this.clock.now()));
    return sent;
  }

  /** Takes what the router has to send; its octets stay in `wire`. */
  drain(): SentPacket[] {
    const sent: SentPacket[] = [];
    this.wire.length = 0;
    for (let effect; (effect = this.router.pollEffect()) !== undefined;) {
      if (effect.type === "trace") {
        this.events.push(effect.event);
        continue;
      }
      if (effect.type === "persist") {
        this.changes.push(effect.change);
        continue;
      }
      this.wire.push(effect.bytes.toHex());
      const to = effect.type === "send" ? effect.peer.key : EVERYBODY;
      sent.push([to, copyOf(decodePacket(effect.bytes))]);
    }
    return sent;
  }

  /** The octets that the last call sent, each datagram in hexadecimal. */
  readonly wire: string[] = [];

  /** Connects a client: clean, without keep alive or will unless told. */
  connect(
    peer: Peer,
    clientId: string,
    options: Partial<Connect> = {},
  ): SentPacket[] {
    return this.take(peer, {
      type: "CONNECT",
      will: false,
      cleanSession: true,
      protocolId: 1,
      duration: 0,
      clientId,
      ...options,
    });
  }

  /** Connects a client with a will, answering the prompts. */
  connectWithWill(
    peer: Peer,
    clientId: string,
    will: { topicName: string; data: string; qos?: Qos; retain?: boolean },
    options: Partial<Connect> = {},
  ): SentPacket[] {
    const { topicName, data, qos = 0, retain = false } = will;
    return [
      ...this.connect(peer, clientId, { ...options, will: true }),
      ...this.take(peer, {
        type: "WILLTOPIC",
        will: { qos, retain, topicName },
      }),
      ...this.take(peer, { type: "WILLMSG", data: text.encode(data) }),
    ];
  }

  /** Registers a name; gives its id. */
  register(peer: Peer, topicName: string, msgId = 100): number {
    const [sent] = this.take(peer, {
      type: "REGISTER",
      topicId: 0,
      msgId,
      topicName,
    });
    const packet = sent?.[1];
    if (packet?.type !== "REGACK" || packet.returnCode !== 0) {
      throw new Error(`Not registered: ${JSON.stringify(packet)}`);
    }
    return packet.topicId;
  }

  /** Subscribes by name or filter, or otherwise. */
  subscribe(
    peer: Peer,
    topic: string | Exclude<TopicOf, { id: number }>,
    qos: Qos = 0,
    msgId = 200,
  ): SentPacket[] {
    return this.take(peer, {
      type: "SUBSCRIBE",
      dup: false,
      qos,
      msgId,
      topic: referenceOf(topic),
    });
  }

  /** Unsubscribes. */
  unsubscribe(
    peer: Peer,
    topic: string | Exclude<TopicOf, { id: number }>,
    msgId = 300,
  ): SentPacket[] {
    return this.take(peer, {
      type: "UNSUBSCRIBE",
      msgId,
      topic: referenceOf(topic),
    });
  }

  /** Publishes. */
  publish(
    peer: Peer,
    topic: TopicOf,
    data: string,
    options: Partial<Publish> = {},
  ): SentPacket[] {
    const { qos = 0 } = options;
    return this.take(peer, {
      type: "PUBLISH",
      dup: false,
      qos,
      retain: false,
      msgId: qos > 0 ? 400 : 0,
      ...idOf(topic),
      data: text.encode(data),
      ...options,
    });
  }

  /** Lets a client sleep; gives what was sent. */
  sleep(peer: Peer, duration: number): SentPacket[] {
    return this.take(peer, { type: "DISCONNECT", duration });
  }

  /** Lets a client wake; gives what was sent. */
  wake(peer: Peer, clientId: string): SentPacket[] {
    return this.take(peer, { type: "PINGREQ", clientId });
  }
}

/** Octets from hexadecimal with or without spaces. */
export function octets(hex: string): Uint8Array {
  return Uint8Array.fromHex(hex.replaceAll(" ", ""));
}

/** The payload of a packet as text. */
export function textOf(packet: MqttSnPacket | undefined): string {
  if (packet?.type !== "PUBLISH") return `not a PUBLISH: ${packet?.type}`;
  return new TextDecoder().decode(packet.data);
}

function idOf(topic: TopicOf): Pick<Publish, "topicIdType" | "topicId"> {
  if ("id" in topic) return { topicIdType: "normal", topicId: topic.id };
  if ("predefined" in topic) {
    return { topicIdType: "predefined", topicId: topic.predefined };
  }
  return { topicIdType: "short", topicId: shortTopicId(topic.short)! };
}

function referenceOf(topic: string | Exclude<TopicOf, { id: number }>) {
  if (typeof topic === "string") {
    return { topicIdType: "normal" as const, topicName: topic };
  }
  if ("predefined" in topic) {
    return { topicIdType: "predefined" as const, topicId: topic.predefined };
  }
  return {
    topicIdType: "short" as const,
    topicId: shortTopicId(topic.short)!,
  };
}

/** A packet with octets of its own, so that assertions show them plainly. */
function copyOf(packet: MqttSnPacket): MqttSnPacket {
  return Object.fromEntries(
    Object.entries(packet).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? value.slice() : value,
    ]),
  ) as unknown as MqttSnPacket;
}

/** A packet as it is sent to a peer. */
export function to(peer: Peer, packet: MqttSnPacket): SentPacket {
  return [peer.key, packet];
}

/** A PUBLISH as it is sent to a peer: QoS 0, for the first time, unless told. */
export function publishTo(
  peer: Peer,
  topic: TopicOf,
  data: string,
  options: Partial<Publish> = {},
): SentPacket {
  return to(peer, {
    type: "PUBLISH",
    dup: false,
    qos: 0,
    retain: false,
    ...idOf(topic),
    msgId: 0,
    data: text.encode(data),
    ...options,
  });
}

/** A PUBACK, an accepting one unless told. */
export function puback(
  topicId: number,
  msgId: number,
  returnCode = 0,
): MqttSnPacket {
  return { type: "PUBACK", topicId, msgId, returnCode };
}

/** A REGACK, an accepting one unless told. */
export function regack(
  topicId: number,
  msgId: number,
  returnCode = 0,
): MqttSnPacket {
  return { type: "REGACK", topicId, msgId, returnCode };
}

/** The answer to every DISCONNECT, and to whoever is not connected. */
export const GOODBYE: MqttSnPacket = {
  type: "DISCONNECT",
  duration: undefined,
};

/** The answer to PINGREQ. */
export const PONG: MqttSnPacket = { type: "PINGRESP" };

/** The packets among those sent that went to a peer. */
export function packetsTo(
  peer: Peer,
  sent: readonly SentPacket[],
): MqttSnPacket[] {
  return sent.filter(([key]) => key === peer.key).map(([, packet]) => packet);
}

/** A PUBLISH as a client gets it: at QoS 0, by a normal id, unless told. */
export function publishOf(
  topicId: number,
  data: string | Uint8Array,
  options: Partial<Publish> = {},
): Publish {
  return {
    type: "PUBLISH",
    dup: false,
    qos: 0,
    retain: false,
    topicIdType: "normal",
    topicId,
    msgId: 0,
    data: typeof data === "string" ? text.encode(data) : data,
    ...options,
  };
}

/** The topic id that the SUBACK among the packets sent tells. */
export function subscribedId(sent: readonly SentPacket[]): number {
  const suback = sent.find(([, { type }]) => type === "SUBACK")?.[1];
  if (suback?.type !== "SUBACK" || suback.returnCode !== 0) {
    throw new Error(`Not subscribed: ${JSON.stringify(suback)}`);
  }
  return suback.topicId;
}

/** What a client answers its REGISTERs and PUBLISHes with, none other. */
export function answerOf(packet: MqttSnPacket): MqttSnPacket | undefined {
  switch (packet.type) {
    case "REGISTER": {
      const { topicId, msgId } = packet;
      return { type: "REGACK", topicId, msgId, returnCode: 0 };
    }
    case "PUBLISH": {
      const { topicId, msgId, qos } = packet;
      if (qos === 1) return { type: "PUBACK", topicId, msgId, returnCode: 0 };
      return qos === 2 ? { type: "PUBREC", msgId } : undefined;
    }
    case "PUBREL":
      return { type: "PUBCOMP", msgId: packet.msgId };
    default:
      return undefined;
  }
}

/** Lets a client answer all that it is sent, until it is sent nothing more. */
export function answerAll(
  bench: GatewayBench,
  peer: Peer,
  sent: readonly SentPacket[],
): MqttSnPacket[] {
  const seen: MqttSnPacket[] = [];
  const queue = packetsTo(peer, sent);
  for (let packet; (packet = queue.shift()) !== undefined;) {
    seen.push(packet);
    const answer = answerOf(packet);
    if (answer !== undefined) {
      queue.push(...packetsTo(peer, bench.take(peer, answer)));
    }
  }
  return seen;
}

/** A client's end of a UDP socket, which reads what came in order. */
export class SocketClient implements AsyncDisposable {
  readonly #transport: UdpTransport;
  readonly #broker: Peer;
  readonly #arrived: (readonly [from: string, bytes: Uint8Array])[] = [];
  #wake = () => {};

  private constructor(transport: UdpTransport, broker: Peer) {
    this.#transport = transport;
    this.#broker = broker;
    transport.receive((peer, bytes) => {
      this.#arrived.push([peer.key, bytes.slice()]);
      this.#wake();
    });
  }

  /** Opens one that speaks to a broker. */
  static async towards(broker: Peer): Promise<SocketClient> {
    return new SocketClient(await UdpTransport.bind(), broker);
  }

  /** Sends octets in hexadecimal, or a text. */
  send(datagram: { hex: string } | { text: string }): void {
    const bytes = "hex" in datagram
      ? octets(datagram.hex)
      : text.encode(datagram.text);
    this.#transport.send(this.#broker, bytes);
  }

  /** Takes the next datagram when it has come: its source, and its octets. */
  async next(): Promise<readonly [from: string, bytes: Uint8Array]> {
    for (;;) {
      const first = this.#arrived.shift();
      if (first !== undefined) return first;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Takes the next datagram in hexadecimal. */
  async hex(): Promise<string> {
    return (await this.next())[1].toHex();
  }

  /** Takes the next datagram as text. */
  async text(): Promise<string> {
    return new TextDecoder().decode((await this.next())[1]);
  }

  /** Sends octets, and takes the answer. */
  ask(hex: string): Promise<string> {
    this.send({ hex });
    return this.hex();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#transport[Symbol.asyncDispose]();
  }
}
