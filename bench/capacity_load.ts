// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * How much a broker can send when nobody's receiving costs anything: a publisher,
 * and subscribers whose socket is never read, so that the system drops what comes
 * and counts it. That count is what was sent, and what bounds what is under way.
 *
 * `deno run -A bench/capacity_load.ts JSON`, where the JSON is a
 * {@linkcode CapacityJob}. Prints {@linkcode Capacity} as a line of JSON.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { MSG_TYPE } from "../wire/packets.ts";
import { askAll, connectOf, registerOf, subscribeOf } from "./asking.ts";
import { OCTETS, WARM_UP_MS } from "./load_job.ts";
import { ManyClients } from "./many_clients.ts";
import { cpuMsOf } from "./processes.ts";

/** What to send, to whom, and for how long. */
export interface CapacityJob {
  /** The broker's port at 127.0.0.1. */
  readonly port: number;
  /** Its process. */
  readonly pid: number;
  /** Subscribers of the topic. */
  readonly clients: number;
  /** How long to measure, in milliseconds. */
  readonly loadMs: number;
}

/** What was measured. */
export interface Capacity {
  /** Deliveries that the broker sent. */
  readonly delivered: number;
  /** How long it was measured, in milliseconds. */
  readonly ms: number;
  /** CPU time of the broker meanwhile, in milliseconds; `null` if unknown. */
  readonly brokerCpuMs: number | null;
  /** CPU time of the generator meanwhile, in milliseconds. */
  readonly generatorCpuMs: number;
}

/** Messages under way; a socket's usual buffer holds them. */
const UNDER_WAY = 128;

/** Between two looks at the count, in microseconds. */
const LOOK_US = 200;

/** Without progress for so long, what is missing is lost, in milliseconds. */
const STALLED_MS = 500;

const TOPIC = "bench/capacity";

function measure({ port, pid, clients, loadMs }: CapacityJob): Capacity {
  using subscribers = new ManyClients(port);
  using publisher = new ManyClients(port);
  const all = { from: 1, to: clients + 1 };
  const connect = { request: connectOf, answer: MSG_TYPE.CONNACK };
  askAll(subscribers, { ...all, ...connect });
  askAll(subscribers, {
    ...all,
    request: () => subscribeOf(TOPIC, 0),
    answer: MSG_TYPE.SUBACK,
  });
  subscribers.starve();
  let topicId = 0;
  askAll(publisher, { from: 0, to: 1, ...connect });
  askAll(publisher, {
    from: 0,
    to: 1,
    request: () => registerOf(TOPIC),
    answer: MSG_TYPE.REGACK,
    onAnswer: (_, at) => topicId = publisher.incoming.getUint16(at + 2),
  });

  const [high, low] = [topicId >> 8, topicId & 255];
  const header = [7 + OCTETS, MSG_TYPE.PUBLISH, 0, high, low, 0, 0];
  const packet = Uint8Array.of(...header, ...new Array(OCTETS).fill(0x2e));
  let sent = subscribers.drops / clients;
  let lastDrops = 0;
  let movedAt = performance.now();
  const work = (until: number) => {
    for (let now; (now = performance.now()) < until;) {
      const { drops } = subscribers;
      if (drops !== lastDrops) movedAt = now;
      else if (now - movedAt > STALLED_MS) {
        sent = drops / clients;
        movedAt = now;
      }
      lastDrops = drops;
      for (; sent - drops / clients < UNDER_WAY; sent++) {
        publisher.outgoingBytes.set(packet, publisher.add(0, packet.length));
      }
      publisher.flush();
      publisher.wait(LOOK_US);
    }
  };
  work(performance.now() + WARM_UP_MS);
  const brokerCpu = cpuMsOf(pid);
  const ownCpu = cpuUsage();
  const before = subscribers.drops;
  const start = performance.now();
  work(start + loadMs);
  const ms = performance.now() - start;
  const delivered = subscribers.drops - before;
  const { user, system } = cpuUsage(ownCpu);
  const brokerCpuAfter = cpuMsOf(pid);
  return {
    delivered,
    ms,
    brokerCpuMs: brokerCpu === null || brokerCpuAfter === null
      ? null
      : brokerCpuAfter - brokerCpu,
    generatorCpuMs: (user + system) / 1_000,
  };
}

if (import.meta.main) {
  console.log(JSON.stringify(measure(JSON.parse(Deno.args[0]!))));
}
