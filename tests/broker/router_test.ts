import { assert, assertEquals } from "@std/assert";
import { decodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { MAX_DATAGRAM } from "../../base/peer.ts";
import {
  answerAll,
  GatewayBench,
  octets,
  packetsTo,
  publishOf,
  subscribedId,
  textOf,
} from "../support/gateway.ts";
import { ANN, BOB, CYD, FAR, RouterBench } from "../support/router.ts";

const ACCEPTED = "Broker has recieved message";
const CONNECT = "07 04 04 01 00 00 61";

/** A classic publish of so many octets, with something after the first brace. */
function jsonOf(length: number, after = "", topic = "t"): string {
  const head = `{${after}"type":"publish","topic":"${topic}","data":"`;
  return head + "x".repeat(length - head.length - 2) + '"}';
}

/** A router that is spoken to in text and in hexadecimal, and what it sent. */
class MixedBench extends RouterBench {
  /** Takes octets in hexadecimal; gives what was sent, in hexadecimal too. */
  hex(peer: typeof ANN, datagram: string): string[] {
    const sent: string[] = [];
    const bytes = octets(datagram);
    this.router.handleDatagram(this.clock.now(), peer, bytes);
    for (let effect; (effect = this.router.pollEffect()) !== undefined;) {
      if (effect.type === "send") sent.push(effect.bytes.toHex());
    }
    return sent;
  }

  /** MQTT-SN messages received. */
  get messages(): number {
    const { receivedByType } = this.router.stats().mqttsn;
    return Object.values(receivedByType).reduce((sum, n) => sum + n, 0);
  }
}

function hexOf(text: string): string {
  return new TextEncoder().encode(text).toHex();
}

// Telling the protocols apart

Deno.test("Router takes JSON of any length for JSON, 123 octets too", () => {
  const bench = new MixedBench();
  for (let length = 100; length <= 300; length++) {
    const json = jsonOf(length);
    assertEquals(json.length, length);
    assertEquals(bench.take(ANN, json), [[ANN.key, ACCEPTED]]);
  }
  assertEquals([bench.stats().published, bench.messages], [201, 0]);
});

for (
  const [name, space] of [
    ["a space", " "],
    ["a tab, the code of WILLMSG", "\t"],
    ["a line feed, the code of REGISTER", "\n"],
    ["a carriage return, the code of PUBACK", "\r"],
    ["several of them", "\n \t "],
  ] as const
) {
  Deno.test(`Router takes JSON of 123 octets with ${name} after the brace from an unknown peer for JSON`, () => {
    const bench = new MixedBench();
    const json = jsonOf(123, space);
    assertEquals(json.length, 123);
    assertEquals(bench.take(FAR, json), [[FAR.key, ACCEPTED]]);
    assertEquals([bench.stats().published, bench.messages], [1, 0]);
  });
}

Deno.test("Router takes JSON with a tab after the brace for WILLMSG from a peer asked for it", () => {
  const bench = new MixedBench();
  assertEquals(bench.hex(ANN, "07 04 0C 01 00 0A 61"), ["0206"]);
  assertEquals(bench.hex(ANN, "06 07 00 61 2F 77"), ["0208"]);
  const json = jsonOf(123, "\t");
  assertEquals(bench.hex(ANN, hexOf(json)), ["030500"]);
  assertEquals([bench.stats().published, bench.stats().topics], [0, 0]);
  // It is the will, all of it behind length and type.
  bench.subscribe(BOB, "a/w");
  assertEquals(bench.advance(15_000), [[BOB.key, json.slice(2)]]);
});

Deno.test("Router takes what looks like WILLMSG and is no JSON for WILLMSG", () => {
  const bench = new MixedBench();
  assertEquals(bench.hex(FAR, "7B 09" + "78".repeat(121)), ["0218"]);
  assertEquals(bench.messages, 1);
});

Deno.test("Router answers JSON from a peer that is connected by MQTT-SN in text", () => {
  const bench = new MixedBench();
  assertEquals(bench.hex(ANN, CONNECT), ["030500"]);
  for (const length of [100, 122, 123, 124, 255, 300]) {
    assertEquals(bench.take(ANN, jsonOf(length)), [[ANN.key, ACCEPTED]]);
  }
  assertEquals(bench.take(ANN, "{}"), [[ANN.key, "Invalid request provided"]]);
  assertEquals(bench.messages, 1);
  assertEquals(bench.hex(ANN, "02 16"), ["0217"]);
});

// A client's REGISTER has the topic id 0000, and PUBACK has 7 octets: neither
// can be JSON, whoever sends it.
for (const [name, space] of [["line feed", "\n"], ["carriage return", "\r"]]) {
  Deno.test(`Router takes JSON of 123 octets with a ${name} after the brace from a connected peer for JSON`, () => {
    const bench = new MixedBench();
    bench.hex(ANN, CONNECT);
    assertEquals(bench.take(ANN, jsonOf(123, space)), [[ANN.key, ACCEPTED]]);
    assertEquals([bench.stats().published, bench.messages], [1, 1]);
  });
}

const BEGIN_WITH_7B: readonly (readonly [string, string, string[]])[] = [
  ["CONNECT", "7B 04 04 01 00 00" + "61".repeat(117), ["030500"]],
  [
    "REGISTER",
    "7B 0A 00 00 00 01" + "61".repeat(117),
    ["070b0001000100"],
  ],
  ["SUBSCRIBE", "7B 12 00 00 01" + "61".repeat(118), ["0813000001000100"]],
  [
    "PUBLISH of QoS 1 to a short name",
    "7B 0C 22 61 62 00 09" + "78".repeat(116),
    ["070d6162000900"],
  ],
  [
    "PUBLISH whose data are JSON",
    "7B 0C 22 61 62 00 09" + hexOf(jsonOf(116)),
    ["070d6162000900"],
  ],
  ["WILLMSGUPD", "7B 1C" + "78".repeat(121), ["031d00"]],
  ["WILLTOPICUPD", "7B 1A 00" + "78".repeat(120), ["031b00"]],
];

for (const [name, hex, answer] of BEGIN_WITH_7B) {
  Deno.test(`Router reads a ${name} of 123 octets, which begins with 7B, as MQTT-SN`, () => {
    const bench = new MixedBench();
    bench.hex(ANN, CONNECT);
    assertEquals(bench.hex(ANN, hex), answer);
    assertEquals(bench.stats().dropped.malformed, 0);
  });
}

Deno.test("Router reads QoS −1 of 123 octets, which begins with 7B, from anyone", () => {
  const bench = new MixedBench();
  bench.subscribe(BOB, "ab");
  const data = "x".repeat(116);
  const hex = "7B 0C 62 61 62 00 00" + hexOf(data);
  assertEquals(bench.hex(FAR, hex), [hexOf(data)]);
  assertEquals(bench.router.stats().mqttsn.qosMinusOne, 1);
});

for (
  const [name, hex] of [
    ["text", hexOf("hello")],
    ["a length of 0", "00 16"],
    ["a single octet", "02"],
    ["a reserved type", "02 03"],
    ["another reserved type", "02 11"],
    ["type FF", "02 FF"],
    ["a length beyond the datagram", "03 16"],
    ["a length short of the datagram", "02 16 00"],
    ["a long length of no more than itself", "01 00 03"],
    ["a long length cut off", "01 00"],
    ["a long length beyond the datagram", "01 00 05 16"],
    ["PUBACK of 8 octets", "08 0D 00 01 00 02 00 00"],
    ["CONNECT without a client id's field", "05 04 04 01 00"],
    ["a client id that is not UTF-8", "08 04 04 01 00 00 C3 28"],
    ["an encapsulated message within another", "04 FE 00 01 04 FE 00 02 02 16"],
    ["encapsulation without a node's id", "03 FE 00 02 16"],
    ["half of JSON", hexOf(jsonOf(123).slice(0, -1))],
  ] as const
) {
  Deno.test(`Router drops and counts ${name}`, () => {
    const bench = new MixedBench();
    assertEquals(bench.hex(FAR, hex), []);
    const { dropped, sent, received } = bench.stats();
    assertEquals([dropped.malformed, sent, received], [1, 0, 1]);
    assertEquals(bench.messages, 0);
    // And it lives on.
    assertEquals(bench.hex(FAR, CONNECT), ["030500"]);
  });
}

Deno.test("Router ignores octets behind a message when it is told to, never those that are missing", () => {
  const bench = new GatewayBench({ ignoreTail: true });
  bench.take(ANN, `${CONNECT} 00 00`);
  assertEquals(bench.wire, ["030500"]);
  bench.take(ANN, "02 16 FF");
  assertEquals(bench.wire, ["0217"]);
  assertEquals(bench.take(ANN, "03 16"), []);
  assertEquals(bench.router.stats().dropped.malformed, 1);
});

Deno.test("Router takes JSON for JSON also when octets behind a message are ignored", () => {
  const bench = new RouterBench({ ignoreTail: true });
  for (const space of ["", " ", "\t", "\n", "\r"]) {
    for (const length of [123, 124, 500]) {
      assertEquals(bench.take(FAR, jsonOf(length, space)), [
        [FAR.key, ACCEPTED],
      ]);
    }
  }
});

// One broker for both

Deno.test("Router hands a classic publish to the subscribers of MQTT-SN at QoS 0", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "t", 2));
  bench.router.handleDatagram(
    bench.clock.now(),
    BOB,
    new TextEncoder().encode(
      '{"type":"publish","topic":" t ","data":"21.5 °C"}',
    ),
  );
  const sent: [string, string][] = [];
  for (let effect; (effect = bench.router.pollEffect()) !== undefined;) {
    if (effect.type !== "send") continue;
    const { key } = effect.peer;
    const isText = key === BOB.key;
    const bytes = effect.bytes;
    sent.push([
      key,
      isText ? new TextDecoder().decode(bytes) : textOf(decodePacket(bytes)),
    ]);
    if (isText) continue;
    assertEquals(decodePacket(bytes), publishOf(topicId, "21.5 °C"));
  }
  // The publisher's acknowledgement goes first.
  assertEquals(sent, [[BOB.key, ACCEPTED], [ANN.key, "21.5 °C"]]);
  assertEquals(bench.stats.retained, 0);
  assertEquals(bench.router.stats().published, 1);
});

Deno.test("Router enters a publish of MQTT-SN in the classic history, and serves who waits", () => {
  const bench = new MixedBench();
  bench.subscribe(BOB, "ab");
  bench.hex(ANN, CONNECT);
  const sent = bench.hex(ANN, "08 0C 22 61 62 00 02 78");
  // The acknowledgement first, then the history.
  assertEquals(sent, ["070d6162000200", "78"]);
  bench.hex(FAR, "08 0C 62 61 62 00 00 79");
  assertEquals(bench.subscribe(CYD, "ab"), [[CYD.key, "x\ny"]]);
  assertEquals(bench.stats().waiting, 0);
});

Deno.test("Router without a history serves who waits with what MQTT-SN publishes, as text", () => {
  const bench = new MixedBench({ history: 0 });
  bench.hex(ANN, CONNECT);
  bench.hex(ANN, "08 0C 62 61 62 00 00 79"); // nobody waits yet
  assertEquals(bench.subscribe(BOB, "ab"), []);
  bench.hex(ANN, "08 0C 62 63 64 00 00 79"); // nobody waits for "cd"
  const octets = "09 0C 22 61 62 00 02 78 FF";
  assertEquals(bench.hex(ANN, octets), ["070d6162000200", hexOf("x\ufffd")]);
  assertEquals(bench.hex(ANN, octets), ["070d6162000200"], "it was one answer");
  assertEquals(bench.stats().topics, 0);
});

Deno.test("Router lets one peer speak both protocols, each answered in its own", () => {
  const bench = new MixedBench();
  assertEquals(bench.subscribe(ANN, "t"), []);
  assertEquals(bench.hex(ANN, CONNECT), ["030500"]);
  assertEquals(bench.hex(ANN, "06 12 00 00 01 74"), ["0813000001000100"]);
  const publish = hexOf('{"type":"publish","topic":"t","data":"x"}');
  assertEquals(bench.hex(ANN, publish), [
    hexOf(ACCEPTED),
    hexOf("x"), // the classic subscription that waited
    "080c000001000078", // and that of MQTT-SN
  ]);
  assertEquals(bench.hex(ANN, "08 0C 00 00 01 00 00 79"), [
    "080c000001000079",
  ]);
  assertEquals(bench.subscribe(ANN, "t"), [[ANN.key, "x\ny"]]);
});

Deno.test("Router publishes a will to both protocols", () => {
  const bench = new MixedBench();
  bench.subscribe(BOB, "a/w");
  bench.hex(ANN, "07 04 0C 01 00 0A 61");
  bench.hex(ANN, "06 07 30 61 2F 77");
  bench.hex(ANN, "05 09 62 79 65");
  assertEquals(bench.advance(15_000), [[BOB.key, "bye"]]);
});

Deno.test("Router hands on no retained message twice, and the classic history forgets none", () => {
  const bench = new MixedBench();
  bench.hex(ANN, CONNECT);
  bench.hex(ANN, "08 0C 12 61 62 00 00 78");
  bench.hex(ANN, "07 0C 12 61 62 00 00"); // retain nothing any more
  assertEquals(bench.router.stats().mqttsn.retained, 0);
  assertEquals(bench.subscribe(BOB, "ab"), [[BOB.key, "x"]]);
});

// What cannot cross

for (
  const [name, topic] of [
    ["with a wildcard +", "room/+"],
    ["with a wildcard #", "room/#"],
    ["that is a wildcard alone", "#"],
    ["with U+0000 in it", "room/\\u0000"],
    ["of too many levels", "/".repeat(500)],
    ["of the broker's own", "$SYS/broker/uptime"],
    ["that is $SYS itself", "$SYS"],
  ] as const
) {
  Deno.test(`Router keeps a classic topic ${name} from the subscribers of MQTT-SN`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    bench.subscribe(ANN, "#", 2);
    const filters = ["room/+", "$SYS", "$SYS/broker/uptime"];
    for (const filter of filters) bench.subscribe(ANN, filter, 2);
    const classic = `{"type":"publish","topic":"${topic}","data":"x"}`;
    const sent: string[] = [];
    bench.router.handleDatagram(0, BOB, new TextEncoder().encode(classic));
    for (let effect; (effect = bench.router.pollEffect()) !== undefined;) {
      if (effect.type === "send") sent.push(effect.peer.key);
    }
    assertEquals(sent, [BOB.key]); // it is accepted all the same
    assertEquals(bench.router.stats().classic.topics, 1);
    assertEquals(bench.stats.queued, 0);
  });
}

Deno.test("Router keeps a topic of MQTT-SN that the classic protocol would trim from its history", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (const name of [" t", "t ", "\tt", " ", "t\n"]) {
    const id = bench.register(ANN, name);
    assertEquals(bench.publish(ANN, { id }, "x"), []);
  }
  assertEquals(bench.router.stats().classic.topics, 0);
  const id = bench.register(ANN, "t t");
  bench.publish(ANN, { id }, "x");
  assertEquals(bench.router.stats().classic.topics, 1);
});

for (const [name, data] of [["empty", ""], ["blank", " \n"]] as const) {
  Deno.test(`Router keeps ${name} data of MQTT-SN from the classic history, from nobody else`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    const topicId = subscribedId(bench.subscribe(ANN, "ab"));
    assertEquals(bench.publish(BOB, { short: "ab" }, data, { qos: -1 }), [
      [ANN.key, publishOf(topicId, data)],
    ]);
    assertEquals(bench.router.stats().classic.topics, 0);
  });
}

Deno.test("Router shows binary data to the classic protocol as text, to MQTT-SN as they are", () => {
  const bench = new MixedBench();
  bench.hex(ANN, CONNECT);
  bench.hex(ANN, "07 12 02 00 01 61 62");
  bench.subscribe(BOB, "ab");
  assertEquals(bench.hex(FAR, "0C 0C 62 61 62 00 00 00 C3 28 FF 78"), [
    "0c0c026162000000c328ff78",
    hexOf("\0\ufffd(\ufffdx"),
  ]);
});

Deno.test("Router keeps data that are no text and too long as such from the classic history", () => {
  const bench = new MixedBench();
  bench.hex(ANN, CONNECT);
  bench.hex(ANN, "07 12 02 00 01 61 62");
  // Each octet becomes three as text.
  const publish = (size: number) =>
    "01" + (size + 9).toString(16).padStart(4, "0") + "0C 62 61 62 00 00" +
    "FF".repeat(size);
  const most = Math.floor(MAX_DATAGRAM / 3);
  assertEquals(bench.hex(FAR, publish(most)).length, 1);
  assertEquals(bench.stats().topics, 1);
  const other = new MixedBench();
  assertEquals(other.hex(FAR, publish(most + 1)), []);
  assertEquals(other.stats().topics, 0);
  assertEquals(other.router.stats().mqttsn.published, 1);
});

Deno.test("Router takes the longest PUBLISH that UDP carries across to both", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  const data = "x".repeat(MAX_DATAGRAM - 9);
  const sent = bench.publish(BOB, { short: "ab" }, data, { qos: -1 });
  assertEquals(packetsTo(ANN, sent).map(textOf), [data]);
  assertEquals(bench.wire[0]!.length / 2, MAX_DATAGRAM);
  assertEquals(bench.router.stats().classic.topics, 1);
});

Deno.test("Router counts a classic publish that is too long for a subscriber of MQTT-SN", () => {
  const bench = new RouterBench({ maxPacket: 64 });
  const connected = new TextEncoder().encode("\x07\x04\x04\x01\x00\x00a");
  bench.take(ANN, connected);
  bench.take(ANN, octets("06 12 20 00 01 74"));
  const [answer, ...more] = bench.publish(BOB, "t", "x".repeat(58));
  assertEquals([answer, more], [[BOB.key, ACCEPTED], []]);
  assertEquals(bench.router.stats().mqttsn.lost.tooLong, 1);
});

Deno.test("Router charges a classic source for what MQTT-SN publishes to it", () => {
  const bench = new MixedBench({ allowance: 100, allowanceRate: 1_000 });
  for (let i = 0; i < 3; i++) bench.subscribe(FAR, "ab");
  const size = 200;
  const hex =
    `01 ${(size + 9).toString(16).padStart(4, "0")} 0C 62 61 62 00 00` +
    "78".repeat(size);
  assertEquals(bench.hex(ANN, hex).length, 1);
  assertEquals(bench.stats().held, 2);
});

// The broker's own topics

/** What a client is told of topics, by name, with Retain as a mark. */
class Reader {
  readonly bench: GatewayBench;
  readonly #names = new Map<number, string>();

  constructor(bench: GatewayBench) {
    this.bench = bench;
  }

  /** Answers all, and gives what is told: name, value, and whether retained. */
  read(sent: ReturnType<GatewayBench["take"]>): [string, string, boolean][] {
    const told: [string, string, boolean][] = [];
    for (const packet of answerAll(this.bench, ANN, sent)) {
      this.#note(packet, told);
    }
    return told;
  }

  #note(packet: MqttSnPacket, told: [string, string, boolean][]): void {
    if (packet.type === "REGISTER") {
      this.#names.set(packet.topicId, packet.topicName);
    }
    if (packet.type !== "PUBLISH") return;
    const name = this.#names.get(packet.topicId) ?? `${packet.topicId}`;
    told.push([name, textOf(packet), packet.retain]);
  }
}

Deno.test("$SYS costs nothing as long as nobody subscribes to it", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "#");
  bench.subscribe(ANN, "+/broker/uptime");
  assertEquals(bench.router.nextTimeout(), undefined);
  assertEquals(bench.run(60_000), []);
  assertEquals(bench.stats.retained, 0);
});

Deno.test("$SYS is told at once as retained, then every second", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.advance(5_500);
  const sent = bench.subscribe(ANN, "$SYS/broker/uptime");
  const topicId = subscribedId(sent);
  assertEquals(packetsTo(ANN, sent).slice(1), [
    publishOf(topicId, "5 seconds", { retain: true }),
  ]);
  assertEquals(bench.advance(999), []);
  for (let seconds = 6; seconds < 10; seconds++) {
    assertEquals(bench.advance(seconds === 6 ? 1 : 1_000), [
      [ANN.key, publishOf(topicId, `${seconds} seconds`)],
    ]);
  }
});

Deno.test("$SYS is told again only where something has changed", () => {
  const bench = new GatewayBench({ version: "9.9.9" });
  bench.connect(ANN, "ann");
  const told = packetsTo(ANN, bench.subscribe(ANN, "$SYS/broker/version"));
  assertEquals(told.slice(1).map(textOf), ["mock-mqtt 9.9.9"]);
  bench.subscribe(ANN, "$SYS/broker/clients/total");
  assertEquals(bench.run(10_000), []);
  bench.connect(BOB, "bob");
  assertEquals(packetsTo(ANN, bench.run(10_000)).map(textOf), ["2"]);
});

Deno.test("$SYS tells a filter every topic once, and what they say agrees with the counters", () => {
  const bench = new GatewayBench();
  const reader = new Reader(bench);
  bench.connect(ANN, "ann");
  bench.take(BOB, "02 03"); // dropped
  const told = reader.read(bench.subscribe(ANN, "$SYS/#"));
  assert(told.every(([, , retain]) => retain));
  assertEquals(new Set(told.map(([name]) => name)).size, told.length);
  const value = new Map(told.map(([name, value]) => [name, value]));
  assertEquals(value.get("$SYS/broker/clients/by state/active"), "1");
  assertEquals(value.get("$SYS/broker/datagrams/dropped by/malformed"), "1");
  assertEquals(value.get("$SYS/broker/subscriptions/count"), "1");
  const later = reader.read(bench.run(1_000));
  assert(later.length > 0 && later.length < told.length);
  assert(later.every(([, , retain]) => !retain));
});

Deno.test("$SYS tells how much was published, and sent to subscribers", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  for (const peer of [ANN, BOB]) bench.subscribe(peer, "ab");
  bench.publish(CYD, { short: "ab" }, "hello", { qos: -1 });
  const { published, publishedOctets, delivered, deliveredOctets } =
    bench.stats;
  assertEquals([published, publishedOctets], [1, 5]);
  assertEquals([delivered, deliveredOctets], [2, 10]);
  // The answer to the first question is one octet more.
  for (const [name, octets] of [["received", "5"], ["sent", "11"]] as const) {
    const topic = `$SYS/broker/publish/bytes/${name}`;
    const sent = bench.subscribe(ANN, topic);
    assertEquals(sent.slice(1).map(([, packet]) => textOf(packet)), [octets]);
    bench.unsubscribe(ANN, topic);
    bench.run(2_000);
  }
});

Deno.test("$SYS tells a second subscriber the values at once as well", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(CYD, "cyd");
  bench.subscribe(ANN, "$SYS/broker/uptime");
  bench.run(3_500);
  const sent = bench.subscribe(CYD, "$SYS/broker/uptime");
  assertEquals(packetsTo(CYD, sent).slice(1).map(textOf), ["3 seconds"]);
  assertEquals(packetsTo(ANN, sent), []);
});

for (
  const [how, leave] of [
    [
      "unsubscribes",
      (bench: GatewayBench) => bench.unsubscribe(ANN, "$SYS/broker/uptime"),
    ],
    ["disconnects", (bench: GatewayBench) => bench.take(ANN, "02 18")],
    ["is lost", (bench: GatewayBench) => bench.advance(0)],
  ] as const
) {
  Deno.test(`$SYS leaves nothing behind when its last subscriber ${how}`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann", { duration: 10 });
    bench.subscribe(ANN, "$SYS/broker/uptime");
    assertEquals(bench.stats.retained, 0, "it takes nobody's place");
    leave(bench);
    bench.run(20_000);
    assertEquals(bench.stats.subscriptions, 0);
    assertEquals([bench.stats.retained, bench.stats.retainedMemory], [0, 0]);
    assertEquals(bench.router.nextTimeout(), undefined);
    assertEquals(bench.stats.published, 0);
    // Whoever comes next gets what is true then.
    bench.connect(BOB, "bob");
    const sent = bench.subscribe(BOB, "$SYS/broker/uptime");
    assertEquals(packetsTo(BOB, sent).slice(1).map(textOf), ["20 seconds"]);
  });
}

Deno.test("$SYS tells its first values also where nothing else can be retained", () => {
  const bench = new GatewayBench({ maxRetained: 0, version: "1.2.3" });
  bench.connect(ANN, "ann");
  const sent = bench.subscribe(ANN, "$SYS/broker/version");
  assertEquals(sent.slice(1).map(([, packet]) => textOf(packet)), [
    "mock-mqtt 1.2.3",
  ]);
});

Deno.test("Router keeps other topics that begin with $ to the protocol they are of", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "$a"));
  assertEquals(bench.publish(ANN, { id: topicId }, "x"), [
    [ANN.key, publishOf(topicId, "x")],
  ]);
  assertEquals(bench.router.stats().classic.topics, 0);
});

Deno.test("$SYS shows to no filter that begins with a wildcard", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (const filter of ["#", "+/#", "+/broker/uptime", "/#"]) {
    assertEquals(bench.subscribe(ANN, filter).length, 1);
  }
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "$SYS/broker/uptime");
  const sent = bench.run(5_000);
  assertEquals([packetsTo(ANN, sent), packetsTo(CYD, sent).length], [[], 5]);
  // Nor what is retained of it.
  assertEquals(bench.subscribe(ANN, "#", 1, 201).length, 1);
});

Deno.test("$SYS does not enter the classic history", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "$SYS/#");
  bench.run(5_000);
  assertEquals(bench.router.stats().classic.topics, 0);
});

for (const qos of [0, 1, 2] as const) {
  Deno.test(`$SYS refuses a PUBLISH of QoS ${qos} with 03`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    bench.subscribe(ANN, "$SYS/mine");
    for (const name of ["$SYS/mine", "$SYS", "$SYS/broker/uptime"]) {
      const id = bench.register(ANN, name);
      const msgId = qos === 0 ? 0 : 7;
      assertEquals(
        bench.publish(ANN, { id }, "x", { qos, msgId, retain: true }),
        [
          [ANN.key, { type: "PUBACK", topicId: id, msgId, returnCode: 3 }],
        ],
      );
    }
    const { refused, published } = bench.stats;
    assertEquals([refused.system, published], [3, 0]);
    assertEquals(bench.router.stats().classic.topics, 0);
  });
}

Deno.test("$SYS is not published to without a connection", () => {
  const bench = new GatewayBench({ predefined: new Map([[5, "$SYS/mine"]]) });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { predefined: 5 });
  assertEquals(bench.publish(FAR, { predefined: 5 }, "x", { qos: -1 }), []);
  assertEquals(bench.router.stats().dropped.qosMinusOne, 1);
});

Deno.test("$SYS takes no will, neither at CONNECT nor later", () => {
  const topicName = "$SYS/broker/version";
  const will = { qos: 0, retain: true, topicName } as const;
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, { type: "WILLTOPICUPD", will }), [
    [ANN.key, { type: "WILLTOPICRESP", returnCode: 3 }],
  ]);
  bench.connect(BOB, "bob", { will: true });
  assertEquals(bench.take(BOB, { type: "WILLTOPIC", will }), [
    [BOB.key, { type: "CONNACK", returnCode: 3 }],
  ]);
});

Deno.test("$SYSTEM and other topics that begin with $ are not the broker's own", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const id = subscribedId(bench.subscribe(ANN, "$SYSTEM/x"));
  assertEquals(bench.publish(ANN, { id }, "x"), [[
    ANN.key,
    publishOf(id, "x"),
  ]]);
  assertEquals(bench.router.nextTimeout(), undefined);
});
