// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * The load generator for MQTT-SN, in a process of its own: publishers and subscribers
 * by the thousand on one socket (`many_clients.ts`), in a loop that waits for the
 * system alone. What is under way is bounded, so that nothing gets lost by overload.
 *
 * `deno run -A bench/mqttsn_load.ts JSON`, where the JSON is a {@linkcode Load}.
 * Prints {@linkcode Figures} as a line of JSON.
 *
 * Each message carries its publisher, its number and the time at which it was
 * sent, or should have been, so that order, loss and latency are known of every
 * one.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { MSG_TYPE } from "../wire/packets.ts";
import { askAll, connectOf, registerOf, subscribeOf } from "./asking.ts";
import { FlowCheck, Histogram } from "./figures.ts";
import { type Figures, type Load, percentilesOf } from "./load_job.ts";
import { ManyClients } from "./many_clients.ts";
import { cpuMsOf } from "./processes.ts";

/** What does not come for so long is given up, in milliseconds. */
const STALLED_MS = 1_000;

/** Messages of a publisher at QoS 1 and 2 that its subscribers may lag behind. */
const LAG = 4;

/** Messages at QoS 0 under way: a socket's usual buffer holds 160 that came at once. */
const UNDER_WAY = 128;

/** Deliveries at QoS 0 under way, of all messages together. */
const DELIVERIES_UNDER_WAY = 4_096;

/** Octets that the system counts for a small datagram that waits. */
const DATAGRAM_COST = 1_280;

/** The header of a PUBLISH, and what each message carries at least. */
const [HEADER, CARRIED] = [7, 20];

/** Writes a number as text, six bits a character, as most payloads are text. */
function writeNumber(
  view: DataView,
  at: number,
  length: number,
  number: number,
): void {
  for (let i = at + length - 1; i >= at; i--) {
    view.setUint8(i, 0x40 | number % 64);
    number = Math.floor(number / 64);
  }
}

function readNumber(view: DataView, at: number, length: number): number {
  let number = 0;
  for (let i = at; i < at + length; i++) {
    number = number * 64 + (view.getUint8(i) & 63);
  }
  return number;
}

const DUP = 0x80;
const SHORT_TOPIC = 0x02;

/** The topic at QoS −1, and its name as an id. */
const [SHORT_NAME, SHORT_ID] = ["be", 0x6265];

/** What a publisher waits for. */
const WAIT = { none: 0, puback: 1, pubrec: 2, pubcomp: 3 } as const;

class Generator implements Disposable {
  readonly #load: Load;
  readonly #clients: ManyClients;
  readonly #isRelay: boolean;
  readonly #isFanOut: boolean;
  readonly #publishers: number;
  readonly #subscribers: number;
  /** Subscribers of a message. */
  readonly #fan: number;
  /** Deliveries of one publisher that may be under way. */
  readonly #most: number;
  readonly #flags: number;
  readonly #length: number;
  readonly #check: FlowCheck;
  readonly #latency = new Histogram();
  /** How late messages left that were to leave at a moment. */
  readonly #lateness = new Histogram();

  // By publisher
  readonly #topicIds: Uint16Array;
  readonly #sent: Uint32Array;
  readonly #underWay: Int32Array;
  readonly #waits: Uint8Array;
  readonly #lastAt: Float64Array;

  #isRunning = false;
  #now = 0;
  #sum = 0;
  #acknowledged = 0;
  #repeated = 0;
  /** When the next message is due, if there is a rate. */
  #dueAt = Infinity;
  #turn = 0;

  constructor(load: Load) {
    this.#load = load;
    if (load.qos === -1 && load.pattern !== "fanOut") {
      throw new RangeError("Cannot publish to many topics at QoS −1");
    }
    this.#isRelay = load.server === "relay";
    this.#isFanOut = load.pattern === "fanOut";
    this.#publishers = load.pattern === "fanOut" ? 1 : load.clients;
    this.#subscribers = load.pattern === "acks" ? 0 : load.clients;
    this.#fan = this.#isFanOut
      ? load.clients
      : load.pattern === "pairs"
      ? 1
      : 0;
    this.#flags = (load.qos & 3) << 5 | (load.qos === -1 ? SHORT_TOPIC : 0);
    this.#length = HEADER + Math.max(CARRIED, load.octets);
    if (this.#length > 255) {
      throw new RangeError(`Cannot carry ${load.octets} octets: 248 at most`);
    }
    this.#clients = new ManyClients(load.port);
    this.#most = this.#window();
    this.#check = new FlowCheck(Math.max(this.#subscribers, this.#publishers));
    this.#topicIds = new Uint16Array(this.#publishers).fill(SHORT_ID);
    this.#sent = new Uint32Array(this.#publishers);
    this.#underWay = new Int32Array(this.#publishers);
    this.#waits = new Uint8Array(this.#publishers);
    this.#lastAt = new Float64Array(this.#publishers);
  }

  /** Deliveries that one publisher may have under way. */
  #window(): number {
    const { qos, window, rate } = this.#load;
    if (rate !== undefined) return Infinity;
    if (qos > 0) return LAG * this.#fan;
    const room = Math.min(
      DELIVERIES_UNDER_WAY,
      this.#clients.receiveBuffer / DATAGRAM_COST,
    );
    const messages = Math.min(window ?? UNDER_WAY, room / this.#fan);
    const each = messages / this.#publishers;
    return Math.max(1, Math.floor(each)) * this.#fan;
  }

  run(): Figures {
    const { warmUpMs, loadMs, pid, rate } = this.#load;
    this.#connect();
    this.#isRunning = true;
    this.#now = performance.now();
    if (rate === undefined) {
      for (let i = 0; i < this.#publishers; i++) this.#advance(i);
    } else this.#dueAt = this.#now;
    this.#work(this.#now + warmUpMs);

    this.#latency.clear();
    this.#lateness.clear();
    const brokerCpu = cpuMsOf(pid);
    const ownCpu = cpuUsage();
    const before = [this.#sum, this.#check.received, this.#acknowledged];
    const start = performance.now();
    this.#work(start + loadMs);
    const ms = performance.now() - start;
    const { user, system } = cpuUsage(ownCpu);
    const brokerCpuAfter = cpuMsOf(pid);
    const latency = percentilesOf(this.#latency);
    const lateness = percentilesOf(this.#lateness);
    const [sum, received, acknowledged] = before as [number, number, number];
    const figures = {
      sent: this.#sum - sum,
      delivered: this.#check.received - received,
      acknowledged: this.#acknowledged - acknowledged,
    };

    this.#isRunning = false;
    this.#dueAt = Infinity;
    this.#drain();
    this.#leave();
    return {
      ...figures,
      ms,
      lost: this.#lost(),
      duplicates: this.#check.duplicates,
      reordered: this.#check.reordered,
      repeated: this.#repeated,
      drops: this.#clients.drops,
      brokerCpuMs: brokerCpu === null || brokerCpuAfter === null
        ? null
        : brokerCpuAfter - brokerCpu,
      generatorCpuMs: (user + system) / 1_000,
      latency,
      lateness,
    };
  }

  [Symbol.dispose](): void {
    this.#clients[Symbol.dispose]();
  }

  /** Messages that never came, since the start. */
  #lost(): number {
    let lost = 0;
    for (let i = 0; i < this.#subscribers; i++) {
      lost += this.#check.lostOf(i, this.#sent[this.#isFanOut ? 0 : i]!);
    }
    return lost;
  }

  /** Receives, answers and sends until a moment. */
  #work(until: number): void {
    const clients = this.#clients;
    let stallsAt = this.#now + STALLED_MS / 4;
    for (;;) {
      this.#now = performance.now();
      if (this.#dueAt <= this.#now) this.#sendDue();
      clients.flush();
      if (this.#now >= until) return;
      const count = clients.receive();
      if (count === 0) {
        const next = Math.min(until, this.#dueAt, this.#now + 10);
        clients.wait(Math.max(0, next - performance.now()) * 1_000);
      } else {
        this.#now = performance.now();
        for (let i = 0; i < count; i++) {
          this.#take(
            clients.receiver(i),
            clients.startOf(i),
            clients.lengthOf(i),
          );
        }
      }
      if (this.#now < stallsAt) continue;
      stallsAt = this.#now + STALLED_MS / 4;
      if (this.#isRunning) this.#lookForStalls();
    }
  }

  /** Waits until nothing is under way, or nothing comes any more. */
  #drain(): void {
    for (let last = -1; last !== this.#check.received + this.#acknowledged;) {
      last = this.#check.received + this.#acknowledged;
      if (this.#lost() === 0 && !this.#waits.includes(1)) return;
      this.#work(this.#now + STALLED_MS / 2);
    }
  }

  /** Connects all: who subscribes first, then who publishes. */
  #connect(): void {
    const clients = this.#clients;
    const { qos } = this.#load;
    const publishers = { from: 0, to: this.#publishers };
    const subscribers = {
      from: this.#publishers,
      to: this.#publishers + this.#subscribers,
    };
    if (this.#isRelay) {
      askAll(clients, { ...subscribers, request: () => [1], answer: -1 });
      return;
    }
    const connect = { request: connectOf, answer: MSG_TYPE.CONNACK };
    askAll(clients, { ...subscribers, ...connect });
    const flags = qos === -1 ? SHORT_TOPIC : qos << 5;
    askAll(clients, {
      ...subscribers,
      request: (client) => subscribeOf(this.#topicOf(client), flags),
      answer: MSG_TYPE.SUBACK,
    });
    if (qos === -1) return;
    askAll(clients, { ...publishers, ...connect });
    askAll(clients, {
      ...publishers,
      request: (client) => registerOf(this.#topicOf(client)),
      answer: MSG_TYPE.REGACK,
      onAnswer: (client, at) => {
        this.#topicIds[client] = clients.incoming.getUint16(at + 2);
      },
    });
  }

  #topicOf(client: number): string {
    if (this.#load.qos === -1) return SHORT_NAME;
    const pair = client % this.#publishers;
    return this.#isFanOut ? "bench/all" : `bench/pair/${pair}`;
  }

  /** Says good-bye, so that the next load finds a broker without clients. */
  #leave(): void {
    const all = this.#publishers + this.#subscribers;
    const bye = this.#isRelay ? [2] : [2, MSG_TYPE.DISCONNECT];
    const isConnected = this.#isRelay || this.#load.qos === -1;
    askAll(this.#clients, {
      from: isConnected ? this.#publishers : 0,
      to: all,
      request: () => bye,
      answer: this.#isRelay ? -1 : MSG_TYPE.DISCONNECT,
    });
  }

  // To publish

  /** Sends what has become due by now, whether or not the last has arrived. */
  #sendDue(): void {
    const apart = 1_000 / this.#load.rate!;
    for (; this.#dueAt <= this.#now; this.#dueAt += apart) {
      const i = this.#turn;
      this.#turn = (i + 1) % this.#publishers;
      this.#publish(i, this.#dueAt);
      this.#lateness.add((this.#now - this.#dueAt) * 1_000);
    }
  }

  /** Publishes as much as a publisher may now. */
  #advance(i: number): void {
    if (!this.#isRunning || this.#load.rate !== undefined) return;
    const { qos } = this.#load;
    if (qos <= 0) {
      while (this.#underWay[i]! + this.#fan <= this.#most) {
        this.#publish(i, this.#now);
      }
    } else if (
      this.#waits[i] === WAIT.none &&
      this.#underWay[i]! + this.#fan <= this.#most
    ) {
      this.#publish(i, this.#now);
      this.#waits[i] = qos === 1 ? WAIT.puback : WAIT.pubrec;
    }
  }

  #publish(i: number, at: number): void {
    this.#lastAt[i] = at;
    this.#write(i, this.#sent[i]!++, at, 0);
    this.#underWay[i]! += this.#fan;
    this.#sum++;
  }

  #write(i: number, seq: number, at: number, dup: number): void {
    const start = this.#clients.add(i, this.#length);
    const { outgoing } = this.#clients;
    outgoing.setUint8(start, this.#length);
    outgoing.setUint8(start + 1, MSG_TYPE.PUBLISH);
    outgoing.setUint8(start + 2, this.#flags | dup);
    outgoing.setUint16(start + 3, this.#topicIds[i]!);
    outgoing.setUint16(start + 5, this.#load.qos > 0 ? msgIdOf(seq) : 0);
    writeNumber(outgoing, start + HEADER, 6, i);
    writeNumber(outgoing, start + HEADER + 6, 6, seq);
    writeNumber(outgoing, start + HEADER + 12, 8, Math.round(at * 1_000));
  }

  /** Repeats what was not answered; forgets deliveries that do not come. */
  #lookForStalls(): void {
    for (let i = 0; i < this.#publishers; i++) {
      if (this.#now - this.#lastAt[i]! < STALLED_MS) continue;
      this.#lastAt[i] = this.#now;
      const wait = this.#waits[i]!;
      if (wait === WAIT.none) {
        this.#underWay[i] = 0;
        this.#advance(i);
        continue;
      }
      this.#repeated++;
      const seq = this.#sent[i]! - 1;
      if (wait === WAIT.pubcomp) this.#answer(i, MSG_TYPE.PUBREL, msgIdOf(seq));
      else this.#write(i, seq, this.#now, DUP);
    }
  }

  // What comes

  #take(client: number, at: number, length: number): void {
    const { incoming } = this.#clients;
    if (length < 2) return;
    switch (incoming.getUint8(at + 1)) {
      case MSG_TYPE.PUBLISH:
        this.#takePublish(client, at);
        break;
      case MSG_TYPE.PUBACK:
        if (incoming.getUint8(at + 6) !== 0) {
          throw new Error("Refused a publish");
        }
        this.#acknowledge(client, WAIT.puback, incoming.getUint16(at + 4));
        break;
      case MSG_TYPE.PUBREC:
        if (this.#isAwaited(client, WAIT.pubrec, incoming.getUint16(at + 2))) {
          this.#waits[client] = WAIT.pubcomp;
          this.#answer(client, MSG_TYPE.PUBREL, incoming.getUint16(at + 2));
        }
        break;
      case MSG_TYPE.PUBREL:
        this.#answer(client, MSG_TYPE.PUBCOMP, incoming.getUint16(at + 2));
        break;
      case MSG_TYPE.PUBCOMP:
        this.#acknowledge(client, WAIT.pubcomp, incoming.getUint16(at + 2));
        break;
    }
  }

  #takePublish(client: number, at: number): void {
    const { incoming } = this.#clients;
    const publisher = readNumber(incoming, at + HEADER, 6);
    const seq = readNumber(incoming, at + HEADER + 6, 6);
    const qos = incoming.getUint8(at + 2) >> 5 & 3;
    if (qos === 1) {
      const start = this.#clients.add(client, 7);
      const { outgoing } = this.#clients;
      outgoing.setUint16(start, 7 << 8 | MSG_TYPE.PUBACK);
      outgoing.setUint16(start + 2, incoming.getUint16(at + 3));
      outgoing.setUint16(start + 4, incoming.getUint16(at + 5));
      outgoing.setUint8(start + 6, 0);
    } else if (qos === 2) {
      this.#answer(client, MSG_TYPE.PUBREC, incoming.getUint16(at + 5));
    }
    if (!this.#check.take(client - this.#publishers, seq)) return;
    const sentAt = readNumber(incoming, at + HEADER + 12, 8) / 1_000;
    this.#latency.add((this.#now - sentAt) * 1_000);
    this.#lastAt[publisher] = this.#now;
    if (this.#underWay[publisher]! > 0) this.#underWay[publisher]!--;
    this.#advance(publisher);
  }

  #isAwaited(client: number, wait: number, msgId: number): boolean {
    return this.#waits[client] === wait &&
      msgId === msgIdOf(this.#sent[client]! - 1);
  }

  #acknowledge(client: number, wait: number, msgId: number): void {
    if (!this.#isAwaited(client, wait, msgId)) return;
    this.#waits[client] = WAIT.none;
    this.#acknowledged++;
    if (this.#fan === 0) {
      this.#latency.add((this.#now - this.#lastAt[client]!) * 1_000);
    }
    this.#advance(client);
  }

  #answer(client: number, type: number, msgId: number): void {
    const start = this.#clients.add(client, 4);
    this.#clients.outgoing.setUint16(start, 4 << 8 | type);
    this.#clients.outgoing.setUint16(start + 2, msgId);
  }
}

/** 1 to 65535. */
function msgIdOf(seq: number): number {
  return seq % 65_535 + 1;
}

if (import.meta.main) {
  using generator = new Generator(JSON.parse(Deno.args[0] ?? "{}"));
  console.log(JSON.stringify(generator.run()));
}
