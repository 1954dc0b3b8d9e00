/**
 * A judge of conversations in MQTT-SN 1.2: it sees each datagram between clients and
 * gateways as it is sent and as it arrives, and writes down whatever either side does
 * that the specification forbids.
 *
 * A sender is judged by what it has sent and what has reached it: what was lost,
 * or is still under way, is no fault. Two silent changes cannot be seen on the
 * wire, that somebody has given the other up and that a gateway lets an awake
 * client sleep on; where one may have happened the judge is lenient.
 *
 * What has to be answered is to be answered at once, as every machine here does.
 *
 * @module
 */

import type { Millis } from "../../base/clock.ts";
import { nodePeerOf } from "../../wire/forwarder.ts";
import { MalformedPacketError } from "../../base/errors.ts";
import type { Peer } from "../../base/peer.ts";
import { decodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { DeviceRecord, type Patience } from "./judge_device.ts";
import { GatewayRecord } from "./judge_gateway.ts";

/** Whoever has to answer. */
interface Debtor {
  /** What it has not answered, `undefined` for nothing. */
  readonly due: string | undefined;
  /** Says so. */
  blame(what: string): void;
}

/** A judge, who is to be shown every datagram. */
export class Judge {
  /** What was done that is forbidden, in order. */
  readonly violations: string[] = [];
  readonly #gateways = new Map<string, GatewayRecord>();
  readonly #clients = new Map<string, DeviceRecord>();
  #debtor: Debtor | undefined;
  /** Where the debtor sends from. */
  #debtorKey = "";
  #now: Millis = 0;

  /**
   * Has seen nothing yet.
   *
   * @param gateways where the gateways are; everybody else is a client
   */
  constructor(gateways: readonly Peer[]) {
    for (const peer of gateways) this.restart(peer);
  }

  /** A gateway is another one from now on, which knows nobody. */
  restart(gateway: Peer): void {
    const { key } = gateway;
    const blame = (what: string) => this.#blame(key, what);
    this.#gateways.set(key, new GatewayRecord(blame));
  }

  /**
   * A client is another one from now on, which knows nothing.
   *
   * @param patience how long it waits, if that is to be judged too
   */
  introduce(client: Peer, patience?: Patience): void {
    this.#clients.set(client.key, this.#recordOf(client.key, patience));
  }

  /** A client is no more. */
  dismiss(client: Peer): void {
    this.#clients.delete(client.key);
  }

  /** A client goes on from another address. */
  move(from: Peer, to: Peer): void {
    const record = this.#clients.get(from.key);
    if (record === undefined) return;
    this.#clients.delete(from.key);
    record.blame = (what) => this.#blame(to.key, what);
    this.#clients.set(to.key, record);
  }

  /** A client was switched off for a while: its silence was no fault. */
  excuse(now: Millis, client: Peer): void {
    this.#clients.get(client.key)?.excuse(now);
  }

  /**
   * Sees a datagram that somebody sends.
   *
   * @param to whom to, `undefined` for everybody
   * @returns the message, unwrapped; `undefined` when it is none
   */
  handleSend(
    now: Millis,
    from: Peer,
    to: Peer | undefined,
    bytes: Uint8Array,
  ): MqttSnPacket | undefined {
    this.#now = now;
    if (this.#debtorKey !== from.key) this.#collect();
    const gateway = this.#gateways.get(from.key);
    const other = to ?? EVERYBODY;
    const read = gateway === undefined
      ? this.#read(from, bytes)
      : this.#read(other, bytes);
    if (typeof read === "string") {
      this.#blame(from.key, read);
      return undefined;
    }
    const { packet, key } = read;
    if (gateway !== undefined) {
      if (to === undefined) gateway.handleBroadcast(packet);
      else gateway.handleSend(now, key, packet);
      return packet;
    }
    const client = this.#clientAt(key);
    if (to === undefined) client.handleBroadcast(packet);
    else if (this.#gateways.has(to.key)) {
      client.handleSend(now, to.key, packet);
    } else client.blame(`${packet.type} to ${to.key}, which is no gateway`);
    return packet;
  }

  /** Sees a datagram that reaches somebody. */
  handleDelivery(now: Millis, from: Peer, to: Peer, bytes: Uint8Array): void {
    this.#now = now;
    this.#collect();
    const gateway = this.#gateways.get(to.key);
    const isOfGateway = this.#gateways.has(from.key);
    if ((gateway === undefined) === !isOfGateway) return;
    const read = this.#read(gateway === undefined ? to : from, bytes);
    if (typeof read === "string") return; // its sender was blamed
    const { packet, key } = read;
    this.#debtorKey = to.key;
    if (gateway !== undefined) {
      gateway.handleDelivery(key, packet);
      this.#debtor = gateway;
    } else {
      const client = this.#clientAt(key);
      client.handleDelivery(now, from.key, packet);
      this.#debtor = client;
    }
  }

  /** Blames those who still owe an answer, or have been silent for too long. */
  rest(now: Millis): void {
    this.#now = now;
    this.#collect();
    for (const client of this.#clients.values()) client.checkSilence(now);
  }

  /** Whoever has not answered at once does not answer. */
  #collect(): void {
    const due = this.#debtor?.due;
    if (due !== undefined) this.#debtor!.blame(`leaves ${due} unanswered`);
    this.#debtor = undefined;
    this.#debtorKey = "";
  }

  #clientAt(key: string): DeviceRecord {
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    const record = this.#recordOf(key, undefined);
    this.#clients.set(key, record);
    return record;
  }

  #recordOf(key: string, patience: Patience | undefined): DeviceRecord {
    return new DeviceRecord((what) => this.#blame(key, what), patience);
  }

  /** The message in a datagram, and which client it is of or for. */
  #read(
    client: Peer,
    bytes: Uint8Array,
  ): { packet: MqttSnPacket; key: string } | string {
    try {
      const packet = decodePacket(bytes);
      if (packet.type !== "ENCAPSULATED") return { packet, key: client.key };
      const { key } = nodePeerOf(client, packet);
      return { packet: decodePacket(packet.message), key };
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return `a datagram that is no message: ${error.message}`;
    }
  }

  #blame(key: string, what: string): void {
    this.violations.push(`${key} at ${this.#now}: ${what}`);
  }
}

/** Nobody in particular. */
const EVERYBODY: Peer = { hostname: "", port: 0, key: "everybody" };
