/**
 * A client's connection: to connect, disconnect, sleep and wake, to keep alive,
 * and to connect anew when it is lost (MQTT-SN 1.2 §6.2, §6.11 to §6.14). Knows
 * the commands of the connection's lane and when the others may be carried out;
 * nothing of topics and messages.
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
export interface LinkParts {
  /** Takes what happens. */
  readonly effects: EffectQueue<DeviceEvent>;
  /** What is to be done. */
  readonly lanes: CommandQueues;
  /** The way to the gateway. */
  readonly uplink: Requests;
  /** Where to find one, `undefined` when there is only the one. */
  readonly gateways: GatewaySearch | undefined;
  /** What is published at QoS 0, which PINGREQ asks about. */
  readonly flow: SendWindow;
  /** Shared with whoever changes it. */
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
  readonly #lanes: CommandQueues;
  readonly #uplink: Requests;
  readonly #gateways: GatewaySearch | undefined;
  readonly #flow: SendWindow;
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
  #sleepAt: Millis | undefined;
  #wakeAt: Millis | undefined;

  /** Makes a connection that is none yet. */
  constructor(options: ConnectionOptions, parts: LinkParts) {
    this.#options = options;
    this.#effects = parts.effects;
    this.#lanes = parts.lanes;
    this.#uplink = parts.uplink;
    this.#gateways = parts.gateways;
    this.#flow = parts.flow;
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
      this.#lanes.link.request !== undefined;
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
    const { request } = this.#lanes.link;
    if (this.#state === "awake" && request !== undefined) {
      this.#uplink.restart(now, request);
    }
  }

  /** Begins whatever can begin. */
  advance(now: Millis): void {
    const { link } = this.#lanes;
    const isAtRest = this.#state === "active" && link.first === undefined;
    if (!isAtRest) this.#advanceLane(now, link);
    const isIdle = this.#sleepS > 0 && this.#state === "active" &&
      this.#lanes.pending === 0;
    // At the next timeout, so that who waited for a command can give another.
    this.#sleepAt = isIdle ? this.#sleepAt ?? now : undefined;
  }

  #advanceLane(now: Millis, link: CommandQueue): void {
    while (link.request === undefined) {
      const job = link.current ??= this.#takeJob();
      const isConnect = job?.command.type === "connect";
      if (isConnect) this.#sleepS = 0;
      const needsConnect = job === undefined ? this.#isNeeded() : isConnect ||
        (job.command.type === "sleep" && this.#state !== "active");
      if (needsConnect) {
        if (this.#state === "active") {
          if (job === undefined) break;
          this.#lanes.finish(link);
          continue;
        }
        if (now >= this.#connectAt) this.#connect(now);
        break;
      }
      if (job === undefined || this.#isEarly(job)) break;
      this.#begin(now, link, job.command);
    }
    this.#endSearch();
  }

  /** §6.11: the gateway has to hear from it. */
  keepAlive(now: Millis): void {
    const isAsking = this.#state === "active" && this.#ping === undefined &&
      this.#flow.wantsPing;
    const pingAt = isAsking ? now : this.#pingAt();
    if (pingAt === undefined || now < pingAt) return;
    this.#ping = this.#uplink.request(now, { type: "PINGREQ", clientId: "" });
    this.#flow.ask();
  }

  /** Does what is due. */
  handleTimeout(now: Millis): void {
    if (this.#ping !== undefined && now >= this.#ping.retryAt) {
      if (!this.#uplink.repeat(now, this.#ping)) this.lose(now, true);
    }
    if (this.#wakeAt !== undefined && now >= this.#wakeAt) {
      this.#wakeAt = undefined;
      this.#lanes.add(now, { type: "wake" }, 0);
    }
    if (this.#sleepAt !== undefined && now >= this.#sleepAt) {
      this.#sleepAt = undefined;
      this.#lanes.add(now, { type: "sleep", duration: this.#sleepS }, 0);
    }
  }

  /** When something is due, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    let at = earliest(this.#ping?.retryAt, this.#wakeAt);
    at = earliest(at, this.#sleepAt);
    at = earliest(at, this.#pingAt());
    // Who searches waits for an answer, not for a moment.
    const isPausing = this.#state !== "searching" && this.#isNeeded();
    return isPausing ? earliest(at, this.#connectAt) : at;
  }

  /** CONNACK came. */
  handleConnack(now: Millis, returnCode: number): void {
    const { link } = this.#lanes;
    if (link.asked("CONNECT") === undefined) return;
    link.request = undefined;
    this.#silent = undefined;
    this.#gateways?.rest();
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#handleRefusal(now, returnCode);
    }
    this.#pauseMs = this.#options.minPauseMs;
    this.#connectAt = 0;
    link.holdUntil = 0;
    this.#isWanted = true;
    this.#onConnected(now, this.#isForgotten);
    this.#isForgotten = false;
    this.#become("active");
    if (link.current?.command.type === "connect") this.#lanes.finish(link);
  }

  /** §6.2: the gateway asks for the will, both parts in turn. */
  handlePrompt(now: Millis, type: "WILLTOPICREQ" | "WILLMSGREQ"): void {
    const { link } = this.#lanes;
    if (link.asked("CONNECT") === undefined) return;
    const answer = type === "WILLTOPICREQ"
      ? { type: "WILLTOPIC", will: this.#will.topic } as const
      : { type: "WILLMSG", data: this.#will.message } as const;
    this.#uplink.replace(now, link.request!, answer);
  }

  /** PINGRESP came: it is alive, or has sent all that it had buffered. */
  handlePingresp(now: Millis): void {
    const { link } = this.#lanes;
    if (this.#state !== "awake") {
      this.#ping = undefined;
      this.#flow.answer();
    } else if (link.asked("PINGREQ") !== undefined) {
      this.#lanes.finish(link);
      this.#fallAsleep(now);
    }
  }

  /** DISCONNECT came, as an answer or as news. */
  handleDisconnect(now: Millis): void {
    const { link } = this.#lanes;
    const asked = link.asked("DISCONNECT");
    if (asked !== undefined) this.#expectStrays(link.request);
    if (asked?.duration !== undefined) {
      this.#sleepS = asked.duration;
      this.#lanes.finish(link);
      return this.#fallAsleep(now);
    }
    if (asked !== undefined) {
      this.#become("disconnected");
      return this.#lanes.finish(link);
    }
    if (link.asked("CONNECT") !== undefined) {
      // From before; or it knows nothing of a will that it has asked for.
      return this.#uplink.revert(link.request!);
    }
    if (!this.isReachable) return;
    // §5.4.21: the gateway does not know this client any more.
    this.lose(now, false);
  }

  /** §6.13: the last of all tries of a request has had no answer. */
  giveUp(now: Millis, lane: CommandQueue, { packet }: Request): void {
    const job = lane.current;
    if (packet.type === "CONNECT") return this.#giveUpConnect(now);
    if (packet.type === "PINGREQ" && this.#state === "awake") {
      lane.request = undefined;
      lane.current = undefined;
      this.#fallAsleep(now); // what is buffered there waits for the next time
      return this.#lanes.silence(job);
    }
    if (packet.type === "DISCONNECT" && packet.duration === undefined) {
      this.#become("disconnected"); // it wanted to go anyway
      return this.#lanes.finish(lane);
    }
    this.lose(now, true);
  }

  /**
   * Somebody waits no longer for a command of the connection's that is under way.
   *
   * @returns whether that ends it
   */
  drop(command: Command): boolean {
    if (command.type !== "connect" && command.type !== "disconnect") {
      return false;
    }
    const { link } = this.#lanes;
    if (command.type === "disconnect") this.#expectStrays(link.request);
    link.current = undefined;
    link.request = undefined;
    this.#isWanted = false;
    this.#become("disconnected");
    return true;
  }

  /** Leaves at once, and takes all along that was given. */
  leave(now: Millis): void {
    this.#gateways?.rest();
    this.depart(now, Infinity);
  }

  /** Leaves at once, and takes along what was given before that place. */
  depart(now: Millis, order: number): void {
    for (const lane of this.#lanes.all) {
      lane.replaceWaiting(lane.waiting.filter((job) => job.order > order));
      lane.current = undefined;
      lane.request = undefined;
    }
    this.#isWanted = false;
    this.#sleepS = 0;
    this.#sleepAt = undefined;
    const isKnown = this.#state !== "disconnected" &&
      this.#state !== "searching" && this.#state !== "lost";
    if (isKnown) {
      this.#uplink.send(now, { type: "DISCONNECT", duration: undefined });
    }
    this.#become("disconnected");
  }

  /**
   * The gateway is gone, or has forgotten this client: connect anew.
   *
   * @param isSilent whether it is gone: then to another one, if there is one
   */
  lose(now: Millis, isSilent: boolean): void {
    for (const lane of this.#lanes.all) lane.request = undefined;
    // MQTT-SN 1.2 has no sign by which CONNACK would tell.
    this.#isForgotten = true;
    this.#become("lost");
    this.#pause(now);
    if (!isSilent || this.#gateways === undefined) return;
    const next = this.#gateways.after(this.#uplink.gateway);
    if (next !== undefined) this.#moveTo(now, next);
  }

  /** A command of the connection's waits for all that were given before it. */
  #takeJob(): Job | undefined {
    const { link } = this.#lanes;
    const { next } = link;
    if (next === undefined || this.#isEarly(next)) return undefined;
    return link.shift();
  }

  /** Whether a command of the connection's has to wait for one before it. */
  #isEarly({ command, order }: Job): boolean {
    // To connect is what the others wait for themselves.
    if (command.type === "connect" || command.type === "wake") return false;
    return this.#lanes.hasBefore(order);
  }

  #begin(now: Millis, link: CommandQueue, command: Command): void {
    switch (command.type) {
      case "disconnect":
        this.#isWanted = false;
        this.#sleepS = 0;
        if (
          this.#state === "disconnected" || this.#state === "lost" ||
          this.#state === "searching"
        ) {
          this.#become("disconnected");
          return this.#lanes.finish(link);
        }
        link.request = this.#uplink.request(now, {
          type: "DISCONNECT",
          duration: undefined,
        });
        return;
      case "sleep":
        link.request = this.#uplink.request(now, {
          type: "DISCONNECT",
          duration: command.duration,
        });
        return;
      case "wake": {
        if (this.#state !== "asleep") return this.#lanes.finish(link);
        this.#become("awake");
        const { clientId } = this.#options;
        link.request = this.#uplink.request(now, { type: "PINGREQ", clientId });
        return;
      }
    }
  }

  /** Whether there is something to do that takes a connection it has not. */
  #isNeeded(): boolean {
    const { link } = this.#lanes;
    if (link.request !== undefined) return false;
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
    if (connects(link.current) || connects(link.next)) return true;
    // §6.14: to send, a sleeping client connects first.
    return this.#lanes.hasBefore(link.next?.order ?? Infinity);
  }

  #connect(now: Millis): void {
    if (this.#uplink.gateway === undefined) {
      const found = this.#gateways?.after(undefined);
      if (found === undefined) {
        this.#become("searching");
        return this.#gateways?.search(now);
      }
      this.#moveTo(now, found);
    }
    this.#become("connecting");
    this.#lanes.link.request = this.#uplink.request(now, this.connectPacket());
  }

  /** Whoever needed a connection may have given it up by now. */
  #endSearch(): void {
    if (this.#isNeeded()) return;
    if (this.#state === "searching") this.#become("disconnected");
    else if (this.#state === "lost") this.#gateways?.rest();
  }

  #moveTo(now: Millis, gateway: Peer): void {
    if (gateway.key === this.#uplink.gateway?.key) return;
    this.#uplink.gateway = gateway;
    this.#isForgotten = true;
    this.#onMoved(now);
    this.#effects.trace({ type: "gateway", gateway });
  }

  /** The gateway does not want this client: what needs it cannot be done. */
  #handleRefusal(now: Millis, returnCode: number): void {
    const { link, others } = this.#lanes;
    const isCongested = returnCode === RETURN_CODE.congestion;
    this.#become("disconnected");
    if (isCongested) {
      this.#lanes.hold(now, link);
      this.#connectAt = link.holdUntil;
    }
    if (link.current !== undefined || !isCongested) this.#isWanted = false;
    this.#lanes.refuse(now, link, returnCode);
    if (isCongested) return; // the others wait until it may be asked again
    const barrier = link.next?.order ?? Infinity;
    for (const lane of others) {
      while ((lane.first?.order ?? Infinity) < barrier) {
        lane.current ??= lane.shift();
        this.#lanes.refuse(now, lane, returnCode);
      }
    }
  }

  /** §6.13: another gateway, or after a pause the same again. */
  #giveUpConnect(now: Millis): void {
    const { link } = this.#lanes;
    link.request = undefined;
    this.#isForgotten = true;
    this.#become("lost");
    const last = this.#uplink.gateway;
    if (last !== undefined) (this.#silent ??= new Set()).add(last.key);
    const next = this.#gateways?.after(last);
    if (next !== undefined && !this.#silent?.has(next.key)) {
      this.#moveTo(now, next);
      this.#connectAt = now;
      return;
    }
    // None of those that are known: there may be others by now.
    this.#silent = undefined;
    const hasLooked = this.#gateways?.hasAsked ?? true;
    this.#gateways?.search(now);
    if (next !== undefined) this.#moveTo(now, next);
    this.#pause(now);
    const job = link.current;
    // Who can ask for others does so once before it is told that there are none.
    if (job?.command.type !== "connect" || !hasLooked) return;
    this.#isWanted = false;
    link.current = undefined;
    this.#lanes.silence(job);
  }

  /** A copy of DISCONNECT that comes behind the next CONNECT ends that connection. */
  #expectStrays(request: Request | undefined): void {
    if (request === undefined) return;
    const strayUntil = this.#uplink.strayUntil(request);
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
    this.#wakeAt = now + this.#sleepS * WAKE_MS;
    this.#become("asleep");
  }

  #become(state: DeviceState): void {
    if (state === this.#state) return;
    this.#state = state;
    if (state !== "asleep") this.#wakeAt = undefined;
    // One that goes on without a connection would make one in the end.
    if (state !== "active") {
      this.#ping = undefined;
      this.#flow.reset();
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
    return Math.min(this.#uplink.sentAt, this.#heardAt) + keepAlive * 1_000 / 2;
  }
}
