/**
 * What the tests of `Client` have in common: a gateway that is played by the test.
 *
 * @module
 */

import { Broker, type BrokerOptions } from "../../broker.ts";
import { Client, type ClientOptions } from "../../client.ts";
import type { ReceivedMessage } from "../../client/events.ts";
import type { Peer } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket, MsgType } from "../../wire/packets.ts";
import type {
  RequestOptions,
  Subscription,
} from "../../client/subscription.ts";
import { MemoryNetwork } from "../../transport/memory.ts";
import "./sockets.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

/** A broker and what its clients need to reach it, all in memory. */
export async function setUp(options: BrokerOptions = {}) {
  const network = new MemoryNetwork();
  const listen = () =>
    Broker.listen({
      retryMs: 50,
      ...options,
      transport: network.bind({ port: 12_003 }),
    });
  const opened = (options: ClientOptions) => ({
    transport: network.bind(),
    retryMs: 20,
    ...options,
  });
  const broker = await listen();
  return {
    network,
    broker,
    listen,
    connect: (options: ClientOptions & RequestOptions = {}) =>
      Client.connect(opened(options)),
    open: (options: ClientOptions = {}) => Client.open(opened(options)),
    [Symbol.asyncDispose]: () => broker.close(),
  };
}

/** A network where a gateway should be that a test plays itself. */
export class PlayedGateway implements AsyncDisposable {
  readonly network = new MemoryNetwork();
  readonly heard: MqttSnPacket[] = [];
  readonly #transport = this.network.bind({ port: 12_003 });
  #wake = () => {};

  /** @param answer what it says to a packet, if anything */
  constructor(
    answer: (packet: MqttSnPacket) => MqttSnPacket | undefined = usually,
  ) {
    this.#transport.receive((peer, bytes) => {
      const packet = decodePacket(bytes.slice());
      this.heard.push(packet);
      const reply = answer(packet);
      if (reply !== undefined) this.say(peer, reply);
      this.#wake();
    });
  }

  say(peer: Peer, packet: MqttSnPacket): void {
    this.#transport.send(peer, encodePacket(packet));
  }

  connect(options: ClientOptions & RequestOptions = {}): Promise<Client> {
    return Client.connect(this.#optionsFrom(options));
  }

  open(options: ClientOptions = {}): Promise<Client> {
    return Client.open(this.#optionsFrom(options));
  }

  /** What it has heard of a type, once it is that often. */
  async hears<Type extends MsgType>(
    type: Type,
    count = 1,
  ): Promise<Extract<MqttSnPacket, { type: Type }>[]> {
    for (;;) {
      const heard = this.heard.filter((packet) => packet.type === type);
      if (heard.length >= count) {
        return heard as Extract<MqttSnPacket, { type: Type }>[];
      }
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]();
  }

  #optionsFrom<Options>(options: Options) {
    return { transport: this.network.bind(), retryMs: 20, ...options };
  }
}

/** A gateway that takes whatever it is asked. */
export function usually(packet: MqttSnPacket): MqttSnPacket | undefined {
  switch (packet.type) {
    case "CONNECT":
      return { type: "CONNACK", returnCode: 0 };
    case "REGISTER":
      return { ...packet, type: "REGACK", topicId: 1, returnCode: 0 };
    case "SUBSCRIBE": {
      const { qos, msgId } = packet;
      return {
        type: "SUBACK",
        qos: qos as 0 | 1 | 2,
        topicId: 0,
        msgId,
        returnCode: 0,
      };
    }
    case "UNSUBSCRIBE":
      return { type: "UNSUBACK", msgId: packet.msgId };
    case "PUBLISH":
      if (packet.qos < 1) return undefined;
      return { ...packet, type: "PUBACK", returnCode: 0 };
    case "DISCONNECT":
      return packet;
    default:
      return undefined;
  }
}

/** The usual, but without an answer to packets of some types. */
export function silentTo(...types: readonly MsgType[]) {
  return (packet: MqttSnPacket) =>
    types.includes(packet.type) ? undefined : usually(packet);
}

/** Polls what nothing tells of. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1));
}

export async function take(
  messages: Subscription,
  count: number,
): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) texts.push((await messages.take()).text());
  return texts;
}

/** What is left of an ended subscription. */
export async function rest(
  messages: AsyncIterable<ReceivedMessage>,
): Promise<string[]> {
  const texts: string[] = [];
  for await (const message of messages) texts.push(message.text());
  return texts;
}

/**
 * Waits until all that was published to a client before has come to it: a
 * message is behind them.
 */
export async function settled(client: Client): Promise<void> {
  await using behind = await client.subscribe("behind", { qos: 1 });
  await client.publish("behind", "", { qos: 1 });
  await behind.take();
}

/** What closes a client too late, in the hands of a test. */
export class Limit implements Disposable {
  readonly #timeout = AbortSignal.timeout;
  readonly #controller = new AbortController();
  readonly #listeners: Listeners;
  /** How often it was asked for, each with how long. */
  readonly asked: number[] = [];

  constructor() {
    const { signal } = this.#controller;
    this.#listeners = new Listeners(signal);
    AbortSignal.timeout = (ms) => {
      this.asked.push(ms);
      return signal;
    };
  }

  /** Who listens to it. */
  get listeners(): number {
    return this.#listeners.count;
  }

  /** Says that it is too late. */
  reach(): void {
    this.#controller.abort();
  }

  [Symbol.dispose](): void {
    AbortSignal.timeout = this.#timeout;
  }
}

/** Counts who listens to a signal. */
export class Listeners {
  count = 0;

  constructor(signal: AbortSignal) {
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: unknown[]) => {
      this.count++;
      Reflect.apply(addEventListener, signal, args);
    };
    signal.removeEventListener = (...args: unknown[]) => {
      this.count--;
      Reflect.apply(removeEventListener, signal, args);
    };
  }
}
