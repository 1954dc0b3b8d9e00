/**
 * What a load generator is asked for, and what it tells.
 *
 * @module
 */

import type { Histogram } from "./figures.ts";

/** How messages go from publishers to subscribers. */
export type Pattern =
  /** One publisher, so many subscribers of its one topic. */
  | "fanOut"
  /** So many publishers, each with a topic and a subscriber of its own. */
  | "pairs"
  /** So many publishers, to whom nobody listens. */
  | "acks";

/** What to send, to whom, and for how long. */
export interface Load {
  /** What answers: a broker, or the relay, which needs no connection. */
  readonly server: "broker" | "relay";
  /** Its port at 127.0.0.1. */
  readonly port: number;
  /** Its process, to read its CPU time. */
  readonly pid: number;
  /** Quality of service of publishes and subscriptions. */
  readonly qos: -1 | 0 | 1 | 2;
  /** Who sends to whom. */
  readonly pattern: Pattern;
  /** Subscribers, pairs or publishers, as the pattern says. */
  readonly clients: number;
  /** Length of a message, 20 to 248 octets. */
  readonly octets: number;
  /** How long to publish before anything is measured, in milliseconds. */
  readonly warmUpMs: number;
  /** How long to publish and measure, in milliseconds. */
  readonly loadMs: number;
  /** Messages a second, whatever becomes of them; else as many as the window lets. */
  readonly rate?: number;
  /** Messages under way at QoS 0 and −1, instead of the usual. */
  readonly window?: number;
}

/** Percentiles of a time, in microseconds. */
export interface Percentiles {
  /** The median. */
  readonly p50: number;
  /** 99 of 100 are not above it. */
  readonly p99: number;
  /** 999 of 1,000 are not above it. */
  readonly p999: number;
  /** The longest. */
  readonly max: number;
}

/** What was measured. */
export interface Figures {
  /** Messages published while it was measured. */
  readonly sent: number;
  /** Messages that came to subscribers meanwhile, each once. */
  readonly delivered: number;
  /** Publishes acknowledged meanwhile, at QoS 1 and 2. */
  readonly acknowledged: number;
  /** How long it was measured, in milliseconds. */
  readonly ms: number;
  /** Deliveries that never came, from the first message to the last. */
  readonly lost: number;
  /** Deliveries that came again. */
  readonly duplicates: number;
  /** Deliveries that a later one of the same flow had overtaken. */
  readonly reordered: number;
  /** Publishes that were sent again, as no answer came for a second. */
  readonly repeated: number;
  /** Datagrams that the generator itself did not receive in time. */
  readonly drops: number;
  /** CPU time of the server while it was measured, in milliseconds; `null` if unknown. */
  readonly brokerCpuMs: number | null;
  /** CPU time of the generator meanwhile, in milliseconds. */
  readonly generatorCpuMs: number;
  /** From a publish, or when it was due, to its delivery; without subscribers to its acknowledgement. */
  readonly latency: Percentiles;
  /** With a rate: how long after it was due a message left. */
  readonly lateness: Percentiles;
}

/** What one server did in one round. */
export interface Round extends Figures {
  /** Which load, by its name. */
  readonly case: string;
  /** Who was under load, by its name. */
  readonly rival: string;
  /** Which round, from 1. */
  readonly round: number;
  /** What counts, a second: deliveries, or acknowledgements where nobody listens. */
  readonly rate: number;
}

/** Octets of a message: what a published figure is about, so nobody turns it. */
export const OCTETS = 64;

/** Under load before anything is measured, in milliseconds. */
export const WARM_UP_MS = 300;

/** The percentiles of a histogram. */
export function percentilesOf(histogram: Histogram): Percentiles {
  return {
    p50: histogram.percentile(0.5),
    p99: histogram.percentile(0.99),
    p999: histogram.percentile(0.999),
    max: histogram.max,
  };
}
