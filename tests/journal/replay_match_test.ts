import { assertEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { peerOf } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket, Publish } from "../../wire/packets.ts";
import { compare, ReplayMatch } from "../../journal/replay_match.ts";
import { encodeUtf8 } from "../../base/utf8.ts";

const LAMP = peerOf("127.0.0.1", 1_001);

function publish(fields: Partial<Publish>): Publish {
  return {
    ...{ type: "PUBLISH", dup: false, qos: 1, retain: false },
    ...{ topicIdType: "normal", topicId: 1, msgId: 7 },
    ...{ data: encodeUtf8("on"), ...fields },
  };
}

/** A match that is spoken to in packets, and what it has to say. */
class Told extends ReplayMatch {
  #line = 1;

  /** A recorded answer, and the one that comes now. */
  answer(then: MqttSnPacket, now: MqttSnPacket = then): void {
    this.missing(then);
    this.surplus(now);
  }

  /** A recorded answer that does not come now. */
  missing(then: MqttSnPacket): void {
    this.expect(LAMP, encodePacket(then), ++this.#line);
  }

  /** An answer that was not recorded. */
  surplus(now: MqttSnPacket): void {
    this.handleAnswer(LAMP, encodePacket(now));
  }

  /** What is sent in place of what was sent. */
  say(packet: MqttSnPacket): MqttSnPacket {
    const bytes = this.translate(LAMP, encodePacket(packet));
    // A packet's octets are views into the datagram.
    return structuredClone(decodePacket(bytes));
  }

  get differing(): string[] {
    return this.answers.flatMap(({ recorded, live }) =>
      compare(recorded, live).filter(({ sign }) => sign !== " ")
        .map(({ sign, answer }) => sign + answer.text)
    );
  }

  connect(): this {
    this.say({
      ...{ type: "CONNECT", will: false, cleanSession: true, protocolId: 1 },
      ...{ duration: 60, clientId: "lamp-7" },
    });
    this.answer({ type: "CONNACK", returnCode: 0 });
    return this;
  }
}

Deno.test("ReplayMatch.translate() has a client publish under the id that this broker gave the name", () => {
  const told = new Told().connect();
  const topicName = "room/1";
  told.say({ type: "REGISTER", topicId: 0, msgId: 3, topicName });
  const regack = { type: "REGACK", msgId: 3, returnCode: 0 } as const;
  told.answer({ ...regack, topicId: 1 }, { ...regack, topicId: 901 });
  assertEquals(told.say(publish({})), publish({ topicId: 901 }));
  const longForm = encodePacket(publish({}), { longForm: true });
  assertEquals(
    told.translate(LAMP, longForm),
    encodePacket(publish({ topicId: 901 }), { longForm: true }),
  );
  // Another kind of id, or one that has no name, stays what it is.
  for (
    const packet of [
      publish({ topicIdType: "predefined" }),
      publish({ topicIdType: "short", topicId: 0x6162 }),
      publish({ topicId: 2 }),
    ]
  ) assertEquals(told.say(packet), packet);
  const puback = { type: "PUBACK", msgId: 7, returnCode: 0 } as const;
  told.answer({ ...puback, topicId: 1 }, { ...puback, topicId: 901 });
  const msgId = 9;
  const topic = { topicIdType: "normal", topicName: "room/2" } as const;
  told.say({ type: "SUBSCRIBE", dup: false, qos: 1, msgId, topic });
  const suback = { type: "SUBACK", qos: 1, msgId, returnCode: 0 } as const;
  told.answer({ ...suback, topicId: 2 }, { ...suback, topicId: 1 });
  assertEquals(told.say(publish({ topicId: 2 })), publish({ topicId: 1 }));
  assertEquals([told.differing, told.owed], [[], 0]);
});

Deno.test("ReplayMatch.translate() has a client acknowledge the counterpart of what it acknowledged", () => {
  const told = new Told().connect();
  const topicName = "room/1";
  told.answer(
    { type: "REGISTER", topicId: 4, msgId: 1, topicName },
    { type: "REGISTER", topicId: 6, msgId: 501, topicName },
  );
  const regack = {
    type: "REGACK",
    topicId: 4,
    msgId: 1,
    returnCode: 0,
  } as const;
  assertEquals(told.say(regack), { ...regack, topicId: 6, msgId: 501 });
  // Two that say the same, the first of which is sent again.
  const then = publish({ topicId: 4, msgId: 2 });
  const now = publish({ topicId: 6, msgId: 502 });
  told.answer(then, now);
  told.answer({ ...then, dup: true }, { ...now, dup: true });
  const puback = { type: "PUBACK", topicId: 4, returnCode: 0 } as const;
  assertEquals(told.say({ ...puback, msgId: 2 }), {
    ...{ ...puback, topicId: 6, msgId: 502 },
  });
  told.answer({ ...then, msgId: 3 }, { ...now, msgId: 77 });
  assertEquals(told.say({ ...puback, msgId: 3 }), {
    ...{ ...puback, topicId: 6, msgId: 77 },
  });
  // At QoS 2 there is more to acknowledge.
  told.answer({ ...then, qos: 2, msgId: 4 }, { ...now, qos: 2, msgId: 78 });
  assertEquals(told.say({ type: "PUBREC", msgId: 4 }), {
    ...{ type: "PUBREC", msgId: 78 },
  });
  told.answer({ type: "PUBREL", msgId: 4 }, { type: "PUBREL", msgId: 78 });
  assertEquals(told.say({ type: "PUBCOMP", msgId: 4 }), {
    ...{ type: "PUBCOMP", msgId: 78 },
  });
  // What it has opened itself has its own msgId.
  assertEquals(told.say({ type: "PUBREL", msgId: 4 }), {
    ...{ type: "PUBREL", msgId: 4 },
  });
  // For what did not come now it says what it said then.
  told.missing({ ...then, msgId: 5, data: encodeUtf8("off") });
  assertEquals(told.say({ ...puback, msgId: 5 }), {
    ...{ ...puback, topicId: 6, msgId: 5 },
  });
  assertEquals(told.differing, ['-PUBLISH qos=1 "room/1" data="off"']);
});

Deno.test("ReplayMatch tells answers apart by all that a broker does not choose", () => {
  const topicName = "room/1";
  const ack = { topicId: 1, msgId: 7, returnCode: 0 };
  const pairs: readonly (readonly [MqttSnPacket, MqttSnPacket])[] = [
    [{ type: "PUBACK", ...ack }, { type: "PUBACK", ...ack, returnCode: 3 }],
    [{ type: "PUBACK", ...ack }, { type: "PUBACK", ...ack, msgId: 8 }],
    [{ type: "PUBREC", msgId: 1 }, { type: "PUBREC", msgId: 2 }],
    [{ type: "PUBCOMP", msgId: 1 }, { type: "PUBREC", msgId: 1 }],
    [
      { type: "SUBACK", qos: 1, ...ack },
      { type: "SUBACK", qos: 1, ...ack, topicId: 0 },
    ],
    [{ type: "SUBACK", qos: 1, ...ack }, { type: "SUBACK", qos: 2, ...ack }],
    [{ type: "REGACK", ...ack }, { type: "REGACK", ...ack, returnCode: 1 }],
    [
      { type: "REGISTER", topicId: 1, msgId: 1, topicName },
      { type: "REGISTER", topicId: 1, msgId: 1, topicName: "room/2" },
    ],
    [publish({}), publish({ qos: 2 })],
    [publish({}), publish({ retain: true })],
    [publish({}), publish({ dup: true })],
    [publish({}), publish({ data: encodeUtf8("off") })],
    [publish({}), publish({ topicIdType: "predefined" })],
    [{ type: "CONNACK", returnCode: 0 }, { type: "CONNACK", returnCode: 1 }],
    [
      { type: "DISCONNECT", duration: undefined },
      { type: "DISCONNECT", duration: 1 },
    ],
    [{ type: "PINGRESP" }, { type: "WILLMSGREQ" }],
  ];
  for (const [then, now] of pairs) {
    const told = new Told().connect();
    told.answer(then, now);
    assertEquals(told.differing.length, 2, `${then.type} ${told.differing}`);
  }
});

Deno.test("ReplayMatch.owed counts what is to come, and giveUp() what is not", () => {
  const told = new Told().connect();
  const pingresp = { type: "PINGRESP" } as const;
  told.missing(pingresp);
  told.missing(pingresp);
  assertEquals(told.owed, 2);
  told.surplus(pingresp);
  assertEquals(told.owed, 1);
  told.giveUp();
  assertEquals(told.owed, 0);
  // One comes late, and is not taken for the next.
  told.missing(pingresp);
  assertEquals(told.owed, 1);
  told.surplus(pingresp);
  assertEquals(told.owed, 0);
  told.surplus(pingresp);
  told.surplus(pingresp);
  assertEquals([told.owed, told.differing], [0, ["+PINGRESP"]]);
});

Deno.test("ReplayMatch leaves out what a broker tells of itself", () => {
  const told = new Told().connect();
  const topicName = "$SYS/broker/uptime";
  told.answer({ type: "REGISTER", topicId: 1, msgId: 1, topicName });
  told.say({ type: "REGACK", topicId: 1, msgId: 1, returnCode: 0 });
  told.missing(publish({ qos: 0, msgId: 0 }));
  told.surplus(publish({ qos: 0, msgId: 0, data: encodeUtf8("9") }));
  assertEquals([told.owed, told.differing], [0, []]);
});

Deno.test("ReplayMatch.translate() translates what is wrapped", () => {
  const match = new ReplayMatch();
  const wrap = (packet: MqttSnPacket) =>
    encodePacket({
      type: "ENCAPSULATED",
      radius: 1,
      wirelessNodeId: Uint8Array.of(1, 2, 3),
      message: encodePacket(packet),
    });
  const topicName = "room/1";
  match.translate(
    LAMP,
    wrap({ type: "REGISTER", topicId: 0, msgId: 3, topicName }),
  );
  const regack = { type: "REGACK", msgId: 3, returnCode: 0 } as const;
  match.expect(LAMP, wrap({ ...regack, topicId: 1 }), 2);
  match.handleAnswer(LAMP, wrap({ ...regack, topicId: 2 }));
  assertEquals(
    match.translate(LAMP, wrap(publish({}))),
    wrap(publish({ topicId: 2 })),
  );
  assertEquals(match.answers.map(({ name }) => name), [
    "127.0.0.1:1001/010203",
  ]);
});

Deno.test("ReplayMatch.translate() takes whatever was sent", () => {
  const random = seededRandom(5);
  const match = new ReplayMatch();
  for (let i = 0; i < 4_000; i++) {
    const bytes = Uint8Array.from(
      { length: Math.floor(random() * 12) },
      () => Math.floor(random() * 256),
    );
    if (bytes.length > 2 && i % 2 === 0) {
      bytes[0] = bytes.length;
      bytes[1] = Math.floor(random() * 0x1e);
    }
    assertEquals(match.translate(LAMP, bytes).length, bytes.length);
    match.expect(LAMP, bytes, i + 2);
    match.handleAnswer(LAMP, bytes);
  }
  assertEquals(match.owed, 0);
});

Deno.test("compare() finds the fewest lines that differ", () => {
  const answers = (text: string) =>
    [...text].map((text) => ({ text, line: undefined }));
  const lines = (one: string, other: string) =>
    compare(answers(one), answers(other))
      .map(({ sign, answer }) => sign + answer.text).join("");
  assertEquals(lines("", ""), "");
  assertEquals(lines("abc", "abc"), " a b c");
  assertEquals(lines("abc", ""), "-a-b-c");
  assertEquals(lines("", "ab"), "+a+b");
  assertEquals(lines("aab", "ab"), " a-a b");
  assertEquals(lines("abcde", "xbcye"), "-a+x b c-d+y e");
  const random = seededRandom(3);
  for (let i = 0; i < 300; i++) {
    const text = () =>
      Array.from(
        { length: Math.floor(random() * 12) },
        () => "abc"[Math.floor(random() * 3)],
      ).join("");
    const [one, other] = [text(), text()];
    const found = compare(answers(one), answers(other));
    const side = (sign: string) =>
      found.filter((line) => line.sign !== sign)
        .map(({ answer }) => answer.text).join("");
    assertEquals([side("+"), side("-")], [one, other]);
  }
});
