// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * The same load as `mqttsn_load.ts` makes, for a broker of MQTT 3.1.1 over TCP: the
 * same messages, bounds and checks, on a connection for each client.
 *
 * `deno run -A bench/tcp_load.ts JSON`, where the JSON is a {@linkcode Load}.
 * Prints {@linkcode Figures} as a line of JSON.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { FlowCheck, Histogram } from "./figures.ts";
import { type Figures, type Load, percentilesOf } from "./load_job.ts";
import { cpuMsOf } from "./processes.ts";

/** Connections that are made at a time. */
const CONNECTING = 50;

/** Until a server that has just started is tried again, in milliseconds. */
const [AGAIN_MS, ATTEMPTS] = [50, 100];

/** Without a delivery for so long, what is missing is lost, in milliseconds. */
const QUIET_MS = 500;

/** As `mqttsn_load.ts`: what is under way at QoS 0, and how far others lag. */
const [UNDER_WAY, DELIVERIES_UNDER_WAY, LAG] = [128, 4_096, 4];

/** What each message carries at least: publisher, number, time. */
const CARRIED = 16;

const TYPE = {
  connect: 0x10,
  connack: 0x20,
  publish: 0x30,
  puback: 0x40,
  pubrec: 0x50,
  pubrel: 0x62,
  pubcomp: 0x70,
  subscribe: 0x82,
  suback: 0x90,
} as const;

/** A connection, which writes in one call what is written while another goes on. */
class Connection {
  readonly #connection: Deno.TcpConn;
  readonly #onPacket: (view: DataView, at: number, end: number) => void;
  #filling = new Uint8Array(65_536);
  #writing = new Uint8Array(65_536);
  #filled = 0;
  #isWriting = false;
  #isClosed = false;

  private constructor(
    connection: Deno.TcpConn,
    onPacket: (view: DataView, at: number, end: number) => void,
  ) {
    this.#connection = connection;
    this.#onPacket = onPacket;
    this.#read();
  }

  static async open(
    port: number,
    onPacket: (view: DataView, at: number, end: number) => void,
  ): Promise<Connection> {
    for (let attempt = 1;; attempt++) {
      try {
        const connection = await Deno.connect({ hostname: "127.0.0.1", port });
        connection.setNoDelay(true);
        return new Connection(connection, onPacket);
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
        await sleep(AGAIN_MS);
      }
    }
  }

  /** Makes room for a packet, and gives where it goes. */
  reserve(length: number): [Uint8Array, number] {
    if (this.#filled + length > this.#filling.length) {
      const larger = new Uint8Array(2 * (this.#filled + length));
      larger.set(this.#filling.subarray(0, this.#filled));
      this.#filling = larger;
    }
    const at = this.#filled;
    this.#filled += length;
    if (!this.#isWriting) {
      this.#isWriting = true;
      queueMicrotask(this.#write);
    }
    return [this.#filling, at];
  }

  send(octets: readonly number[]): void {
    const [bytes, at] = this.reserve(octets.length);
    bytes.set(octets, at);
  }

  readonly #write = async (): Promise<void> => {
    while (this.#filled > 0 && !this.#isClosed) {
      const full = this.#filling;
      const length = this.#filled;
      this.#filling = this.#writing;
      this.#writing = full;
      this.#filled = 0;
      for (let at = 0; at < length;) {
        at += await this.#connection.write(full.subarray(at, length));
      }
    }
    this.#isWriting = false;
  };

  async #read(): Promise<void> {
    const buffer = new Uint8Array(131_072);
    const view = new DataView(buffer.buffer);
    let end = 0;
    while (!this.#isClosed) {
      const count = await this.#connection.read(buffer.subarray(end))
        .catch(() => null);
      if (count === null) break;
      end += count;
      let at = 0;
      while (end - at >= 2) {
        // A length of one or two octets: none of ours is longer.
        const isLong = buffer[at + 1]! > 127;
        if (isLong && end - at < 3) break;
        const length = isLong
          ? (buffer[at + 1]! & 127) + buffer[at + 2]! * 128
          : buffer[at + 1]!;
        const next = at + (isLong ? 3 : 2) + length;
        if (next > end) break;
        this.#onPacket(view, at, next);
        at = next;
      }
      buffer.copyWithin(0, at, end);
      end -= at;
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#connection.close();
  }
}

const WAIT = { none: 0, puback: 1, pubrec: 2, pubcomp: 3 } as const;

class Publisher {
  sent = 0;
  underWay = 0;
  wait: number = WAIT.none;
  lastAt = 0;
  readonly topic: Uint8Array;
  connection!: Connection;

  constructor(topic: string) {
    this.topic = new TextEncoder().encode(topic);
  }
}

class Generator {
  readonly #load: Load;
  readonly #fan: number;
  readonly #most: number;
  readonly #publishers: Publisher[];
  readonly #subscribers: number;
  readonly #check: FlowCheck;
  readonly #latency = new Histogram();
  readonly #connections: Connection[] = [];
  #isRunning = false;
  #sum = 0;
  #acknowledged = 0;

  constructor(load: Load) {
    const { pattern, clients, qos } = load;
    this.#load = load;
    const isFanOut = pattern === "fanOut";
    this.#fan = isFanOut ? clients : pattern === "pairs" ? 1 : 0;
    this.#subscribers = pattern === "acks" ? 0 : clients;
    const publishers = isFanOut ? 1 : clients;
    const messages = Math.min(
      UNDER_WAY,
      DELIVERIES_UNDER_WAY / this.#fan,
    ) / publishers;
    this.#most = this.#fan * (qos > 0 ? LAG : Math.max(1, messages | 0));
    this.#publishers = Array.from(
      { length: publishers },
      (_, i) => new Publisher(this.#topicOf(i)),
    );
    this.#check = new FlowCheck(clients);
  }

  #topicOf(i: number): string {
    return this.#load.pattern === "fanOut" ? "bench/all" : `bench/pair/${i}`;
  }

  async run(): Promise<Figures> {
    const { warmUpMs, loadMs, pid } = this.#load;
    await this.#inTurn(this.#subscribers, (i) => this.#subscribe(i));
    await this.#inTurn(this.#publishers.length, async (i) => {
      const publisher = this.#publishers[i]!;
      publisher.connection = await this.#connect(
        `publisher-${i}`,
        (view, at) => this.#takeAnswer(publisher, i, view, at),
      );
    });
    this.#isRunning = true;
    this.#publishers.forEach((publisher, i) => this.#advance(publisher, i));
    await sleep(warmUpMs);

    this.#latency.clear();
    const brokerCpu = cpuMsOf(pid);
    const ownCpu = cpuUsage();
    const [sum, received] = [this.#sum, this.#check.received];
    const acknowledged = this.#acknowledged;
    const start = performance.now();
    await sleep(loadMs);
    const ms = performance.now() - start;
    const { user, system } = cpuUsage(ownCpu);
    const brokerCpuAfter = cpuMsOf(pid);
    const figures = {
      sent: this.#sum - sum,
      delivered: this.#check.received - received,
      acknowledged: this.#acknowledged - acknowledged,
      latency: percentilesOf(this.#latency),
    };
    this.#isRunning = false;
    for (let last = -1; last !== this.#check.received && this.#lost() > 0;) {
      last = this.#check.received;
      await sleep(QUIET_MS);
    }
    const lost = this.#lost();
    for (const connection of this.#connections) connection.close();
    return {
      ...figures,
      ms,
      lost,
      duplicates: this.#check.duplicates,
      reordered: this.#check.reordered,
      repeated: 0,
      drops: 0,
      brokerCpuMs: brokerCpu === null || brokerCpuAfter === null
        ? null
        : brokerCpuAfter - brokerCpu,
      generatorCpuMs: (user + system) / 1_000,
      lateness: percentilesOf(new Histogram()),
    };
  }

  #lost(): number {
    let lost = 0;
    for (let i = 0; i < this.#subscribers; i++) {
      const { sent } = this.#publishers[i % this.#publishers.length]!;
      lost += this.#check.lostOf(i, sent);
    }
    return lost;
  }

  async #inTurn(count: number, open: (i: number) => Promise<void>) {
    for (let from = 0; from < count; from += CONNECTING) {
      const some = Math.min(CONNECTING, count - from);
      await Promise.all(Array.from({ length: some }, (_, i) => open(from + i)));
    }
  }

  async #connect(
    clientId: string,
    onPacket: (view: DataView, at: number, end: number) => void,
  ): Promise<Connection> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const connection = await Connection.open(
      this.#load.port,
      (view, at, end) => {
        if (view.getUint8(at) === TYPE.connack) resolve();
        else onPacket(view, at, end);
      },
    );
    this.#connections.push(connection);
    const [level, cleanSession, keepAlive] = [4, 2, 600];
    const variable = [
      ...textOf("MQTT"),
      level,
      cleanSession,
      keepAlive >> 8,
      keepAlive & 255,
      ...textOf(clientId),
    ];
    connection.send([TYPE.connect, variable.length, ...variable]);
    await promise;
    return connection;
  }

  async #subscribe(i: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const connection = await this.#connect(
      `subscriber-${i}`,
      (view, at, end) => {
        const type = view.getUint8(at);
        if (type === TYPE.suback) resolve();
        else if (type === TYPE.pubrel) {
          const [high, low] = [view.getUint8(at + 2), view.getUint8(at + 3)];
          connection.send([TYPE.pubcomp, 2, high, low]);
        } else if ((type & 0xf0) === TYPE.publish) {
          this.#takePublish(i, connection, view, at, end);
        }
      },
    );
    const topic = textOf(this.#topicOf(i));
    const length = 3 + topic.length;
    const { qos } = this.#load;
    connection.send([TYPE.subscribe, length, 0, 1, ...topic, qos]);
    await promise;
  }

  #takePublish(
    i: number,
    connection: Connection,
    view: DataView,
    at: number,
    end: number,
  ): void {
    const qos = view.getUint8(at) >> 1 & 3;
    if (qos > 0) {
      const topicAt = at + (view.getUint8(at + 1) > 127 ? 3 : 2);
      const idAt = topicAt + 2 + view.getUint16(topicAt);
      const type = qos === 1 ? TYPE.puback : TYPE.pubrec;
      const [high, low] = [view.getUint8(idAt), view.getUint8(idAt + 1)];
      connection.send([type, 2, high, low]);
    }
    const start = end - Math.max(CARRIED, this.#load.octets);
    const index = view.getUint32(start);
    if (!this.#check.take(i, view.getUint32(start + 4))) return;
    const now = performance.now();
    this.#latency.add((now - view.getFloat64(start + 8)) * 1_000);
    const publisher = this.#publishers[index]!;
    publisher.underWay--;
    this.#advance(publisher, index);
  }

  #takeAnswer(
    publisher: Publisher,
    i: number,
    view: DataView,
    at: number,
  ): void {
    const type = view.getUint8(at);
    if (type === TYPE.pubrec) {
      publisher.wait = WAIT.pubcomp;
      const [high, low] = [view.getUint8(at + 2), view.getUint8(at + 3)];
      publisher.connection.send([TYPE.pubrel, 2, high, low]);
      return;
    }
    if (type !== TYPE.puback && type !== TYPE.pubcomp) return;
    publisher.wait = WAIT.none;
    this.#acknowledged++;
    if (this.#fan === 0) {
      this.#latency.add((performance.now() - publisher.lastAt) * 1_000);
    }
    this.#advance(publisher, i);
  }

  #advance(publisher: Publisher, i: number): void {
    const { qos } = this.#load;
    while (
      this.#isRunning && publisher.wait === WAIT.none &&
      publisher.underWay + this.#fan <= this.#most
    ) {
      this.#publish(publisher, i);
      if (qos > 0) publisher.wait = qos === 1 ? WAIT.puback : WAIT.pubrec;
    }
  }

  #publish(publisher: Publisher, i: number): void {
    const { qos, octets } = this.#load;
    const { topic, connection } = publisher;
    const carried = Math.max(CARRIED, octets);
    const length = 2 + topic.length + (qos > 0 ? 2 : 0) + carried;
    const isLong = length > 127;
    const whole = (isLong ? 3 : 2) + length;
    const [bytes, start] = connection.reserve(whole);
    const view = new DataView(bytes.buffer);
    let at = start;
    bytes[at++] = TYPE.publish | qos << 1;
    if (isLong) bytes[at++] = length & 127 | 128;
    bytes[at++] = isLong ? length >> 7 : length;
    view.setUint16(at, topic.length);
    bytes.set(topic, at + 2);
    at += 2 + topic.length;
    if (qos > 0) {
      view.setUint16(at, publisher.sent % 65_535 + 1);
      at += 2;
    }
    publisher.lastAt = performance.now();
    view.setUint32(at, i);
    view.setUint32(at + 4, publisher.sent++);
    view.setFloat64(at + 8, publisher.lastAt);
    publisher.underWay += this.#fan;
    this.#sum++;
  }
}

function textOf(text: string): number[] {
  const octets = new TextEncoder().encode(text);
  return [octets.length >> 8, octets.length & 255, ...octets];
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const figures = await new Generator(JSON.parse(Deno.args[0]!)).run();
  console.log(JSON.stringify(figures));
  Deno.exit(0);
}
