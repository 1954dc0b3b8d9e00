/**
 * One direction of one path through a bad network: which datagrams get through, when,
 * how often and how sound, by the rules of Linux's netem.
 *
 * A datagram's fate is decided at once, when it is sent: when it departs follows
 * from those before it. In the order of the kernel: it may be doubled, then each
 * copy has its own luck: it is lost, a bit of it is flipped, it finds no room, it
 * overtakes, or it is delayed.
 *
 * **Order.** As in netem, datagrams arrive in the order of their delays: where
 * there is a jitter, a later one may overtake. With a `rate` none does by jitter,
 * as each departs behind the last. `reorder` lets some go at once, ahead of all
 * that are delayed.
 *
 * **Correlation.** netem blends each draw with the one before, and so has fewer
 * losses than it was asked for: its manual advises against it. Here draws follow
 * each other as an autoregressive process does whose values stay uniform, so that
 * the rate is the one asked for and the correlation too.
 *
 * @module
 */

import type { Millis, Random } from "../base/clock.ts";
import {
  type Chance,
  DEFAULT_LIMIT,
  type Delay,
  type GeModel,
  type PathSpec,
} from "./spec.ts";

/** What happened to the datagrams of one direction of a path. */
export interface PathCounts {
  /** Datagrams that were sent. */
  sent: number;
  /** Copies that arrive. */
  delivered: number;
  /** Copies that were lost by chance. */
  lost: number;
  /** Copies that found too many others under way. */
  queueFull: number;
  /** Datagrams that were longer than the path's MTU. */
  tooLong: number;
  /** Datagrams that were sent while nothing got through. */
  down: number;
  /** Datagrams of which two copies set out. */
  duplicated: number;
  /** Copies that arrive before one that set out earlier. */
  reordered: number;
  /** Copies in which a bit was flipped. */
  corrupted: number;
}

/** Counts that are all 0. */
export function noPathCounts(): PathCounts {
  return {
    sent: 0,
    delivered: 0,
    lost: 0,
    queueFull: 0,
    tooLong: 0,
    down: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0,
  };
}

/**
 * Is told when a copy of a datagram arrives: at `at`, which is the present moment
 * or later. The octets are those that were sent, or a copy that nobody else has
 * if they are not the same any more: a caller that needs them until then copies them,
 * unless they are its own.
 */
export type Deliver = (at: Millis, bytes: Uint8Array) => void;

/**
 * One direction of one path.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { seededRandom } from "../base/clock.ts";
 * import { Netem } from "./netem.ts";
 *
 * const path = new Netem(
 *   { rate: { bitsPerSecond: 8_000, overhead: 0 } },
 *   seededRandom(1),
 * );
 * const arrivals: number[] = [];
 * const datagram = new Uint8Array(10);
 * path.send(0, datagram, (at) => arrivals.push(at));
 * path.send(0, datagram, (at) => arrivals.push(at));
 * assertEquals(arrivals, [10, 20]);
 * ```
 */
export class Netem {
  /** What happened so far. It changes as datagrams are sent. */
  readonly counts: PathCounts;
  readonly #random: Random;
  #startAt: Millis;

  #plan!: PathPlan;
  #duplicate: Luck | undefined;
  #loss: Luck | undefined;
  #corrupt: Luck | undefined;
  #reorder: Luck | undefined;
  #jitter: Jitter | undefined;

  /**
   * When copies arrive that may be under way: a binary heap, the earliest first.
   * What has arrived goes only when there is no room for more, as nobody asks how
   * many there are but a queue that may be full.
   */
  #arrivals: Millis[] = [0];
  #count = 0;
  /** The latest arrival so far. */
  #latestAt = -Infinity;
  /** How many have not overtaken since the last that has. */
  #sinceOvertaking = 0;

  /**
   * Makes a path on which nothing is under way.
   *
   * @param path what happens on it
   * @param random decides what happens by chance: nothing else may draw from it
   * if the same seed is to give the same run
   * @param startAt the moment from which the periods of `down` count
   * @param counts what to count in; several paths may share it. Default: its own
   */
  constructor(
    path: PathSpec,
    random: Random,
    startAt: Millis = 0,
    counts: PathCounts = noPathCounts(),
  ) {
    this.#random = random;
    this.#startAt = startAt;
    this.counts = counts;
    this.set(path);
  }

  /**
   * Has something else happen from now on. What is under way stays so.
   *
   * @param startAt the moment from which the periods of `down` count. Default: as
   * before
   */
  set(path: PathSpec, startAt: Millis = this.#startAt): void {
    const { loss, delay } = path;
    this.#startAt = startAt;
    const random = this.#random;
    this.#plan = planOf(path);
    this.#duplicate = luckOf(path.duplicate, random);
    this.#loss = loss !== undefined && "toBad" in loss
      ? new Bursts(loss, random)
      : isPlain(loss)
      ? undefined
      : luckOf(loss, random);
    this.#corrupt = luckOf(path.corrupt, random);
    this.#reorder = luckOf(path.reorder, random);
    this.#jitter = delay === undefined || delay.jitterMs === 0 ||
        this.#plan.evenJitterMs > 0
      ? undefined
      : new Jitter(delay, random);
  }

  /** How many copies are under way at a moment, which is not before the last. */
  underWay(now: Millis): number {
    this.#forget(now);
    return this.#count;
  }

  /**
   * Sends a datagram: `deliver` is called for each copy that gets through, before
   * this returns.
   *
   * @param now the present moment, not before the last
   * @param bytes the datagram; never changed, and not kept
   */
  send(now: Millis, bytes: Uint8Array, deliver: Deliver): void {
    const { counts } = this;
    counts.sent++;
    if (bytes.length > this.#plan.mtu) {
      counts.tooLong++;
      return;
    }
    if (this.#plan.downMs > 0 && this.#isDown(now)) {
      counts.down++;
      return;
    }
    if (this.#duplicate !== undefined && this.#duplicate.strikes()) {
      counts.duplicated++;
      this.#launch(now, bytes, deliver);
    }
    this.#launch(now, bytes, deliver);
  }

  /** Up first, then down: a client that has just started can connect. */
  #isDown(now: Millis): boolean {
    const every = this.#plan.everyMs;
    const phase = ((now - this.#startAt) % every + every) % every;
    return phase >= every - this.#plan.downMs;
  }

  #launch(now: Millis, bytes: Uint8Array, deliver: Deliver): void {
    const { counts } = this;
    const { plainLoss } = this.#plan;
    if (
      plainLoss > 0
        ? this.#random() < plainLoss
        : this.#loss !== undefined && this.#loss.strikes()
    ) {
      counts.lost++;
      return;
    }
    if (this.#corrupt !== undefined && this.#corrupt.strikes()) {
      bytes = this.#flipBit(bytes);
      counts.corrupted++;
    }
    if (this.#plan.isInstant) {
      counts.delivered++;
      // Something slower may still be under way, from before a change.
      if (now < this.#latestAt) counts.reordered++;
      else this.#latestAt = now;
      deliver(now, bytes);
      return;
    }
    if (this.#count >= this.#plan.limit) this.#forget(now);
    if (this.#count >= this.#plan.limit) {
      counts.queueFull++;
      return;
    }
    const at = this.#arrivalOf(now, bytes.length);
    this.#remember(now, at);
    if (at < this.#latestAt) counts.reordered++;
    else this.#latestAt = at;
    counts.delivered++;
    deliver(at, bytes);
  }

  #arrivalOf(now: Millis, length: number): Millis {
    if (this.#reorder !== undefined) {
      if (
        this.#sinceOvertaking >= this.#plan.gap - 1 && this.#reorder.strikes()
      ) {
        this.#sinceOvertaking = 0;
        return now;
      }
      this.#sinceOvertaking++;
    }
    let delay = this.#plan.delayMs;
    const { evenJitterMs } = this.#plan;
    if (evenJitterMs > 0) delay += evenJitterMs * (2 * this.#random() - 1);
    else if (this.#jitter !== undefined) delay += this.#jitter.next();
    if (delay < 0) delay = 0;
    if (this.#plan.msPerOctet === 0) return now + delay;
    // It takes its time on the line when the last has had its own.
    return Math.max(now + delay, this.#latestAt) +
      (length + this.#plan.overhead) * this.#plan.msPerOctet;
  }

  #flipBit(bytes: Uint8Array): Uint8Array {
    const copy = bytes.slice();
    const bit = Math.floor(this.#random() * copy.length * 8);
    if (copy.length > 0) copy[bit >> 3]! ^= 1 << (bit & 7);
    return copy;
  }

  #remember(now: Millis, at: Millis): void {
    if (this.#count === this.#arrivals.length) this.#forget(now);
    if (this.#count === this.#arrivals.length) {
      // Twice the room and no more: there are thousands of paths.
      this.#arrivals = this.#arrivals.concat(this.#arrivals);
    }
    const heap = this.#arrivals;
    let place = this.#count++;
    for (let up; place > 0 && heap[up = (place - 1) >> 1]! > at; place = up) {
      heap[place] = heap[up]!;
    }
    heap[place] = at;
  }

  /** Forgets all that has arrived by now. */
  #forget(now: Millis): void {
    const heap = this.#arrivals;
    while (this.#count > 0 && heap[0]! <= now) {
      const size = --this.#count;
      const at = heap[size]!;
      let place = 0;
      for (let down; (down = 2 * place + 1) < size; place = down) {
        if (down + 1 < size && heap[down + 1]! < heap[down]!) down++;
        if (heap[down]! >= at) break;
        heap[place] = heap[down]!;
      }
      heap[place] = at;
    }
  }
}

/** What a path does that is no matter of chance. */
interface PathPlan {
  readonly mtu: number;
  readonly limit: number;
  readonly downMs: Millis;
  readonly everyMs: Millis;
  readonly gap: number;
  readonly delayMs: Millis;
  readonly msPerOctet: number;
  readonly overhead: number;
  readonly isInstant: boolean;
  /** The chance of a loss that depends on nothing, 0 if there is none such. */
  readonly plainLoss: number;
  /** A jitter that is uniform and depends on nothing, 0 if there is none such. */
  readonly evenJitterMs: Millis;
}

/** Thousands of paths may be of one description: they share its plan. */
const plans = new WeakMap<PathSpec, PathPlan>();

function planOf(path: PathSpec): PathPlan {
  const known = plans.get(path);
  if (known !== undefined) return known;
  const { delay, rate, down, loss } = path;
  const plan: PathPlan = {
    mtu: path.mtu ?? Infinity,
    limit: path.limit ?? DEFAULT_LIMIT,
    downMs: down?.ms ?? 0,
    everyMs: down?.everyMs ?? 0,
    gap: path.reorder?.gap ?? 1,
    delayMs: delay?.ms ?? 0,
    msPerOctet: rate === undefined ? 0 : 8_000 / rate.bitsPerSecond,
    overhead: rate?.overhead ?? 0,
    isInstant: rate === undefined && delay === undefined,
    plainLoss: isPlain(loss) ? loss.chance : 0,
    evenJitterMs: delay?.distribution === "uniform" && delay.correlation === 0
      ? delay.jitterMs
      : 0,
  };
  plans.set(path, plan);
  return plan;
}

/** Says of one datagram after another whether something happens to it. */
interface Luck {
  strikes(): boolean;
}

/** Whether what happened last does not matter. */
function isPlain(loss: PathSpec["loss"]): loss is Chance {
  return loss !== undefined && !("toBad" in loss) && loss.correlation === 0;
}

function luckOf(chance: Chance | undefined, random: Random): Luck | undefined {
  if (chance === undefined || chance.chance === 0) return undefined;
  return chance.correlation === 0
    ? new PlainLuck(chance.chance, random)
    : new CorrelatedLuck(chance, random);
}

class PlainLuck implements Luck {
  readonly #chance: number;
  readonly #random: Random;

  constructor(chance: number, random: Random) {
    this.#chance = chance;
    this.#random = random;
  }

  strikes(): boolean {
    return this.#random() < this.#chance;
  }
}

class CorrelatedLuck implements Luck {
  readonly #chance: number;
  readonly #drift: Drift;

  constructor({ chance, correlation }: Chance, random: Random) {
    this.#chance = chance;
    this.#drift = new Drift(normalCorrelation(correlation), random);
  }

  strikes(): boolean {
    return shareBelow(this.#drift.next()) < this.#chance;
  }
}

/** Gilbert's and Elliott's two states. */
class Bursts implements Luck {
  readonly #model: GeModel;
  readonly #random: Random;
  #isBad = false;

  constructor(model: GeModel, random: Random) {
    this.#model = model;
    this.#random = random;
  }

  strikes(): boolean {
    const { toBad, toGood, lossInBad, lossInGood } = this.#model;
    const isBad = this.#isBad;
    // As in netem, the state that a datagram finds decides on it.
    if (this.#random() < (isBad ? toGood : toBad)) this.#isBad = !isBad;
    const loss = isBad ? lossInBad : lossInGood;
    return loss === 1 || (loss > 0 && this.#random() < loss);
  }
}

/** How much later or sooner than the mean each datagram is. */
class Jitter {
  readonly #ms: Millis;
  readonly #distribution: Delay["distribution"];
  readonly #random: Random;
  readonly #drift: Drift | undefined;

  constructor(
    { jitterMs, correlation, distribution }: Delay,
    random: Random,
  ) {
    this.#ms = jitterMs;
    this.#distribution = distribution;
    this.#random = random;
    if (correlation > 0) {
      const isNormal = distribution === "normal";
      this.#drift = new Drift(
        isNormal ? correlation : normalCorrelation(correlation),
        random,
      );
    }
  }

  next(): Millis {
    switch (this.#distribution) {
      case "uniform":
        return this.#ms * (2 * this.#share() - 1);
      case "normal":
        return this.#ms * (this.#drift?.next() ?? normal(this.#random));
      case "pareto":
        return this.#ms * paretoOf(this.#share());
      default:
        return this.#distribution satisfies never;
    }
  }

  #share(): number {
    const drift = this.#drift;
    return drift === undefined ? this.#random() : shareBelow(drift.next());
  }
}

/** Standard normal numbers of which each is like the last: AR(1). */
class Drift {
  readonly #correlation: number;
  readonly #rest: number;
  readonly #random: Random;
  #last: number | undefined;

  constructor(correlation: number, random: Random) {
    this.#correlation = correlation;
    this.#rest = Math.sqrt(1 - correlation * correlation);
    this.#random = random;
  }

  next(): number {
    const fresh = normal(this.#random);
    const last = this.#last;
    return this.#last = last === undefined
      ? fresh
      : this.#correlation * last + this.#rest * fresh;
  }
}

/** A standard normal number, by the method of Box and Muller. */
function normal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
}

/**
 * How normal numbers must correlate for the shares below them, which are
 * uniform, to do so as asked.
 */
function normalCorrelation(correlation: number): number {
  return 2 * Math.sin(Math.PI * correlation / 6);
}

/**
 * The share of standard normal numbers that are less than this one, to 1e-7: the
 * approximation 26.2.17 in Abramowitz and Stegun's tables.
 */
function shareBelow(value: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(value));
  const series = t *
    (0.319381530 +
      t * (-0.356563782 +
          t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const tail = Math.exp(-value * value / 2) / Math.sqrt(2 * Math.PI) * series;
  return value < 0 ? tail : 1 - tail;
}

/** The shape of Pareto's law in netem's table. */
const PARETO_SHAPE = 3;
const PARETO_MEAN = PARETO_SHAPE / (PARETO_SHAPE - 1);
const PARETO_DEVIATION = Math.sqrt(
  PARETO_SHAPE / (PARETO_SHAPE - 2),
) / (PARETO_SHAPE - 1);

/** A number by Pareto's law, shifted and scaled to mean 0 and deviation 1. */
function paretoOf(share: number): number {
  const value = Math.pow(Math.max(1 - share, 2 ** -32), -1 / PARETO_SHAPE);
  return (value - PARETO_MEAN) / PARETO_DEVIATION;
}
