/**
 * A device against gateways that fail: the router over a network in virtual time,
 * with one fault at each datagram of each exchange in turn, and gateways that are
 * played.
 *
 * What is promised depends on what the gateway keeps. (a) One that comes back
 * with its state: every command is done, and at QoS 2 each message comes once. (b)
 * Another one in its place, that knows nobody: every command is still done, and
 * later messages come once; but a message that the first had taken over and not
 * handed on is gone with it, and one whose PUBREC was lost is handed over twice.
 *
 * @module
 */

import { assert, assertEquals, AssertionError } from "@std/assert";
import { type Millis, seededRandom } from "../../base/clock.ts";
import { Device, type DeviceOptions } from "../../client/device.ts";
import type { DeviceEvent } from "../../client/events.ts";
import type { Effect, Machine } from "../../base/machine.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { Router } from "../../broker/router.ts";
import {
  Bench,
  CONNACK,
  CONNECT,
  GATEWAY,
  PATIENCE_MS,
  suback,
  text,
  withMsgId,
} from "../support/device.ts";
import { GOODBYE, puback, regack } from "../support/gateway.ts";
import { BadNet } from "../support/net.ts";

const LAMP = peerOf("127.0.0.1", 1001);
const ANN = peerOf("127.0.0.1", 1002);

/** T_retry of everybody; N_retry of a device, and how long it waits in all. */
const RETRY_MS = 100;
const RETRIES = 3;

/** Longer than anybody's patience with a silent peer. */
const AWAY_MS = 3_000;

/** Long enough for all to be done again. */
const SETTLE_MS = 12_000;

/** A keep alive, and a sleep, in seconds. */
const KEEP_ALIVE_S = 2;
const SLEEP_S = 1;

/** The seeds of each story: its pauses differ. */
const SEEDS = [1, 2, 3];

type Direction = "to the gateway" | "to the lamp";

/** Where a router is at work, and what happens to the lamp's datagrams there. */
class Site implements Machine<unknown> {
  router = newRouter();
  /** Nothing gets through, either way. */
  isCutOff = false;
  /** Nor does time pass for the router. */
  isStopped = false;
  /** How often a datagram of the lamp's gets through. */
  onPacket: (packet: MqttSnPacket, direction: Direction) => number = () => 1;
  readonly #effects: Effect<unknown>[] = [];

  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    let copies = 1;
    if (peer.key === LAMP.key) {
      copies = this.onPacket(decodePacket(bytes), "to the gateway");
    }
    if (this.isCutOff) return;
    for (; copies > 0; copies--) this.router.handleDatagram(now, peer, bytes);
  }

  handleTimeout(now: Millis): void {
    if (!this.isStopped) this.router.handleTimeout(now);
  }

  nextTimeout(): Millis | undefined {
    return this.isStopped ? undefined : this.router.nextTimeout();
  }

  pollEffect(): Effect<unknown> | undefined {
    for (let effect; (effect = this.router.pollEffect()) !== undefined;) {
      if (effect.type === "persist") continue;
      let copies = 1;
      if (effect.type === "send" && effect.peer.key === LAMP.key) {
        copies = this.onPacket(decodePacket(effect.bytes), "to the lamp");
      }
      if (this.isCutOff) continue;
      // It is this machine's no longer than until the router has no more.
      for (; copies > 0; copies--) this.#effects.push({ ...effect });
    }
    return this.#effects.shift();
  }

  /** Sends the lamp something that the router has not. */
  say(packet: MqttSnPacket): void {
    const bytes = encodePacket(packet).slice();
    this.#effects.push({ type: "send", peer: LAMP, bytes, isPromise: false });
  }
}

function newRouter(): Router {
  return new Router({ retryMs: RETRY_MS, retries: 20 });
}

/** A device, and what it has told. */
class Participant {
  readonly device: Device;
  readonly messages: string[] = [];
  readonly held: string[] = [];
  /** How each command ended, by its token. */
  readonly ends = new Map<number, string[]>();
  readonly tokens: number[] = [];

  constructor(clientId: string, seed: number, options: Partial<DeviceOptions>) {
    this.device = new Device({
      gateway: GATEWAY,
      clientId,
      random: seededRandom(seed),
      cleanSession: false,
      keepAlive: KEEP_ALIVE_S,
      retryMs: RETRY_MS,
      retries: RETRIES,
      backoff: 1,
      maxPauseMs: 4 * RETRY_MS,
      ...options,
    });
  }

  handle(event: DeviceEvent): void {
    if (event.type === "message") {
      const { topicName } = event.message;
      this.messages.push(`${topicName}: ${event.message.text()}`);
    } else if (event.type === "held") this.held.push(event.topicName);
    else if ("token" in event) {
      const ends = this.ends.get(event.token) ?? [];
      this.ends.set(event.token, [...ends, event.type]);
    }
  }

  count(line: string): number {
    return this.messages.filter((message) => message === line).length;
  }
}

/** The lamp, of which the stories are, and Ann, who looks on. */
class World {
  readonly net: BadNet;
  readonly site = new Site();
  readonly lamp: Participant;
  readonly ann: Participant;

  constructor(seed: number, options: Partial<DeviceOptions> = {}) {
    this.net = new BadNet({
      seed,
      loss: 0,
      duplicate: 0,
      delayMs: [1, 1],
      trace: true,
    });
    this.lamp = new Participant("lamp", seed, options);
    this.ann = new Participant("ann", seed + 1_000, {});
    this.net.attach(GATEWAY, this.site);
    this.net.attach(LAMP, this.lamp.device, (event) => this.lamp.handle(event));
    this.net.attach(ANN, this.ann.device, (event) => this.ann.handle(event));
  }

  get now(): Millis {
    return this.net.now;
  }

  run(ms: Millis): void {
    this.net.run(this.now + ms);
  }

  tell(
    who: Participant,
    ...commands: ((device: Device, now: Millis) => number)[]
  ): void {
    for (const command of commands) {
      who.tokens.push(command(who.device, this.now));
    }
  }

  /** The gateway is back. */
  restore(): void {
    this.site.isCutOff = false;
    this.site.isStopped = false;
    this.net.refresh(GATEWAY);
  }
}

const connect = (device: Device, now: Millis) => device.connect(now);

const subscribe =
  (topic: string, qos: 1 | 2 = 2) => (device: Device, now: Millis) =>
    device.subscribe(now, topic, qos);

const publish =
  (topic: string, line: string, qos: 0 | 1 | 2 = 2) =>
  (device: Device, now: Millis) =>
    device.publish(now, topic, text(line), { qos });

/** What happens to the datagram of that number. */
interface Fault {
  readonly name: string;
  /** Whether the gateway forgets what it knew. */
  readonly isForgetful: boolean;
  /** @returns how often the datagram gets through */
  readonly strike: (world: World) => number;
}

const REPLACED = "finds another gateway in the place of the first";

const FAULTS: readonly Fault[] = [
  { name: "is lost", isForgetful: false, strike: () => 0 },
  { name: "comes twice", isForgetful: false, strike: () => 2 },
  {
    name: "is followed by DISCONNECT",
    isForgetful: false,
    strike: ({ site }) => (site.say(GOODBYE), 1),
  },
  {
    name: "finds the gateway out of reach for a while",
    isForgetful: false,
    strike: (world) => {
      world.site.isCutOff = true;
      world.net.at(world.now + AWAY_MS, () => world.restore());
      return 0;
    },
  },
  {
    name: "finds the gateway stopped for a while",
    isForgetful: false,
    strike: (world) => {
      world.site.isCutOff = true;
      world.site.isStopped = true;
      world.net.at(world.now + AWAY_MS, () => world.restore());
      return 0;
    },
  },
  {
    name: "finds the gateway gone, and another one later",
    isForgetful: true,
    strike: (world) => {
      world.site.isCutOff = true;
      world.net.at(world.now + AWAY_MS, () => {
        world.site.router = newRouter();
        world.restore();
      });
      return 0;
    },
  },
  {
    name: REPLACED,
    isForgetful: true,
    strike: ({ site }) => {
      site.router = newRouter();
      return 1;
    },
  },
];

/** One exchange, and what has to hold when it is over. */
interface Story {
  readonly name: string;
  readonly options?: Partial<DeviceOptions>;
  /** What comes before, without faults; to connect and subscribe unless told. */
  readonly prepare?: (world: World) => void;
  readonly act: (world: World) => void;
  /** How long it takes without faults. */
  readonly takesMs?: Millis;
  /** The state that it ends in. Default active. */
  readonly state?: "asleep";
  /** The token of a command that a silent gateway ends: connect(), wake(). */
  readonly impatient?: number;
  /** Checks it, with a gateway that keeps what it knows. */
  readonly check?: (world: World) => void;
  /** Checks it, with one that forgets. */
  readonly checkForgotten?: (world: World) => void;
}

function prepare(world: World): void {
  world.tell(world.ann, connect, subscribe("out"), subscribe("will"));
  world.tell(world.lamp, connect, subscribe("in"));
  world.run(100);
}

function fallAsleep(world: World): void {
  prepare(world);
  world.tell(world.lamp, (device, now) => device.sleep(now, SLEEP_S));
  world.run(100);
}

/** It came so often, or as often as that to that. */
function assertCount(
  { count, messages }: Participant,
  line: string,
  least: number,
  most = least,
): void {
  const came = count.call({ messages } as Participant, line);
  if (came >= least && came <= most) return;
  throw new AssertionError(`"${line}" came ${came} times`);
}

const once = (line: string) => ({ lamp }: World) => assertCount(lamp, line, 1);

const atAnn = (line: string, least: number, most?: number) => (world: World) =>
  assertCount(world.ann, line, least, most);

/** The lamp vanishes: its will has to be that one. */
const willIs = (line: string | undefined) => (world: World) => {
  world.net.detach(LAMP);
  const before = world.ann.messages.length;
  world.run(10_000);
  const wills = world.ann.messages.slice(before);
  assertEquals(wills, line === undefined ? [] : [`will: ${line}`]);
  // To go on with what is checked of all.
  world.net.attach(LAMP, world.lamp.device, (event) => {
    world.lamp.handle(event);
  });
  world.run(SETTLE_MS);
};

const WILL = { topicName: "will", payload: text("w"), qos: 2 } as const;

const STORIES: readonly Story[] = [
  {
    name: "CONNECT",
    prepare: (world) => {
      world.tell(world.ann, connect, subscribe("out"), subscribe("will"));
      world.run(100);
    },
    act: (world) => world.tell(world.lamp, connect, subscribe("in")),
    impatient: 1,
  },
  {
    name: "CONNECT with a will",
    options: { will: WILL },
    prepare: (world) => {
      world.tell(world.ann, connect, subscribe("out"), subscribe("will"));
      world.run(100);
    },
    act: (world) => world.tell(world.lamp, connect, subscribe("in")),
    impatient: 1,
    check: willIs("w"),
    checkForgotten: willIs("w"),
  },
  {
    name: "REGISTER",
    act: (world) =>
      world.tell(world.lamp, (device, now) => device.register(now, "r")),
  },
  {
    name: "SUBSCRIBE",
    act: (world) => world.tell(world.lamp, subscribe("more")),
    check: (world) => {
      world.tell(world.ann, publish("more", "x"));
      world.run(SETTLE_MS);
      once("more: x")(world);
    },
    checkForgotten: (world) => {
      world.tell(world.ann, publish("more", "x"));
      world.run(SETTLE_MS);
      once("more: x")(world);
    },
  },
  {
    name: "UNSUBSCRIBE",
    prepare: (world) => {
      prepare(world);
      world.tell(world.lamp, subscribe("more"));
      world.run(100);
    },
    act: (world) =>
      world.tell(world.lamp, (device, now) => device.unsubscribe(now, "more")),
    check: (world) => {
      world.tell(world.ann, publish("more", "x"));
      world.run(SETTLE_MS);
      assertCount(world.lamp, "more: x", 0);
    },
    checkForgotten: (world) => {
      world.tell(world.ann, publish("more", "x"));
      world.run(SETTLE_MS);
      assertCount(world.lamp, "more: x", 0);
    },
  },
  {
    name: "PUBLISH at QoS 1",
    act: (world) => world.tell(world.lamp, publish("out", "x", 1)),
    check: atAnn("out: x", 1, 2),
    checkForgotten: atAnn("out: x", 0, 2),
  },
  {
    name: "PUBLISH at QoS 2",
    act: (world) =>
      world.tell(world.lamp, publish("out", "x"), publish("out", "y")),
    check: (world) => {
      atAnn("out: x", 1)(world);
      atAnn("out: y", 1)(world);
    },
    checkForgotten: (world) => {
      atAnn("out: x", 0, 2)(world);
      atAnn("out: y", 0, 2)(world);
    },
  },
  {
    name: "to receive at QoS 1",
    act: (world) => {
      world.tell(world.lamp, subscribe("in", 1));
      world.tell(world.ann, publish("in", "x", 1));
    },
    check: ({ lamp }) => assertCount(lamp, "in: x", 1, 2),
    checkForgotten: ({ lamp }) => assertCount(lamp, "in: x", 0, 2),
  },
  {
    name: "to receive at QoS 2",
    act: (world) =>
      world.tell(world.ann, publish("in", "x"), publish("in", "y")),
    check: (world) => {
      once("in: x")(world);
      once("in: y")(world);
    },
    checkForgotten: ({ lamp }) => {
      assertCount(lamp, "in: x", 0, 1);
      assertCount(lamp, "in: y", 0, 1);
    },
  },
  {
    name: "to change the will",
    options: { will: WILL },
    act: (world) =>
      world.tell(
        world.lamp,
        (device, now) => device.updateWillMsg(now, text("v")),
        (device, now) =>
          device.updateWillTopic(now, { topicName: "will", qos: 1 }),
      ),
    check: willIs("v"),
    checkForgotten: willIs("v"),
  },
  {
    name: "to make a will",
    act: (world) =>
      world.tell(
        world.lamp,
        (device, now) => device.updateWillTopic(now, WILL),
        (device, now) => device.updateWillMsg(now, text("v")),
      ),
    check: willIs("v"),
    checkForgotten: willIs("v"),
  },
  {
    name: "to end the will",
    options: { will: WILL },
    act: (world) =>
      world.tell(
        world.lamp,
        (device, now) => device.updateWillTopic(now, undefined),
      ),
    check: willIs(undefined),
    checkForgotten: willIs(undefined),
  },
  {
    name: "to fall asleep",
    act: (world) =>
      world.tell(world.lamp, (device, now) => device.sleep(now, SLEEP_S)),
    state: "asleep",
  },
  {
    name: "to wake and fetch what is buffered",
    prepare: fallAsleep,
    act: (world) => {
      world.tell(world.ann, publish("in", "x"), publish("in", "y", 1));
      world.run(50);
      world.tell(world.lamp, (device, now) => device.wake(now));
    },
    state: "asleep",
    impatient: 4,
    check: (world) => {
      once("in: x")(world);
      assertCount(world.lamp, "in: y", 1, 3); // PINGREQ, too, is sent again
    },
    checkForgotten: ({ lamp }) => {
      assertCount(lamp, "in: x", 0, 1);
      assertCount(lamp, "in: y", 0, 3);
    },
  },
  {
    name: "to send while asleep",
    prepare: fallAsleep,
    act: (world) => world.tell(world.lamp, publish("out", "x")),
    state: "asleep",
    check: atAnn("out: x", 1),
    checkForgotten: atAnn("out: x", 0, 2),
  },
  {
    name: "to wake by itself",
    prepare: fallAsleep,
    act: (world) => world.tell(world.ann, publish("in", "x")),
    takesMs: 1_200,
    state: "asleep",
    check: once("in: x"),
    checkForgotten: ({ lamp }) => assertCount(lamp, "in: x", 0, 1),
  },
  {
    name: "PINGREQ",
    act: () => {},
    takesMs: 1_200,
  },
];

/** Tells a story with a fault at one datagram; how many datagrams it had. */
function tell(
  story: Story,
  seed: number,
  fault?: Fault,
  strikesAt = Infinity,
): number {
  const world = new World(seed, story.options);
  const { lamp, ann, site } = world;
  (story.prepare ?? prepare)(world);
  const last: Record<Direction, string> = {
    "to the gateway": "",
    "to the lamp": "",
  };
  let count = 0;
  let where = "";
  const isAsleep = lamp.device.state === "asleep";
  site.onPacket = (packet, direction) => {
    const isStruck = count++ === strikesAt;
    last[direction] = packet.type;
    if (!isStruck) return 1;
    where = `${packet.type} ${direction}`;
    return fault!.strike(world);
  };
  try {
    story.act(world);
    world.run(story.takesMs ?? 200);
    const datagrams = count;
    if (fault === undefined) return datagrams;
    if (where === "") throw new AssertionError("There is no such datagram");
    world.run(AWAY_MS + SETTLE_MS);
    const check = fault.isForgetful ? story.checkForgotten : story.check;
    check?.(world);
    for (const who of [lamp, ann]) {
      for (const token of who.tokens) {
        const isImpatient = who === lamp && token === story.impatient;
        const ends = who.ends.get(token) ?? [];
        if (isImpatient && ends[0] === "silence") ends[0] = "done";
        assertEquals(ends, ["done"], `command ${token}`);
      }
    }
    // From then on all is as it was.
    world.tell(ann, publish("in", "last"));
    world.run(SETTLE_MS);
    // Who has only a CONNECT to say to another gateway, from a session that is
    // kept, cannot learn that it is another.
    const isBlind = fault.name === REPLACED && isAsleep &&
      where === "CONNECT to the gateway";
    assertCount(lamp, "in: last", isBlind ? 0 : 1);
    assertEquals(lamp.device.state, story.state ?? "active");
    world.tell(lamp, publish("out", "last"));
    world.run(SETTLE_MS);
    atAnn("out: last", 1)(world);
    assertEquals(lamp.device.state, story.state ?? "active");
    assertEquals(lamp.device.pending, 0);
    return datagrams;
  } catch (error) {
    if (!(error instanceof AssertionError)) throw error;
    const told = world.net.lines.slice(0, 200).join("\n");
    throw new AssertionError(
      `${where} (datagram ${strikesAt}, seed ${seed}): ${error.message}\n${told}`,
    );
  }
}

for (const story of STORIES) {
  for (const fault of FAULTS) {
    const title = `${story.name} ends well, whichever datagram ${fault.name}`;
    Deno.test(title, () => {
      for (const seed of SEEDS) {
        const count = tell(story, seed);
        assert(count > 1, `${count} datagrams`);
        for (let at = 0; at < count; at++) tell(story, seed, fault, at);
      }
    });
  }
}

// (a) and (b), to the letter

/** Where a message at QoS 2 is when its gateway goes away. */
const STEPS = [
  ["PUBLISH", 0],
  ["PUBREC", 1],
  ["PUBREL", 1],
  ["PUBCOMP", 1],
] as const;

for (const [type, taken] of STEPS) {
  for (const isSent of [true, false]) {
    const what = isSent ? "sent" : "received";
    Deno.test(`Of a message at QoS 2 that is ${what}, (a) and (b) when ${type} is lost with the gateway`, () => {
      for (const isForgetful of [false, true]) {
        for (const seed of SEEDS) {
          const world = new World(seed);
          const { lamp, ann, site } = world;
          prepare(world);
          let isGone = false;
          site.onPacket = (packet) => {
            if (packet.type !== type || isGone) return 1;
            isGone = true;
            // Ann, too, has to find out. She is done with her own part.
            world.net.at(world.now + 20, () => site.isCutOff = true);
            world.net.at(world.now + AWAY_MS, () => {
              if (isForgetful) site.router = newRouter();
              world.restore();
            });
            return 0;
          };
          const [from, to] = isSent ? [lamp, ann] : [ann, lamp];
          const topic = isSent ? "out" : "in";
          world.tell(from, publish(topic, "x"));
          world.run(AWAY_MS + SETTLE_MS);
          assert(isGone);
          const line = `${topic}: x`;
          const id = `seed ${seed}, ${isForgetful ? "(b)" : "(a)"}`;
          assertEquals(from.ends.get(from.tokens.at(-1)!), ["done"], id);
          if (!isForgetful) assertEquals(to.count(line), 1, id);
          else if (!isSent) {
            // What had not come by then is gone with the gateway that had it.
            assertEquals(to.count(line), taken, id);
          } else if (type === "PUBLISH" || type === "PUBREC") {
            // It is sent again, and Ann may not have subscribed again by then.
            const came = to.count(line);
            assert(came >= taken && came <= taken + 1, `${id}: ${came}`);
          } else assertEquals(to.count(line), 1, id); // PUBREL sends nothing
          // What comes next under the same msgId is another message.
          for (const next of ["y", "z"]) {
            world.tell(from, publish(topic, next));
            world.run(SETTLE_MS);
            assertEquals(to.count(`${topic}: ${next}`), 1, id);
          }
        }
      }
    });
  }
}

// No room

for (const qos of [1, 2] as const) {
  Deno.test(`A message at QoS ${qos} that finds no room comes when there is some`, () => {
    // Before and after the gateway's retries are over, and while it sleeps.
    for (const fullMs of [250, 5_000]) {
      for (const sleeps of [false, true]) {
        const room = { isFull: true };
        const world = new World(1, { hasRoom: () => !room.isFull });
        (sleeps ? fallAsleep : prepare)(world);
        world.tell(world.ann, publish("in", "x", qos), publish("in", "y", qos));
        world.run(20);
        if (sleeps) world.tell(world.lamp, (device, now) => device.wake(now));
        world.run(fullMs);
        assertEquals(world.lamp.messages, []);
        assert(world.lamp.held.length > 0);
        room.isFull = false;
        world.run(SETTLE_MS);
        const { messages } = world.lamp;
        // At QoS 1 PINGREQ that is sent again may cross its PUBACK.
        const came = qos === 1 && sleeps ? [...new Set(messages)] : messages;
        assertEquals(came, ["in: x", "in: y"]);
        world.tell(world.ann, publish("in", "z", 0));
        room.isFull = true;
        world.run(SETTLE_MS);
        assertEquals(world.lamp.messages.at(-1), "in: z");
      }
    }
  });
}

// No gateway at all

Deno.test("Without a gateway it keeps trying, ever more rarely, and ends well", () => {
  for (const seed of SEEDS) {
    const world = new World(seed, { maxPauseMs: 5_000 });
    const times: Millis[] = [];
    world.site.isCutOff = true;
    world.site.onPacket = () => (times.push(world.now), 1);
    world.tell(
      world.lamp,
      subscribe("in"),
      publish("out", "x"),
      (device, now) => device.register(now, "r"),
      (device, now) => device.updateWillTopic(now, WILL),
      (device, now) => device.sleep(now, SLEEP_S),
      publish("out", "y", 1),
    );
    world.run(100_000);
    assertEquals(world.lamp.ends.size, 0);
    const early = times.filter((at) => at < 10_000).length;
    const late = times.filter((at) => at >= 90_000).length;
    assert(late > 0 && late < early, `seed ${seed}: ${early}, then ${late}`);
    world.restore();
    world.tell(world.ann, connect, subscribe("out"));
    world.run(SETTLE_MS);
    for (const token of world.lamp.tokens) {
      assertEquals(world.lamp.ends.get(token), ["done"], `seed ${seed}`);
    }
    assertEquals(world.lamp.device.state, "asleep");
  }
});

Deno.test("Without a gateway everything ends with silence, if it is to end", () => {
  const world = new World(1, { giveUpMs: 2_000 });
  world.site.isCutOff = true;
  world.tell(
    world.lamp,
    connect,
    subscribe("in"),
    publish("out", "x"),
    publish("out", "y", 0),
    (device, now) => device.register(now, "r"),
    (device, now) => device.updateWillTopic(now, WILL),
    (device, now) => device.sleep(now, SLEEP_S),
    (device, now) => device.disconnect(now),
  );
  world.run(2_000);
  for (const token of world.lamp.tokens) {
    assertEquals(world.lamp.ends.get(token), ["silence"], `command ${token}`);
  }
  world.run(SETTLE_MS);
  assertEquals(world.lamp.device.nextTimeout(), undefined);
});

// Congestion, three times

const WAIT_MS = 300_000;

interface Congested {
  readonly name: string;
  readonly give: (device: Device, now: Millis) => number;
  /** The answer to what was asked under that msgId. */
  readonly answer: (msgId: number, returnCode: number) => MqttSnPacket;
}

const CONGESTED: readonly Congested[] = [
  {
    name: "REGISTER",
    give: (device, now) => device.register(now, "a"),
    answer: (msgId, returnCode) => regack(5, msgId, returnCode),
  },
  {
    name: "SUBSCRIBE",
    give: (device, now) => device.subscribe(now, "a", 1),
    answer: (msgId, returnCode) => suback(5, msgId, returnCode),
  },
  {
    name: "PUBLISH",
    give: (device, now) =>
      device.publish(now, { short: "ab" }, text("1"), { qos: 1 }),
    answer: (msgId, returnCode) => puback(0x6162, msgId, returnCode),
  },
];

for (const { name, give, answer } of CONGESTED) {
  Deno.test(`${name} waits for T_WAIT after each congestion, and is done`, () => {
    const bench = Bench.active({ waitMs: WAIT_MS });
    assertEquals(bench.tell((device, now) => void give(device, now)).length, 1);
    for (let time = 1; time <= 3; time++) {
      assertEquals(bench.take(answer(time, 1)), []);
      assertEquals(bench.ends.at(-1), `refused ${time + 1} with 1`);
      bench.run(1_000);
      assertEquals(bench.tell((device, now) => void give(device, now)), []);
      assertEquals(bench.run(WAIT_MS - 1_001), []);
      const [line] = bench.run(1);
      assertEquals(line?.split(" ").slice(0, 2), [`${bench.now}`, name]);
      assertEquals(bench.now, time * WAIT_MS);
    }
    bench.take(answer(4, 0));
    assertEquals(bench.ends.at(-1), "done 5");
    assertEquals(bench.device.pending, 0);
    assertEquals(bench.run(1_000_000), []);
  });
}

Deno.test("CONNECT waits for T_WAIT after each congestion, and is done", () => {
  const bench = new Bench({ waitMs: WAIT_MS });
  assertEquals(bench.tell((device, now) => device.connect(now)), [CONNECT]);
  for (let time = 1; time <= 3; time++) {
    assertEquals(bench.take("03 05 01"), []);
    assertEquals(bench.ends.at(-1), `refused ${time} with 1`);
    bench.run(1_000);
    assertEquals(bench.tell((device, now) => device.connect(now)), []);
    assertEquals(bench.run(WAIT_MS - 1_001), []);
    assertEquals(bench.run(1), [`${time * WAIT_MS} ${CONNECT}`]);
  }
  bench.take(CONNACK);
  assertEquals(bench.ends.at(-1), "done 4");
});

Deno.test("CONNECT that a message needs waits for T_WAIT, and is not refused", () => {
  const bench = new Bench({ waitMs: WAIT_MS });
  bench.tell((device, now) => device.publish(now, { short: "ab" }, text("1")));
  for (let time = 1; time <= 3; time++) {
    bench.take("03 05 01");
    assertEquals(bench.run(WAIT_MS), [`${time * WAIT_MS} ${CONNECT}`]);
  }
  assertEquals(bench.take(CONNACK).length, 1);
  assertEquals(bench.ends, ["done 1"]);
});

Deno.test("A message that the gateway may have is not refused for its topic's id", () => {
  const bench = Bench.active({ cleanSession: false, waitMs: WAIT_MS });
  bench.tell((device, now) => device.publish(now, "a", text("1"), { qos: 2 }));
  bench.take(regack(1, 1));
  const [, published] = bench.run(PATIENCE_MS);
  assertEquals(bench.device.state, "lost");
  bench.run(5_000);
  assertEquals(bench.take(CONNACK), [
    'REGISTER topicId=0 msgId=3 topicName="a"',
  ]);
  const askedAt = bench.now;
  assertEquals(bench.take(regack(0, 3, 1)), []);
  assertEquals([bench.ends, bench.device.pending], [[], 1]);

  assertEquals(bench.run(WAIT_MS).filter((line) => line.includes("REGISTER")), [
    `${askedAt + WAIT_MS} REGISTER topicId=0 msgId=4 topicName="a"`,
  ]);
  assertEquals(bench.take(regack(9, 4)), [
    'PUBLISH dup qos=2 topicId=9 msgId=2 data="1"',
  ]);
  assertEquals(published?.includes("PUBLISH dup"), true);
  bench.take(withMsgId("PUBREC", 2));
  bench.take(withMsgId("PUBCOMP", 2));
  assertEquals(bench.ends, ["done 2"]);
});

// A gateway that is played

Deno.test("A gateway that says good-bye for ever is asked with pauses", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.publish(now, "a", text("1"), { qos: 2 }));
  let connects = 0;
  bench.take(GOODBYE);
  while (bench.now < 3_600_000) {
    const lines = bench.run(5_000);
    connects += lines.filter((line) => line.endsWith(CONNECT)).length;
    bench.take(CONNACK);
    bench.take(GOODBYE);
  }
  assert(connects > 10 && connects <= 720, `${connects}`);
  assertEquals(bench.ends, []);
});

Deno.test("Who answers only CONNECT does not keep it from trying", () => {
  const bench = Bench.active();
  bench.tell((device, now) => {
    device.publish(now, { short: "ab" }, text("1"), { qos: 2 });
  });
  for (let turn = 0; turn < 10; turn++) {
    bench.run(PATIENCE_MS);
    assertEquals(bench.device.state, "lost");
    bench.run(5_000);
    assertEquals(bench.take(CONNACK).length, 1);
  }
  bench.take(withMsgId("PUBREC", 11)); // a clean session numbers it anew
  bench.take(withMsgId("PUBCOMP", 11));
  assertEquals(bench.ends, ["done 2"]);
});
