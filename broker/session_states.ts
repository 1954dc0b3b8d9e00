/**
 * The states of an MQTT-SN client at its broker, and the events that lead from one to
 * another (MQTT-SN 1.2 §6.14). ARCHITECTURE.md shows this table as a diagram.
 *
 * @module
 */

/** The states of a client (§6.14, figure 5). */
export const SESSION_STATES = [
  "disconnected",
  "active",
  "asleep",
  "awake",
  "lost",
] as const;

/**
 * A client's state.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * const session = { clientId: "lamp", cleanSession: false };
 * await using lamp = await Client.connect({ port: broker.port, ...session });
 * await lamp.sleep(60);
 * assertEquals(broker.stats().mqttsn.clients.asleep, 1);
 * ```
 */
export type SessionState = (typeof SESSION_STATES)[number];

/** What happens to a client. */
export type SessionEvent =
  /** It connects, or connects again, and is accepted. */
  | "CONNECT"
  /** It disconnects. */
  | "DISCONNECT"
  /** It disconnects for a duration: it sleeps, or sleeps on. */
  | "DISCONNECT with Duration"
  /** It wakes to fetch what was buffered. */
  | "PINGREQ"
  /** What was buffered has been delivered, and PINGRESP sent. */
  | "delivered"
  /** Nothing was heard of it for longer than is allowed. */
  | "silence"
  /** It left a message unanswered through all retries. */
  | "retries exhausted"
  /** Another client has taken its address. */
  | "displaced";

/** Where an event leads from each state; what is not listed does not happen. */
export const TRANSITIONS: Readonly<
  Record<SessionState, Partial<Readonly<Record<SessionEvent, SessionState>>>>
> = {
  disconnected: {
    "CONNECT": "active",
  },
  active: {
    "CONNECT": "active",
    "DISCONNECT": "disconnected",
    "DISCONNECT with Duration": "asleep",
    "silence": "lost",
    "retries exhausted": "lost",
    "displaced": "lost",
  },
  asleep: {
    "CONNECT": "active",
    "PINGREQ": "awake",
    "DISCONNECT": "disconnected",
    "DISCONNECT with Duration": "asleep",
    "silence": "lost",
    "displaced": "lost",
  },
  awake: {
    "CONNECT": "active",
    "delivered": "asleep",
    "retries exhausted": "asleep",
    "DISCONNECT": "disconnected",
    "DISCONNECT with Duration": "asleep",
    "displaced": "lost",
  },
  lost: {
    "CONNECT": "active",
  },
};
