// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * Clients by the hundred thousand that are connected and show that they are there,
 * each by a PINGREQ in its time; and the memory that the broker has for them.
 *
 * `deno run -A bench/keep_alive_load.ts JSON`, where the JSON is a
 * {@linkcode KeepAliveJob}. Prints {@linkcode KeptAlive} as a line of JSON.
 *
 * @module
 */

import { MSG_TYPE } from "../wire/packets.ts";
import { askAll, connectOf } from "./asking.ts";
import { ManyClients } from "./many_clients.ts";
import { cpuMsOf, residentOf } from "./processes.ts";

/** Who connects, and for how long. */
export interface KeepAliveJob {
  /** The broker's port at 127.0.0.1. */
  readonly port: number;
  /** Its process. */
  readonly pid: number;
  /** Clients that connect. */
  readonly clients: number;
  /** Their keep alive, in seconds. */
  readonly keepAlive: number;
  /** How long they stay, in milliseconds. */
  readonly ms: number;
}

/** What was measured. */
export interface KeptAlive {
  /** Until all were connected, in milliseconds. */
  readonly connectMs: number;
  /** Memory of the broker before, in octets. */
  readonly residentBefore: number;
  /** The most that it had, in octets. */
  readonly residentMost: number;
  /** PINGREQs sent. */
  readonly asked: number;
  /** PINGRESPs that came. */
  readonly answered: number;
  /** Clients that the broker said it had lost. */
  readonly lost: number;
  /** CPU time of the broker while they stayed, in milliseconds. */
  readonly brokerCpuMs: number;
}

/** A PINGREQ each three quarters of the keep alive. */
const SHARE = 0.75;

/** What is asked may take so long to be answered, in milliseconds. */
const LAST_MS = 1_000;

/** PINGREQs under way: a socket's usual buffer holds them. */
const UNDER_WAY = 100;

/** Without an answer for so long, what is under way is lost, in milliseconds. */
const STALLED_MS = 500;

/** Between two looks at the memory, in milliseconds. */
const LOOK_MS = 500;

function measure(job: KeepAliveJob): KeptAlive {
  const { port, pid, clients: count, keepAlive, ms } = job;
  using clients = new ManyClients(port);
  const residentBefore = residentOf(pid);
  const start = performance.now();
  askAll(clients, {
    from: 0,
    to: count,
    request: (client) => connectOf(client, keepAlive),
    answer: MSG_TYPE.CONNACK,
  });
  const connectMs = performance.now() - start;

  let residentMost = residentOf(pid);
  let [asked, answered, lost] = [0, 0, 0];
  const cpu = cpuMsOf(pid) ?? NaN;
  const from = performance.now();
  const apart = keepAlive * 1_000 * SHARE / count;
  let lookAt = from;
  let movedAt = from;
  let givenUp = 0;
  for (let now; (now = performance.now()) < from + ms + LAST_MS;) {
    if (now >= lookAt) {
      residentMost = Math.max(residentMost, residentOf(pid));
      lookAt = now + LOOK_MS;
    }
    const due = Math.min(now - from, ms) / apart;
    if (now - movedAt > STALLED_MS) givenUp = asked - answered;
    for (; asked < due && asked - answered - givenUp < UNDER_WAY; asked++) {
      const at = clients.add(asked % count, 2);
      clients.outgoing.setUint16(at, 2 << 8 | MSG_TYPE.PINGREQ);
    }
    clients.flush();
    const received = clients.receive();
    if (received === 0) clients.wait(1_000);
    else movedAt = now;
    for (let i = 0; i < received; i++) {
      const type = clients.incoming.getUint8(clients.startOf(i) + 1);
      if (type === MSG_TYPE.PINGRESP) answered++;
      else if (type === MSG_TYPE.DISCONNECT) lost++;
    }
  }
  const brokerCpuMs = (cpuMsOf(pid) ?? NaN) - cpu;
  return {
    connectMs,
    residentBefore,
    residentMost,
    asked,
    answered,
    lost,
    brokerCpuMs,
  };
}

if (import.meta.main) {
  console.log(JSON.stringify(measure(JSON.parse(Deno.args[0]!))));
}
