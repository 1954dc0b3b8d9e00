/**
 * A client of MQTT-SN 1.2: a device (`client/device.ts`) at work on a socket, and its
 * commands as promises.
 *
 * @module
 */

import { type Millis, seededRandom } from "./base/clock.ts";
import { type DeviceTopic, requireFilter } from "./client/commands.ts";
import { Device, type DeviceOptions } from "./client/device.ts";
import type { DeviceEvent, DeviceState } from "./client/events.ts";
import { Inbox } from "./client/inbox.ts";
import { LocalProtocolError, messageOf, NoAnswerError } from "./base/errors.ts";
import { DEFAULT_PORT, type Peer } from "./base/peer.ts";
import type { Multicast } from "./transport/multicast.ts";
import type { NetOptions, NetSim, NetStats } from "./netsim/netsim.ts";
import { openNet } from "./netsim/open.ts";
import type { Qos } from "./wire/packets.ts";
import { describeDatagram } from "./wire/describe.ts";
import { type RequestOptions, Subscription } from "./client/subscription.ts";
import { closedError, RefusedError } from "./client/errors.ts";
import {
  type CommandEnd,
  type PendingCommand,
  PendingCommands,
} from "./client/pending.ts";
import { Template, type TemplateOptions } from "./template.ts";
import type { Transport, TransportStats } from "./transport/transport.ts";
import { findBroker } from "./transport/resolve.ts";
import { MAX_UNSENT, UdpTransport } from "./transport/udp.ts";
import type { Journal } from "./journal/journal.ts";
import type { DeliveryQos } from "./wire/message.ts";
import { octetsOf } from "./base/utf8.ts";
import { requireInteger, requireNumber } from "./base/units.ts";

/**
 * A client's last will.
 *
 * @example
 * ```ts
 * import { Broker, Client, type ClientWill } from "./mod.ts";
 *
 * const will: ClientWill = { topicName: "lamp/state", payload: "lost", qos: 1 };
 * await using broker = await Broker.listen({ port: 0 });
 * await using _lamp = await Client.connect({ port: broker.port, will });
 * ```
 */
export interface ClientWill {
  /** Where to. */
  readonly topicName: string;
  /** What. */
  readonly payload: string | Uint8Array;
  /** At which QoS. Default 0. */
  readonly qos?: DeliveryQos;
  /** Whether it is retained. Default false. */
  readonly retain?: boolean;
}

/**
 * Where the broker is, who the client is, and how patient.
 *
 * @example
 * ```ts
 * import { Broker, Client, type ClientOptions } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * const options: ClientOptions = {
 *   port: broker.port,
 *   clientId: "lamp",
 *   keepAlive: 10,
 *   will: { topicName: "lamp/state", payload: "lost", retain: true },
 * };
 * await using _lamp = await Client.connect(options);
 * ```
 */
export interface ClientOptions extends TemplateOptions, NetOptions {
  /**
   * Address or name of the broker's machine. Default `127.0.0.1`, or none where
   * one is searched for.
   */
  readonly hostname?: string;
  /** The broker's UDP port, 1 to 65535. Default 12003. */
  readonly port?: number;
  /**
   * The multicast group in which to search for gateways, as `ADDRESS` or
   * `ADDRESS:PORT`; without a port it is `port`. Default: none.
   */
  readonly multicast?: string;
  /** How far to search, in hops, 1 to 255; 0 for the usual. Default 0. */
  readonly radius?: number;
  /**
   * The longest that it waits, by chance, before it asks for gateways, in
   * milliseconds: so that devices that are switched on together do not all ask at
   * once. Default 5,000.
   */
  readonly searchMs?: Millis;
  /** Who it is, 1 to 23 characters. Default: one of its own, by chance. */
  readonly clientId?: string;
  /**
   * Whether the broker keeps nothing of it between connections. Default true.
   */
  readonly cleanSession?: boolean;
  /** Keep alive in seconds, 0 to 65535; 0 for none. Default 60. */
  readonly keepAlive?: number;
  /** What is published when it is lost. Default: nothing. */
  readonly will?: ClientWill;
  /**
   * How long a request may take in all, repetitions and connections made anew
   * included, in milliseconds, 1 or more. Default: as long as it takes, except
   * for `connect`, which ends when all its tries had no answer.
   */
  readonly timeoutMs?: Millis;
  /** T_retry: when a request is first sent again, in ms. Default 1,000. */
  readonly retryMs?: Millis;
  /** N_retry: how often a request is sent again. Default 4. */
  readonly retries?: number;
  /** By which factor each wait is longer than the last. Default 1.5. */
  readonly backoff?: number;
  /** T_WAIT: the pause after a refusal for congestion, in ms. Default 300,000. */
  readonly waitMs?: Millis;
  /**
   * The longest pause before it connects anew, in ms, 1 or more: the first is half
   * of T_retry to all of it, each further one up to twice as long. Default 60,000.
   */
  readonly maxPauseMs?: Millis;
  /**
   * Messages at QoS 0 after which it waits until the broker has answered a
   * PINGREQ, so that they do not come faster than the broker takes them; 2 or
   * more, `Infinity` for no such wait. Default 128.
   */
  readonly window?: number;
  /** The names of pre-defined topic ids. Default: none. */
  readonly predefined?: ReadonlyMap<number, string>;
  /** Messages that wait for each subscription, at most. Default 10,000. */
  readonly maxQueue?: number;
  /** Makes its chances the same each time: client id, msgIds, pauses, its network. */
  readonly seed?: number;
  /** Is told when the connection's state is another. */
  readonly onState?: (state: DeviceState) => void;
  /** Carries the datagrams. Default: a UDP socket. */
  readonly transport?: Transport;
  /** Keeps what goes over the wire: one of a client's `side`. Default: none. */
  readonly journal?: Journal;
}

/**
 * What a publish can be given.
 *
 * @example
 * ```ts
 * import { Broker, Client, type PublishOptions } from "./mod.ts";
 *
 * const options: PublishOptions = { qos: 1, retain: true };
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", options);
 * ```
 */
export interface PublishOptions extends RequestOptions {
  /**
   * How sure: 0 at most once, 1 at least once, 2 exactly once; −1 without a
   * connection, to a pre-defined id or a short name. Default 0.
   */
  readonly qos?: Qos;
  /** Whether the broker keeps it for later subscribers. Default false. */
  readonly retain?: boolean;
}

/**
 * What a subscribe can be given.
 *
 * @example
 * ```ts
 * import { Broker, Client, type SubscribeOptions } from "./mod.ts";
 *
 * const options: SubscribeOptions = { qos: 1, maxQueue: 100 };
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await using _messages = await client.subscribe("lamp/#", options);
 * ```
 */
export interface SubscribeOptions extends RequestOptions {
  /** At which QoS, at most. Default 0. */
  readonly qos?: DeliveryQos;
  /** Messages that may wait, 1 or more. Default: the client's `maxQueue`. */
  readonly maxQueue?: number;
  /**
   * Messages that may come, 0 or more, until `Subscription.admit` says otherwise.
   * Default: any number.
   */
  readonly admit?: number;
}

/**
 * What a client counted.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * assertEquals(client.stats().dropped, 0);
 * ```
 */
export interface ClientStats {
  /** Messages that came, and were taken. */
  readonly received: number;
  /** Times that one was dropped: at QoS 0 without room, or without subscription. */
  readonly dropped: number;
  /** Messages of a kept session that wait for a subscription. */
  readonly unclaimed: number;
  /** Times that one at QoS 1 or 2 found no room, and was left to come again. */
  readonly held: number;
  /** Messages at QoS 0 that the broker refused. */
  readonly rejected: number;
  /** Datagrams that meant nothing. */
  readonly strays: number;
  /** Times that the client failed: a fault of ours, each in the log. */
  readonly failures: number;
  /** What its transport counted. */
  readonly transport: TransportStats;
  /** What its bad network counted; `undefined` without one. */
  readonly net: NetStats | undefined;
}

/**
 * What a client's options ask of its core: only what was given, as the core knows
 * what is usual for the rest.
 */
function deviceOptionsFrom(
  options: ClientOptions,
): Omit<DeviceOptions, "clientId" | "random"> {
  const { timeoutMs, will, retryMs = 1_000, window = 128 } = options;
  if (timeoutMs !== undefined) requireNumber("timeoutMs", timeoutMs, 1);
  const given: Record<string, unknown> = {};
  for (
    const name of [
      "cleanSession",
      "keepAlive",
      "retries",
      "backoff",
      "waitMs",
      "maxPauseMs",
      "predefined",
    ] as const
  ) {
    if (options[name] !== undefined) given[name] = options[name];
  }
  return {
    ...given,
    retryMs,
    window,
    ...timeoutMs !== undefined && { giveUpMs: timeoutMs },
    ...will && { will: { ...will, payload: octetsOf(will.payload) } },
  };
}

/** How a client's options have it look for gateways. */
function searchOptionsFrom(
  { radius, searchMs }: ClientOptions,
): NonNullable<DeviceOptions["search"]> {
  return {
    ...radius !== undefined && { radius },
    ...searchMs !== undefined && { searchMs },
  };
}

/**
 * What {@linkcode Client.open} has made ready for a constructor.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client, type ClientOptions, type ClientSetup } from "./mod.ts";
 *
 * class Lamp extends Client {
 *   private constructor(setup: ClientSetup) {
 *     super(setup);
 *   }
 *   static override open(options: ClientOptions = {}): Promise<Lamp> {
 *     return Client.make(options, (setup) => new Lamp(setup));
 *   }
 * }
 * await using broker = await Broker.listen({ port: 0 });
 * await using lamp = await Lamp.open({ port: broker.port });
 * assertEquals(lamp.state, "disconnected");
 * ```
 */
export interface ClientSetup {
  /** The broker, `undefined` when one is searched for. */
  readonly broker: Peer | undefined;
  /** What carries the datagrams. */
  readonly transport: Transport;
  /** The group in which gateways are searched for. */
  readonly multicast: Multicast | undefined;
  /** The bad network in front of the transport, `undefined` without one. */
  readonly net: NetSim | undefined;
  /** The options as given. */
  readonly options: ClientOptions;
  /**
   * Whether it leaves what a kept session brings to another run, until it
   * subscribes to something itself. Default false.
   */
  readonly claimsNothing?: boolean;
}

type EndEvent = Extract<DeviceEvent, { token: number }>;

/** The requests that one signal may end. */
/** How long a client that closes waits for what is under way. */
const CLOSE_MS = 5_000;

/**
 * A client of one broker.
 *
 * It stays connected: a connection that is lost is made anew, what was subscribed
 * to is asked for again, and what was published goes on. Requests may be made at
 * any time; those of a kind are carried out one after the other, as the
 * specification wants it, so there is no need to wait for one before the next.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({
 *   port: broker.port,
 *   clientId: "lamp",
 * });
 * const messages = await client.subscribe("room/+/light", { qos: 1 });
 * await client.publish("room/1/light", "on", { qos: 1, retain: true });
 *
 * const message = await messages.take();
 * assertEquals(message.topicName, "room/1/light");
 * assertEquals(message.text(), "on");
 * ```
 */
export class Client extends Template<DeviceEvent> {
  /** Who it is. */
  readonly clientId: string;
  /**
   * The bad network in front of it, which can be made another one at any time;
   * `undefined` without one.
   */
  readonly network: NetSim | undefined;
  readonly #device: Device;
  readonly #multicast: Multicast | undefined;
  readonly #options: ClientOptions;
  readonly #maxQueue: number;
  readonly #pending = new PendingCommands((token) =>
    this.perform((now) => this.#device.cancel(now, token))
  );
  readonly #inbox: Inbox;
  #held = 0;
  #rejected = 0;
  #strays = 0;
  #ending: Promise<void> | undefined;

  /**
   * Makes a client of what `open` has made ready.
   *
   * @param setup all that it needs
   */
  protected constructor(setup: ClientSetup) {
    const { broker, transport, multicast, options } = setup;
    const { clientId, maxQueue = 10_000 } = options;
    requireInteger("maxQueue", maxQueue, 1);
    const seed = options.seed ?? Math.random() * 2 ** 32;
    const random = seededRandom(seed);
    const id = clientId ??
      `mock-mqtt-${Math.floor(random() * 36 ** 8).toString(36)}`;
    const isKept = options.cleanSession === false;
    const inbox = new Inbox(isKept, maxQueue, setup.claimsNothing !== true);
    const device = new Device({
      ...deviceOptionsFrom(options),
      ...broker && { gateway: broker },
      ...multicast && { search: searchOptionsFrom(options) },
      clientId: id,
      random,
      // What comes at the end nobody takes: a kept session has it next time.
      hasRoom: (message) =>
        this.#ending === undefined && inbox.hasRoom(message),
    });
    super(device, setup.net?.around(transport) ?? transport, options);
    this.clientId = id;
    this.network = setup.net;
    this.#device = device;
    this.#inbox = inbox;
    this.#multicast = multicast;
    this.#options = options;
    this.#maxQueue = maxQueue;
    multicast?.receive(this.handleDatagram).catch((error) =>
      this.log.warn(messageOf(error))
    );
  }

  /**
   * Makes a client, and connects it.
   *
   * @throws {RangeError} when an option is out of range
   * @throws {TypeError} when `multicast` and `transport` are both given, or `net`
   * or `faults` is not valid
   * @throws {LocalProtocolError} when the client id or the will is not valid
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer
   * @throws {Error} when the name is unknown or no socket can be opened
   * @throws the signal's reason when that aborts
   */
  static async connect(
    options: ClientOptions & RequestOptions = {},
  ): Promise<Client> {
    const client = await Client.open(options);
    await client.connectOrClose(options);
    return client;
  }

  /**
   * Makes a client that is not connected: to publish at QoS −1, or to connect
   * later. Whatever else it is told to do makes it connect.
   *
   * @throws {RangeError} when an option is out of range
   * @throws {TypeError} when `multicast` and `transport` are both given, or `net`
   * or `faults` is not valid
   * @throws {LocalProtocolError} when the client id or the will is not valid
   * @throws {Error} when the name is unknown or no socket can be opened
   */
  static async open(options: ClientOptions = {}): Promise<Client> {
    return await Client.make(options, (setup) => new Client(setup));
  }

  /** Makes a client of a class. For the subclasses' `open`. */
  protected static async make<Made extends Client>(
    options: ClientOptions,
    construct: (setup: ClientSetup) => Made,
  ): Promise<Made> {
    const { hostname, port = DEFAULT_PORT, multicast, transport } = options;
    const isSearching = multicast !== undefined;
    if (isSearching && transport !== undefined) {
      throw new TypeError(
        "Cannot search in a multicast group over a transport of one's own",
      );
    }
    // A program is started for a single message: it loads what it turns out to need.
    const search = isSearching
      ? await import("./transport/multicast.ts")
      : undefined;
    const group = search?.groupFrom(multicast!, port);
    const net = await openNet({ ...options, side: "client" }, options.journal);
    const broker = isSearching && hostname === undefined
      ? undefined
      : await findBroker(hostname ?? "127.0.0.1", port);
    if (transport !== undefined) {
      return construct({
        broker,
        transport,
        multicast: undefined,
        net,
        options,
      });
    }
    if (search === undefined || group === undefined) {
      const socket = await UdpTransport.towards(broker!);
      return await ready(socket, undefined, broker);
    }
    const isV6 = group.hostname.includes(":");
    const socket = await UdpTransport.bind({
      hostname: isV6 ? "::" : "0.0.0.0",
    });
    try {
      // Who searches is answered alone, even if it does not hear the group.
      const joined = await search.Multicast.join(socket, group, true);
      return await ready(socket, joined, broker);
    } catch (error) {
      socket.close();
      throw error;
    }

    async function ready(
      socket: Transport,
      multicast: Multicast | undefined,
      broker: Peer | undefined,
    ): Promise<Made> {
      try {
        return construct({
          broker,
          transport: socket,
          multicast,
          net,
          options,
        });
      } catch (error) {
        await multicast?.[Symbol.asyncDispose]();
        socket.close();
        throw error;
      }
    }
  }

  /** Whether `close` was called. */
  override get isClosed(): boolean {
    return this.#ending !== undefined || super.isClosed;
  }

  /** What its connection is. */
  get state(): DeviceState {
    return this.#device.state;
  }

  /** The broker that it talks to, `undefined` while none is found. */
  get broker(): Peer | undefined {
    return this.#device.gateway;
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): ClientStats {
    return {
      received: this.#inbox.received,
      dropped: this.#inbox.dropped,
      unclaimed: this.#inbox.unclaimed,
      held: this.#held,
      rejected: this.#rejected,
      strays: this.#strays,
      failures: this.failures,
      transport: this.transport.stats(),
      net: this.network?.stats(),
    };
  }

  /**
   * Datagrams that came too fast to be received, and were lost; 0 where the
   * system does not tell.
   */
  overflowed(): Promise<number> {
    return this.transport.overflowed();
  }

  /**
   * Connects, and stays connected. A client that sleeps stays awake after it.
   *
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer
   * @throws the signal's reason when that aborts
   */
  async connect(options: RequestOptions = {}): Promise<void> {
    await this.#ask("connect", (now) => this.#device.connect(now), options);
  }

  /**
   * Publishes a message. At QoS 1 and 2 the broker has taken it over when this
   * resolves; at 0 and −1 it was sent, which is no promise that it arrives.
   *
   * @param topic where to: a name, a pre-defined id, or a short name
   * @param payload what; text as UTF-8
   * @throws {LocalProtocolError} when the topic is not valid, or when it does
   * not fit a datagram
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer in time
   * @throws {RangeError} when the QoS is none
   * @throws the signal's reason when that aborts: it may have arrived
   */
  async publish(
    topic: DeviceTopic,
    payload: string | Uint8Array = "",
    options: PublishOptions = {},
  ): Promise<void> {
    requireInteger("the QoS", options.qos ?? 0, -1, 2);
    const bytes = octetsOf(payload);
    await this.#ask(
      "publish",
      (now) => this.#device.publish(now, topic, bytes, options),
      options,
    );
    // A caller that sends without a pause shall not fill the memory instead.
    if (this.transport.unsent >= MAX_UNSENT) await this.transport.flush();
  }

  /**
   * Subscribes, to one topic or to several at once. A message that is for several
   * of these comes once.
   *
   * @param topics a name or a filter, a pre-defined id, or a short name; or some
   * @returns what will come for them; retained messages come first
   * @throws {LocalProtocolError} when a topic is not valid, or there is none
   * @throws {RefusedError} when the broker refuses one; the others are ended
   * @throws {NoAnswerError} when it does not answer in time
   * @throws {RangeError} when the QoS is none, or `maxQueue` is less than 1
   * @throws the signal's reason when that aborts
   */
  async subscribe(
    topics: DeviceTopic | readonly DeviceTopic[],
    options: SubscribeOptions = {},
  ): Promise<Subscription> {
    const { qos = 0, maxQueue = this.#maxQueue, signal } = options;
    requireInteger("the QoS", qos, 0, 2);
    requireInteger("maxQueue", maxQueue, 1);
    signal?.throwIfAborted();
    const subscription = new Subscription(
      isSeveral(topics) ? topics : [topics],
      qos,
      maxQueue,
      {
        unsubscribe: (ended, options) => this.#unsubscribe(ended, options),
        dispose: (ended) => this.#dispose(ended),
      },
    );
    subscription.admit(options.admit ?? Infinity);
    if (subscription.topics.length === 0) {
      throw new LocalProtocolError("Cannot subscribe: there is no topic");
    }
    // All before the first is asked for.
    for (const topic of subscription.topics) requireFilter(topic);
    const refused = new Set<DeviceTopic>();
    // Before it is granted: some brokers send what is retained at once.
    const asked = subscription.topics.map((topic) =>
      this.#ask(
        "subscribe",
        (now) => {
          // The broker knows one QoS for a topic: the highest that is wanted.
          const wanted = this.#inbox.to(topic).map(({ wanted }) => wanted);
          const highest = Math.max(qos, ...wanted) as DeliveryQos;
          const token = this.#device.subscribe(now, topic, highest);
          this.#inbox.add(subscription, topic);
          return token;
        },
        options,
      ).catch((error) => {
        if (error instanceof RefusedError) refused.add(topic);
        throw error;
      })
    );
    try {
      for (const granted of await Promise.all(asked)) {
        subscription.grant(granted as DeliveryQos);
      }
      return subscription;
    } catch (error) {
      this.#forsake(subscription, refused);
      throw error;
    }
  }

  /**
   * Ends a subscription at the broker, also one of a kept session that an earlier run made,
   * too. Those of this client to the same topic end as well.
   *
   * @throws {LocalProtocolError} when the topic is not valid
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer in time
   * @throws the signal's reason when that aborts
   */
  async unsubscribe(
    topic: DeviceTopic,
    options: RequestOptions = {},
  ): Promise<void> {
    // Not those that are made while the broker is asked.
    const ended = this.#inbox.to(topic);
    await this.#ask(
      "unsubscribe",
      (now) => this.#device.unsubscribe(now, topic),
      options,
    );
    for (const subscription of ended) {
      this.#inbox.remove(subscription, topic);
    }
  }

  /**
   * Asks for the id of a topic's name, so that the first publish needs not.
   *
   * @throws {LocalProtocolError} when it may not be a topic's name
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer in time
   * @throws the signal's reason when that aborts
   */
  async register(
    topicName: string,
    options: RequestOptions = {},
  ): Promise<void> {
    await this.#ask(
      "register",
      (now) => this.#device.register(now, topicName),
      options,
    );
  }

  /**
   * Falls asleep, once all that was asked for before is done: the broker buffers
   * what comes, and the client wakes by itself to fetch it, a tenth before its
   * time is over. To send, it connects, and then sleeps on, until `connect`.
   *
   * Sleep with `cleanSession: false`: with a clean session, to send is to begin
   * anew, and what was buffered is lost.
   *
   * @param seconds for which it may be silent, 1 to 65535
   * @throws {LocalProtocolError} when it is not that
   * @throws {NoAnswerError} when the broker does not answer in time
   * @throws the signal's reason when that aborts
   */
  async sleep(seconds: number, options: RequestOptions = {}): Promise<void> {
    await this.#ask(
      "let it sleep",
      (now) => this.#device.sleep(now, seconds),
      options,
    );
  }

  /**
   * Wakes before it is time, fetches what was buffered, and sleeps on; does
   * nothing unless it sleeps.
   *
   * @returns a promise that resolves when all has come
   * @throws {NoAnswerError} when the broker does not answer
   * @throws the signal's reason when that aborts
   */
  async wake(options: RequestOptions = {}): Promise<void> {
    await this.#ask("wake it", (now) => this.#device.wake(now), options);
  }

  /**
   * Has another will, or none.
   *
   * @throws {LocalProtocolError} when the will is not valid
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer in time
   * @throws the signal's reason when that aborts
   */
  async updateWill(
    will: ClientWill | undefined,
    options: RequestOptions = {},
  ): Promise<void> {
    const what = "change the will";
    await this.#ask(
      what,
      (now) => this.#device.updateWillTopic(now, will),
      options,
    );
    if (will === undefined) return;
    const payload = octetsOf(will.payload);
    await this.#ask(
      what,
      (now) => this.#device.updateWillMsg(now, payload),
      options,
    );
  }

  /**
   * Waits for what is under way and for the broker's answer to DISCONNECT, five
   * seconds at most, and ends. So close clients before their broker.
   */
  override close(): Promise<void> {
    return this.#ending ??= this.#close();
  }

  /** Connects; if that fails, nothing is left open. */
  protected async connectOrClose(options: RequestOptions): Promise<void> {
    try {
      await this.connect(options);
    } catch (error) {
      this.perform((now) => this.#device.leave(now));
      await this.close();
      throw error;
    }
  }

  /** Says something in the multicast group, if there is one. */
  protected override broadcast(bytes: Uint8Array, radius: number): void {
    this.#multicast?.send(bytes, radius);
  }

  /** Logs each datagram. */
  protected override observe(
    way: "received" | "sent",
    peer: Peer,
    bytes: Uint8Array,
    at: Millis,
  ): void {
    this.#options.journal?.add(way, peer, bytes, at);
    if (!this.log.shows("debug")) return;
    const sign = way === "received" ? "<" : ">";
    this.log.debug(() => `${sign} ${peer.key} ${describeDatagram(bytes)}`);
  }

  /** Leaves the multicast group. */
  protected override handleClose(): Promise<void> | void {
    return this.#multicast?.[Symbol.asyncDispose]();
  }

  /** Settles what waits for it. */
  protected override handleEvent(event: DeviceEvent): void {
    switch (event.type) {
      case "done":
      case "refused":
      case "silence": {
        const pending = this.#pending.take(event.token);
        return pending?.end(this.#endOf(pending, event));
      }
      case "message":
        return this.#inbox.deliver(event.message);
      case "held":
        this.#held++;
        return this.log.debug(() =>
          `No room for a message to "${event.topicName}": the broker has to send it again`
        );
      case "rejected": {
        this.#rejected++;
        const { topicName = "an unknown topic", returnCode } = event;
        const { message } = new RefusedError(
          `take a message at QoS 0 to "${topicName}"`,
          returnCode,
        );
        return this.log.warn(message);
      }
      case "state":
        this.log.debug(() => `Now ${event.state}`);
        return this.#tell(event.state);
      case "gateway":
        return this.log.debug(() => `Found a gateway at ${event.gateway.key}`);
      case "stray":
        this.#strays++;
        return this.log.debug(() =>
          `Ignored a datagram from ${event.peer.key}: ${event.detail}`
        );
      default:
        event satisfies never;
    }
  }

  /** What fails there is not ours, and keeps nothing from being done. */
  #tell(state: DeviceState): void {
    try {
      this.#options.onState?.(state);
    } catch (error) {
      this.log.error(`Failed in onState: ${messageOf(error)}`);
    }
  }

  /** Gives a command, and waits for its end. */
  #ask(
    what: string,
    command: (now: Millis) => number,
    { signal }: RequestOptions,
  ): Promise<Qos> {
    if (this.#ending !== undefined) return Promise.reject(closedError());
    if (signal?.aborted) return Promise.reject(signal.reason);
    return this.#give(what, command, signal);
  }

  #give(
    what: string,
    command: (now: Millis) => number,
    signal: AbortSignal | undefined,
  ): Promise<Qos> {
    const token = this.#device.nextToken;
    let pending: PendingCommand | undefined;
    try {
      this.perform((now) => {
        pending = this.#pending.add(token, { what, askedAt: now, signal });
        command(now);
      });
    } catch (error) {
      this.#pending.delete(token);
      return Promise.reject(error);
    }
    return pending === undefined
      ? Promise.reject(closedError())
      : this.#pending.wait(token, pending);
  }

  #endOf({ what, askedAt }: PendingCommand, event: EndEvent): CommandEnd {
    switch (event.type) {
      case "done":
        return event;
      case "refused": {
        const reason = new RefusedError(what, event.returnCode);
        return { type: "failed", reason };
      }
      case "silence": {
        const waited = Math.round(this.now() - askedAt);
        const timeoutMs = this.#options.timeoutMs ?? waited;
        const reason = new NoAnswerError(this.broker, timeoutMs);
        return { type: "failed", reason };
      }
      default:
        return event satisfies never;
    }
  }

  /** Ends a subscription; at the broker, where no other needs the topic. */
  async #unsubscribe(
    subscription: Subscription,
    options: RequestOptions,
  ): Promise<void> {
    await Promise.all(subscription.topics.map(async (topic) => {
      const holders = this.#inbox.to(topic);
      if (!holders.includes(subscription)) return;
      if (holders.length === 1) await this.unsubscribe(topic, options);
      else this.#inbox.remove(subscription, topic);
    }));
  }

  /**
   * Lets a subscription that failed end. Nobody waits for the broker's part: it
   * may be what does not answer.
   */
  #forsake(
    subscription: Subscription,
    refused: ReadonlySet<DeviceTopic>,
  ): void {
    for (const topic of subscription.topics) {
      const isShared = this.#inbox.to(topic).some((other) =>
        other !== subscription
      );
      this.#inbox.remove(subscription, topic);
      // What was given up may be granted yet.
      if (!isShared && !refused.has(topic)) {
        this.unsubscribe(topic).catch(() => {});
      }
    }
  }

  /** Ends a subscription, whether the broker answers or not. */
  async #dispose(subscription: Subscription): Promise<void> {
    const signal = AbortSignal.timeout(CLOSE_MS);
    await this.#unsubscribe(subscription, { signal }).catch(() => {});
    for (const topic of subscription.topics) {
      this.#inbox.remove(subscription, topic);
    }
  }

  async #close(): Promise<void> {
    await this.#sayGoodbye();
    this.#pending.endAll(closedError());
    this.#inbox.end();
    await super.close();
  }

  /** DISCONNECT behind all that is under way, if somebody listens. */
  async #sayGoodbye(): Promise<void> {
    if (super.isClosed) return;
    if (this.state === "disconnected" && this.#device.pending === 0) return;
    const isConnecting = this.state === "connecting" &&
      this.#pending.areAll("connect");
    const isPointless = this.state === "lost" || this.state === "searching" ||
      isConnecting;
    if (!isPointless) {
      const gone = this.#give(
        "disconnect",
        (now) => this.#device.disconnect(now),
        undefined,
      ).then(() => {}, () => {});
      // A timer would have to be loaded first, if there was none so far.
      const limit = AbortSignal.timeout(CLOSE_MS);
      const { promise: over, resolve } = Promise.withResolvers<void>();
      const end = () => resolve();
      limit.addEventListener("abort", end);
      await Promise.race([gone, over]);
      limit.removeEventListener("abort", end);
    }
    this.perform((now) => this.#device.leave(now));
  }
}

function isSeveral(
  topics: DeviceTopic | readonly DeviceTopic[],
): topics is readonly DeviceTopic[] {
  return Array.isArray(topics);
}
