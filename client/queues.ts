/**
 * The queues in which a client's commands wait: one for the connection, one for topic
 * ids, one for subscriptions, one for what is published, one for the will.
 *
 * A queue has one command under way and one request outstanding, as the specification
 * asks (§6.5, §6.6, §6.9). Queues do not wait for each other. But a command of the
 * connection's, such as to sleep, waits for all that were given before it, and those
 * given after it wait for it.
 *
 * @module
 */

import { earliest, type Millis } from "../base/clock.ts";
import { Deque } from "../base/deque.ts";
import {
  type Command,
  QUEUE_OF,
  type QueueName,
  type SubscribeCommand,
} from "./commands.ts";
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
  /** Its token; `undefined` when nobody waits for its end. */
  readonly token: number | undefined;
  /** Its place among all jobs; what is asked again has 0, before all that were given. */
  readonly order: number;
  /** What is to be done. */
  readonly command: Command;
  /** When it is given up, `undefined` for never. */
  readonly giveUpAt: Millis | undefined;
}

/** How far a queue is. All steps have the same fields, which the engine likes. */
type QueueStep =
  /** No command is under way. */
  | {
    readonly kind: "idle";
    readonly job: undefined;
    readonly request: undefined;
  }
  /** A command is under way, and nothing is asked for it at present. */
  | {
    readonly kind: "begun";
    readonly job: Job;
    readonly request: undefined;
  }
  /** An answer is awaited; without a job for a connection that others need. */
  | {
    readonly kind: "asking";
    readonly job: Job | undefined;
    readonly request: Request;
  };

const IDLE: QueueStep = { kind: "idle", job: undefined, request: undefined };

/** The queues of a client that has done nothing yet. */
const NO_QUEUES: readonly CommandQueue[] = [];

const NO_JOBS: readonly Job[] = [];

/** One kind of command: one at a time. */
export class CommandQueue {
  /** Which queue it is. */
  readonly name: QueueName;
  #step: QueueStep = IDLE;
  // Most queues have one command at a time: only more of them take a list.
  #next: Job | undefined;
  #later: Deque<Job> | undefined;
  /** T_WAIT: nothing is asked before that moment. */
  #heldUntil: Millis | undefined;

  /** Makes an empty queue. */
  constructor(name: QueueName) {
    this.name = name;
  }

  /** The command under way. */
  get current(): Job | undefined {
    return this.#step.job;
  }

  /** The request whose answer is awaited. */
  get request(): Request | undefined {
    return this.#step.request;
  }

  /** Until when T_WAIT lasts, `undefined` for none. */
  get heldUntil(): Millis | undefined {
    return this.#heldUntil;
  }

  /** Commands that have not ended. */
  get length(): number {
    return (this.current === undefined ? 0 : 1) +
      (this.#next === undefined ? 0 : 1) + (this.#later?.size ?? 0);
  }

  /** The next command that waits. */
  get next(): Job | undefined {
    return this.#next;
  }

  /** The command under way, or the next. */
  get first(): Job | undefined {
    return this.current ?? this.next;
  }

  /** The commands that wait, in order. */
  get waiting(): Iterable<Job> {
    if (this.#next === undefined) return NO_JOBS;
    return this.#later === undefined
      ? [this.#next]
      : [this.#next, ...this.#later];
  }

  /** The packet whose answer is awaited, if it is of that type. */
  asked<Type extends MsgType>(
    type: Type,
  ): Extract<MqttSnPacket, { type: Type }> | undefined {
    const packet = this.request?.packet;
    return packet?.type === type
      ? packet as Extract<MqttSnPacket, { type: Type }>
      : undefined;
  }

  /** Puts a command at the end. */
  add(job: Job): void {
    if (this.#next === undefined) this.#next = job;
    else (this.#later ??= new Deque()).push(job);
  }

  /** Takes a command out that waits; false when there is none of that token. */
  remove(token: number): boolean {
    if (this.#next?.token === token) return this.#shift() !== undefined;
    return this.#later?.take((job) => job.token === token) !== undefined;
  }

  /** Begins the next command, unless one is under way. */
  begin(): Job | undefined {
    if (this.#step.kind !== "idle") return this.current;
    const job = this.#shift();
    if (job !== undefined) {
      this.#step = { kind: "begun", job, request: undefined };
    }
    return job;
  }

  /** Awaits the answer of a request for the command under way. */
  ask(request: Request): void {
    this.#step = { kind: "asking", job: this.current, request };
  }

  /** Awaits no answer any more: the command under way goes on, or asks again. */
  answered(): void {
    const job = this.current;
    this.#step = job === undefined
      ? IDLE
      : { kind: "begun", job, request: undefined };
  }

  /** Ends the command under way, with its request. */
  end(): Job | undefined {
    const job = this.current;
    this.#step = IDLE;
    return job;
  }

  /** The command under way goes on, and nobody waits for its end any more. */
  forsake(): void {
    const step = this.#step;
    if (step.job === undefined) return;
    this.#step = {
      ...step,
      job: { ...step.job, token: undefined, giveUpAt: undefined },
    };
  }

  /** Asks nothing before a moment. */
  hold(until: Millis): void {
    this.#heldUntil = until;
  }

  /** Ends T_WAIT. */
  release(): void {
    this.#heldUntil = undefined;
  }

  /** Whether T_WAIT lasts at a moment. */
  isHeld(now: Millis): boolean {
    return this.#heldUntil !== undefined && now < this.#heldUntil;
  }

  /** Ends the command under way, and drops those that wait up to a place. */
  clear(order: number): void {
    this.end();
    const left = [...this.waiting].filter((job) => job.order > order);
    this.#putAll(left);
  }

  /** Asks again for what was granted, before all that was given and has not ended. */
  askAgain(commands: Iterable<SubscribeCommand>): void {
    const again = [...commands].map((command): Job => ({
      token: undefined,
      order: 0,
      command,
      giveUpAt: undefined,
    }));
    const current = this.end();
    const given = [...current === undefined ? [] : [current], ...this.waiting]
      // Those that were asked again the last time may not all have had their turn.
      .filter(({ order }) => order > 0);
    this.#putAll([...again, ...given]);
  }

  #putAll(jobs: readonly Job[]): void {
    this.#next = undefined;
    this.#later = undefined;
    for (const job of jobs) this.add(job);
  }

  #shift(): Job | undefined {
    const job = this.#next;
    this.#next = this.#later?.shift();
    if (this.#next === undefined) this.#later = undefined;
    return job;
  }
}

/** All queues of a client. */
export class CommandQueues {
  /** To connect, disconnect, sleep and wake. */
  readonly connection = new CommandQueue("connection");
  /** To register topics. */
  readonly register = new CommandQueue("register");
  /** To subscribe and unsubscribe. */
  readonly subscribe = new CommandQueue("subscribe");
  /** To publish. */
  readonly publish = new CommandQueue("publish");
  /** To change the will. */
  readonly will = new CommandQueue("will");
  /**
   * Those that need a connection, except queues in which there has never been
   * anything: most clients use one or two.
   */
  others: readonly CommandQueue[] = NO_QUEUES;
  /** These and the connection's. */
  all: readonly CommandQueue[] = [this.connection];
  readonly #effects: EffectQueue<DeviceEvent>;
  readonly #waitMs: Millis;
  readonly #giveUpMs: Millis | undefined;
  #lastOrder = 0;

  /**
   * Makes empty queues.
   *
   * @param effects is told how commands end
   * @param options how long commands wait
   */
  constructor(effects: EffectQueue<DeviceEvent>, options: {
    /**
     * T_WAIT: how long nothing of a kind is asked after a refusal for congestion, in
     * milliseconds.
     */
    readonly waitMs: Millis;
    /** How long a command has, in milliseconds, `undefined` for any time. */
    readonly giveUpMs: Millis | undefined;
  }) {
    this.#effects = effects;
    this.#waitMs = options.waitMs;
    this.#giveUpMs = options.giveUpMs;
  }

  /**
   * Puts a command behind all that were given before.
   *
   * @param token under which its end is told; `undefined` to tell nobody
   */
  add(now: Millis, command: Command, token: number | undefined): void {
    const order = ++this.#lastOrder;
    const giveUpAt = this.#giveUpMs === undefined || token === undefined
      ? undefined
      : now + this.#giveUpMs;
    const queue = this[QUEUE_OF[command.type]];
    this.#open(queue);
    queue.add({ token, order, command, giveUpAt });
  }

  #open(queue: CommandQueue): void {
    if (this.all.includes(queue)) return;
    const { connection, register, subscribe, publish, will } = this;
    this.others = [register, subscribe, publish, will].filter((it) =>
      it === queue || this.others.includes(it)
    );
    // It has no room for more, as `concat` gives none.
    this.all = [connection].concat(this.others);
  }

  /** Commands that have not ended. */
  get pending(): number {
    let sum = 0;
    for (const queue of this.all) sum += queue.length;
    return sum;
  }

  /** The place of the connection's next command: all that come after it wait. */
  get barrier(): number {
    return this.connection.first?.order ?? Infinity;
  }

  /** Whether any other queue has a command of before that place. */
  hasBefore(order: number): boolean {
    for (const { first } of this.others) {
      if (first !== undefined && first.order < order) return true;
    }
    return false;
  }

  /** The command under way was done. */
  finish(queue: CommandQueue, qos: Qos = 0): void {
    const token = queue.end()?.token;
    if (token !== undefined) this.#effects.trace({ type: "done", token, qos });
  }

  /**
   * The command under way was refused.
   *
   * @param asked the queue whose kind of request was refused: a publish may have
   * asked for a topic id. Default: the same queue
   */
  refuse(
    now: Millis,
    queue: CommandQueue,
    returnCode: number,
    asked: CommandQueue = queue,
  ): void {
    const isCongested = returnCode === RETURN_CODE.congestion;
    // §5.3.10: after congestion nothing of the kind is asked for T_WAIT.
    if (isCongested && queue !== this.connection) this.hold(now, asked);
    // Nobody else would ask again for a subscription that there was already.
    if (isCongested && queue.current?.order === 0) return queue.answered();
    const token = queue.end()?.token;
    if (token === undefined) return;
    this.#effects.trace({ type: "refused", token, returnCode });
  }

  /** Asks nothing of a kind for T_WAIT. */
  hold(now: Millis, queue: CommandQueue): void {
    this.#open(queue);
    queue.hold(now + this.#waitMs);
  }

  /** A command was not answered, and is given up. */
  silence(job: Job | undefined): void {
    const token = job?.token;
    if (token !== undefined) this.#effects.trace({ type: "silence", token });
  }

  /** When the next command is given up, `undefined` for never. */
  giveUpAt(): Millis | undefined {
    if (this.#giveUpMs === undefined) return undefined;
    let at: Millis | undefined;
    for (const { current, waiting } of this.all) {
      at = earliest(at, current?.giveUpAt);
      for (const { giveUpAt } of waiting) {
        if (giveUpAt === undefined) continue; // it is asked again
        at = earliest(at, giveUpAt);
        break;
      }
    }
    return at;
  }

  /** The commands that are given up by now. */
  overdue(
    now: Millis,
  ): readonly { readonly queue: CommandQueue; readonly job: Job }[] {
    if ((this.giveUpAt() ?? Infinity) > now) return [];
    const overdue = [];
    for (const queue of this.all) {
      const { current } = queue;
      const jobs = current === undefined ? [] : [current];
      for (const job of [...jobs, ...queue.waiting]) {
        if ((job.giveUpAt ?? Infinity) <= now) overdue.push({ queue, job });
      }
    }
    return overdue;
  }
}
