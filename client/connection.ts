/**
 * A client's connection: to connect, disconnect, sleep and wake, to keep alive, and to
 * connect anew when it is lost (MQTT-SN 1.2 §6.2, §6.11 to §6.14). It carries out the
 * commands of the connection's queue, and decides when the others may begin.
 *
 * CONNACK does not tell whether the gateway still knows a client whose session is
 * kept. So what is known of it is trusted after a connection that was ended, and
 * doubted after one that was lost.
 *
 * To sleep is a mode: a client that has fallen asleep wakes by itself to fetch
 * what was buffered, connects when it has something to send, and sleeps on when
 * that is done, until it is told to connect or to disconnect.
 *
 * @module
 */

import { earliest, type Millis, type Random } from "../base/clock.ts";
import type { Command } from "./commands.ts";
import type { DeviceEvent, DeviceState } from "./events.ts";
import type { SendWindow } from "./send_window.ts";
import type { GatewaySearch } from "./gateway_search.ts";
import type { CommandQueue, CommandQueues, Job } from "./queues.ts";
import type { EffectQueue } from "../base/machine.ts";
import { Timers } from "../base/timers.ts";
import type { Peer } from "../base/peer.ts";
import {
  type MqttSnPacket,
  PROTOCOL_ID,
  RETURN_CODE,
  type WillTopic,
} from "../wire/packets.ts";
import type { Request, Requests } from "./requests.ts";

/**
 * Milliseconds of each second of sleep after which a client wakes. Not all of it:
 * there are gateways that lose a client in the very moment in which its time is
 * over.
 */
const WAKE_MS = 900;

/** To wake from sleep, and to fall asleep again when nothing is left to do. */
const TIMERS = ["wake", "sleep"] as const;

/** A client's last will, as its two packets carry it. */
export interface WillParts {
  /** Where to, `undefined` for no will. */
  topic: WillTopic | undefined;
  /** What. */
  message: Uint8Array;
}

/** Who connects, and how patient. */
export interface ConnectionOptions {
  /** Who it is. */
  readonly clientId: string;
  /** Whether nothing of it is kept between connections. */
  readonly cleanSession: boolean;
  /** Keep alive in seconds, 0 for none. */
  readonly keepAlive: number;
  /** The first pause before it connects again, in milliseconds. */
  readonly minPauseMs: Millis;
  /** The longest, in milliseconds. */
  readonly maxPauseMs: Millis;
  /** Where the pauses come from. */
  readonly random: Random;
}

/** What a connection is made with. */
export interface ConnectionParts {
  /** Takes what happens. */
  readonly effects: EffectQueue<DeviceEvent>;
  /** What is to be done. */
  readonly queues: CommandQueues;
  /** The way to the gateway. */
  readonly requests: Requests;
  /** Where to find one, `undefined` when there is only the one. */
  readonly search: GatewaySearch | undefined;
  /** What is published at QoS 0, which PINGREQ asks about. */
  readonly sendWindow: SendWindow;
  /** Shared with the device, which changes it. */
  readonly will: WillParts;
  /**
   * Is called when it is connected, before anything else is asked for.
   *
   * @param isForgotten whether the gateway may know nothing of this client
   */
  readonly onConnected: (now: Millis, isForgotten: boolean) => void;
  /** Is called when it goes to another gateway, before it connects there. */
  readonly onMoved: (now: Millis) => void;
}

/** A client's connection. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #effects: EffectQueue<DeviceEvent>;
  readonly #queues: CommandQueues;
  readonly #requests: Requests;
  readonly #search: GatewaySearch | undefined;
  readonly #sendWindow: SendWindow;
  readonly #will: WillParts;
  readonly #onConnected: (now: Millis, isForgotten: boolean) => void;
  readonly #onMoved: (now: Millis) => void;
  #state: DeviceState = "disconnected";
  /** Whether a connection is wanted, and made anew when it is lost. */
  #isWanted = false;
  #isForgotten = false;
  #connectAt: Millis = 0;
  #pauseMs: Millis;
  /** The gateways that did not answer CONNECT, this time. */
  #silent: Set<string> | undefined;
  #ping: Request | undefined;
  #heardAt: Millis = 0;
  /** Seconds between two awakenings; 0 unless it sleeps when it can. */
  #sleepS = 0;
  readonly #timers = new Timers(TIMERS);

  /** Makes a connection that is none yet. */
  constructor(options: ConnectionOptions, parts: ConnectionParts) {
    this.#options = options;
    this.#effects = parts.effects;
    this.#queues = parts.queues;
    this.#requests = parts.requests;
    this.#search = parts.search;
    this.#sendWindow = parts.sendWindow;
    this.#will = parts.will;
    this.#onConnected = parts.onConnected;
    this.#onMoved = parts.onMoved;
    this.#pauseMs = options.minPauseMs;
  }

  /** What it is. */
  get state(): DeviceState {
    return this.#state;
  }

  /** Whether the gateway has reason to send something. */
  get isReachable(): boolean {
    return this.#state === "active" || this.#state === "awake" ||
      this.#queues.connection.request !== undefined;
  }

  /** The packet by which it connects. */
  connectPacket(): MqttSnPacket {
    const { clientId, keepAlive, cleanSession } = this.#options;
    return {
      type: "CONNECT",
      will: this.#will.topic !== undefined,
      cleanSession,
      protocolId: PROTOCOL_ID,
      duration: keepAlive,
      clientId,
    };
  }

  /** Something came from the gateway. */
  hear(now: Millis): void {
    this.#heardAt = now;
    // §6.14: while it is awake, each message restarts the timer of its PINGREQ.
    const { request } = this.#queues.connection;
    if (this.#state === "awake" && request !== undefined) {
      this.#requests.restart(now, request);
    }
  }

  /** Begins whatever can begin. */
  advance(now: Millis): void {
    const { connection: queue } = this.#queues;
    const isAtRest = this.#state === "active" && queue.first === undefined;
    if (!isAtRest) this.#advanceQueue(now, queue);
    const isIdle = this.#sleepS > 0 && this.#state === "active" &&
      this.#queues.pending === 0;
    // At the next timeout: a program whose command has ended may give another.
    const hasTimer = this.#timers.at("sleep") !== undefined;
    if (isIdle && !hasTimer) this.#timers.set("sleep", now);
    else if (!isIdle && hasTimer) this.#timers.stop("sleep");
  }

  #advanceQueue(now: Millis, queue: CommandQueue): void {
    while (queue.request === undefined) {
      const job = queue.current ?? this.#beginNext();
      const isConnect = job?.command.type === "connect";
      if (isConnect) this.#sleepS = 0;
      const needsConnect = job === undefined ? this.#isNeeded() : isConnect ||
        (job.command.type === "sleep" && this.#state !== "active");
      if (needsConnect) {
        if (this.#state === "active") {
          if (job === undefined) break;
          this.#queues.finish(queue);
          continue;
        }
        if (now >= this.#connectAt) this.#connect(now);
        break;
      }
      if (job === undefined || this.#isEarly(job)) break;
      this.#begin(now, queue, job.command);
    }
    this.#endSearch();
  }

  /** §6.11: the gateway has to hear from it. */
  keepAlive(now: Millis): void {
    const isAsking = this.#state === "active" && this.#ping === undefined &&
      this.#sendWindow.wantsPing;
    const pingAt = isAsking ? now : this.#pingAt();
    if (pingAt === undefined || now < pingAt) return;
    this.#ping = this.#requests.request(now, { type: "PINGREQ", clientId: "" });
    this.#sendWindow.ask();
  }

  /** Does what is due. */
  handleTimeout(now: Millis): void {
    if (this.#ping !== undefined && now >= this.#ping.retryAt) {
      if (!this.#requests.repeat(now, this.#ping)) this.lose(now, true);
    }
    if (this.#timers.take("wake", now)) {
      this.#queues.add(now, { type: "wake" }, undefined);
    }
    if (this.#timers.take("sleep", now)) {
      this.#queues.add(
        now,
        { type: "sleep", duration: this.#sleepS },
        undefined,
      );
    }
  }

  /** When something is due, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    let at = earliest(this.#ping?.retryAt, this.#timers.next);
    at = earliest(at, this.#pingAt());
    // Who searches waits for an answer, not for a moment.
    const isPausing = this.#state !== "searching" && this.#isNeeded();
    return isPausing ? earliest(at, this.#connectAt) : at;
  }

  /** CONNACK came. */
  handleConnack(now: Millis, returnCode: number): void {
    const { connection: queue } = this.#queues;
    if (queue.asked("CONNECT") === undefined) return;
    queue.answered();
    this.#silent = undefined;
    this.#search?.rest();
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#handleRefusal(now, returnCode);
    }
    this.#pauseMs = this.#options.minPauseMs;
    this.#connectAt = 0;
    queue.release();
    this.#isWanted = true;
    this.#onConnected(now, this.#isForgotten);
    this.#isForgotten = false;
    this.#become("active");
    if (queue.current?.command.type === "connect") this.#queues.finish(queue);
  }

  /** §6.2: the gateway asks for the will, both parts in turn. */
  handlePrompt(now: Millis, type: "WILLTOPICREQ" | "WILLMSGREQ"): void {
    const { connection: queue } = this.#queues;
    if (queue.asked("CONNECT") === undefined) return;
    const answer = type === "WILLTOPICREQ"
      ? { type: "WILLTOPIC", will: this.#will.topic } as const
      : { type: "WILLMSG", data: this.#will.message } as const;
    this.#requests.replace(now, queue.request!, answer);
  }

  /** PINGRESP came: it is alive, or has sent all that it had buffered. */
  handlePingresp(now: Millis): void {
    const { connection: queue } = this.#queues;
    if (this.#state !== "awake") {
      this.#ping = undefined;
      this.#sendWindow.answer();
    } else if (queue.asked("PINGREQ") !== undefined) {
      this.#queues.finish(queue);
      this.#fallAsleep(now);
    }
  }

  /** DISCONNECT came, as an answer or as news. */
  handleDisconnect(now: Millis): void {
    const { connection: queue } = this.#queues;
    const asked = queue.asked("DISCONNECT");
    if (asked !== undefined) this.#expectStrays(queue.request);
    if (asked?.duration !== undefined) {
      this.#sleepS = asked.duration;
      this.#queues.finish(queue);
      return this.#fallAsleep(now);
    }
    if (asked !== undefined) {
      this.#become("disconnected");
      return this.#queues.finish(queue);
    }
    if (queue.asked("CONNECT") !== undefined) {
      // From before; or it knows nothing of a will that it has asked for.
      return this.#requests.revert(queue.request!);
    }
    if (!this.isReachable) return;
    // §5.4.21: the gateway does not know this client any more.
    this.lose(now, false);
  }

  /** §6.13: the last of all tries of a request has had no answer. */
  giveUp(now: Millis, queue: CommandQueue, { packet }: Request): void {
    const job = queue.current;
    if (packet.type === "CONNECT") return this.#giveUpConnect(now);
    if (packet.type === "PINGREQ" && this.#state === "awake") {
      queue.end();
      this.#fallAsleep(now); // what is buffered there waits for the next time
      return this.#queues.silence(job);
    }
    if (packet.type === "DISCONNECT" && packet.duration === undefined) {
      this.#become("disconnected"); // it wanted to go anyway
      return this.#queues.finish(queue);
    }
    this.lose(now, true);
  }

  /**
   * A program waits no longer for the connection's command that is under way.
   *
   * @returns whether that ends it
   */
  drop(command: Command): boolean {
    if (command.type !== "connect" && command.type !== "disconnect") {
      return false;
    }
    const { connection: queue } = this.#queues;
    if (command.type === "disconnect") this.#expectStrays(queue.request);
    queue.end();
    this.#isWanted = false;
    this.#become("disconnected");
    return true;
  }

  /** Leaves at once, and takes all along that was given. */
  leave(now: Millis): void {
    this.#search?.rest();
    this.depart(now, Infinity);
  }

  /** Leaves at once, and takes along what was given before that place. */
  depart(now: Millis, order: number): void {
    for (const queue of this.#queues.all) queue.clear(order);
    this.#isWanted = false;
    this.#sleepS = 0;
    this.#timers.stop("sleep");
    const isKnown = this.#state !== "disconnected" &&
      this.#state !== "searching" && this.#state !== "lost";
    if (isKnown) {
      this.#requests.send(now, { type: "DISCONNECT", duration: undefined });
    }
    this.#become("disconnected");
  }

  /**
   * The gateway is gone, or has forgotten this client: connect anew.
   *
   * @param isSilent whether it is gone: then to another one, if there is one
   */
  lose(now: Millis, isSilent: boolean): void {
    for (const queue of this.#queues.all) queue.answered();
    // MQTT-SN 1.2 has no sign by which CONNACK would tell.
    this.#isForgotten = true;
    this.#become("lost");
    this.#pause(now);
    if (!isSilent || this.#search === undefined) return;
    const next = this.#search.after(this.#requests.gateway);
    if (next !== undefined) this.#moveTo(now, next);
  }

  /** A command of the connection's waits for all that were given before it. */
  #beginNext(): Job | undefined {
    const { connection: queue } = this.#queues;
    const { next } = queue;
    if (next === undefined || this.#isEarly(next)) return undefined;
    return queue.begin();
  }

  /** Whether a command of the connection's has to wait for one before it. */
  #isEarly({ command, order }: Job): boolean {
    // To connect is what the others wait for themselves.
    if (command.type === "connect" || command.type === "wake") return false;
    return this.#queues.hasBefore(order);
  }

  #begin(now: Millis, queue: CommandQueue, command: Command): void {
    switch (command.type) {
      case "disconnect":
        this.#isWanted = false;
        this.#sleepS = 0;
        if (
          this.#state === "disconnected" || this.#state === "lost" ||
          this.#state === "searching"
        ) {
          this.#become("disconnected");
          return this.#queues.finish(queue);
        }
        queue.ask(this.#requests.request(now, {
          type: "DISCONNECT",
          duration: undefined,
        }));
        return;
      case "sleep":
        queue.ask(this.#requests.request(now, {
          type: "DISCONNECT",
          duration: command.duration,
        }));
        return;
      case "wake": {
        if (this.#state !== "asleep") return this.#queues.finish(queue);
        this.#become("awake");
        const { clientId } = this.#options;
        queue.ask(
          this.#requests.request(now, { type: "PINGREQ", clientId }),
        );
        return;
      }
    }
  }

  /** Whether there is something to do that needs a connection, and there is none. */
  #isNeeded(): boolean {
    const { connection: queue } = this.#queues;
    if (queue.request !== undefined) return false;
    switch (this.#state) {
      case "disconnected":
      case "searching":
      case "lost":
        if (this.#isWanted) return true;
        break;
      case "asleep":
        break;
      default:
        return false;
    }
    const connects = (job: Job | undefined) =>
      job?.command.type === "connect" || job?.command.type === "sleep";
    if (connects(queue.current) || connects(queue.next)) return true;
    // §6.14: to send, a sleeping client connects first.
    return this.#queues.hasBefore(queue.next?.order ?? Infinity);
  }

  #connect(now: Millis): void {
    if (this.#requests.gateway === undefined) {
      const found = this.#search?.after(undefined);
      if (found === undefined) {
        this.#become("searching");
        return this.#search?.search(now);
      }
      this.#moveTo(now, found);
    }
    this.#become("connecting");
    this.#queues.connection.ask(
      this.#requests.request(now, this.connectPacket()),
    );
  }

  /** The command that needed a connection may have been given up by now. */
  #endSearch(): void {
    if (this.#isNeeded()) return;
    if (this.#state === "searching") this.#become("disconnected");
    else if (this.#state === "lost") this.#search?.rest();
  }

  #moveTo(now: Millis, gateway: Peer): void {
    if (gateway.key === this.#requests.gateway?.key) return;
    this.#requests.gateway = gateway;
    this.#isForgotten = true;
    this.#onMoved(now);
    this.#effects.trace({ type: "gateway", gateway });
  }

  /** The gateway refuses this client: commands that need it cannot be carried out. */
  #handleRefusal(now: Millis, returnCode: number): void {
    const { connection: queue, others } = this.#queues;
    const isCongested = returnCode === RETURN_CODE.congestion;
    this.#become("disconnected");
    if (isCongested) {
      this.#queues.hold(now, queue);
      this.#connectAt = queue.heldUntil ?? now;
    }
    if (queue.current !== undefined || !isCongested) this.#isWanted = false;
    this.#queues.refuse(now, queue, returnCode);
    if (isCongested) return; // the others wait until it may be asked again
    const barrier = queue.next?.order ?? Infinity;
    for (const other of others) {
      while ((other.first?.order ?? Infinity) < barrier) {
        other.begin();
        this.#queues.refuse(now, other, returnCode);
      }
    }
  }

  /** §6.13: another gateway, or after a pause the same again. */
  #giveUpConnect(now: Millis): void {
    const { connection: queue } = this.#queues;
    queue.answered();
    this.#isForgotten = true;
    this.#become("lost");
    const last = this.#requests.gateway;
    if (last !== undefined) (this.#silent ??= new Set()).add(last.key);
    const next = this.#search?.after(last);
    if (next !== undefined && !this.#silent?.has(next.key)) {
      this.#moveTo(now, next);
      this.#connectAt = now;
      return;
    }
    // No known gateway has answered: there may be others by now.
    this.#silent = undefined;
    const hasLooked = this.#search?.hasAsked ?? true;
    this.#search?.search(now);
    if (next !== undefined) this.#moveTo(now, next);
    this.#pause(now);
    const job = queue.current;
    // It searches once more before the commands end for want of a gateway.
    if (job?.command.type !== "connect" || !hasLooked) return;
    this.#isWanted = false;
    queue.end();
    this.#queues.silence(job);
  }

  /** A copy of DISCONNECT that comes behind the next CONNECT ends that connection. */
  #expectStrays(request: Request | undefined): void {
    if (request === undefined) return;
    const strayUntil = this.#requests.strayUntil(request);
    this.#connectAt = Math.max(this.#connectAt, strayUntil);
  }

  /** A while, longer each time, and never the same for two clients. */
  #pause(now: Millis): void {
    const { random, maxPauseMs } = this.#options;
    const half = this.#pauseMs / 2;
    this.#connectAt = now + Math.ceil(half + random() * half);
    this.#pauseMs = Math.min(this.#pauseMs * 2, maxPauseMs);
  }

  #fallAsleep(now: Millis): void {
    this.#timers.set("wake", now + this.#sleepS * WAKE_MS);
    this.#become("asleep");
  }

  #become(state: DeviceState): void {
    if (state === this.#state) return;
    this.#state = state;
    if (state !== "asleep") this.#timers.stop("wake");
    // A ping that stays outstanding without a connection would make one.
    if (state !== "active") {
      this.#ping = undefined;
      this.#sendWindow.reset();
    }
    if (state === "disconnected") this.#silent = undefined;
    this.#effects.trace({ type: "state", state });
  }

  /**
   * §6.11: the gateway hears from it at least once in each keep alive, and it
   * from the gateway: who only publishes at QoS 0 has no other way to learn that
   * nobody is there any more.
   */
  #pingAt(): Millis | undefined {
    const { keepAlive } = this.#options;
    if (this.#state !== "active" || keepAlive === 0) return undefined;
    if (this.#ping !== undefined) return undefined;
    return Math.min(this.#requests.sentAt, this.#heardAt) +
      keepAlive * 1_000 / 2;
  }
}
