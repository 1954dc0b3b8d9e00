/**
 * A fleet in virtual time: clients that publish, sleep and take commands, the
 * listeners they publish for, and a broker, all of them the real machines
 * (`client/device.ts`, `broker/router.ts`) on a virtual network.
 *
 * Each member comes at a moment by chance, connects, subscribes to its commands,
 * and sleeps if it is a sleeper; its device does the rest by itself.
 * Messages and commands come at random, at a rate (a Poisson process). Each party
 * has a source of chance of its own, with its two ways, so that what happens to
 * one does not move the others.
 *
 * @module
 */

import { type Millis, type Random, seededRandom } from "../base/clock.ts";
import { Ledger } from "./ledger.ts";
import { type FleetOptions, requireFleetOptions } from "./options.ts";
import { type FleetHost, Listener, Member } from "./members.ts";
import { FleetPaths } from "../netsim/paths.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import type { PathCounts } from "../netsim/netem.ts";
import { Router } from "../broker/router.ts";
import type { RouterStats } from "../broker/sys_topics.ts";
import { VirtualNet } from "../netsim/virtual_net.ts";

/** Where the broker is. */
const BROKER = peerOf("10.0.0.1", 12_003);

/** Members behind one address, as behind a carrier's NAT. */
const PER_ADDRESS = 500;

/** When the listeners are there, and the first members come. */
const START_MS = 10_000;

/** Samples of a run: enough for a curve. */
const SAMPLES = 120;

/** How one party's seed is told from another's. */
const APART = 0x9e3779b1;

/** What a fleet is like at a moment. */
export interface FleetSample {
  /** When, in milliseconds since the first members came. */
  readonly at: Millis;
  /** Messages published so far. */
  readonly published: number;
  /** Deliveries expected so far. */
  readonly expected: number;
  /** Deliveries so far. */
  readonly arrived: number;
  /** Datagrams sent so far. */
  readonly sent: number;
  /** Datagrams that the network has lost so far. */
  readonly lost: number;
  /** Messages that wait in the broker. */
  readonly queued: number;
  /** Octets that they take there, estimated. */
  readonly queueMemory: number;
  /** Clients that the broker knows to be active, awake or asleep. */
  readonly connected: number;
}

/** What the ways between members and the broker were given to carry. */
export interface AirCounts {
  /** Datagrams, both directions. */
  readonly datagrams: number;
  /** Their octets, without UDP's and IP's own. */
  readonly octets: number;
}

/**
 * A fleet.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Fleet } from "./fleet.ts";
 * import { DEFAULT_FLEET } from "./options.ts";
 *
 * const fleet = new Fleet({ ...DEFAULT_FLEET, clients: 5, seed: 7 });
 * fleet.run(fleet.endsAt);
 * assertEquals(fleet.ledger.arrived, fleet.ledger.expected);
 * ```
 */
export class Fleet {
  /** What it was told to be. */
  readonly options: FleetOptions;
  /** The network, which has the clock and the digest. */
  readonly net: VirtualNet = new VirtualNet();
  /** What was published and what has come. */
  readonly ledger: Ledger = new Ledger();
  /** What it was like once in a while, so far. */
  readonly samples: FleetSample[] = [];
  readonly #host: FleetHost;
  readonly #ways: FleetPaths;
  readonly #router: Router;
  readonly #members: Member[] = [];
  readonly #listeners: Listener[] = [];

  /**
   * Makes a fleet of which nobody has come yet.
   *
   * @throws {RangeError} when an option is out of its range
   */
  constructor(options: FleetOptions) {
    requireFleetOptions(options);
    this.options = options;
    const { clients, listeners, retryMs, retries, maxQueue } = options;
    this.#host = {
      options,
      ledger: this.ledger,
      broker: BROKER,
      quietAt: this.quietAt,
      memberFor: (random) => this.#memberFor(random),
    };
    this.#ways = new FleetPaths(options.net, options.seed);
    this.#router = new Router({
      maxClients: clients + listeners,
      maxQueue,
      retryMs,
      retries,
      // Nobody speaks the classic protocol.
      history: 0,
    });
    this.net.attach(BROKER, this.#router);
    for (let at = 0; at < listeners; at++) {
      const listener = new Listener(
        this.#host,
        at,
        this.#randomOf(clients + at),
        0,
      );
      this.#listeners.push(listener);
      this.net.attach(peerOf("10.0.0.2", 1_024 + at), listener);
    }
    let hostname = "";
    for (let at = 0; at < clients; at++) {
      if (at % PER_ADDRESS === 0) hostname = hostnameOf(at / PER_ADDRESS);
      this.#join(at, peerOf(hostname, 1_024 + at % PER_ADDRESS));
    }
  }

  /** When nobody publishes any more. */
  get quietAt(): Millis {
    return START_MS + this.options.durationMs;
  }

  /** When all is over. */
  get endsAt(): Millis {
    return this.quietAt + this.options.graceMs;
  }

  /** What the members' ways were given to carry. */
  get air(): AirCounts {
    const { sent, sentOctets } = this.net.counts;
    return {
      datagrams: sent - sumOf(this.#listeners, ({ datagrams }) => datagrams),
      octets: sentOctets - sumOf(this.#listeners, ({ octets }) => octets),
    };
  }

  /** What happened on the members' ways, both directions. */
  get ways(): PathCounts {
    return this.#ways.counts;
  }

  /** Requests that members and listeners have sent again. */
  get repeats(): number {
    return sumOf(this.#parties, ({ device }) => device.repeats);
  }

  /** Messages that their publishers have not handed over yet. */
  get unsent(): number {
    return sumOf(this.#parties, ({ device }) => device.unpublished);
  }

  /** Messages that were not published, as too many waited to be. */
  get withheld(): number {
    return sumOf(this.#parties, ({ withheld }) => withheld);
  }

  /** How often somebody was told that it cannot connect, or heard nothing. */
  get turnedAway(): number {
    return sumOf(this.#parties, ({ turnedAway }) => turnedAway);
  }

  /** What the broker has counted. */
  stats(): RouterStats {
    return this.#router.stats();
  }

  /** Lets everything happen that happens by then. */
  run(until: Millis): void {
    const everyMs = (this.endsAt - START_MS) / SAMPLES;
    for (let at; (at = this.#sampleAt(everyMs)) <= until;) {
      this.net.proceed(at);
      this.#sample();
    }
    this.net.proceed(until);
  }

  get #parties(): readonly (Member | Listener)[] {
    return [...this.#members, ...this.#listeners];
  }

  #join(at: number, peer: Peer): void {
    const { rampMs } = this.options;
    const random = this.#randomOf(at);
    const comesAt = START_MS + random() * rampMs;
    const member = new Member(this.#host, at, random, comesAt);
    this.#members.push(member);
    this.net.attach(
      peer,
      member,
      undefined,
      this.#ways.of(`c${at}`, peer, random),
    );
  }

  /** A member by chance, `undefined` if it takes no commands yet. */
  #memberFor(random: Random): Member | undefined {
    const member = this.#members[Math.floor(random() * this.#members.length)];
    return member?.isReady ? member : undefined;
  }

  #randomOf(party: number): Random {
    return seededRandom(this.options.seed + Math.imul(party + 1, APART));
  }

  #sampleAt(everyMs: Millis): Millis {
    const { length } = this.samples;
    if (length === SAMPLES) return Infinity;
    return Math.min(START_MS + (length + 1) * everyMs, this.endsAt);
  }

  #sample(): void {
    const { ledger, net } = this;
    const { queued, queueMemory, clients } = this.#router.stats().mqttsn;
    this.samples.push({
      at: net.now - START_MS,
      published: ledger.published,
      expected: ledger.expected,
      arrived: ledger.arrived,
      sent: net.counts.sent,
      lost: net.counts.lost,
      queued,
      queueMemory,
      connected: clients.active + clients.awake + clients.asleep,
    });
  }
}

/** An address for each block of members: 10.1.0.0 and those that follow. */
function hostnameOf(block: number): string {
  return `10.${1 + (block >> 16)}.${block >> 8 & 0xff}.${block & 0xff}`;
}

function sumOf<Item>(
  items: readonly Item[],
  count: (item: Item) => number,
): number {
  return items.reduce((sum, item) => sum + count(item), 0);
}
