/**
 * Where a client's commands wait, on their own.
 *
 * @module
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import type { Command } from "../../client/commands.ts";
import type { DeviceEvent } from "../../client/events.ts";
import { CommandQueue, CommandQueues, type Job } from "../../client/queues.ts";
import { EffectQueue } from "../../base/machine.ts";
import type { Request } from "../../client/requests.ts";

const WAIT_MS = 300_000;

function jobOf(token: number): Job {
  const command: Command = { type: "register", topicName: "a" };
  return { token, order: token, command, giveUpAt: undefined };
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
  return [new CommandQueues(effects, WAIT_MS, giveUpMs), drain];
}

const REQUEST: Request = {
  packet: { type: "PINGRESP" },
  again: new Uint8Array(),
  retryAt: 0,
  waitMs: 0,
  triesLeft: 0,
};

Deno.test("shift() takes commands in order, however many there are", () => {
  const lane = new CommandQueue("register");
  assertEquals(lane.shift(), undefined);
  let taken = 0;
  for (let token = 1; token <= 10_000; token++) {
    lane.push(jobOf(token));
    if (token % 4 !== 0) assertEquals(lane.shift()?.token, ++taken);
    assertEquals(lane.length, token - taken);
    assertEquals(lane.next?.token, taken === token ? undefined : taken + 1);
  }
  while (taken < 10_000) assertEquals(lane.shift()?.token, ++taken);
  assertEquals(lane.length, 0);
  assertEquals(lane.shift(), undefined);
});

Deno.test("remove() takes a command out that waits, and no other", () => {
  const lane = new CommandQueue("register");
  for (let token = 1; token <= 4; token++) lane.push(jobOf(token));
  lane.current = lane.shift();
  assertFalse(lane.remove(1)); // it is under way
  assertFalse(lane.remove(9));
  assert(lane.remove(3));
  assertFalse(lane.remove(3));
  assertEquals(lane.waiting.map(({ token }) => token), [2, 4]);
  assertEquals(lane.length, 3);
  assertEquals(lane.first?.token, 1);
});

Deno.test("oldest is the first that somebody has given", () => {
  const lane = new CommandQueue("register");
  assertEquals(lane.oldest, undefined);
  lane.replaceWaiting([jobOf(0), jobOf(0), jobOf(5), jobOf(6)]);
  assertEquals(lane.oldest?.token, 5);
  assertEquals(lane.next?.token, 0);
});

Deno.test("asked() is what waits for its answer, if it is of that type", () => {
  const lane = new CommandQueue("link");
  assertEquals(lane.asked("PINGRESP"), undefined);
  lane.request = REQUEST;
  assertEquals(lane.asked("PINGRESP"), REQUEST.packet);
  assertEquals(lane.asked("PINGREQ"), undefined);
});

Deno.test("barrier is the place of the connection's next command", () => {
  const [lanes] = make();
  assertEquals(lanes.barrier, Infinity);
  lanes.add(0, { type: "register", topicName: "a" }, 1);
  assertFalse(lanes.hasBefore(1));
  assert(lanes.hasBefore(2));
  lanes.add(0, { type: "disconnect" }, 2);
  assertEquals(lanes.barrier, 2);
  lanes.link.current = lanes.link.shift();
  assertEquals(lanes.barrier, 2);
  assertEquals(lanes.pending, 2);
});

Deno.test("refuse() for congestion holds the lane that asked, T_WAIT long", () => {
  const [lanes, drain] = make();
  const { publish, register, link } = lanes;
  lanes.add(0, { type: "register", topicName: "a" }, 1);
  publish.current = register.shift();
  publish.request = REQUEST;
  lanes.refuse(1_000, publish, 1, register);
  assertEquals(register.holdUntil, 1_000 + WAIT_MS);
  assertEquals(publish.holdUntil, 0);
  assertEquals(publish.current, undefined);
  assertEquals(publish.request, undefined);
  lanes.refuse(2_000, publish, 3);
  assertEquals(publish.holdUntil, 0); // not for congestion
  lanes.refuse(3_000, link, 1);
  assertEquals(link.holdUntil, 0); // the connection has pauses of its own
  assertEquals(drain(), [{ type: "refused", token: 1, returnCode: 1 }]);
});

Deno.test("refuse() for congestion keeps what nobody else would ask for again", () => {
  const [lanes, drain] = make();
  const { subscribe } = lanes;
  const job = { ...jobOf(0), order: 0 };
  subscribe.current = job;
  lanes.refuse(0, subscribe, 1);
  assertEquals(subscribe.current, job);
  lanes.refuse(0, subscribe, 3);
  assertEquals(subscribe.current, undefined);
  assertEquals(drain(), []);
});

Deno.test("overdue() is what was given by somebody, and is given up by now", () => {
  const [lanes] = make(100);
  assertEquals(lanes.giveUpAt(), undefined);
  lanes.add(0, { type: "wake" }, 0);
  assertEquals(lanes.giveUpAt(), undefined);
  lanes.add(10, { type: "register", topicName: "a" }, 1);
  lanes.add(20, { type: "register", topicName: "b" }, 2);
  lanes.add(20, { type: "willMsg", payload: new Uint8Array() }, 3);
  lanes.add(30, { type: "willMsg", payload: new Uint8Array() }, 4);
  lanes.register.current = lanes.register.shift();
  assertEquals(lanes.giveUpAt(), 110);
  assertEquals(lanes.overdue(109), []);
  const tokens = lanes.overdue(120).map(({ lane, job }) => [
    lane.name,
    job.token,
  ]);
  assertEquals(tokens, [["register", 1], ["register", 2], ["will", 3]]);
  lanes.register.current!.token = 0; // nobody wants to know any more
  assertEquals(lanes.giveUpAt(), 120);
});

Deno.test("overdue() is nothing where commands have any time", () => {
  const [lanes] = make();
  lanes.add(0, { type: "register", topicName: "a" }, 1);
  assertEquals(lanes.giveUpAt(), undefined);
  assertEquals(lanes.overdue(1e12), []);
});

Deno.test("finish() and silence() tell an end only to who asked", () => {
  const [lanes, drain] = make();
  lanes.publish.current = jobOf(7);
  lanes.publish.request = REQUEST;
  lanes.finish(lanes.publish, 2);
  assertEquals(lanes.publish.length, 0);
  assertEquals(lanes.publish.request, undefined);
  lanes.publish.current = jobOf(0);
  lanes.finish(lanes.publish);
  lanes.silence(jobOf(0));
  lanes.silence(undefined);
  lanes.silence(jobOf(8));
  assertEquals(drain(), [
    { type: "done", token: 7, qos: 2 },
    { type: "silence", token: 8 },
  ]);
});

Deno.test("CommandQueues has those at hand in which there has been something, in their order", () => {
  const [lanes] = make();
  const names = () => lanes.all.map(({ name }) => name);
  assertEquals(names(), ["link"]);
  lanes.add(0, { type: "willMsg", payload: new Uint8Array() }, 1);
  lanes.hold(0, lanes.register);
  lanes.add(0, { type: "disconnect" }, 2);
  assertEquals(names(), ["link", "register", "will"]);
  assertEquals(lanes.others, [lanes.register, lanes.will]);
  assertEquals(lanes.pending, 2);
  assert(lanes.hasBefore(2));
  assertFalse(lanes.hasBefore(1));
});
