/**
 * What a client of MQTT-SN can be given, and what it counts. Knows what is usual;
 * nothing of how it is used.
 *
 * @module
 */

import type { Millis } from "./base/clock.ts";
import type { DeviceOptions } from "./client/device.ts";
import type { DeviceState } from "./client/events.ts";
import type { Journal } from "./journal/journal.ts";
import type { DeliveryQos } from "./wire/message.ts";
import type {
  NetOptions,
  NetSim,
  NetSimOptions,
  NetStats,
} from "./netsim/netsim.ts";
import type { Qos } from "./wire/packets.ts";
import type { RequestOptions, TemplateOptions } from "./template.ts";
import type { Transport, TransportStats } from "./transport/transport.ts";
import { encodeUtf8 } from "./base/utf8.ts";

/** A client's last will. */
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

/** Where the broker is, who the client is, and how patient. */
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
   * milliseconds: so that those who are switched on together do not all ask at
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

/** What a publish can be given. */
export interface PublishOptions extends RequestOptions {
  /**
   * How sure: 0 at most once, 1 at least once, 2 exactly once; −1 without a
   * connection, to a pre-defined id or a short name. Default 0.
   */
  readonly qos?: Qos;
  /** Whether the broker keeps it for later subscribers. Default false. */
  readonly retain?: boolean;
}

/** What a subscribe can be given. */
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

/** What a client counted. */
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
export function deviceOptionsFrom(
  options: ClientOptions,
): Omit<DeviceOptions, "clientId" | "random"> {
  const { timeoutMs, will, retryMs = 1_000, window = 128 } = options;
  if (timeoutMs !== undefined && !(timeoutMs >= 1)) {
    throw new RangeError(
      `Cannot take "${timeoutMs}" as timeoutMs: it is 1 or more`,
    );
  }
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

/**
 * The bad network that a client's options ask for, `undefined` if they ask for
 * none. It is loaded only if they do. Faults that strike are in its journal too.
 *
 * @throws {TypeError} when `net` or `faults` is not valid
 */
export async function openNet(
  options: Omit<NetSimOptions, "side"> & { readonly journal?: Journal },
): Promise<NetSim | undefined> {
  if (options.net === undefined && options.faults === undefined) return;
  const { journal } = options;
  const [{ NetSim }, { describeFault }] = await Promise.all([
    import("./netsim/netsim.ts"),
    import("./netsim/faults.ts"),
  ]);
  return new NetSim({
    ...options,
    side: "client",
    onFault(event) {
      journal?.note(describeFault(event), event.peer);
      options.onFault?.(event);
    },
  });
}

/** How a client's options have it look for gateways. */
export function searchOptionsFrom(
  { radius, searchMs }: ClientOptions,
): NonNullable<DeviceOptions["search"]> {
  return {
    ...radius !== undefined && { radius },
    ...searchMs !== undefined && { searchMs },
  };
}

/** A payload as octets: text as UTF-8. */
export function octetsOf(payload: string | Uint8Array): Uint8Array {
  return typeof payload === "string" ? encodeUtf8(payload) : payload;
}
