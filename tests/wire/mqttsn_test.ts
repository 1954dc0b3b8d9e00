import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertThrows,
} from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { LocalProtocolError, MalformedPacketError } from "../../base/errors.ts";
import { MAX_DATAGRAM } from "../../base/peer.ts";
import {
  decodePacket,
  encodePacket,
  requireRoom,
  shortTopicId,
  shortTopicName,
} from "../../wire/mqttsn.ts";
import { type MqttSnPacket, MSG_TYPE } from "../../wire/packets.ts";
import { octetsOf, VECTORS } from "../support/vectors.ts";

for (const vector of VECTORS) {
  const octets = octetsOf(vector);
  const { name, section, packet, longForm = false } = vector;

  Deno.test(`decodePacket() reads ${name} (§${section})`, () => {
    assertEquals(decodePacket(octets), packet);
  });

  Deno.test(`encodePacket() writes ${name} (§${section})`, () => {
    assertEquals(encodePacket(packet, { longForm }), octets);
  });
}

Deno.test("VECTORS holds every message", () => {
  assertEquals(
    [...new Set(VECTORS.map(({ packet }) => packet.type))].sort(),
    Object.keys(MSG_TYPE).sort(),
  );
});

Deno.test("decodePacket() reads every message in the long form of length too", () => {
  for (const { packet, name } of VECTORS) {
    if (packet.type === "ENCAPSULATED") continue;
    const octets = encodePacket(packet, { longForm: true });
    assertEquals(octets[0], 1, name);
    assertEquals(decodePacket(octets), packet, name);
  }
});

Deno.test("encodePacket() uses the long form from 256 octets on, never below", () => {
  for (const vector of VECTORS) {
    const octets = encodePacket(vector.packet);
    if (vector.packet.type === "ENCAPSULATED") continue;
    assertEquals(octets[0] === 1, octets.length > 255, vector.name);
  }
});

Deno.test("decodePacket() throws MalformedPacketError for every cut datagram", () => {
  for (const vector of VECTORS) {
    const octets = octetsOf(vector);
    const most = Math.min(octets.length, 400);
    for (let length = 0; length < most; length++) {
      assertThrows(
        () => decodePacket(octets.subarray(0, length)),
        MalformedPacketError,
        "Cannot read",
        `${vector.name}, ${length} octets`,
      );
    }
  }
});

Deno.test("decodePacket() throws MalformedPacketError for a tail, unless it is lenient", () => {
  for (const vector of VECTORS) {
    const octets = octetsOf(vector);
    if (octets.length >= MAX_DATAGRAM) continue;
    const longer = new Uint8Array([...octets, 0x2a]);
    assertThrows(() => decodePacket(longer), MalformedPacketError);
    if (vector.packet.type === "ENCAPSULATED") continue;
    assertEquals(decodePacket(longer, { lenient: true }), vector.packet);
  }
});

const MALFORMED: readonly (readonly [string, string, string])[] = [
  ["length 0", "00 16", "§5.2.1"],
  ["length 1 of one octet", "01", "§5.2.1"],
  ["the long form cut behind its first octet", "01 00", "§5.2.1"],
  ["the long form of three octets", "01 00 03", "§5.2.1"],
  ["the long form that declares less than its head", "01 00 03 16", "§5.2.1"],
  ["a length that is less than the datagram's", "02 16 00", "§5.2.1"],
  ["a length that is more than the datagram's", "03 16", "§5.2.1"],
  [
    "the short form that declares one octet less than a head",
    "00 00",
    "§5.2.1",
  ],
  ["the reserved type 03", "02 03", "§5.2.2"],
  ["the reserved type 11", "02 11", "§5.2.2"],
  ["the reserved type 19", "02 19", "§5.2.2"],
  ["the reserved type 1E", "02 1E", "§5.2.2"],
  ["the reserved type FF", "02 FF", "§5.2.2"],
  ["ADVERTISE with a field too many", "06 00 01 03 84 00", "§5.4.1"],
  ["SEARCHGW without radius", "02 01", "§5.4.2"],
  ["GWINFO without gateway", "02 02", "§5.4.3"],
  ["CONNECT without duration", "04 04 04 01", "§5.4.4"],
  ["CONNECT whose client id is no UTF-8", "07 04 04 01 00 3C FF", "§5.3"],
  ["CONNACK with a tail of its own", "04 05 00 00", "§5.4"],
  ["WILLTOPICREQ with a field", "03 06 00", "§5.4"],
  ["WILLTOPIC with flags and no topic", "03 07 30", "§5.4.7"],
  ["WILLTOPIC whose topic is no UTF-8", "04 07 30 C3", "§5.3"],
  ["REGISTER with an empty name", "06 0A 00 00 00 01", "§5.4.10"],
  ["REGISTER whose name is no UTF-8", "08 0A 00 00 00 01 61 80", "§5.3"],
  ["REGACK without return code", "06 0B 00 05 00 01", "§5.4.11"],
  ["PUBLISH without message id", "05 0C 20 00 01", "§5.4.12"],
  ["PUBACK with a field too many", "08 0D 00 01 00 02 00 00", "§5.4.13"],
  ["PUBREC with half a message id", "03 0F 00", "§5.4.14"],
  ["SUBSCRIBE with an empty name", "05 12 00 00 01", "§5.4.15"],
  ["SUBSCRIBE with half an id", "06 12 01 00 04 00", "§5.4.15"],
  [
    "SUBSCRIBE with a short name of three octets",
    "08 12 02 00 05 61 62 63",
    "§5.4.15",
  ],
  ["SUBACK without return code", "07 13 00 00 01 00 01", "§5.4.16"],
  ["UNSUBSCRIBE with an empty name", "05 14 00 00 03", "§5.4.17"],
  ["UNSUBACK with a field too many", "05 15 00 03 00", "§5.4.18"],
  ["PINGREQ whose client id is no UTF-8", "03 16 FF", "§5.3"],
  ["PINGRESP with a field", "03 17 00", "§5.4"],
  ["DISCONNECT with half a duration", "03 18 00", "§5.4.21"],
  ["WILLTOPICUPD with flags and no topic", "03 1A 30", "§5.4.7"],
  ["WILLTOPICRESP without return code", "02 1B", "§5.4"],
  ["encapsulation without node id", "03 FE 00 02 16", "§5.5"],
  ["encapsulation without message", "05 FE 00 01 02", "§5.5"],
  ["encapsulation of half a message", "05 FE 00 01 02 02", "§5.5"],
  ["encapsulation whose message ends early", "05 FE 00 01 02 02 16 00", "§5.5"],
  ["encapsulation whose message ends late", "05 FE 00 01 02 03 16", "§5.5"],
  [
    "encapsulation within encapsulation",
    "04 FE 00 01 04 FE 00 01 02 16",
    "§5.5",
  ],
  ["encapsulation with a long length", "01 00 07 FE 00 01 02 02 16", "§5.5"],
];

for (const [name, hex, section] of MALFORMED) {
  Deno.test(`decodePacket() throws MalformedPacketError for ${name}`, () => {
    const error = assertThrows(
      () => decodePacket(octetsOf({ hex })),
      MalformedPacketError,
      "Cannot read",
    );
    assert(
      (error as Error).message.includes(`MQTT-SN 1.2 ${section}`),
      String(error),
    );
  });
}

Deno.test("decodePacket() reads flags that a message does not use, and ignores them", () => {
  assertEquals(decodePacket(octetsOf({ hex: "08 04 F7 01 00 0A 63 31" })), {
    type: "CONNECT",
    will: false,
    cleanSession: true,
    protocolId: 1,
    duration: 10,
    clientId: "c1",
  });
  const suback = decodePacket(octetsOf({ hex: "08 13 3F 00 01 00 01 00" }));
  assertEquals(suback.type === "SUBACK" && suback.qos, 1);
});

Deno.test("decodePacket() reads what nobody may use, so that it can be refused", () => {
  const subscribe = decodePacket(octetsOf({ hex: "07 12 63 00 04 00 05" }));
  assertEquals(subscribe, {
    type: "SUBSCRIBE",
    dup: false,
    qos: -1,
    msgId: 4,
    topic: { topicIdType: "reserved" },
  });
  const publish = decodePacket(octetsOf({ hex: "07 0C 03 00 01 00 00" }));
  assertEquals(publish.type === "PUBLISH" && publish.topicIdType, "reserved");
});

Deno.test("decodePacket() keeps a byte order mark in a name", () => {
  const register = decodePacket(
    octetsOf({ hex: "0A 0A 00 00 00 01 EF BB BF 61" }),
  );
  assertEquals(register.type === "REGISTER" && register.topicName, "\ufeffa");
});

Deno.test("decodePacket() copies no payload", () => {
  const octets = octetsOf({ hex: "09 0C 20 00 01 00 02 68 69" });
  const packet = decodePacket(octets);
  assert(packet.type === "PUBLISH");
  assertEquals(packet.data.buffer, octets.buffer);
});

const UNWRITABLE: readonly (readonly [string, MqttSnPacket])[] = [
  ["gwId is 0 to 255", { type: "ADVERTISE", gwId: 256, duration: 1 }],
  ["duration is 0 to 65535", { type: "DISCONNECT", duration: 65_536 }],
  ["msgId is 0 to 65535", { type: "PUBREC", msgId: -1 }],
  ["msgId is 0 to 65535", { type: "PUBREC", msgId: 1.5 }],
  ["returnCode is 0 to 255", { type: "CONNACK", returnCode: NaN }],
  ["its topic name is empty", {
    type: "REGISTER",
    topicId: 0,
    msgId: 1,
    topicName: "",
  }],
  ["its topic name is empty", {
    type: "WILLTOPIC",
    will: { qos: 0, retain: false, topicName: "" },
  }],
  ["its topic id type is reserved", {
    type: "UNSUBSCRIBE",
    msgId: 1,
    topic: { topicIdType: "reserved" },
  }],
  ["65508 octets do not fit", {
    type: "WILLMSG",
    data: new Uint8Array(65_504),
  }],
  ["1 to 252 octets, not 0", {
    type: "ENCAPSULATED",
    radius: 0,
    wirelessNodeId: new Uint8Array(0),
    message: Uint8Array.of(2, 22),
  }],
  ["1 to 252 octets, not 253", {
    type: "ENCAPSULATED",
    radius: 0,
    wirelessNodeId: new Uint8Array(253),
    message: Uint8Array.of(2, 22),
  }],
  ["radius is 0 to 3", {
    type: "ENCAPSULATED",
    radius: 4,
    wirelessNodeId: new Uint8Array(1),
    message: Uint8Array.of(2, 22),
  }],
];

for (const [problem, packet] of UNWRITABLE) {
  Deno.test(`encodePacket() throws LocalProtocolError for ${packet.type}: ${problem}`, () => {
    assertThrows(() => encodePacket(packet), LocalProtocolError, problem);
  });
}

Deno.test("shortTopicId() takes names of exactly two octets", () => {
  assertEquals(shortTopicId("ab"), 0x6162);
  assertEquals(shortTopicId("é"), 0xc3a9);
  for (const name of ["", "a", "abc", "éa", "€"]) {
    assertEquals(shortTopicId(name), undefined, name);
  }
  assertEquals(shortTopicName(0xc3a9), "é");
  assertEquals(shortTopicName(0xc328), undefined);
});

Deno.test("decodePacket() gives a packet that encodePacket() writes again, or MalformedPacketError, for any octets", () => {
  const seed = 120_241_114;
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const whole = VECTORS.map(octetsOf).filter(({ length }) => length < 400);
  let packets = 0;
  for (let round = 0; round < 300_000; round++) {
    const datagram = below(5) === 0
      ? Uint8Array.from({ length: below(40) }, () => below(256))
      : whole[below(whole.length)]!.slice();
    for (let i = below(4); i > 0 && datagram.length > 0; i--) {
      datagram[below(datagram.length)] = below(256);
    }
    let packet: MqttSnPacket;
    try {
      packet = decodePacket(datagram);
    } catch (error) {
      assertInstanceOf(
        error,
        MalformedPacketError,
        `seed ${seed} round ${round}`,
      );
      continue;
    }
    packets++;
    if ("topic" in packet && packet.topic.topicIdType === "reserved") continue;
    if ("topicIdType" in packet && packet.topicIdType === "reserved") continue;
    assertEquals(
      decodePacket(encodePacket(packet)),
      packet,
      `seed ${seed} round ${round}`,
    );
  }
  assert(packets > 50_000, String(packets));
});

Deno.test("requireRoom() takes what fits a datagram of UDP", () => {
  for (const data of [0, 253, 254, 65_503]) requireRoom("WILLMSG", data);
  assertThrows(() => requireRoom("WILLMSG", 65_504), LocalProtocolError);
  encodePacket({ type: "WILLMSG", data: new Uint8Array(65_503) });
  assertThrows(() =>
    encodePacket({ type: "WILLMSG", data: new Uint8Array(65_504) })
  );
});
