/**
 * The bad network at work: a {@linkcode Transport} around a transport, through which
 * datagrams come and go as `netsim/netem.ts` and `netsim/faults.ts` decide.
 *
 * Where faults strike is at this end: what comes has been through the network
 * before, what goes will go through it afterwards. What is said in a multicast
 * group passes by the bad network.
 *
 * @module
 */

import { type Clock, type Millis, seededRandom } from "../base/clock.ts";
import { Deadlines, type Timed } from "../base/deadlines.ts";
import { parseFaults } from "./fault_text.ts";
import { describeFault, type FaultEvent, Faults } from "./faults.ts";
import type { Log } from "../base/log.ts";
import type { Peer } from "../base/peer.ts";
import { NetPaths } from "./paths.ts";
import type { NetSpec } from "./spec.ts";
import { parseNetSpec, printNetSpec } from "./spec_text.ts";
import type { PathCounts } from "./netem.ts";
import { MAX_TIMER, REAL_CLOCK } from "../base/system_clock.ts";
import type {
  DatagramHandler,
  Transport,
  TransportStats,
} from "../transport/transport.ts";

/**
 * The bad network that a program can be given.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, type NetOptions } from "../mod.ts";
 *
 * const options: NetOptions = { net: "loss 10% delay 50ms" };
 * await using broker = await Broker.listen({ port: 0, ...options });
 * assertEquals(`${broker.network}`, "loss 10% delay 50ms");
 * ```
 */
export interface NetOptions {
  /**
   * A bad network in front of it, such as `loss 10% in: delay 200ms`; `off` for one
   * that can be made bad later. Default: none.
   */
  readonly net?: string | NetSpec;
  /**
   * Faults by rules, as a faults file has them: a list of rules, or an object that
   * has one as `faults`. Default: none.
   */
  readonly faults?: readonly unknown[] | {
    readonly faults: readonly unknown[];
  };
  /** Is told of each fault that strikes. */
  readonly onFault?: (event: FaultEvent) => void;
}

/**
 * What a bad network counted.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0, net: "loss 10%" });
 * assertEquals(broker.stats().net!.in.lost, 0);
 * ```
 */
export interface NetStats {
  /** Of what came. */
  readonly in: Readonly<PathCounts>;
  /** Of what went. */
  readonly out: Readonly<PathCounts>;
  /** Faults that have struck. */
  readonly faults: number;
  /** Paths, each of two directions. */
  readonly paths: number;
  /** Datagrams that are under way now. */
  readonly underWay: number;
  /** Datagrams that were lost as too many octets were under way. */
  readonly noRoom: number;
  /** Datagrams that were under way when it closed. */
  readonly cutOff: number;
}

/** What a bad network is made of. */
export interface NetSimOptions extends NetOptions {
  /** Whose network it is. */
  readonly side: "broker" | "client";
  /** Where it reads the time. Default: the system's monotonic clock. */
  readonly clock?: Clock;
  /** The same seed gives the same network. Default: one by chance. */
  readonly seed?: number;
  /** Where it tells what it is, and which faults strike. Default: nowhere. */
  readonly log?: Log;
  /** The names of pre-defined topic ids, for faults. Default: none. */
  readonly predefined?: ReadonlyMap<number, string>;
}

/** Octets that are under way at once, with what a datagram costs beside its own. */
const MAX_OCTETS = 64 * 1024 * 1024;

/** How long a transport that closes waits for what is to leave, in milliseconds. */
const CLOSE_MS = 5_000;

/** What a datagram does next: it comes out of the network, or reaches a program. */
type DatagramStep = "arrive" | "take" | "launch" | "leave";

/** A datagram that is under way. */
interface UnderWay {
  readonly end: BadTransport;
  readonly step: DatagramStep;
  readonly peer: Peer;
  readonly bytes: Uint8Array;
}

/** What is due at the same moment, in order. */
interface Moment extends Timed {
  readonly at: Millis;
  readonly datagrams: UnderWay[];
}

/**
 * A bad network, which goes around one transport after another.
 *
 * Which paths a peer's datagrams take, `netsim/paths.ts` decides. A datagram that is
 * late is copied, unless the network has made a copy of its own of it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { NetSim } from "./netsim.ts";
 * import { MemoryNetwork } from "../transport/memory.ts";
 *
 * const network = new MemoryNetwork();
 * await using there = network.bind({ port: 12003 });
 * const net = new NetSim({ net: "loss 100%", side: "client", seed: 1 });
 * await using here = net.around(network.bind());
 * here.send(there.address, new Uint8Array(3));
 * net.set("mtu 2");
 * here.send(there.address, new Uint8Array(3));
 * assertEquals([net.stats().out.lost, net.stats().out.tooLong], [1, 1]);
 * ```
 */
export class NetSim {
  readonly #side: "broker" | "client";
  readonly #clock: Clock;
  readonly #faults: Faults | undefined;
  readonly #paths: NetPaths;
  #isOff: boolean;
  readonly #due = new Deadlines<Moment>();
  readonly #moments = new Map<Millis, Moment>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt: Millis = Infinity;
  #underWay = 0;
  #octets = 0;
  #noRoom = 0;
  #cutOff = 0;

  /**
   * Makes a network.
   *
   * @throws {TypeError} when `net` or `faults` cannot be understood
   */
  constructor(options: NetSimOptions) {
    const { side, clock = REAL_CLOCK, faults, onFault, predefined } = options;
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
    this.#side = side;
    this.#clock = clock;
    const spec = this.#parse(options.net ?? "off");
    this.#isOff = doesNothing(spec);
    this.#paths = new NetPaths(
      spec,
      seededRandom(seed ^ 0x6e657473),
      clock.now(),
    );
    const rules = faults === undefined ? [] : parseFaults(faults);
    this.#faults = rules.length === 0 ? undefined : new Faults(rules, {
      random: seededRandom(seed ^ 0x6661756c),
      ...predefined && { predefined },
      onFault: (event) => {
        options.log?.warn(describeFault(event));
        onFault?.(event);
      },
    });
    const what = this.#isOff ? "" : `The network is bad: ${this}`;
    const word = rules.length === 1 ? "rule" : "rules";
    const why = rules.length > 0 ? `Faults by ${rules.length} ${word}` : "";
    const told = [what, why].filter((text) => text !== "").join(". ");
    if (told !== "") options.log?.warn(`${told} (seed ${seed})`);
  }

  /** What it is now. */
  get spec(): NetSpec {
    return this.#paths.spec;
  }

  /**
   * Makes it another one from now on. What is under way arrives as it would have.
   *
   * @param net as {@linkcode NetOptions.net}
   * @throws {TypeError} when that cannot be understood: then nothing changes
   */
  set(net: string | NetSpec): void {
    const spec = this.#parse(net);
    this.#isOff = doesNothing(spec);
    this.#paths.set(spec, this.#clock.now());
  }

  /** Its description, as {@linkcode NetSim.set} takes it. */
  toString(): string {
    return printNetSpec(this.spec);
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): NetStats {
    return {
      in: { ...this.#paths.counts.in },
      out: { ...this.#paths.counts.out },
      faults: this.#faults?.struck ?? 0,
      paths: this.#paths.size,
      underWay: this.#underWay,
      noRoom: this.#noRoom,
      cutOff: this.#cutOff,
    };
  }

  /**
   * Puts the network between a transport and its user.
   *
   * @returns what is to be used instead of it, and closes it when it is closed
   */
  around(transport: Transport): Transport {
    const net: Passage = {
      isOff: () => this.#isOff && this.#faults === undefined,
      arrive: (end, peer, bytes) => this.#arrive(end, peer, bytes),
      send: (end, peer, bytes) => this.#send(end, peer, bytes),
      forget: (end) => this.#forget(end),
    };
    return new BadTransport(net, transport);
  }

  /**
   * Hands on what is due by now. A timer of its own sees to that; a test that moves the
   * clock by hand calls it after each turn.
   */
  handleTimeout(): void {
    const now = this.#clock.now();
    const due: UnderWay[] = [];
    for (let moment; (moment = this.#due.take(now)) !== undefined;) {
      this.#moments.delete(moment.at);
      for (const datagram of moment.datagrams) due.push(datagram);
    }
    // What follows from them at this moment has the next turn of the event loop.
    for (const { end, step, peer, bytes } of due) {
      this.#underWay--;
      this.#octets -= costOf(bytes);
      this.#do(step, end, peer, bytes);
    }
    this.#arm();
  }

  #parse(net: string | NetSpec): NetSpec {
    return typeof net === "string"
      ? parseNetSpec(net, { side: this.#side })
      : net;
  }

  /** What has come over the wire: through the network, then past the faults. */
  #arrive(end: BadTransport, peer: Peer, bytes: Uint8Array): void {
    const now = this.#clock.now();
    this.#paths.of(peer, bytes).in.send(now, bytes, (at, got) => {
      if (at <= now) this.#judge(end, peer, got);
      else {
        const kept = got === bytes ? got.slice() : got;
        this.#wait(at, end, "arrive", peer, kept);
      }
    });
  }

  #judge(end: BadTransport, peer: Peer, bytes: Uint8Array): void {
    const from = this.#side === "broker" ? "client" : "broker";
    const now = this.#clock.now();
    const verdict = this.#faults?.judge(now, from, peer, bytes);
    if (verdict === undefined) return end.take(peer, bytes);
    for (const { bytes: octets, afterMs } of verdict.back) {
      this.#after(afterMs, end, "launch", peer, octets);
    }
    for (const { bytes: octets, afterMs } of verdict.onward) {
      const kept = afterMs > 0 && octets === bytes ? octets.slice() : octets;
      this.#after(afterMs, end, "take", peer, kept);
    }
  }

  /** What is to go: past the faults, then through the network to the wire. */
  #send(end: BadTransport, peer: Peer, bytes: Uint8Array): void {
    const from = this.#side;
    const now = this.#clock.now();
    const verdict = this.#faults?.judge(now, from, peer, bytes);
    if (verdict === undefined) return this.#launch(end, peer, bytes);
    for (const { bytes: octets, afterMs } of verdict.onward) {
      this.#after(afterMs, end, "launch", peer, octets);
    }
    for (const { bytes: octets, afterMs } of verdict.back) {
      // Not within the call that has sent: its sender is in the middle of things.
      this.#wait(now + afterMs, end, "take", peer, octets);
    }
  }

  #launch(end: BadTransport, peer: Peer, bytes: Uint8Array): void {
    const now = this.#clock.now();
    this.#paths.of(peer, bytes).out.send(now, bytes, (at, got) => {
      if (at <= now) end.leave(peer, got);
      else this.#wait(at, end, "leave", peer, got);
    });
  }

  #do(
    step: DatagramStep,
    end: BadTransport,
    peer: Peer,
    bytes: Uint8Array,
  ): void {
    if (step !== "arrive" && step !== "take") end.leaving--;
    if (end.isClosed) {
      this.#cutOff++;
      return;
    }
    switch (step) {
      case "arrive":
        return this.#judge(end, peer, bytes);
      case "take":
        return end.take(peer, bytes);
      case "launch":
        this.#launch(end, peer, bytes);
        return end.handleLeft();
      case "leave":
        end.leave(peer, bytes);
        return end.handleLeft();
      default:
        step satisfies never;
    }
  }

  #after(
    ms: Millis,
    end: BadTransport,
    step: "take" | "launch",
    peer: Peer,
    bytes: Uint8Array,
  ): void {
    if (ms > 0) this.#wait(this.#clock.now() + ms, end, step, peer, bytes);
    else if (step === "take") end.take(peer, bytes);
    else this.#launch(end, peer, bytes);
  }

  /** Keeps a datagram until its moment. */
  #wait(
    at: Millis,
    end: BadTransport,
    step: DatagramStep,
    peer: Peer,
    bytes: Uint8Array,
  ): void {
    const octets = this.#octets + costOf(bytes);
    if (octets > MAX_OCTETS) {
      this.#noRoom++;
      return;
    }
    this.#underWay++;
    this.#octets = octets;
    if (step === "launch" || step === "leave") end.leaving++;
    let moment = this.#moments.get(at);
    if (moment === undefined) {
      moment = { at, datagrams: [], dueAt: Infinity, dueIndex: -1 };
      this.#moments.set(at, moment);
      this.#due.set(moment, at);
    }
    moment.datagrams.push({ end, step, peer, bytes });
    this.#arm();
  }

  #arm(): void {
    const at = this.#due.next ?? Infinity;
    if (at === this.#timerAt && this.#timer !== undefined) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = at;
    if (at === Infinity) return;
    const wait = Math.max(0, at - this.#clock.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.handleTimeout();
    }, Math.min(Math.ceil(wait), MAX_TIMER));
  }

  /** Lets go of what is under way from or to an end that has closed. */
  #forget(end: BadTransport): void {
    for (const moment of this.#moments.values()) {
      const kept = moment.datagrams.filter((datagram) => {
        if (datagram.end !== end) return true;
        this.#cutOff++;
        this.#underWay--;
        this.#octets -= costOf(datagram.bytes);
        return false;
      });
      moment.datagrams.splice(0, Infinity, ...kept);
      if (kept.length > 0) continue;
      this.#moments.delete(moment.at);
      this.#due.delete(moment);
    }
    this.#arm();
  }
}

function doesNothing(spec: NetSpec): boolean {
  return [spec, ...spec.chosen].every((paths) =>
    Object.keys({ ...paths.in, ...paths.out }).length === 0
  );
}

function costOf({ length }: Uint8Array): number {
  return length + 128;
}

/** How a transport passes its datagrams to its network. */
interface Passage {
  /** Whether the network does nothing. */
  isOff(): boolean;
  /** Takes what has come over the wire; its octets may be reused afterwards. */
  arrive(end: BadTransport, peer: Peer, bytes: Uint8Array): void;
  /** Takes what is to go; its octets do not change afterwards. */
  send(end: BadTransport, peer: Peer, bytes: Uint8Array): void;
  /** Drops what is under way from or to a transport. */
  forget(end: BadTransport): void;
}

/** A transport whose datagrams go through a network. */
class BadTransport implements Transport {
  /** Datagrams that have yet to leave. */
  leaving = 0;
  isClosed = false;
  readonly #net: Passage;
  readonly #inner: Transport;
  #handler: DatagramHandler | undefined;
  #isClosing = false;
  #onLeft: (() => void) | undefined;

  /** Puts a network in front of a transport, and closes that along with itself. */
  constructor(net: Passage, inner: Transport) {
    this.#net = net;
    this.#inner = inner;
  }

  get address(): Peer {
    return this.#inner.address;
  }

  /** What waits in the network counts as sent: its sender cannot know better. */
  get unsent(): number {
    return this.#inner.unsent;
  }

  receive(handler: DatagramHandler): Promise<void> {
    this.#handler = handler;
    return this.#inner.receive((peer, bytes) => {
      if (this.#net.isOff()) this.take(peer, bytes);
      else if (!this.#isClosing) this.#net.arrive(this, peer, bytes);
    });
  }

  send(peer: Peer, bytes: Uint8Array): void {
    if (this.#net.isOff()) this.#inner.send(peer, bytes);
    else this.#net.send(this, peer, bytes);
  }

  flush(): Promise<void> {
    return this.#inner.flush();
  }

  stats(): TransportStats {
    return this.#inner.stats();
  }

  overflowed(): Promise<number> {
    return this.#inner.overflowed();
  }

  /** Hands what has come to the program; its octets may be reused afterwards. */
  take(peer: Peer, bytes: Uint8Array): void {
    if (!this.#isClosing) this.#handler?.(peer, bytes);
  }

  /** Sends over the wire. */
  leave(peer: Peer, bytes: Uint8Array): void {
    this.#inner.send(peer, bytes);
  }

  /** Ends a close that waited, when `leaving` has come down to 0. */
  handleLeft(): void {
    if (this.leaving === 0) this.#onLeft?.();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#isClosing = true;
    this.#net.forget(this);
    this.#onLeft?.();
    this.#inner.close();
  }

  /** Waits until what was sent has left, 5 s at most, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    if (this.leaving > 0 && !this.isClosed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onLeft = resolve;
      const timer = setTimeout(resolve, CLOSE_MS);
      await promise;
      clearTimeout(timer);
    }
    this.isClosed = true;
    this.#net.forget(this);
    await this.#inner[Symbol.asyncDispose]();
  }
}
