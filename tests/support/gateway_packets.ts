/**
 * Packets that tests of the gateway expect.
 *
 * @module
 */

import type { MqttSnPacket } from "../../wire/packets.ts";

export const CONNACK = { type: "CONNACK", returnCode: 0 } as const;
export const DISCONNECT = { type: "DISCONNECT", duration: undefined } as const;
export const PINGRESP = { type: "PINGRESP" } as const;

/** T_retry and N_retry as they are unless told. */
export const RETRY_MS = 10_000;
export const RETRIES = 4;

export function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The types of what was sent, in order. */
export function typesOf(packets: readonly MqttSnPacket[]): string[] {
  return packets.map(({ type }) => type);
}
