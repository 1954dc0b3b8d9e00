/**
 * Where a client's commands wait, on their own.
 *
 * @module
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import type { Command, SubscribeCommand } from "../../client/commands.ts";
import type { DeviceEvent } from "../../client/events.ts";
import { CommandQueue, CommandQueues, type Job } from "../../client/queues.ts";
import { EffectQueue } from "../../base/machine.ts";
import type { Request } from "../../client/requests.ts";

const WAIT_MS = 300_000;

const REGISTER: Command = { type: "register", topicName: "a" };

function jobOf(token: number | undefined, order = token ?? 0): Job {
  return { token, order, command: REGISTER, giveUpAt: undefined };
}

function make(giveUpMs?: number): [CommandQueues, () => DeviceEvent[]] {
  const effects = new EffectQueue<DeviceEvent>();
  const drain = () => {
    const events: DeviceEvent[] = [];
    for (let effect; (effect = effects.poll()) !== undefined;) {
      if (effect.type === "trace") events.push(effect.event);
    }
    return events;
  };
  const options = { waitMs: WAIT_MS, giveUpMs };
  return [new CommandQueues(effects, options), drain];
}

const REQUEST: Request = {
  packet: { type: "PINGRESP" },
  again: new Uint8Array(),
  retryAt: 0,
  waitMs: 0,
  triesLeft: 0,
};

const tokensOf = (jobs: Iterable<Job>) => [...jobs].map(({ token }) => token);

Deno.test("begin() takes commands in order, however many there are", () => {
  const queue = new CommandQueue("register");
  assertEquals(queue.begin(), undefined);
  let taken = 0;
  for (let token = 1; token <= 10_000; token++) {
    queue.add(jobOf(token));
    if (token % 4 !== 0) {
      assertEquals(queue.begin()?.token, ++taken);
      assertEquals(queue.end()?.token, taken);
    }
    assertEquals(queue.length, token - taken);
    assertEquals(queue.next?.token, taken === token ? undefined : taken + 1);
  }
  while (taken < 10_000) {
    assertEquals(queue.begin()?.token, ++taken);
    queue.end();
  }
  assertEquals(queue.length, 0);
  assertEquals([queue.begin(), queue.end()], [undefined, undefined]);
});

Deno.test("begin() begins nothing while a command is under way", () => {
  const queue = new CommandQueue("register");
  queue.add(jobOf(1));
  queue.add(jobOf(2));
  assertEquals(queue.begin()?.token, 1);
  assertEquals(queue.begin()?.token, 1);
  queue.ask(REQUEST);
  assertEquals(queue.begin()?.token, 1);
  assertEquals([queue.request, queue.length], [REQUEST, 2]);
});

Deno.test("remove() takes a command out that waits, and no other", () => {
  const queue = new CommandQueue("register");
  for (let token = 1; token <= 4; token++) queue.add(jobOf(token));
  queue.begin();
  assertFalse(queue.remove(1)); // it is under way
  assertFalse(queue.remove(9));
  assert(queue.remove(3));
  assertFalse(queue.remove(3));
  assertEquals(tokensOf(queue.waiting), [2, 4]);
  assertEquals(queue.length, 3);
  assertEquals(queue.first?.token, 1);
});

Deno.test("ask() awaits an answer, answered() goes on with the same command, end() with none", () => {
  const queue = new CommandQueue("connection");
  assertEquals(queue.asked("PINGRESP"), undefined);
  queue.add(jobOf(1));
  queue.begin();
  queue.ask(REQUEST);
  assertEquals(queue.asked("PINGRESP"), REQUEST.packet);
  assertEquals(queue.asked("PINGREQ"), undefined);
  queue.answered();
  assertEquals([queue.request, queue.current?.token], [undefined, 1]);
  queue.ask(REQUEST);
  assertEquals(queue.end()?.token, 1);
  assertEquals([queue.request, queue.current], [undefined, undefined]);
});

Deno.test("ask() needs no command: a connection is made when others need it", () => {
  const queue = new CommandQueue("connection");
  queue.ask(REQUEST);
  assertEquals([queue.request, queue.current], [REQUEST, undefined]);
  queue.answered();
  assertEquals([queue.request, queue.length], [undefined, 0]);
});

Deno.test("forsake() lets the command go on, for nobody", () => {
  const queue = new CommandQueue("register");
  queue.forsake();
  queue.add({ ...jobOf(1), giveUpAt: 100 });
  queue.begin();
  queue.ask(REQUEST);
  queue.forsake();
  const { current, request } = queue;
  assertEquals([current?.token, current?.giveUpAt], [undefined, undefined]);
  assertEquals([current?.command, request], [REGISTER, REQUEST]);
});

Deno.test("isHeld() is so until the moment, and no longer after release()", () => {
  const queue = new CommandQueue("register");
  assertFalse(queue.isHeld(0));
  queue.hold(100);
  assertEquals([queue.isHeld(99), queue.isHeld(100)], [true, false]);
  queue.release();
  assertEquals([queue.isHeld(0), queue.heldUntil], [false, undefined]);
});

Deno.test("clear() ends what is under way, and what waits up to a place", () => {
  const queue = new CommandQueue("register");
  for (let token = 1; token <= 4; token++) queue.add(jobOf(token));
  queue.begin();
  queue.ask(REQUEST);
  queue.clear(2);
  assertEquals([queue.current, queue.request], [undefined, undefined]);
  assertEquals(tokensOf(queue.waiting), [3, 4]);
  queue.clear(Infinity);
  assertEquals(queue.length, 0);
});

Deno.test("askAgain() comes before all that was given, and once", () => {
  const queue = new CommandQueue("subscribe");
  const granted = ["a", "b"].map((topic): SubscribeCommand => ({
    type: "subscribe",
    topic,
    qos: 1,
  }));
  queue.add(jobOf(1));
  queue.add(jobOf(2));
  queue.begin();
  queue.ask(REQUEST);
  for (let round = 0; round < 3; round++) {
    queue.askAgain(granted);
    assertEquals([queue.current, queue.request], [undefined, undefined]);
    assertEquals(tokensOf(queue.waiting), [undefined, undefined, 1, 2]);
    assertEquals([...queue.waiting][1]?.command, granted[1]);
    if (round === 1) queue.begin(); // the first of them is under way
  }
});

Deno.test("barrier is the place of the connection's next command", () => {
  const [queues] = make();
  assertEquals(queues.barrier, Infinity);
  queues.add(0, REGISTER, 1);
  assertFalse(queues.hasBefore(1));
  assert(queues.hasBefore(2));
  queues.add(0, { type: "disconnect" }, 2);
  assertEquals(queues.barrier, 2);
  queues.connection.begin();
  assertEquals(queues.barrier, 2);
  assertEquals(queues.pending, 2);
});

Deno.test("refuse() for congestion holds the queue that asked, T_WAIT long", () => {
  const [queues, drain] = make();
  const { publish, register, connection } = queues;
  const command = {
    type: "publish",
    topic: "a",
    payload: new Uint8Array(),
    qos: 0,
    retain: false,
  } as const;
  queues.add(0, command, 1);
  publish.begin();
  publish.ask(REQUEST);
  queues.refuse(1_000, publish, 1, register);
  assertEquals(register.heldUntil, 1_000 + WAIT_MS);
  assertEquals(publish.heldUntil, undefined);
  assertEquals(publish.current, undefined);
  assertEquals(publish.request, undefined);
  queues.refuse(2_000, publish, 3);
  assertEquals(publish.heldUntil, undefined); // not for congestion
  queues.refuse(3_000, connection, 1);
  // The connection has pauses of its own.
  assertEquals(connection.heldUntil, undefined);
  assertEquals(drain(), [{ type: "refused", token: 1, returnCode: 1 }]);
});

Deno.test("refuse() for congestion keeps what nobody else would ask for again", () => {
  const [queues, drain] = make();
  const { subscribe } = queues;
  subscribe.askAgain([{ type: "subscribe", topic: "a", qos: 0 }]);
  const job = subscribe.begin();
  subscribe.ask(REQUEST);
  queues.refuse(0, subscribe, 1);
  assertEquals([subscribe.current, subscribe.request], [job, undefined]);
  queues.refuse(0, subscribe, 3);
  assertEquals(subscribe.current, undefined);
  assertEquals(drain(), []);
});

Deno.test("overdue() is what was given by somebody, and is given up by now", () => {
  const [queues] = make(100);
  assertEquals(queues.giveUpAt(), undefined);
  queues.add(0, { type: "wake" }, undefined);
  assertEquals(queues.giveUpAt(), undefined);
  queues.add(10, REGISTER, 1);
  queues.add(20, { type: "register", topicName: "b" }, 2);
  queues.add(20, { type: "willMsg", payload: new Uint8Array() }, 3);
  queues.add(30, { type: "willMsg", payload: new Uint8Array() }, 4);
  queues.register.begin();
  assertEquals(queues.giveUpAt(), 110);
  assertEquals(queues.overdue(109), []);
  const tokens = queues.overdue(120).map(({ queue, job }) => [
    queue.name,
    job.token,
  ]);
  assertEquals(tokens, [["register", 1], ["register", 2], ["will", 3]]);
  queues.register.forsake();
  assertEquals(queues.giveUpAt(), 120);
});

Deno.test("giveUpAt() looks behind what is asked again", () => {
  const [queues] = make(100);
  queues.add(10, { type: "unsubscribe", topic: "b" }, 1);
  queues.subscribe.askAgain([{ type: "subscribe", topic: "a", qos: 0 }]);
  assertEquals(queues.giveUpAt(), 110);
});

Deno.test("overdue() is nothing where commands have any time", () => {
  const [queues] = make();
  queues.add(0, REGISTER, 1);
  assertEquals(queues.giveUpAt(), undefined);
  assertEquals(queues.overdue(1e12), []);
});

Deno.test("finish() and silence() tell an end only if somebody asked", () => {
  const [queues, drain] = make();
  queues.add(0, REGISTER, 7);
  queues.register.begin();
  queues.register.ask(REQUEST);
  queues.finish(queues.register, 2);
  assertEquals(queues.register.length, 0);
  assertEquals(queues.register.request, undefined);
  queues.add(0, REGISTER, undefined);
  queues.register.begin();
  queues.finish(queues.register);
  queues.silence(jobOf(undefined));
  queues.silence(undefined);
  queues.silence(jobOf(8));
  assertEquals(drain(), [
    { type: "done", token: 7, qos: 2 },
    { type: "silence", token: 8 },
  ]);
});

Deno.test("CommandQueues has those at hand in which there has been something, in their order", () => {
  const [queues] = make();
  const names = () => queues.all.map(({ name }) => name);
  assertEquals(names(), ["connection"]);
  queues.add(0, { type: "willMsg", payload: new Uint8Array() }, 1);
  queues.hold(0, queues.register);
  queues.add(0, { type: "disconnect" }, 2);
  assertEquals(names(), ["connection", "register", "will"]);
  assertEquals(queues.others, [queues.register, queues.will]);
  assertEquals(queues.pending, 2);
  assert(queues.hasBefore(2));
  assertFalse(queues.hasBefore(1));
});
