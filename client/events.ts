/**
 * What a client's core tells: the messages that came, how commands ended, and what its
 * connection is.
 *
 * @module
 */

import type { DeliveryQos } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";
import type { Qos } from "../wire/packets.ts";

/**
 * What a client's connection is (§6.14), and what it is on the way to it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client, type DeviceState } from "../mod.ts";
 *
 * const states: DeviceState[] = [];
 * await using broker = await Broker.listen({ port: 0 });
 * const onState = (state: DeviceState) => void states.push(state);
 * await using _client = await Client.connect({ port: broker.port, onState });
 * assertEquals(states, ["connecting", "active"]);
 * ```
 */
export type DeviceState =
  | "disconnected"
  | "searching"
  | "connecting"
  | "active"
  | "asleep"
  | "awake"
  | "lost";

/**
 * What is known of a message that came, beside its topic and its payload.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * const messages = await client.subscribe("lamp", { qos: 1 });
 * await client.publish("lamp", "on", { qos: 1 });
 * const { qos, retain, dup } = await messages.take();
 * assertEquals([qos, retain, dup], [1, false, false]);
 * ```
 */
export interface ReceivedMessageProps {
  /** At which QoS it came. */
  readonly qos: DeliveryQos;
  /** Whether it was retained. */
  readonly retain: boolean;
  /** Whether it may have come before; never at QoS 2. */
  readonly dup: boolean;
  /** Its number, 1 to 65535, 0 at QoS 0. */
  readonly msgId: number;
  /** The pre-defined topic id that it came under, `undefined` for none. */
  readonly predefined: number | undefined;
}

const decoder = new TextDecoder();

/**
 * A message that came.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ReceivedMessage } from "./events.ts";
 *
 * const message = new ReceivedMessage("lamp", Uint8Array.of(0x6f, 0x6e), {
 *   qos: 1,
 *   retain: false,
 *   dup: false,
 *   msgId: 7,
 *   predefined: undefined,
 * });
 * assertEquals(message.text(), "on");
 * ```
 */
export class ReceivedMessage implements ReceivedMessageProps {
  /**
   * The topic's name, whatever stood for it on the wire; for a pre-defined id
   * whose name is not known the id as a decimal number.
   */
  readonly topicName: string;
  /** What was published: octets of its own. */
  readonly payload: Uint8Array;
  /** At which QoS it came. */
  readonly qos: DeliveryQos;
  /** Whether it was retained. */
  readonly retain: boolean;
  /** Whether it may have come before; never at QoS 2. */
  readonly dup: boolean;
  /** Its number, 1 to 65535, 0 at QoS 0. */
  readonly msgId: number;
  /** The pre-defined topic id that it came under, `undefined` for none. */
  readonly predefined: number | undefined;

  /**
   * Makes a message.
   *
   * @param topicName its topic
   * @param payload what was published
   * @param props what else is known of it
   */
  constructor(
    topicName: string,
    payload: Uint8Array,
    { qos, retain, dup, msgId, predefined }: ReceivedMessageProps,
  ) {
    this.topicName = topicName;
    this.payload = payload;
    this.qos = qos;
    this.retain = retain;
    this.dup = dup;
    this.msgId = msgId;
    this.predefined = predefined;
  }

  /** The payload as text; what is no UTF-8 in it becomes U+FFFD. */
  text(): string {
    return decoder.decode(this.payload);
  }
}

/** What a client's core tells. */
export type DeviceEvent =
  /** A command was carried out; a subscription at this QoS. */
  | { readonly type: "done"; readonly token: number; readonly qos: Qos }
  /** The gateway refused a command, or asks for a pause that is too long. */
  | {
    readonly type: "refused";
    readonly token: number;
    /** 1 to 3 have a meaning (§5.3.10). */
    readonly returnCode: number;
  }
  /** The gateway did not answer a command that is given up. */
  | { readonly type: "silence"; readonly token: number }
  /** A message came. */
  | { readonly type: "message"; readonly message: ReceivedMessage }
  /** A message found no room, and was not acknowledged: it will come again. */
  | { readonly type: "held"; readonly topicName: string }
  /** The gateway refused a message at QoS 0, which nobody waits for. */
  | {
    readonly type: "rejected";
    /** Its topic's name, `undefined` if that is not known. */
    readonly topicName: string | undefined;
    /** 1 to 3 have a meaning (§5.3.10). */
    readonly returnCode: number;
  }
  /** The connection's state is another. */
  | { readonly type: "state"; readonly state: DeviceState }
  /** The gateway is another. */
  | { readonly type: "gateway"; readonly gateway: Peer }
  /** A datagram came that means nothing here. */
  | {
    readonly type: "stray";
    readonly peer: Peer;
    readonly detail: string;
  };
