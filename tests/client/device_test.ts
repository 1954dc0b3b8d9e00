/**
 * The client's core for MQTT-SN alone, on a virtual clock: what it sends for each
 * command and each datagram, and when. C4 to C14 are the duties of a client as
 * the checklist numbers them.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { type Millis, seededRandom } from "../../base/clock.ts";
import { Device, type DeviceOptions } from "../../client/device.ts";
import { type DeviceEvent, ReceivedMessage } from "../../client/events.ts";
import { LocalProtocolError } from "../../base/errors.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { describeDatagram } from "../../wire/describe.ts";
import { LATE_MS } from "../../wire/duplicates.ts";
import {
  answerOf,
  Bench,
  CONNACK,
  CONNECT,
  GATEWAY,
  OTHER,
  PATIENCE_MS,
  RESUME,
  RETRY_MS,
  suback,
  text,
  unsuback,
  withMsgId,
} from "../support/device.ts";
import {
  GOODBYE,
  octets,
  PONG,
  puback,
  publishOf,
  regack,
} from "../support/gateway.ts";
import { VECTORS } from "../support/vectors.ts";

// Connecting

Deno.test("connect() sends CONNECT, and is done with CONNACK", () => {
  const bench = new Bench({ keepAlive: 10, clientId: "c1" });
  bench.tell((device, now) => assertEquals(device.connect(now), 1));
  assertEquals(bench.wire, ["08040401000a6331"]);
  assertEquals(bench.device.state, "connecting");
  assertEquals(bench.device.pending, 1);
  assertEquals(bench.take(CONNACK), []);
  assertEquals(bench.ends, ["done 1"]);
  assertEquals(bench.states, ["connecting", "active"]);
  assertEquals(bench.device.pending, 0);
});

Deno.test("connect() of one that is connected is done at once", () => {
  const bench = Bench.active();
  assertEquals(bench.tell((device, now) => device.connect(now)), []);
  assertEquals(bench.ends, ["done 2"]);
});

Deno.test("connect() answers the prompts for its will", () => {
  const will = {
    topicName: "a/w",
    payload: text("bye"),
    retain: true,
  } as const;
  const bench = new Bench({ clientId: "c1", will: { ...will, qos: 1 } });
  bench.tell((device, now) => device.connect(now));
  assertEquals(bench.wire, ["08040c0100006331"]);
  bench.take("02 06");
  assertEquals(bench.wire, ["060730612f77"]);
  bench.take("02 08");
  assertEquals(bench.wire, ["0509627965"]);
  bench.take(CONNACK);
  assertEquals(bench.device.state, "active");
});

Deno.test("connect() answers a prompt again that was lost or came twice", () => {
  const will = { topicName: "w", payload: text("x") };
  const bench = new Bench({ will });
  bench.tell((device, now) => device.connect(now));
  assertEquals(bench.run(RETRY_MS).length, 1); // CONNECT: the prompt was lost
  assertEquals(bench.take("02 06"), ['WILLTOPIC qos=0 topicName="w"']);
  assertEquals(bench.take("02 06"), ['WILLTOPIC qos=0 topicName="w"']);
  assertEquals(bench.run(RETRY_MS), [
    '20000 WILLTOPIC qos=0 topicName="w"',
  ]);
  assertEquals(bench.take("02 08"), ['WILLMSG data="x"']);
  assertEquals(bench.run(RETRY_MS), ['30000 WILLMSG data="x"']);
  bench.take(CONNACK);
  assertEquals(bench.ends, ["done 1"]);
  assertEquals(bench.take("02 08"), []); // a late copy
});

Deno.test("connect() without a will answers prompts with none", () => {
  const bench = new Bench();
  bench.tell((device, now) => device.connect(now));
  bench.take("02 06");
  assertEquals(bench.wire, ["0207"]);
});

Deno.test("connect() is refused, and is not tried again by itself", () => {
  const bench = new Bench();
  bench.tell((device, now) => device.connect(now));
  assertEquals(bench.take("03 05 03"), []);
  assertEquals(bench.ends, ["refused 1 with 3"]);
  assertEquals(bench.device.state, "disconnected");
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("A refused CONNECT takes along what waits for it", () => {
  const bench = new Bench();
  bench.tell((device, now) => {
    device.connect(now);
    device.subscribe(now, "a", 1);
    device.publish(now, "a", text("1"), { qos: 1 });
    device.publish(now, "a", text("2"));
    device.sleep(now, 20);
    device.publish(now, "a", text("3"));
  });
  assertEquals(bench.take("03 05 03"), [CONNECT]); // sleep() asks once more
  assertEquals(bench.ends, [1, 2, 3, 4].map((at) => `refused ${at} with 3`));
  assertEquals(bench.take("03 05 03"), []);
  assertEquals(bench.ends.slice(4), ["refused 5 with 3", "refused 6 with 3"]);
  assertEquals(bench.device.pending, 0);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("A CONNECT that publish() needs is refused once, not for ever", () => {
  const bench = new Bench();
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  assertEquals(bench.take("03 05 03"), []);
  assertEquals(bench.ends, ["refused 1 with 3"]);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("After congestion CONNECT is not sent for T_WAIT", () => {
  const bench = new Bench({ waitMs: 300_000 });
  bench.tell((device, now) => {
    device.connect(now);
    device.publish(now, { short: "ab" }, text("1"));
  });
  assertEquals(bench.take("03 05 01"), []);
  assertEquals(bench.ends, ["refused 1 with 1"]);
  assertEquals(bench.run(300_000), [`300000 ${CONNECT}`]);
  assertEquals(bench.take(CONNACK).length, 1);
  assertEquals(bench.ends.slice(1), ["done 2"]);
});

Deno.test("connect() ends with silence, and what waits goes on trying", () => {
  const bench = new Bench();
  bench.tell((device, now) => device.connect(now));
  assertEquals(bench.run(PATIENCE_MS).length, 2);
  assertEquals(bench.ends, ["silence 1"]);
  assertEquals(bench.device.state, "lost");
  assertEquals(bench.run(1_000_000), []);
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  assertEquals(bench.device.state, "connecting");
});

Deno.test("A clean session subscribes again when it is connected anew", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  bench.take(suback(1, 1));
  bench.tell((device, now) => device.disconnect(now));
  bench.take(GOODBYE);
  assertEquals(bench.tell((device, now) => device.connect(now)), [CONNECT]);
  assertEquals(bench.take(CONNACK), ['SUBSCRIBE qos=1 msgId=2 topicName="a"']);
});

Deno.test("A kept session does not subscribe again after disconnect()", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  bench.take(suback(1, 1));
  bench.tell((device, now) => device.disconnect(now));
  bench.take(GOODBYE);
  assertEquals(bench.tell((device, now) => device.connect(now)), [RESUME]);
  assertEquals(bench.take(CONNACK), []);
  bench.take(publishOf(1, "x"));
  assertEquals(bench.payloads, ["x"]); // and knows the id
});

Deno.test("disconnect() is done when it is answered, or never is", () => {
  for (const isAnswered of [true, false]) {
    const bench = Bench.active();
    assertEquals(bench.tell((device, now) => device.disconnect(now)), [
      "DISCONNECT",
    ]);
    if (isAnswered) bench.take(GOODBYE);
    else assertEquals(bench.run(PATIENCE_MS).length, 2);
    assertEquals(bench.ends, ["done 2"]);
    assertEquals(bench.device.state, "disconnected");
    assertEquals(bench.take(GOODBYE), []); // a copy
    assertEquals(bench.run(1_000_000), []);
  }
});

Deno.test("disconnect() that is never answered leaves no PINGREQ behind", () => {
  const bench = Bench.active({ keepAlive: 10 });
  bench.run(4_000);
  bench.tell((device, now) => device.disconnect(now));
  // The keep alive goes on meanwhile: that question is still open at the end.
  assertEquals(bench.run(PATIENCE_MS), [
    '5000 PINGREQ clientId=""',
    "14000 DISCONNECT",
    '15000 PINGREQ clientId=""',
    "24000 DISCONNECT",
    '25000 PINGREQ clientId=""',
  ]);
  assertEquals(bench.ends, ["done 2"]);
  assertEquals(bench.run(1_000_000), []);
  assertEquals(bench.device.state, "disconnected");
});

// Several gateways

/** Where a device sends what, a broadcast to "all". */
function sentBy(device: Device): string[] {
  const sent: string[] = [];
  for (let effect; (effect = device.pollEffect()) !== undefined;) {
    if (effect.type === "trace") continue;
    const to = effect.type === "send" ? effect.peer.port : "all";
    const [type] = describeDatagram(effect.bytes).split(" ");
    sent.push(`${to} ${type}`);
  }
  return sent;
}

/** A device that knows a gateway, and looks for others. */
const SECOND = peerOf("127.0.0.1", 12004);

function searcher(options: Partial<DeviceOptions> = {}): Device {
  return new Device({
    gateway: GATEWAY,
    search: { searchMs: 1_000 },
    clientId: "lamp",
    random: () => 0.5,
    keepAlive: 0,
    retryMs: RETRY_MS,
    retries: 1,
    backoff: 1,
    cleanSession: false,
    ...options,
  });
}

/** Lets a device do what it does by a moment; gives what it sent. */
function runTo(device: Device, end: Millis): string[] {
  const sent = sentBy(device);
  for (let at; (at = device.nextTimeout()) !== undefined && at <= end;) {
    device.handleTimeout(at);
    sent.push(...sentBy(device));
  }
  return sent;
}

Deno.test("connect() asks for other gateways before it gives up", () => {
  const device = searcher();
  const token = device.connect(0);
  const sent = runTo(device, 22_000).slice(0, 3);
  assertEquals(sent, ["12003 CONNECT", "12003 CONNECT", "all SEARCHGW"]);
  const gwInfo = encodePacket({
    type: "GWINFO",
    gwId: 2,
    gwAdd: new Uint8Array(),
  });
  device.handleDatagram(22_000, SECOND, gwInfo);
  // Its own once more, as it may be back.
  assertEquals(
    runTo(device, 48_000).filter((line) => !line.startsWith("all")),
    [
      "12003 CONNECT",
      "12003 CONNECT",
      "12004 CONNECT",
    ],
  );
  device.handleDatagram(48_000, SECOND, octets(CONNACK));
  const events: DeviceEvent[] = [];
  for (let effect; (effect = device.pollEffect()) !== undefined;) {
    if (effect.type === "trace") events.push(effect.event);
  }
  assert(
    events.some((event) => event.type === "done" && event.token === token),
  );
  assertEquals(device.gateway, SECOND);
  assertEquals(device.nextTimeout(), undefined); // nor does it ask any more
});

Deno.test("connect() ends with silence when nobody answers its questions either", () => {
  const device = searcher();
  const token = device.connect(0);
  const ends: DeviceEvent[] = [];
  for (let at; (at = device.nextTimeout()) !== undefined && at < 1_000_000;) {
    device.handleTimeout(at);
    for (let effect; (effect = device.pollEffect()) !== undefined;) {
      if (effect.type === "trace" && effect.event.type === "silence") {
        ends.push(effect.event);
      }
    }
  }
  assertEquals(ends, [{ type: "silence", token }]);
  assertEquals(device.nextTimeout(), undefined);
});

Deno.test("A gateway's ids mean nothing when another one publishes", () => {
  const device = searcher();
  const take = (now: Millis, peer: Peer, packet: MqttSnPacket) =>
    device.handleDatagram(now, peer, encodePacket(packet));
  const gwAdd = new Uint8Array();
  take(0, SECOND, { type: "GWINFO", gwId: 2, gwAdd });
  device.connect(0);
  device.handleDatagram(0, GATEWAY, octets(CONNACK));
  take(0, GATEWAY, { type: "REGISTER", topicId: 7, msgId: 1, topicName: "a" });
  // It is gone: the message finds another gateway, which knows it of old.
  device.publish(0, { short: "ab" }, text("x"), { qos: 1 });
  assertEquals(runTo(device, 39_000).at(-1), "12004 CONNECT");
  take(39_000, SECOND, publishOf(7, "b", { qos: 1, msgId: 5 }));
  const effect = device.pollEffect();
  assert(effect?.type === "send");
  assertEquals(
    describeDatagram(effect.bytes),
    "PUBACK topicId=7 msgId=5 returnCode=2",
  );
});

// C4 to C7: one request of a kind, each sent again

Deno.test("C4: one REGISTER is outstanding, whoever wants it", () => {
  const bench = Bench.active();
  assertEquals(
    bench.tell((device, now) => {
      device.register(now, "a");
      device.register(now, "b");
      device.publish(now, "c", text("1"));
    }),
    ['REGISTER topicId=0 msgId=1 topicName="a"'],
  );
  assertEquals(bench.take(regack(1, 7)), []); // not its msgId
  assertEquals(bench.take(regack(1, 1)), [
    'REGISTER topicId=0 msgId=2 topicName="b"',
  ]);
  assertEquals(bench.take(regack(2, 2)), [
    'REGISTER topicId=0 msgId=3 topicName="c"',
  ]);
  assertEquals(bench.take(regack(3, 3)), [
    'PUBLISH qos=0 topicId=3 msgId=0 data="1"',
  ]);
  assertEquals(bench.ends, ["done 2", "done 3", "done 4"]);
});

Deno.test("C5: one SUBSCRIBE or UNSUBSCRIBE is outstanding", () => {
  const bench = Bench.active({ predefined: new Map([[5, "p"]]) });
  assertEquals(
    bench.tell((device, now) => {
      device.subscribe(now, "a/+", 2);
      device.unsubscribe(now, "a/+");
      device.subscribe(now, { predefined: 5 }, 1);
      device.subscribe(now, { short: "ab" }, 0);
    }),
    ['SUBSCRIBE qos=2 msgId=1 topicName="a/+"'],
  );
  assertEquals(bench.take(suback(0, 1)), [
    'UNSUBSCRIBE msgId=2 topicName="a/+"',
  ]);
  bench.take(unsuback(2));
  assertEquals(bench.wire, ["07122100030005"]);
  bench.take(suback(5, 3));
  assertEquals(bench.wire, ["07120200046162"]);
  bench.take(suback(0, 4));
  assertEquals(bench.ends.length, 4);
  bench.take("09 0c 01 00 05 00 00 6f 6b");
  bench.take("09 0c 02 61 62 00 00 68 69");
  assertEquals(bench.messages.map(({ topicName }) => topicName), ["p", "ab"]);
});

Deno.test("subscribe() tells the QoS that was granted", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.subscribe(now, "a", 2));
  bench.take(suback(1, 1));
  assertEquals(bench.events, [{ type: "done", token: 2, qos: 1 }]);
});

Deno.test("subscribe() learns no id for a filter with wildcards", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.subscribe(now, "a/+", 0));
  bench.take(suback(9, 1));
  assertEquals(bench.take(publishOf(9, "x")), [
    "PUBACK topicId=9 msgId=0 returnCode=2",
  ]);
});

Deno.test("C6: one PUBLISH at QoS 1 or 2 is outstanding, in order", () => {
  const bench = Bench.active();
  const topic = { short: "ab" };
  assertEquals(
    bench.tell((device, now) => {
      device.publish(now, topic, text("1"), { qos: 1 });
      device.publish(now, topic, text("2"), { qos: 2, retain: true });
      device.publish(now, topic, text("3"));
    }),
    ['PUBLISH qos=1 topicIdType=short topicName="ab" msgId=1 data="1"'],
  );
  assertEquals(bench.take(puback(0x6162, 9)), []);
  assertEquals(bench.take(puback(0x6162, 1)), [
    'PUBLISH qos=2 retain topicIdType=short topicName="ab" msgId=2 data="2"',
  ]);
  assertEquals(bench.take(puback(0x6162, 2)), []); // no answer at QoS 2
  assertEquals(bench.take(withMsgId("PUBREC", 2)), ["PUBREL msgId=2"]);
  assertEquals(bench.take(withMsgId("PUBREC", 2)), []); // a copy
  assertEquals(bench.take(withMsgId("PUBCOMP", 2)), [
    'PUBLISH qos=0 topicIdType=short topicName="ab" msgId=0 data="3"',
  ]);
  assertEquals(bench.ends, ["done 2", "done 3", "done 4"]);
});

Deno.test("publish() by name registers it once, by pre-defined id never", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.publish(now, "a/b", text("1")));
  assertEquals(bench.wire, ["090a00000001612f62"]);
  bench.take(regack(5, 1));
  assertEquals(bench.wire, ["080c000005000031"]);
  bench.tell((device, now) => device.publish(now, "a/b", text("2")));
  assertEquals(bench.wire, ["080c000005000032"]);
  bench.tell((device, now) =>
    device.publish(now, { predefined: 7 }, text("3"), { qos: 1 })
  );
  assertEquals(bench.wire, ["080c210007000233"]);
});

Deno.test("handleDatagram() copies what it receives, unless its datagrams are its own", () => {
  for (const ownsDatagrams of [false, true]) {
    const bench = Bench.active({ ownsDatagrams });
    bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
    bench.take(publishOf(5, "x")); // its octets are others afterwards
    const [event] = bench.events;
    assert(event?.type === "message");
    const { payload } = event.message;
    assertEquals(payload, ownsDatagrams ? Uint8Array.of(0xee) : text("x"));
  }
});

Deno.test("publish() keeps a payload of its own", () => {
  const bench = new Bench();
  const payload = text("on");
  bench.tell((device, now) => device.publish(now, { short: "ab" }, payload));
  payload.fill(0);
  assertEquals(bench.take(CONNACK), [
    'PUBLISH qos=0 topicIdType=short topicName="ab" msgId=0 data="on"',
  ]);
});

Deno.test("publish() at QoS −1 takes no connection", () => {
  const bench = new Bench();
  bench.tell((device, now) => {
    device.publish(now, { short: "ab" }, text("x"), { qos: -1 });
    device.publish(now, { predefined: 7 }, text("y"), {
      qos: -1,
      retain: true,
    });
  });
  assertEquals(bench.wire, ["080c626162000078", "080c710007000079"]);
  assertEquals(bench.ends, ["done 1", "done 2"]);
  assertEquals(bench.device.state, "disconnected");
  assertEquals(bench.device.nextTimeout(), undefined);
});

/** What each command sends, at first and again: DUP is not for all. */
const REQUESTS: readonly {
  readonly name: string;
  readonly command: (device: Device, now: Millis) => void;
  readonly first: string;
  readonly again?: string;
}[] = [
  {
    name: "REGISTER",
    command: (device, now) => device.register(now, "a"),
    first: "070a0000000161",
  },
  {
    name: "SUBSCRIBE",
    command: (device, now) => device.subscribe(now, "a", 1),
    first: "061220000161",
    again: "0612a0000161",
  },
  {
    name: "UNSUBSCRIBE",
    command: (device, now) => device.unsubscribe(now, "a"),
    first: "061400000161",
  },
  {
    name: "PUBLISH",
    command: (device, now) =>
      device.publish(now, { short: "ab" }, text("1"), { qos: 1 }),
    first: "080c226162000131",
    again: "080ca26162000131",
  },
  {
    name: "WILLTOPICUPD",
    command: (device, now) => device.updateWillTopic(now, undefined),
    first: "021a",
  },
  {
    name: "WILLMSGUPD",
    command: (device, now) => device.updateWillMsg(now, text("x")),
    first: "031c78",
  },
  {
    name: "DISCONNECT to sleep",
    command: (device, now) => device.sleep(now, 10),
    first: "0418000a",
  },
];

for (const { name, command, first, again = first } of REQUESTS) {
  Deno.test(`C7: ${name} is sent again, then the connection is made anew`, () => {
    const bench = Bench.active();
    bench.tell(command);
    assertEquals(bench.wire, [first]);
    for (const count of [1, 2]) {
      bench.device.handleTimeout(count * RETRY_MS - 1);
      assertEquals(bench.drain(), []);
      bench.device.handleTimeout(count * RETRY_MS);
      bench.drain();
      assertEquals(bench.wire, [again]);
    }
    assertEquals(bench.run(PATIENCE_MS), []);
    assertEquals(bench.states, ["lost"]);
    assertEquals(bench.device.pending, 1);
    assertEquals(bench.run(RETRY_MS), [`35000 ${CONNECT}`]);
    assertEquals(bench.take(CONNACK).length, 1); // and it is asked again
  });
}

Deno.test("C7: the pauses before CONNECT grow, and differ by seed", () => {
  const pausesOf = (seed: number) => {
    const bench = new Bench({
      random: seededRandom(seed),
      maxPauseMs: 60_000,
      retries: 0,
    });
    bench.tell((device, now) => device.publish(now, "a", text("1")));
    const pauses: number[] = [];
    let last = 0;
    for (const line of bench.run(600_000)) {
      const at = Number(line.split(" ")[0]);
      pauses.push(at - last - RETRY_MS);
      last = at;
    }
    return pauses;
  };
  const one = pausesOf(1);
  assert(one.length > 5);
  for (const [at, pause] of one.entries()) {
    const most = Math.min(RETRY_MS * 2 ** at, 60_000);
    assert(pause >= most / 2 && pause <= most, `${pause} of ${most}`);
    if (most < 60_000 && at > 0) assert(pause >= one[at - 1]!);
  }
  assertNotEquals(one, pausesOf(2));
});

// C8: what PUBACK refuses

Deno.test("C8: PUBACK 02 registers again, and sends the same again", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.publish(now, "a", text("1"), { qos: 1 }));
  assertEquals(bench.take(regack(5, 1)).length, 1);
  assertEquals(bench.take(puback(5, 2, 2)), [
    'REGISTER topicId=0 msgId=3 topicName="a"',
  ]);
  assertEquals(bench.take(regack(6, 3)), [
    'PUBLISH dup qos=1 topicId=6 msgId=2 data="1"',
  ]);
  assertEquals(bench.take(puback(5, 2, 2)), []); // a copy, for the old id
  bench.take(puback(6, 2));
  assertEquals(bench.ends, ["done 2"]);
});

Deno.test("C8: PUBACK 02 for ever is refused in the end", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.publish(now, "a", text("1"), { qos: 1 }));
  for (let msgId = 1; bench.device.pending > 0; msgId++) {
    assert(msgId < 20);
    // The PUBLISH has the second one, and keeps it.
    if (msgId !== 2) bench.take(regack(5, msgId));
    if (msgId !== 2) bench.take(puback(5, 2, 2));
  }
  assertEquals(bench.ends, ["refused 2 with 2"]);
});

Deno.test("C8: PUBACK 02 for a pre-defined id cannot be cured", () => {
  const bench = Bench.active();
  bench.tell((device, now) =>
    device.publish(now, { predefined: 7 }, text("1"), { qos: 2 })
  );
  assertEquals(bench.take(puback(7, 1, 2)), []);
  assertEquals(bench.ends, ["refused 2 with 2"]);
});

Deno.test("C8: PUBACK 02 at QoS 0 makes it register again next time", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  bench.take(regack(5, 1));
  assertEquals(bench.take(puback(5, 0, 2)), []);
  assertEquals(
    bench.tell((device, now) => device.publish(now, "a", text("2"))),
    ['REGISTER topicId=0 msgId=2 topicName="a"'],
  );
  bench.take(regack(6, 2));
  assertEquals(bench.take(puback(5, 0, 2)), []); // a copy: 6 is still good
  assertEquals(
    bench.tell((device, now) => device.publish(now, "a", text("3"))),
    ['PUBLISH qos=0 topicId=6 msgId=0 data="3"'],
  );
});

Deno.test("C8: PUBACK 01 stops PUBLISH for T_WAIT, and nothing else", () => {
  const topic = { short: "ab" };
  for (const qos of [0, 1] as const) {
    const bench = Bench.active({ waitMs: 300_000 });
    bench.tell((device, now) => device.publish(now, topic, text("1"), { qos }));
    assertEquals(bench.take(puback(0x6162, qos, 1)), []);
    assertEquals(bench.ends, [qos === 0 ? "done 2" : "refused 2 with 1"]);
    assertEquals(
      bench.tell((device, now) => {
        device.publish(now, topic, text("2"));
        device.subscribe(now, "a", 0);
        device.register(now, "b");
      }).map((line) => line.split(" ")[0]),
      ["SUBSCRIBE", "REGISTER"],
    );
  }
});

Deno.test("T_WAIT holds each kind alone", () => {
  const bench = Bench.active({ waitMs: 300_000 });
  bench.tell((device, now) => {
    device.subscribe(now, "a", 0); // 2
    device.register(now, "b"); // 3
    device.publish(now, { short: "ab" }, text("1"), { qos: 1 }); // 4
    device.subscribe(now, "c", 0); // 5
    device.register(now, "d"); // 6
    device.publish(now, { short: "ab" }, text("2")); // 7
  });
  assertEquals(bench.take(suback(0, 1, 1)), []);
  assertEquals(bench.take(regack(0, 2, 1)), []);
  bench.now += 1_000;
  assertEquals(bench.take(puback(0x6162, 3, 1)), []);
  assertEquals(bench.ends, [2, 3, 4].map((at) => `refused ${at} with 1`));
  assertEquals(bench.run(299_000), [
    '300000 REGISTER topicId=0 msgId=4 topicName="d"',
    '300000 SUBSCRIBE qos=0 msgId=5 topicName="c"',
  ]);
  bench.take(regack(4, 4));
  bench.take(suback(3, 5));
  assertEquals(bench.run(1_000), [
    '301000 PUBLISH qos=0 topicIdType=short topicName="ab" msgId=0 data="2"',
  ]);
});

Deno.test("T_WAIT for REGISTER holds a PUBLISH that needs one, no other", () => {
  const bench = Bench.active({ waitMs: 300_000 });
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  assertEquals(bench.take(regack(0, 1, 1)), []);
  assertEquals(bench.ends, ["refused 2 with 1"]);
  assertEquals(
    bench.tell((device, now) => {
      device.publish(now, { short: "ab" }, text("2"));
      device.publish(now, "b", text("3"));
      device.register(now, "c");
    }),
    ['PUBLISH qos=0 topicIdType=short topicName="ab" msgId=0 data="2"'],
  );
  assertEquals(bench.run(300_000).length, 1);
  assertEquals(bench.device.pending, 2);
});

// C9, C10: what the gateway sends

Deno.test("T_WAIT for REGISTER ends for a PUBLISH that needs one alone", () => {
  const bench = Bench.active({ waitMs: 300_000 });
  bench.tell((device, now) => device.register(now, "a"));
  bench.take(regack(0, 1, 1));
  bench.tell((device, now) => device.publish(now, "b", text("1")));
  assertEquals(bench.device.nextTimeout(), 300_000);
  assertEquals(bench.run(300_000), [
    '300000 REGISTER topicId=0 msgId=2 topicName="b"',
  ]);
});

Deno.test("C6: PUBREC is no answer to a PUBLISH at QoS 1", () => {
  const bench = Bench.active();
  bench.tell((device, now) =>
    device.publish(now, { short: "ab" }, text("1"), { qos: 1 })
  );
  assertEquals(bench.take(withMsgId("PUBREC", 1)), []);
  bench.take(puback(0x6162, 1));
  assertEquals(bench.ends, ["done 2"]);
});

Deno.test("C9: REGISTER of the gateway's is answered, and its id is known", () => {
  const bench = Bench.active();
  bench.take("09 0a 00 05 00 01 61 2f 62");
  assertEquals(bench.wire, ["070b0005000100"]);
  bench.take("09 0c 20 00 05 00 02 68 69");
  assertEquals(bench.wire, ["070d0005000200"]);
  assertEquals(bench.messages, [
    new ReceivedMessage("a/b", text("hi"), {
      qos: 1,
      retain: false,
      dup: false,
      msgId: 2,
      predefined: undefined,
    }),
  ]);
});

Deno.test("C9: REGISTER of what is no name is refused", () => {
  const bench = Bench.active();
  bench.take("09 0a 00 05 00 01 61 2f 2b");
  assertEquals(bench.wire, ["070b0005000103"]);
});

Deno.test("C9: an id that is another name's now is not the old one's", () => {
  const bench = Bench.active();
  const register = (topicName: string) => {
    bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName });
  };
  register("a");
  register("b");
  bench.take(publishOf(5, "x"));
  assertEquals(bench.messages[0]!.topicName, "b");
  assertEquals(
    bench.tell((device, now) => device.publish(now, "a", text("y"))),
    ['REGISTER topicId=0 msgId=1 topicName="a"'],
  );
});

Deno.test("C10: PUBLISH with an unknown id is answered with PUBACK 02", () => {
  const bench = Bench.active();
  for (const qos of [0, 1, 2] as const) {
    const msgId = qos * 3;
    assertEquals(bench.take(publishOf(99, "x", { qos, msgId })), [
      `PUBACK topicId=99 msgId=${msgId} returnCode=2`,
    ]);
  }
  assertEquals(bench.messages, []);
  // And it is taken when the id is known.
  bench.take({ type: "REGISTER", topicId: 99, msgId: 1, topicName: "a" });
  assertEquals(bench.take(publishOf(99, "x", { qos: 2, msgId: 6 })), [
    "PUBREC msgId=6",
  ]);
  assertEquals(bench.payloads, ["x"]);
});

Deno.test("A message at QoS 2 comes once, whatever its DUP flag", () => {
  const bench = Bench.active();
  bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
  const publish = { qos: 2, msgId: 7 } as const;
  for (const dup of [false, true, false]) {
    assertEquals(bench.take(publishOf(5, "x", { ...publish, dup })), [
      "PUBREC msgId=7",
    ]);
  }
  assertEquals(bench.take(withMsgId("PUBREL", 7)), ["PUBCOMP msgId=7"]);
  assertEquals(bench.take(withMsgId("PUBREL", 7)), ["PUBCOMP msgId=7"]);
  // A late copy; then, with the same msgId, another message.
  bench.take(publishOf(5, "x", publish));
  assertEquals(bench.payloads, ["x"]);
  bench.take(publishOf(5, "y", publish));
  assertEquals(bench.payloads, ["x", "y"]);
  assertEquals(bench.messages.map(({ dup }) => dup), [false, false]);
});

Deno.test("A message at QoS 2 comes once, although it came with DUP only", () => {
  const bench = Bench.active();
  bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
  bench.take(publishOf(5, "x", { qos: 2, msgId: 7, dup: true }));
  assertEquals(bench.payloads, ["x"]);
});

Deno.test("A kept session knows a message at QoS 2 after a new connection", () => {
  const bench = Bench.active({ cleanSession: false });
  const register = () =>
    bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
  register();
  bench.take(publishOf(5, "x", { qos: 2, msgId: 7 }));
  bench.take(publishOf(5, "z", { qos: 2, msgId: 8 }));
  bench.take(GOODBYE);
  bench.run(RETRY_MS);
  bench.take(CONNACK);
  register();
  bench.take(publishOf(5, "x", { qos: 2, msgId: 7, dup: true }));
  assertEquals(bench.payloads, ["x", "z"]);
  bench.take(withMsgId("PUBREL", 7));
  bench.take(publishOf(5, "x", { qos: 2, msgId: 7, dup: true })); // a late copy
  assertEquals(bench.payloads, ["x", "z"]);
  // But a gateway that forgot it may count its msgIds anew.
  bench.take(publishOf(5, "y", { qos: 2, msgId: 8 }));
  assertEquals(bench.payloads, ["x", "z", "y"]);
});

// Resumption of what was published

Deno.test("A kept session resumes PUBLISH with DUP, under its msgId", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) =>
    device.publish(now, { short: "ab" }, text("1"), { qos: 2 })
  );
  assertEquals(bench.take(GOODBYE), []);
  assertEquals(bench.run(RETRY_MS), [`5000 ${RESUME}`]);
  assertEquals(bench.take(CONNACK), [
    'PUBLISH dup qos=2 topicIdType=short topicName="ab" msgId=1 data="1"',
  ]);
});

Deno.test("A kept session resumes with PUBREL after PUBREC", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) =>
    device.publish(now, { short: "ab" }, text("1"), { qos: 2 })
  );
  bench.take(withMsgId("PUBREC", 1));
  assertEquals(bench.run(PATIENCE_MS), [
    "10000 PUBREL msgId=1",
    "20000 PUBREL msgId=1",
  ]);
  assertEquals(bench.run(RETRY_MS), [`35000 ${RESUME}`]);
  assertEquals(bench.take(CONNACK), ["PUBREL msgId=1"]);
  bench.take(withMsgId("PUBCOMP", 1));
  assertEquals(bench.ends, ["done 2"]);
});

Deno.test("A clean session begins an exchange anew", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.publish(now, "a", text("1"), { qos: 2 }));
  bench.take(regack(5, 1));
  bench.take(withMsgId("PUBREC", 2));
  bench.take(GOODBYE);
  bench.run(RETRY_MS);
  assertEquals(bench.take(CONNACK), [
    'REGISTER topicId=0 msgId=3 topicName="a"',
  ]);
  assertEquals(bench.take(regack(6, 3)), [
    'PUBLISH qos=2 topicId=6 msgId=4 data="1"',
  ]);
});

// C11: keep alive

Deno.test("C11: PINGREQ goes out before the keep alive is over", () => {
  const bench = Bench.active({ keepAlive: 60 });
  assertEquals(bench.run(30_000), ['30000 PINGREQ clientId=""']);
  assertEquals(bench.wire, []);
  bench.now += 100;
  assertEquals(bench.take(PONG), []);
  // It has sent something and heard something: counted from the earlier one.
  bench.run(10_000);
  bench.tell((device, now) => device.subscribe(now, "a", 0));
  bench.take(suback(1, 1));
  assertEquals(bench.run(29_999), []);
  assertEquals(bench.run(1), ['70100 PINGREQ clientId=""']);
});

Deno.test("C11: who sends at QoS 0 without pause still asks for an answer", () => {
  const bench = Bench.active({ keepAlive: 10, retryMs: 1_000 });
  const sent: string[] = [];
  for (let count = 0; count < 20; count++) {
    bench.tell((device, now) =>
      device.publish(now, { short: "ab" }, text("1"))
    );
    sent.push(...bench.run(1_000));
  }
  assertEquals(sent.slice(0, 4), [
    '5000 PINGREQ clientId=""',
    '6000 PINGREQ clientId=""',
    '7000 PINGREQ clientId=""',
    '8500 CONNECT cleanSession protocolId=1 duration=10 clientId="lamp"',
  ]);
});

Deno.test("C11: PINGREQ without answer is the end of a connection", () => {
  const bench = Bench.active({ keepAlive: 60 });
  assertEquals(bench.run(65_000), [
    '30000 PINGREQ clientId=""',
    '40000 PINGREQ clientId=""',
    '50000 PINGREQ clientId=""',
    '65000 CONNECT cleanSession protocolId=1 duration=60 clientId="lamp"',
  ]);
  assertEquals(bench.states, ["lost", "connecting"]);
});

Deno.test("C11: the gateway's PINGREQ is answered while connected", () => {
  const bench = Bench.active();
  assertEquals(bench.take("02 16"), ["PINGRESP"]);
  bench.sleep();
  assertEquals(bench.take("02 16"), []);
});

Deno.test("Without keep alive nothing is due", () => {
  assertEquals(Bench.active().device.nextTimeout(), undefined);
});

// C12: DISCONNECT

Deno.test("C12: after DISCONNECT it connects, and subscribes again", () => {
  for (const cleanSession of [true, false]) {
    const bench = Bench.active({ cleanSession });
    bench.tell((device, now) => {
      device.subscribe(now, "a", 1);
      device.subscribe(now, { short: "ab" }, 2);
    });
    bench.take(suback(1, 1));
    bench.take(suback(0, 2));
    assertEquals(bench.take(GOODBYE), []);
    assertEquals(bench.device.state, "lost");
    assertEquals(bench.run(5_000), [
      `5000 ${cleanSession ? CONNECT : RESUME}`,
    ]);
    assertEquals(bench.take(CONNACK), [
      'SUBSCRIBE qos=1 msgId=3 topicName="a"',
    ]);
    // Lost again before it is over: none is asked for twice.
    bench.take(GOODBYE);
    bench.run(5_000);
    assertEquals(bench.take(CONNACK).length, 1);
    bench.take(suback(1, 4));
    assertEquals(bench.wire, ["07124200056162"]);
    assertEquals(bench.take(suback(0, 5)), []);
    assertEquals(bench.ends, ["done 2", "done 3"]);
    assertEquals(bench.device.pending, 0);
  }
});

Deno.test("C12: a subscription that congestion refuses is asked for later", () => {
  const bench = Bench.active({ waitMs: 300_000 });
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  bench.take(suback(1, 1));
  bench.take(GOODBYE);
  bench.run(5_000);
  bench.take(CONNACK);
  assertEquals(bench.take(suback(0, 2, 1)), []);
  assertEquals(bench.run(300_000), [
    '305000 SUBSCRIBE qos=1 msgId=3 topicName="a"',
  ]);
});

Deno.test("C12: what is being unsubscribed stays so after a new connection", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  bench.take(suback(1, 1));
  bench.tell((device, now) => device.unsubscribe(now, "a"));
  bench.take(GOODBYE);
  bench.run(5_000);
  bench.take(CONNACK);
  bench.take(suback(1, 3));
  assertEquals(bench.take(unsuback(4)), []);
  assertEquals(bench.device.pending, 0);
  bench.take(GOODBYE);
  bench.run(5_000);
  assertEquals(bench.take(CONNACK), []);
});

Deno.test("C12: sleep() waits for subscriptions that are asked for again", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  bench.take(suback(1, 1));
  bench.tell((device, now) => device.sleep(now, 20));
  bench.run(PATIENCE_MS);
  bench.run(RETRY_MS);
  assertEquals(bench.take(CONNACK), ['SUBSCRIBE qos=1 msgId=2 topicName="a"']);
  assertEquals(bench.take(suback(1, 2)), ["DISCONNECT duration=20"]);
  bench.take(GOODBYE);
  assertEquals(bench.ends, ["done 2", "done 3"]);
});

Deno.test("C12: DISCONNECT while it connects is from before", () => {
  const bench = new Bench();
  bench.tell((device, now) => device.connect(now));
  assertEquals(bench.take(GOODBYE), []);
  bench.take(CONNACK);
  assertEquals(bench.states, ["connecting", "active"]);
});

Deno.test("C12: no CONNECT before the copies of a DISCONNECT have come, which would end its connection", () => {
  for (const retryMs of [RETRY_MS, 500]) {
    const bench = Bench.active({ cleanSession: false, retryMs });
    bench.tell((device, now) => device.sleep(now, 20));
    bench.run(retryMs);
    bench.run(10);
    assertEquals(bench.take(GOODBYE), []);
    assertEquals(bench.device.state, "asleep");
    const give = (device: Device, now: Millis) =>
      device.publish(now, { short: "ab" }, text("1"));
    assertEquals(bench.tell(give), []);
    assertEquals(bench.take(GOODBYE), []); // to the copy
    const lateMs = Math.min(retryMs, LATE_MS);
    assertEquals(bench.run(lateMs - 10), [`${retryMs + lateMs} ${RESUME}`]);
    bench.take(CONNACK);
    // Later than that, it may have arrived behind the CONNECT after all.
    bench.take(GOODBYE);
    assertEquals(bench.device.state, "lost");
  }
});

Deno.test("C12: a DISCONNECT that was sent once has no copies to wait for", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.sleep(20);
  const give = (device: Device, now: Millis) =>
    device.publish(now, { short: "ab" }, text("1"));
  assertEquals(bench.tell(give), [RESUME]);
});

Deno.test("A kept session asks for ids anew, and understands the old", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  bench.take(regack(5, 1));
  bench.tell((device, now) => device.disconnect(now));
  bench.take(GOODBYE);
  bench.tell((device, now) => device.connect(now));
  bench.take(CONNACK);
  bench.take(publishOf(5, "x"));
  assertEquals(bench.payloads, ["x"]);
  assertEquals(
    bench.tell((device, now) => device.publish(now, "a", text("2"))),
    ['REGISTER topicId=0 msgId=2 topicName="a"'],
  );
});

Deno.test("C12: topic ids are not those of before", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  bench.take(regack(5, 1));
  bench.take(GOODBYE);
  bench.run(5_000);
  bench.take(CONNACK);
  assertEquals(
    bench.tell((device, now) => device.publish(now, "a", text("2"))),
    ['REGISTER topicId=0 msgId=2 topicName="a"'],
  );
});

// C13, C14: sleep

Deno.test("C13: it wakes by itself when its sleep is over", () => {
  const bench = Bench.active();
  bench.tell((device, now) => device.sleep(now, 20));
  assertEquals(bench.wire, ["04180014"]);
  bench.take(GOODBYE);
  assertEquals(bench.ends, ["done 2"]);
  assertEquals(bench.run(20_000), ['18000 PINGREQ clientId="lamp"']);
  assertEquals(bench.device.state, "awake");
  bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
  assertEquals(bench.take(publishOf(5, "x", { qos: 1, msgId: 2 })), [
    "PUBACK topicId=5 msgId=2 returnCode=0",
  ]);
  bench.take(PONG);
  assertEquals(bench.states, ["asleep", "awake", "asleep"]);
  assertEquals(bench.payloads, ["x"]);
  assertEquals(bench.run(20_000), ['38000 PINGREQ clientId="lamp"']);
});

Deno.test("C13: wake() wakes it before, and its sleep begins anew", () => {
  const bench = Bench.active();
  bench.sleep(20);
  bench.run(15_000);
  assertEquals(bench.tell((device, now) => device.wake(now)), [
    'PINGREQ clientId="lamp"',
  ]);
  bench.run(8_000); // past the moment at which it would have woken
  bench.take(PONG);
  assertEquals(bench.ends, ["done 2", "done 3"]);
  assertEquals(bench.run(20_000), ['41000 PINGREQ clientId="lamp"']);
});

Deno.test("C13: wake() does nothing to who does not sleep", () => {
  const bench = Bench.active();
  assertEquals(bench.tell((device, now) => device.wake(now)), []);
  assertEquals(bench.ends, ["done 2"]);
});

Deno.test("C13: PINGREQ is sent again, so often, and then it sleeps on", () => {
  const bench = Bench.active();
  bench.sleep(60);
  bench.tell((device, now) => device.wake(now));
  assertEquals(bench.run(PATIENCE_MS), [
    '10000 PINGREQ clientId="lamp"',
    '20000 PINGREQ clientId="lamp"',
  ]);
  assertEquals(bench.device.state, "asleep");
  assertEquals(bench.ends, ["done 2", "silence 3"]);
  assertEquals(bench.run(60_000), ['84000 PINGREQ clientId="lamp"']);
});

Deno.test("C13: each message restarts the timer of PINGREQ", () => {
  const bench = Bench.active();
  bench.sleep(60);
  bench.tell((device, now) => device.wake(now));
  for (let count = 1; count <= 5; count++) {
    assertEquals(bench.run(9_000), []);
    bench.take(publishOf(0x6162, "x", { topicIdType: "short" }));
  }
  assertEquals(bench.payloads.length, 5);
  assertEquals(bench.run(RETRY_MS), ['55000 PINGREQ clientId="lamp"']);
});

Deno.test("C13: it sleeps on after a gateway that forgot it", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  bench.take(suback(1, 1));
  bench.sleep(20);
  bench.run(20_000);
  assertEquals(bench.take(GOODBYE), []); // PINGREQ of a stranger
  assertEquals(bench.run(5_000), [`25000 ${RESUME}`]);
  assertEquals(bench.take(CONNACK), ['SUBSCRIBE qos=1 msgId=2 topicName="a"']);
  assertEquals(bench.take(suback(1, 2)), []);
  assertEquals(bench.run(0), ["25000 DISCONNECT duration=20"]);
  bench.take(GOODBYE);
  assertEquals(bench.device.state, "asleep");
  assertEquals(bench.run(20_000), ['43000 PINGREQ clientId="lamp"']);
});

Deno.test("C13: who is asleep hears nothing", () => {
  const bench = Bench.active();
  bench.sleep(20);
  assertEquals(
    bench.take(publishOf(0x6162, "x", { topicIdType: "short" })),
    [],
  );
  assertEquals(bench.take(GOODBYE), []); // a copy
  assertEquals(bench.messages, []);
  assertEquals(bench.device.state, "asleep");
});

Deno.test("C14: to send, it connects first, and then it sleeps on", () => {
  const bench = Bench.active({ cleanSession: false });
  const topic = { short: "ab" };
  bench.sleep(20);
  assertEquals(
    bench.tell((device, now) => device.publish(now, topic, text("1"))),
    [RESUME],
  );
  assertEquals(bench.take(CONNACK).length, 1);
  // Whoever was waiting for that can give another command first.
  assertEquals(
    bench.tell((device, now) => device.publish(now, topic, text("2"))).length,
    1,
  );
  assertEquals(bench.run(0), ["0 DISCONNECT duration=20"]);
  bench.take(GOODBYE);
  assertEquals(bench.run(20_000), ['18000 PINGREQ clientId="lamp"']);
});

Deno.test("C14: it stays connected after connect()", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.sleep(20);
  bench.tell((device, now) => device.connect(now));
  bench.take(CONNACK);
  assertEquals(bench.run(60_000), []);
  assertEquals(bench.device.state, "active");
});

Deno.test("C14: while it is awake it only collects", () => {
  const bench = Bench.active({ cleanSession: false });
  bench.sleep(20);
  bench.tell((device, now) => device.wake(now));
  assertEquals(
    bench.tell((device, now) =>
      device.publish(now, { short: "ab" }, text("1"))
    ),
    [],
  );
  assertEquals(bench.take(PONG), [RESUME]);
});

Deno.test("A sleeper that disconnects wakes no more", () => {
  const bench = Bench.active();
  bench.sleep(20);
  assertEquals(bench.tell((device, now) => device.disconnect(now)), [
    "DISCONNECT",
  ]);
  // Given after it, this waits: no deadline is due all the time.
  bench.tell((device, now) => device.publish(now, { short: "ab" }, text("1")));
  assertEquals(bench.run(RETRY_MS), ["10000 DISCONNECT"]);
  assertEquals(bench.take(GOODBYE), []);
  assertEquals(bench.run(LATE_MS), [`12000 ${CONNECT}`]);
  bench.take(CONNACK);
  bench.tell((device, now) => device.disconnect(now));
  bench.take(GOODBYE);
  assertEquals(bench.device.nextTimeout(), undefined);
});

// Order

Deno.test("sleep() waits for what was given before, and what follows for it", () => {
  const bench = Bench.active({ cleanSession: false });
  const topic = { short: "ab" };
  bench.tell((device, now) => {
    device.publish(now, topic, text("1"), { qos: 1 });
    device.subscribe(now, "a", 0);
    device.sleep(now, 20);
    device.publish(now, topic, text("2"), { qos: 1 });
  });
  assertEquals(bench.take(puback(0x6162, 1)), []);
  assertEquals(bench.take(suback(1, 2)), ["DISCONNECT duration=20"]);
  assertEquals(bench.take(GOODBYE), [RESUME]);
  assertEquals(bench.take(CONNACK), [
    'PUBLISH qos=1 topicIdType=short topicName="ab" msgId=3 data="2"',
  ]);
});

Deno.test("Commands before connect() are carried out once it is connected", () => {
  const bench = new Bench();
  assertEquals(
    bench.tell((device, now) => {
      device.subscribe(now, "a", 0);
      device.connect(now);
      device.publish(now, { short: "ab" }, text("1"));
      device.disconnect(now);
    }),
    [CONNECT],
  );
  assertEquals(bench.take(CONNACK), [
    'SUBSCRIBE qos=0 msgId=1 topicName="a"',
    'PUBLISH qos=0 topicIdType=short topicName="ab" msgId=0 data="1"',
  ]);
  assertEquals(bench.take(suback(1, 1)), ["DISCONNECT"]);
  bench.take(GOODBYE);
  assertEquals(bench.ends, ["done 2", "done 3", "done 1", "done 4"]);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("cancel() takes back what was not sent", () => {
  const bench = Bench.active();
  const topic = { short: "ab" };
  bench.tell((device, now) => {
    device.publish(now, topic, text("1"), { qos: 1 });
    device.cancel(now, device.publish(now, topic, text("2"), { qos: 1 }));
    device.cancel(now, device.sleep(now, 20));
  });
  assertEquals(bench.take(puback(0x6162, 1)), []);
  assertEquals(bench.ends, ["done 2"]);
  assertEquals(bench.device.pending, 0);
});

Deno.test("cancel() takes back what waits for an id, or for a connection", () => {
  const bench = Bench.active();
  bench.tell((device, now) => {
    device.register(now, "a");
    device.cancel(now, device.publish(now, "b", text("1"), { qos: 1 }));
  });
  assertEquals(bench.take(regack(1, 1)), []);
  assertEquals(bench.device.pending, 0);
});

Deno.test("cancel() of what was sent only keeps its end quiet", () => {
  const bench = Bench.active();
  const topic = { short: "ab" };
  bench.tell((device, now) => {
    device.cancel(now, device.publish(now, topic, text("1"), { qos: 2 }));
  });
  assertEquals(bench.take(withMsgId("PUBREC", 1)), ["PUBREL msgId=1"]);
  bench.take(withMsgId("PUBCOMP", 1));
  assertEquals(bench.ends, []);
  assertEquals(bench.device.pending, 0);
});

Deno.test("cancel() of what was sent before the connection was lost goes on", () => {
  const topic = { short: "ab" };
  const commands: [(device: Device, now: Millis) => number, string][] = [
    [
      (device, now) => device.publish(now, topic, text("1"), { qos: 1 }),
      "PUBLISH dup qos=1",
    ],
    [(device, now) => device.subscribe(now, "a", 1), "SUBSCRIBE qos=1"],
    [(device, now) => device.unsubscribe(now, "a"), "UNSUBSCRIBE"],
    [(device, now) => device.updateWillMsg(now, text("x")), "WILLMSGUPD"],
  ];
  for (const [command, again] of commands) {
    const bench = Bench.active({ cleanSession: false });
    let token = 0;
    bench.tell((device, now) => token = command(device, now));
    bench.take(GOODBYE);
    bench.tell((device, now) => device.cancel(now, token));
    assertEquals(bench.device.pending, 1);
    bench.run(5_000);
    const [line] = bench.take(CONNACK);
    assertEquals(line?.slice(0, again.length), again);
  }
});

// Wills

Deno.test("updateWillTopic() and updateWillMsg() change one part each", () => {
  const bench = Bench.active({ will: { topicName: "w", payload: text("x") } });
  const will = { topicName: "a/w", payload: text("?"), qos: 1, retain: true };
  bench.tell((device, now) => {
    device.updateWillTopic(now, { ...will, qos: 1 });
    device.updateWillMsg(now, text("bye"));
  });
  assertEquals(bench.wire, ["061a30612f77"]);
  bench.take("03 1b 00");
  assertEquals(bench.wire, ["051c627965"]);
  bench.take("03 1d 00");
  assertEquals(bench.ends, ["done 2", "done 3"]);
  // And that is the will from now on.
  bench.take(GOODBYE);
  bench.run(5_000);
  assertEquals(bench.take("02 06"), [
    'WILLTOPIC qos=1 retain topicName="a/w"',
  ]);
  assertEquals(bench.take("02 08"), ['WILLMSG data="bye"']);
});

Deno.test("updateWillTopic() of none ends the will", () => {
  const bench = Bench.active({ will: { topicName: "w", payload: text("x") } });
  bench.tell((device, now) => device.updateWillTopic(now, undefined));
  assertEquals(bench.wire, ["021a"]);
  bench.take("03 1b 00");
  bench.take(GOODBYE);
  assertEquals(bench.run(5_000), [`5000 ${CONNECT}`]); // without Will
});

Deno.test("A refused will update changes nothing", () => {
  const bench = Bench.active({ will: { topicName: "w", payload: text("x") } });
  bench.tell((device, now) => device.updateWillMsg(now, text("y")));
  bench.take("03 1d 03");
  assertEquals(bench.ends, ["refused 2 with 3"]);
  bench.take(GOODBYE);
  bench.run(5_000);
  assertEquals(bench.take("02 08"), ['WILLMSG data="x"']);
});

// What cannot be

Deno.test("Topics that are not valid throw LocalProtocolError, and nothing is sent", () => {
  const bench = Bench.active();
  const { device } = bench;
  const none = new Uint8Array();
  const commands = [
    () => device.register(0, ""),
    () => device.register(0, "a/#"),
    () => device.register(0, "x".repeat(65_505)),
    () => device.subscribe(0, "a/#/b", 0),
    () => device.subscribe(0, { short: "abc" }, 0),
    () => device.subscribe(0, { short: "/#" }, 0),
    () => device.subscribe(0, { predefined: 70_000 }, 0),
    () => device.unsubscribe(0, "a+"),
    () => device.publish(0, "a/+", none),
    () => device.publish(0, { short: "a" }, none),
    () => device.publish(0, { short: "+a" }, none),
    () => device.publish(0, { predefined: -1 }, none),
    () => device.publish(0, "a", none, { qos: -1 }),
    () => device.publish(0, "a", new Uint8Array(65_507)),
    () => device.updateWillTopic(0, { topicName: "#" }),
    () => device.updateWillMsg(0, new Uint8Array(65_507)),
    () => device.sleep(0, 0),
    () => device.sleep(0, 65_536),
  ];
  for (const command of commands) {
    assertThrows(command, LocalProtocolError, undefined, `${command}`);
  }
  assertEquals(bench.drain(), []);
  assertEquals(device.pending, 0);
});

Deno.test("A device that could not connect is not made", () => {
  assertThrows(() => new Bench({ keepAlive: 65_536 }), LocalProtocolError);
  const will = { topicName: "a/+", payload: new Uint8Array() };
  assertThrows(() => new Bench({ will }), LocalProtocolError);
});

Deno.test("Strays are told, and change nothing", () => {
  const bench = Bench.active();
  bench.take(PONG, peerOf("127.0.0.1", 9));
  bench.take("05 0c 00");
  bench.take("03 01 00");
  bench.take(publishOf(0x6162, "x", { topicIdType: "short", qos: -1 }));
  assertEquals(bench.strays.length, 4);
  assertEquals(bench.strays[0], "from somebody else than the gateway");
  assertEquals(bench.strays[2], "Only a client sends SEARCHGW");
  const before = bench.events.length;
  for (
    const packet of [
      regack(1, 9),
      puback(1, 9),
      puback(1, 9, 1),
      suback(1, 9),
      unsuback(9),
      withMsgId("PUBREC", 9),
      withMsgId("PUBCOMP", 9),
      PONG,
    ]
  ) assertEquals(bench.take(packet), []);
  bench.take("02 06");
  bench.take("03 1b 00");
  bench.take("05 00 01 03 84");
  bench.take(CONNACK);
  assertEquals(bench.events.length, before);
  assertEquals(bench.device.nextTimeout(), undefined);
});

Deno.test("Who is not connected answers nothing", () => {
  const bench = new Bench();
  for (
    const packet of [
      publishOf(1, "x", { qos: 1, msgId: 1 }),
      withMsgId("PUBREL", 1),
      { type: "REGISTER", topicId: 1, msgId: 1, topicName: "a" },
      { type: "PINGREQ", clientId: "" },
      GOODBYE,
    ] as const
  ) assertEquals(bench.take(packet), []);
  assertEquals(bench.device.state, "disconnected");
});

Deno.test("Whatever comes and is told, it neither throws nor is always due", () => {
  const topics = ["a", "a/b", { short: "ab" }, { predefined: 1 }] as const;
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const below = (count: number) => Math.floor(random() * count);
    const giveUpMs = 1 + below(100_000);
    const isPatient = below(2) === 0;
    const isFull = () => below(3) === 0;
    const bench = new Bench({
      random,
      cleanSession: below(2) === 0,
      keepAlive: below(3) * 20,
      waitMs: 40_000,
      backoff: 1 + below(3) / 2,
      ...below(2) === 0 ? {} : { search: {} },
      ...isPatient ? {} : { giveUpMs },
      ...below(2) === 0 ? {} : { hasRoom: () => !isFull() },
    });
    const told = new Set<number>();
    const commands: ((device: Device, now: Millis) => void)[] = [
      (device, now) => device.connect(now),
      (device, now) => device.disconnect(now),
      (device, now) => device.sleep(now, 1 + below(60)),
      (device, now) => device.wake(now),
      (device, now) => device.register(now, "a/b"),
      (device, now) => device.subscribe(now, topics[below(4)]!, 1),
      (device, now) => device.unsubscribe(now, topics[below(4)]!),
      (device, now) => {
        const qos = below(3) as 0 | 1 | 2;
        device.publish(now, topics[below(4)]!, text("1"), { qos });
      },
      (device, now) => {
        const topic = below(2) === 0 ? { short: "ab" } : { predefined: 1 };
        device.publish(now, topic, text("1"), { qos: -1 });
      },
      (device, now) => device.updateWillMsg(now, text("x")),
      (device, now) => device.updateWillTopic(now, undefined),
      (device, now) => device.updateWillTopic(now, { topicName: "w" }),
      (device, now) => device.cancel(now, 1 + below(20)),
      (device, now) => {
        if (below(10) === 0) device.leave(now);
      },
    ];
    let msgId = 0;
    for (let step = 0; step < 100; step++) {
      if (below(3) === 0) bench.tell(commands[below(commands.length)]!);
      const [last] = bench.wire;
      if (last !== undefined && below(3) > 0) {
        const packet = decodePacket(octets(last));
        if ("msgId" in packet) msgId = packet.msgId;
      }
      const { packet } = VECTORS[below(VECTORS.length)]!;
      const isFitting = "msgId" in packet && below(2) === 0;
      const gateway = bench.device.gateway ?? GATEWAY;
      const peer = below(5) === 0 ? OTHER : gateway;
      bench.take(isFitting ? { ...packet, msgId } : packet, peer);
      if (below(4) === 0) bench.take(CONNACK, peer);
      if (below(2) === 0) bench.run(below(30_000));
    }
    // And it comes to an end where everything is answered.
    let last = 0;
    bench.tell((device, now) => last = device.disconnect(now));
    const wire = [...bench.wire];
    for (let turn = 0; turn < 1_000 && bench.device.pending > 0; turn++) {
      const hex = wire.shift();
      const answer = hex && answerOf(decodePacket(octets(hex)));
      if (answer) bench.take(answer, bench.device.gateway);
      else if (hex === undefined) bench.runOnce();
      else continue;
      wire.push(...bench.wire);
    }
    assertEquals(bench.device.pending, 0, `seed ${seed}`);
    // It may have been given up while it waited for what was given before.
    if (!bench.ends.includes(`done ${last}`)) {
      assertFalse(isPatient, `seed ${seed}`);
      bench.tell((device, now) => device.leave(now));
    }
    assertEquals(bench.device.state, "disconnected", `seed ${seed}`);
    // GatewaySearch that announced themselves are forgotten in time.
    bench.run(1e9);
    assertEquals(bench.device.nextTimeout(), undefined, `seed ${seed}`);
    for (const end of bench.ends) {
      const token = Number(end.split(" ")[1]);
      assertFalse(told.has(token), `seed ${seed}: ${end} once more`);
      told.add(token);
    }
  }
});
