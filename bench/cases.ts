/**
 * The loads that are compared: at each quality of service, for few clients and for
 * many.
 *
 * @module
 */

import type { Load } from "./load_job.ts";

/** A load. */
export interface Case extends Pick<Load, "qos" | "pattern" | "clients"> {
  /** Its name, by which it can be chosen. */
  readonly name: string;
  /** What it is, for the heading of its table. */
  readonly title: string;
  /** Whether a short look has it. */
  readonly isQuick: boolean;
  /** Whether senders can make a difference. */
  readonly usesSenders: boolean;
}

const FANS = [1, 10, 100, 1_000];
const MANY = [1, 10, 64, 100, 1_000];

/** All loads. */
export const CASES: readonly Case[] = [
  ...FANS.map((clients) => fanOut(0, clients)),
  ...FANS.map((clients) => fanOut(-1, clients)),
  ...MANY.map((clients) => pairs(1, clients)),
  ...[1, 64].map((clients) => acks(1, clients)),
  ...FANS.slice(1).map((clients) => fanOut(1, clients)),
  ...MANY.filter((clients) => clients !== 64).map((n) => pairs(2, n)),
  ...FANS.slice(1).map((clients) => fanOut(2, clients)),
];

function fanOut(qos: Load["qos"], clients: number): Case {
  const to = `to ${many(clients, "subscriber")}`;
  return {
    name: `qos${qos}-to-${clients}`,
    title: `QoS ${shownQos(qos)}, one publisher ${to}`,
    qos,
    pattern: "fanOut",
    clients,
    isQuick: qos === 0 && clients <= 100 || qos > 0 && clients === 10,
    usesSenders: clients > 1,
  };
}

function pairs(qos: 1 | 2, clients: number): Case {
  return {
    name: `qos${qos}-pairs-${clients}`,
    title: `QoS ${qos}, ${
      many(clients, "publisher")
    } with one message outstanding, each to a subscriber of its own`,
    qos,
    pattern: "pairs",
    clients,
    isQuick: clients === 1 || clients === 64,
    usesSenders: false,
  };
}

function acks(qos: 1 | 2, clients: number): Case {
  return {
    name: `qos${qos}-acks-${clients}`,
    title: `QoS ${qos}, ${
      many(clients, "publisher")
    } with one message outstanding, and nobody subscribed`,
    qos,
    pattern: "acks",
    clients,
    isQuick: false,
    usesSenders: false,
  };
}

function many(count: number, what: string): string {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}

function shownQos(qos: Load["qos"]): string {
  return qos === -1 ? "−1" : `${qos}`;
}
