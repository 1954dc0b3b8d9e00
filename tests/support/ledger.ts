/**
 * What both halves of the judge need: what may be answered, and when a packet
 * that is sent again is the same.
 *
 * @module
 */

import type { MqttSnPacket, Publish } from "../../wire/packets.ts";

/** What has been asked and not answered, each as often as it has come. */
export class Ledger {
  readonly #entries = new Map<string, MqttSnPacket[]>();

  /** Notes that something was asked. */
  add(key: string, packet: MqttSnPacket): void {
    const entries = this.#entries.get(key);
    if (entries === undefined) this.#entries.set(key, [packet]);
    else entries.push(packet);
  }

  /** Whether it was asked. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Takes out what was asked last under that key, `undefined` for nothing. */
  take(key: string): MqttSnPacket | undefined {
    const entries = this.#entries.get(key);
    const packet = entries?.pop();
    if (entries?.length === 0) this.#entries.delete(key);
    return packet;
  }

  /** Forgets what was asked under that key. */
  delete(key: string): void {
    this.#entries.delete(key);
  }
}

/**
 * Whether a packet that is sent again is as it was, but for DUP.
 *
 * @param mayRename whether a PUBLISH may name its topic in another way
 */
export function isSame(
  one: MqttSnPacket,
  other: MqttSnPacket,
  mayRename: boolean,
): boolean {
  return textOf(one, mayRename) === textOf(other, mayRename);
}

/** Whether an id stands for nothing (§5.3.11). */
export function isReserved(topicId: number): boolean {
  return topicId === 0 || topicId === 0xffff;
}

/** How a PUBLISH names its topic. */
export function topicOf({ topicIdType, topicId }: Publish): string {
  return `${topicIdType} ${topicId}`;
}

function textOf(packet: MqttSnPacket, isNameless: boolean): string {
  if (packet.type === "PUBLISH") {
    const { qos, retain, msgId, data } = packet;
    const topic = isNameless ? "" : topicOf(packet);
    return `${qos} ${retain} ${msgId} ${topic} ${data.join()}`;
  }
  return JSON.stringify(
    packet,
    (key, value) =>
      key === "dup"
        ? undefined
        : value instanceof Uint8Array
        ? value.join()
        : value,
  );
}
