/**
 * The lanes in which a client's commands wait: one for the connection, one for
 * topic ids, one for subscriptions, one for what is published, one for the will.
 * Knows order, what is under way, and when it is given up; nothing of what a
 * command means.
 *
 * A lane has one command under way and one request outstanding, as the
 * specification asks (§6.5, §6.6, §6.9). CommandQueues do not wait for each other, but a
 * command of the connection's, such as to sleep, waits for all that were given
 * before it, and those given after it wait for it.
 *
 * @module
 */

import { earliest, type Millis } from "../base/clock.ts";
import { type Command, LANE_OF, type LaneName } from "./commands.ts";
import type { DeviceEvent } from "./events.ts";
import type { EffectQueue } from "../base/machine.ts";
import {
  type MqttSnPacket,
  type MsgType,
  type Qos,
  RETURN_CODE,
} from "../wire/packets.ts";
import type { Request } from "./requests.ts";

/** A command under way or waiting. */
export interface Job {
  /** Its token; 0 when nobody wants to know how it ends. */
  token: number;
  /** Its place among all jobs; 0 comes before all that were given. */
  readonly order: number;
  /** What is to be done. */
  readonly command: Command;
  /** When it is given up, `undefined` for never. */
  readonly giveUpAt: Millis | undefined;
}

/** Spent places at the head of a queue that are given back at once. */
const MAX_SPENT = 1_024;

/** The queue of every lane in which nothing waits, as in most: never changed. */
const EMPTY: (Job | undefined)[] = [];

/** The lanes of a client that has done nothing yet. */
const NO_LANES: readonly CommandQueue[] = [];

/** One kind of command: one at a time. */
export class CommandQueue {
  /** Which lane it is. */
  readonly name: LaneName;
  /** What is under way. */
  current: Job | undefined;
  /** What it waits for. */
  request: Request | undefined;
  /** T_WAIT: nothing is asked before; 0 for no wait. */
  holdUntil: Millis = 0;
  /** Whether there has ever been anything in it; set by {@linkcode CommandQueues}. */
  isOpen = false;
  #queue = EMPTY;
  #head = 0;

  /** Makes an empty lane. */
  constructor(name: LaneName) {
    this.name = name;
  }

  /** Commands that have not ended. */
  get length(): number {
    return this.#queue.length - this.#head +
      (this.current === undefined ? 0 : 1);
  }

  /** The next command that waits. */
  get next(): Job | undefined {
    return this.#queue[this.#head];
  }

  /** The first of those that wait which somebody has given. */
  get oldest(): Job | undefined {
    let at = this.#head;
    while (this.#queue[at]?.token === 0) at++;
    return this.#queue[at];
  }

  /** What is under way, or next. */
  get first(): Job | undefined {
    return this.current ?? this.next;
  }

  /** What waits, in order. */
  get waiting(): readonly Job[] {
    return this.#queue.slice(this.#head) as Job[];
  }

  /** Puts a command at the end. */
  push(job: Job): void {
    if (this.#queue === EMPTY) this.#queue = [job];
    else this.#queue.push(job);
  }

  /** Takes the next command out. */
  shift(): Job | undefined {
    const job = this.#queue[this.#head];
    if (job === undefined) return undefined;
    this.#queue[this.#head++] = undefined;
    if (this.#head === this.#queue.length) {
      this.#queue = EMPTY;
      this.#head = 0;
    } else if (this.#head > MAX_SPENT) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
    return job;
  }

  /** Has these waiting instead. */
  replaceWaiting(jobs: readonly Job[]): void {
    this.#queue = jobs.length === 0 ? EMPTY : [...jobs];
    this.#head = 0;
  }

  /** Takes out the command of that token, if it waits. */
  remove(token: number): boolean {
    const at = this.#queue.findIndex((job) => job?.token === token);
    if (at < 0) return false;
    this.#queue.splice(at, 1);
    return true;
  }

  /** What it waits for, if it is of that type. */
  asked<Type extends MsgType>(
    type: Type,
  ): Extract<MqttSnPacket, { type: Type }> | undefined {
    const packet = this.request?.packet;
    return packet?.type === type
      ? packet as Extract<MqttSnPacket, { type: Type }>
      : undefined;
  }
}

/** All lanes of a client. */
export class CommandQueues {
  /** To connect, disconnect, sleep and wake. */
  readonly link = new CommandQueue("link");
  /** To register topics. */
  readonly register = new CommandQueue("register");
  /** To subscribe and unsubscribe. */
  readonly subscribe = new CommandQueue("subscribe");
  /** To publish. */
  readonly publish = new CommandQueue("publish");
  /** To change the will. */
  readonly will = new CommandQueue("will");
  /**
   * Those that need a connection, but for lanes in which there has never been
   * anything: most clients use one or two.
   */
  others: readonly CommandQueue[] = NO_LANES;
  /** These and the connection's. */
  all: readonly CommandQueue[] = [this.link];
  readonly #effects: EffectQueue<DeviceEvent>;
  readonly #waitMs: Millis;
  readonly #giveUpMs: Millis | undefined;
  #lastOrder = 0;

  /**
   * Makes empty lanes.
   *
   * @param effects is told how commands end
   * @param waitMs T_WAIT: how long nothing of a kind is asked after a refusal
   * for congestion, in milliseconds
   * @param giveUpMs how long a command has, in milliseconds, `undefined` for
   * any time
   */
  constructor(
    effects: EffectQueue<DeviceEvent>,
    waitMs: Millis,
    giveUpMs: Millis | undefined,
  ) {
    this.#effects = effects;
    this.#waitMs = waitMs;
    this.#giveUpMs = giveUpMs;
  }

  /** Puts a command behind all that were given before. */
  add(now: Millis, command: Command, token: number): void {
    const order = ++this.#lastOrder;
    const giveUpAt = this.#giveUpMs === undefined || token === 0
      ? undefined
      : now + this.#giveUpMs;
    const lane = this[LANE_OF[command.type]];
    this.#open(lane);
    lane.push({ token, order, command, giveUpAt });
  }

  #open(lane: CommandQueue): void {
    if (lane.isOpen) return;
    lane.isOpen = true;
    const { link, register, subscribe, publish, will } = this;
    // Neither has room for more, as `concat` gives none.
    this.all = [link].concat(
      [register, subscribe, publish, will].filter(({ isOpen }) => isOpen),
    );
    this.others = this.all.slice(1);
  }

  /** Commands that have not ended. */
  get pending(): number {
    let sum = 0;
    for (const lane of this.all) sum += lane.length;
    return sum;
  }

  /** What the connection's next command holds up: all that come after it. */
  get barrier(): number {
    return this.link.first?.order ?? Infinity;
  }

  /** Whether any other lane has a command of before that place. */
  hasBefore(order: number): boolean {
    for (const { first } of this.others) {
      if (first !== undefined && first.order < order) return true;
    }
    return false;
  }

  /** What is under way was done. */
  finish(lane: CommandQueue, qos: Qos = 0): void {
    const token = lane.current?.token ?? 0;
    lane.current = undefined;
    lane.request = undefined;
    if (token !== 0) this.#effects.trace({ type: "done", token, qos });
  }

  /** What is under way was refused. */
  refuse(
    now: Millis,
    lane: CommandQueue,
    returnCode: number,
    /** Of whose kind the request was. */
    asked: CommandQueue = lane,
  ): void {
    const isCongested = returnCode === RETURN_CODE.congestion;
    // §5.3.10: after congestion nothing of the kind is asked for T_WAIT.
    if (isCongested && lane !== this.link) this.hold(now, asked);
    const job = lane.current;
    lane.request = undefined;
    // Nobody else would ask again for a subscription that there was already.
    if (isCongested && job?.order === 0) return;
    lane.current = undefined;
    if (job === undefined || job.token === 0) return;
    this.#effects.trace({ type: "refused", token: job.token, returnCode });
  }

  /** Has nothing of a kind asked for T_WAIT. */
  hold(now: Millis, lane: CommandQueue): void {
    this.#open(lane);
    lane.holdUntil = now + this.#waitMs;
  }

  /** A command was not answered, and nobody waits for it any more. */
  silence(job: Job | undefined): void {
    const token = job?.token ?? 0;
    if (token !== 0) this.#effects.trace({ type: "silence", token });
  }

  /** When the next command is given up, `undefined` for never. */
  giveUpAt(): Millis | undefined {
    if (this.#giveUpMs === undefined) return undefined;
    let at: Millis | undefined;
    for (const { current, oldest } of this.all) {
      if (current?.token !== 0) at = earliest(at, current?.giveUpAt);
      at = earliest(at, oldest?.giveUpAt);
    }
    return at;
  }

  /** The commands that are given up by now. */
  overdue(
    now: Millis,
  ): readonly { readonly lane: CommandQueue; readonly job: Job }[] {
    if ((this.giveUpAt() ?? Infinity) > now) return [];
    const overdue = [];
    for (const lane of this.all) {
      for (const job of [lane.current, ...lane.waiting]) {
        if (job === undefined || job.token === 0) continue;
        if ((job.giveUpAt ?? Infinity) <= now) overdue.push({ lane, job });
      }
    }
    return overdue;
  }
}
