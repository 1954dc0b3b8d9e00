import { assert, assertEquals } from "@std/assert";
import {
  encodePublish,
  encodeReply,
  encodeSubscribe,
} from "../../wire/classic.ts";
import { type Random, seededRandom } from "../../base/clock.ts";
import { Conversation } from "../../wire/conversation.ts";
import { Device } from "../../client/device.ts";
import { nodePeerOf } from "../../wire/forwarder.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket, shortTopicId } from "../../wire/mqttsn.ts";
import type { Connect, MqttSnPacket, Publish } from "../../wire/packets.ts";
import { Router } from "../../broker/router.ts";
import { encodeUtf8 } from "../../base/utf8.ts";

const GATEWAY = peerOf("127.0.0.1", 12003);
const LAMP = peerOf("127.0.0.1", 1_001);
const ANN = peerOf("127.0.0.1", 1_002);

function connect(clientId: string, cleanSession = true): Connect {
  const will = false;
  return {
    ...{ type: "CONNECT", will, cleanSession, protocolId: 1, duration: 9 },
    clientId,
  };
}

function publish(fields: Partial<Publish> = {}): Publish {
  return {
    ...{ type: "PUBLISH", dup: false, qos: 1, retain: false },
    ...{ topicIdType: "normal", topicId: 1, msgId: 7, data: encodeUtf8("on") },
    ...fields,
  };
}

/** A conversation to which packets are told. */
class Told extends Conversation {
  up(peer: Peer, packet: MqttSnPacket) {
    return this.read("client", peer, encodePacket(packet));
  }

  down(peer: Peer, packet: MqttSnPacket) {
    return this.read("broker", peer, encodePacket(packet));
  }

  /** Somebody connects, and registers names under the ids from 1 on. */
  join(peer: Peer, clientId: string, names: readonly string[] = []): void {
    this.up(peer, connect(clientId));
    this.down(peer, { type: "CONNACK", returnCode: 0 });
    for (const [i, topicName] of names.entries()) {
      const msgId = 100 + i;
      this.up(peer, { type: "REGISTER", topicId: 0, msgId, topicName });
      this.down(peer, {
        ...{ type: "REGACK", topicId: 1 + i, msgId, returnCode: 0 },
      });
    }
  }
}

/**
 * Devices around a router on a network that loses, doubles and delays, and a reader
 * who sees what reaches the router and what it sends.
 */
function tellStory(seed: number): { read: string[]; published: string[] } {
  const random = seededRandom(seed);
  const predefined = new Map([[1, "p/one"]]);
  const router = new Router({ retryMs: 100, retries: 8, predefined });
  const conversation = new Conversation({ predefined });
  const read: string[] = [];
  const published: string[] = [];
  const devices = Array.from({ length: 4 }, (_, i) => {
    const peer = peerOf("127.0.0.1", 1_001 + i);
    const clientId = `device-${i}`;
    const device = new Device({
      ...{ gateway: GATEWAY, clientId, retryMs: 100, predefined },
      random: seededRandom(seed * 31 + i),
      cleanSession: random() < 0.5,
    });
    return { peer, clientId, device };
  });
  const wire: { at: number; to: number; bytes: Uint8Array }[] = [];
  let now = 0;
  const launch = (to: number, bytes: Uint8Array) => {
    for (let copies = chance(random, 0.1) ? 2 : 1; copies > 0; copies--) {
      if (chance(random, 0.1)) continue;
      const at = now + Math.floor(random() * 20);
      wire.push({ at, to, bytes: bytes.slice() });
    }
  };
  const drain = () => {
    for (let effect; (effect = router.pollEffect());) {
      if (effect.type === "send") {
        conversation.read("broker", effect.peer, effect.bytes);
        launch(effect.peer.port, effect.bytes);
      } else if (effect.type === "trace" && effect.event.type === "publish") {
        const { peer, topicName, octets } = effect.event;
        published.push(`${peer.key} ${topicName} ${octets}`);
      }
    }
    for (const { device, peer } of devices) {
      for (let effect; (effect = device.pollEffect());) {
        if (effect.type === "send") launch(-peer.port, effect.bytes);
      }
    }
  };
  for (const { device } of devices) device.connect(now);
  for (; now < 4_000; now++) {
    for (const { device } of devices) {
      if (now < 3_000 && chance(random, 0.02)) act(random, now, device);
    }
    for (const { to, bytes } of takeDue(wire, now)) {
      if (to > 0) {
        devices[to - 1_001]!.device.handleDatagram(now, GATEWAY, bytes);
      } else {
        const { peer } = devices[-to - 1_001]!;
        const { type, clientId, topicName, payload, packet } = conversation
          .read("client", peer, bytes);
        if (packet?.type === "PUBLISH") {
          read.push(`${peer.key} ${topicName} ${payload?.length}`);
          if (packet.qos > -1) {
            assertEquals(clientId, devices[-to - 1_001]!.clientId, type);
          }
        }
        const before = published.length;
        router.handleDatagram(now, peer, bytes);
        drain();
        // What the router did not publish, as it had it before, does not count.
        if (packet?.type === "PUBLISH" && published.length === before) {
          read.pop();
        }
      }
      drain();
    }
    router.handleTimeout(now);
    for (const { device } of devices) device.handleTimeout(now);
    drain();
  }
  return { read, published };
}

function chance(random: Random, probability: number): boolean {
  return random() < probability;
}

function takeDue(
  wire: { at: number; to: number; bytes: Uint8Array }[],
  now: number,
) {
  const due = wire.filter(({ at }) => at <= now);
  wire.splice(0, wire.length, ...wire.filter(({ at }) => at > now));
  return due;
}

function act(random: Random, now: number, device: Device): void {
  const names = ["a", "a/b", "x/y", { predefined: 1 }, { short: "ab" }];
  const topic = names[Math.floor(random() * names.length)]!;
  const qos = Math.floor(random() * 3) as 0 | 1 | 2;
  const payload = new Uint8Array(1 + Math.floor(random() * 50));
  const what = random();
  if (what < 0.6) device.publish(now, topic, payload, { qos });
  else if (what < 0.65 && typeof topic !== "string") {
    device.publish(now, topic, payload, { qos: -1 });
  } else if (what < 0.75) device.subscribe(now, topic, qos);
  else if (what < 0.8) device.subscribe(now, "a/#", qos);
  else if (what < 0.85) device.sleep(now, 1);
  else if (what < 0.9) device.disconnect(now);
  else device.connect(now);
}

Deno.test("Conversation.read() finds the topics that the router publishes to", () => {
  let publishes = 0;
  for (let seed = 1; seed <= 25; seed++) {
    const { read, published } = tellStory(seed);
    assertEquals(read, published, `seed ${seed}`);
    publishes += read.length;
  }
  assert(publishes > 1_000, `${publishes}`);
});

Deno.test("Conversation.read() names topics by REGISTER of either side, and by SUBACK", () => {
  const told = new Told({ predefined: new Map([[9, "nine"]]) });
  told.join(LAMP, "lamp-7", ["room/1"]);
  assertEquals(told.up(LAMP, publish()).topicName, "room/1");
  const ack = { topicId: 1, msgId: 7, returnCode: 0 } as const;
  const puback = told.down(LAMP, { type: "PUBACK", ...ack });
  assertEquals(
    [puback.topicName, puback.text],
    ["room/1", 'topicId=1 msgId=7 returnCode=0 ("room/1")'],
  );
  // Refused, so there is no such id.
  const topicName = "room/2";
  told.up(LAMP, { type: "REGISTER", topicId: 0, msgId: 8, topicName });
  const regack = told.down(LAMP, {
    ...{ type: "REGACK", topicId: 2, msgId: 8, returnCode: 3 },
  });
  assertEquals(regack.topicName, "room/2");
  assertEquals(told.up(LAMP, publish({ topicId: 2 })).topicName, undefined);
  // The gateway's own, told before it is used.
  told.down(LAMP, { type: "REGISTER", topicId: 5, msgId: 1, topicName });
  assertEquals(told.down(LAMP, publish({ topicId: 5 })).topicName, "room/2");
  // A subscription by a name has an id, one by a filter has none.
  const subscribe = (topicName: string, msgId: number, topicId: number) => {
    const topic = { topicIdType: "normal", topicName } as const;
    const asked = told.up(LAMP, {
      ...{ type: "SUBSCRIBE", dup: false, qos: 1, msgId, topic },
    });
    const granted = told.down(LAMP, {
      ...{ type: "SUBACK", qos: 1, topicId, msgId, returnCode: 0 },
    });
    return [asked.topicName, granted.topicName];
  };
  assertEquals(subscribe("room/3", 20, 6), ["room/3", "room/3"]);
  assertEquals(subscribe("room/+", 21, 0), ["room/+", "room/+"]);
  assertEquals(told.down(LAMP, publish({ topicId: 6 })).topicName, "room/3");
  // Ids belong to a client.
  told.join(ANN, "ann");
  assertEquals(told.up(ANN, publish()).topicName, undefined);
  assertEquals(
    told.up(ANN, publish({ topicIdType: "predefined", topicId: 9 })).topicName,
    "nine",
  );
  const short = { topicIdType: "short", topicId: shortTopicId("ab")! } as const;
  assertEquals(told.up(ANN, publish(short)).topicName, "ab");
  assertEquals(
    told.up(ANN, publish({ ...short, qos: -1 })).topicName,
    "ab",
  );
});

Deno.test("Conversation.read() knows a client by its id wherever it is", () => {
  const told = new Told();
  told.join(LAMP, "lamp-7", ["room/1"]);
  told.join(ANN, "ann");
  // It has another address now, and a kept session connects.
  const moved = peerOf("127.0.0.1", 2_001);
  const ping = told.up(moved, { type: "PINGREQ", clientId: "lamp-7" });
  assertEquals(ping.clientId, "lamp-7");
  assertEquals(told.down(moved, publish()).topicName, "room/1");
  const again = peerOf("127.0.0.1", 2_002);
  assertEquals(told.up(again, connect("lamp-7", false)).clientId, "lamp-7");
  told.down(again, { type: "CONNACK", returnCode: 0 });
  assertEquals(told.up(again, publish()).topicName, "room/1");
  // A refused CONNECT makes nobody another.
  told.up(again, connect("bob"));
  told.down(again, { type: "CONNACK", returnCode: 1 });
  assertEquals(told.up(again, publish()).clientId, "lamp-7");
  // The same CONNECT may be a copy of the last: its ids are left alone.
  told.join(again, "lamp-7");
  assertEquals(told.up(again, publish()).topicName, "room/1");
  // A clean session has none.
  told.join(LAMP, "lamp-7");
  assertEquals(told.up(LAMP, publish()).topicName, undefined);
});

Deno.test("Conversation.read() tells what came again from what is new", () => {
  const told = new Told();
  told.join(LAMP, "lamp-7", ["room/1"]);
  const isDuplicate = (fields: Partial<Publish>) =>
    told.up(LAMP, publish(fields)).isDuplicate;
  assertEquals(isDuplicate({}), false);
  assertEquals(isDuplicate({ dup: true }), true);
  // At QoS 1 a msgId is free again once it was acknowledged: without DUP it is new.
  assertEquals(isDuplicate({}), false);
  assertEquals(isDuplicate({ dup: true, data: encodeUtf8("off") }), false);
  // The first was lost: what comes is no duplicate, whatever its flag says.
  assertEquals(isDuplicate({ dup: true, msgId: 8 }), false);
  // At QoS 2 it is the same until PUBREL.
  assertEquals(isDuplicate({ qos: 2, msgId: 9 }), false);
  assertEquals(isDuplicate({ qos: 2, msgId: 9 }), true);
  told.up(LAMP, { type: "PUBREL", msgId: 9 });
  assertEquals(isDuplicate({ qos: 2, msgId: 9 }), false);
  // The two ways have msgIds of their own.
  assertEquals(told.down(LAMP, publish()).isDuplicate, false);
  assertEquals(told.down(LAMP, publish({ dup: true })).isDuplicate, true);
});

Deno.test("Conversation.read() unwraps what is for nodes behind a forwarder", () => {
  const conversation = new Conversation();
  const wrap = (node: number, packet: MqttSnPacket) =>
    encodePacket({
      type: "ENCAPSULATED",
      radius: 0,
      wirelessNodeId: Uint8Array.of(node),
      message: encodePacket(packet),
    });
  conversation.read("client", LAMP, wrap(1, connect("one")));
  conversation.read("client", LAMP, wrap(2, connect("two")));
  const accepted = { type: "CONNACK", returnCode: 0 } as const;
  // A gateway sends to a node; what is on the wire is the forwarder's.
  const node = nodePeerOf(LAMP, { wirelessNodeId: Uint8Array.of(2) });
  for (const peer of [LAMP, node]) {
    const { clientId, peer: to, type } = conversation
      .read("broker", peer, wrap(2, accepted));
    assertEquals([clientId, to.key, type], [
      "two",
      `${LAMP.key}/02`,
      "CONNACK",
    ]);
  }
  const noMessage = encodePacket({
    type: "ENCAPSULATED",
    radius: 0,
    wirelessNodeId: Uint8Array.of(1),
    message: encodePacket({ type: "PINGRESP" }),
  });
  noMessage[noMessage.length - 1] = 0xff;
  assertEquals(conversation.read("client", LAMP, noMessage).type, "malformed");
});

Deno.test("Conversation.read() reads the classic protocol, and what is none", () => {
  const conversation = new Conversation();
  const up = (bytes: Uint8Array) => {
    const { type, topicName, text } = conversation.read("client", ANN, bytes);
    return [type, topicName, text];
  };
  assertEquals(up(encodePublish(" weather ", "21.5")), [
    "classic publish",
    "weather",
    '"weather" data="21.5"',
  ]);
  assertEquals(up(encodeSubscribe("weather")), [
    "classic subscribe",
    "weather",
    '"weather"',
  ]);
  assertEquals(up(encodePublish("", "1")), [
    "classic request",
    undefined,
    "invalidTopic",
  ]);
  assertEquals(up(Uint8Array.of(0xff, 0x00)), [
    "malformed",
    undefined,
    "ff00 (2)",
  ]);
  assertEquals(up(new Uint8Array(0)), ["malformed", undefined, " (0)"]);
  const down = (bytes: Uint8Array) => {
    const { type, text } = conversation.read("broker", ANN, bytes);
    return [type, text];
  };
  assertEquals(down(encodeReply("21.5")), ["classic reply", '"21.5"']);
  // A history that happens to begin as WILLMSG would.
  const text = "\n".padStart(2, "(").padEnd(40, "x");
  assertEquals(down(encodeReply(text))[0], "classic reply");
  // 123 octets of JSON that begin as WILLMSG would, from one who is asked for none.
  const json = '{\t"type":"subscribe","topic":"a"}'.padEnd(123);
  assertEquals(up(encodeUtf8(json))[0], "classic subscribe");
  const asked = { ...connect("ann"), will: true };
  conversation.read("client", ANN, encodePacket(asked));
  assertEquals(up(encodeUtf8(json))[0], "WILLMSG");
});

Deno.test("Conversation.read() forgets who has been away for longest", () => {
  const told = new Told();
  told.join(LAMP, "lamp-7", ["room/1"]);
  const long = "x".repeat(60_000);
  for (let i = 0; i < 300; i++) {
    told.join(peerOf("10.0.0.1", 1 + i), `c${i}`, [long + i]);
  }
  assertEquals(told.up(LAMP, publish()).topicName, undefined);
  assertEquals(
    told.up(peerOf("10.0.0.1", 300), publish()).topicName,
    `${long}299`,
  );
});
