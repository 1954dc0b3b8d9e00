/**
 * The client's core for MQTT-SN with a clock: what it is handed, and what it
 * sends and tells, as a test reads it.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Millis } from "../../base/clock.ts";
import { Device, type DeviceOptions } from "../../client/device.ts";
import type { DeviceEvent, ReceivedMessage } from "../../client/events.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { describeDatagram } from "../../wire/describe.ts";
import { GOODBYE, octets, PONG, puback, regack } from "./gateway.ts";

/** The gateway that a bench's device knows. */
export const GATEWAY = peerOf("127.0.0.1", 12003);
/** Another one. */
export const OTHER = peerOf("127.0.0.2", 12003);
/** Connected. */
export const CONNACK = "03 05 00";
/** What a clean session begins with, as it is printed. */
export const CONNECT =
  'CONNECT cleanSession protocolId=1 duration=0 clientId="lamp"';
/** What a kept one does. */
export const RESUME = 'CONNECT protocolId=1 duration=0 clientId="lamp"';

/** More deadlines at one moment than a sound machine has. */
const MAX_AT_ONCE = 20;

/** T_retry of the bench's devices; N_retry is 2. */
export const RETRY_MS = 10_000;

/** How long such a device waits before it gives a request up. */
export const PATIENCE_MS = 3 * RETRY_MS;

/** Text as octets. */
export const text = (line: string) => new TextEncoder().encode(line);

/**
 * A device with a clock. Its first msgId is 1, its pauses are the shortest; it
 * knows its gateway, unless it searches for one.
 */
export class Bench {
  now: Millis = 0;
  /** All events so far. */
  readonly events: DeviceEvent[] = [];
  /** What was sent last, each datagram in hexadecimal. */
  readonly wire: string[] = [];
  readonly device: Device;

  constructor(options: Partial<DeviceOptions> = {}) {
    this.device = new Device({
      ...options.search === undefined ? { gateway: GATEWAY } : {},
      clientId: "lamp",
      random: () => 0,
      keepAlive: 0,
      retryMs: RETRY_MS,
      retries: 2,
      backoff: 1,
      ...options,
    });
  }

  /** One that is connected. */
  static active(options: Partial<DeviceOptions> = {}): Bench {
    const bench = new Bench(options);
    bench.device.connect(0);
    bench.take(CONNACK);
    bench.events.length = 0;
    return bench;
  }

  /** Hands it a packet, or octets in hexadecimal; gives what it sent. */
  take(datagram: MqttSnPacket | string, peer: Peer = GATEWAY): string[] {
    const bytes = typeof datagram === "string"
      ? octets(datagram)
      : encodePacket(datagram).slice();
    this.device.handleDatagram(this.now, peer, bytes);
    bytes.fill(0xee); // they are read during the call only
    return this.drain();
  }

  /** Gives a command; gives what was sent. */
  tell(command: (device: Device, now: Millis) => void): string[] {
    command(this.device, this.now);
    return this.drain();
  }

  /** From deadline to deadline; gives what was sent, when, and to whom else. */
  run(ms: Millis): string[] {
    const end = this.now + ms;
    const sent: string[] = [];
    let atOnce = 0;
    for (
      let at;
      (at = this.device.nextTimeout()) !== undefined && at <= end;
    ) {
      atOnce = at > this.now ? 0 : atOnce + 1;
      if (atOnce > MAX_AT_ONCE) throw new Error(`Always due at ${this.now}`);
      this.now = Math.max(at, this.now);
      this.device.handleTimeout(this.now);
      sent.push(...this.drain().map((line) => `${this.now} ${line}`));
    }
    this.now = end;
    this.device.handleTimeout(end); // harmless when early
    assertEquals(this.drain(), []);
    return sent;
  }

  /** To the next deadline. */
  runOnce(): void {
    this.now = Math.max(this.now, this.device.nextTimeout() ?? this.now);
    this.device.handleTimeout(this.now);
    this.drain();
  }

  drain(): string[] {
    const sent: string[] = [];
    this.wire.length = 0;
    for (let effect; (effect = this.device.pollEffect()) !== undefined;) {
      if (effect.type === "trace") this.events.push(effect.event);
      else {
        this.wire.push(effect.bytes.toHex());
        const line = describeDatagram(effect.bytes);
        const to = effect.type === "send" ? effect.peer.key : "everybody";
        sent.push(to === GATEWAY.key ? line : `${line} to ${to}`);
      }
    }
    return sent;
  }

  /** Lets it sleep, 20 s unless told. */
  sleep(duration = 20): void {
    this.tell((device, now) => device.sleep(now, duration));
    this.take(GOODBYE);
    assertEquals(this.device.state, "asleep");
  }

  get states(): string[] {
    return this.events.flatMap((event) =>
      event.type === "state" ? [event.state] : []
    );
  }

  /** How commands ended: "done 1", "refused 2 with 3", "silence 4". */
  get ends(): string[] {
    return this.events.flatMap((event) => {
      switch (event.type) {
        case "done":
        case "silence":
          return [`${event.type} ${event.token}`];
        case "refused":
          return [`refused ${event.token} with ${event.returnCode}`];
        default:
          return [];
      }
    });
  }

  get messages(): ReceivedMessage[] {
    return this.events.flatMap((event) =>
      event.type === "message" ? [event.message] : []
    );
  }

  get payloads(): string[] {
    return this.messages.map(({ payload }) =>
      new TextDecoder().decode(payload)
    );
  }

  get held(): string[] {
    return this.events.flatMap((event) =>
      event.type === "held" ? [event.topicName] : []
    );
  }

  /** The gateways that it went over to. */
  get gateways(): string[] {
    return this.events.flatMap((event) =>
      event.type === "gateway" ? [event.gateway.key] : []
    );
  }

  get strays(): string[] {
    return this.events.flatMap((event) =>
      event.type === "stray" ? [event.detail] : []
    );
  }
}

/** An answer to SUBSCRIBE, an accepting one at QoS 1 unless told. */
export function suback(
  topicId: number,
  msgId: number,
  returnCode = 0,
): MqttSnPacket {
  return { type: "SUBACK", qos: 1, topicId, msgId, returnCode };
}

/** The answer to UNSUBSCRIBE. */
export function unsuback(msgId: number): MqttSnPacket {
  return { type: "UNSUBACK", msgId };
}

/** A step of an exchange at QoS 2. */
export function withMsgId(
  type: "PUBREC" | "PUBREL" | "PUBCOMP",
  msgId: number,
): MqttSnPacket {
  return { type, msgId };
}

/** What a gateway answers that takes everything. */
export function answerOf(packet: MqttSnPacket): MqttSnPacket | undefined {
  const returnCode = 0;
  switch (packet.type) {
    case "SEARCHGW":
      return { type: "GWINFO", gwId: 1, gwAdd: new Uint8Array() };
    case "CONNECT":
    case "WILLTOPIC":
    case "WILLMSG":
      return { type: "CONNACK", returnCode };
    case "REGISTER":
      return regack(77, packet.msgId);
    case "SUBSCRIBE":
      return suback(0, packet.msgId);
    case "UNSUBSCRIBE":
      return unsuback(packet.msgId);
    case "PUBLISH":
      if (packet.qos === 1) return puback(packet.topicId, packet.msgId);
      return packet.qos === 2 ? withMsgId("PUBREC", packet.msgId) : undefined;
    case "PUBREL":
      return withMsgId("PUBCOMP", packet.msgId);
    case "WILLTOPICUPD":
      return { type: "WILLTOPICRESP", returnCode };
    case "WILLMSGUPD":
      return { type: "WILLMSGRESP", returnCode };
    case "PINGREQ":
      return PONG;
    case "DISCONNECT":
      return GOODBYE;
    default:
      return undefined;
  }
}
