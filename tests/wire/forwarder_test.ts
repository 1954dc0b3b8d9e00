/**
 * Clients behind a forwarder (§5.5, E1 to E5): by the functions, and through the
 * router.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  isNodePeer,
  nodePeerOf,
  wrapFor,
  wrappingOf,
} from "../../wire/forwarder.ts";
import { LocalProtocolError } from "../../base/errors.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import type { RouterOptions } from "../../broker/options.ts";
import {
  GatewayBench,
  GOODBYE,
  octets,
  PONG,
  puback,
  type SentPacket,
} from "../support/gateway.ts";
import { BOB, FAR } from "../support/router.ts";

// The functions

Deno.test("nodePeerOf() gives each node a key of its own, and the forwarder's address", () => {
  const wirelessNodeId = octets("01 02");
  const one = nodePeerOf(FAR, { wirelessNodeId });
  assertEquals([one.hostname, one.port], [FAR.hostname, FAR.port]);
  const keys = new Set([FAR.key, BOB.key, one.key]);
  for (const id of ["02 01", "01", "01 02 00", "00 01 02", "12"]) {
    keys.add(nodePeerOf(FAR, { wirelessNodeId: octets(id) }).key);
  }
  keys.add(nodePeerOf(BOB, { wirelessNodeId }).key);
  assertEquals(keys.size, 9);
  assertEquals(nodePeerOf(FAR, { wirelessNodeId: octets("01 02") }), one);
});

Deno.test("nodePeerOf() keeps octets of its own", () => {
  const wirelessNodeId = octets("01 02");
  const node = nodePeerOf(FAR, { wirelessNodeId });
  wirelessNodeId.fill(0xff);
  assertEquals(node.wirelessNodeId, octets("01 02"));
});

Deno.test("isNodePeer() and wrappingOf() tell nodes from others", () => {
  const node = nodePeerOf(FAR, { wirelessNodeId: octets("01 02 03") });
  assert(isNodePeer(node));
  assertFalse(isNodePeer(FAR));
  assertEquals([wrappingOf(node), wrappingOf(FAR)], [6, 0]);
});

Deno.test("wrapFor() wraps for nodes alone, and with a header's length (E1, E2)", () => {
  const node = nodePeerOf(FAR, { wirelessNodeId: octets("01 02") });
  const message = octets("02 17");
  assertEquals(wrapFor(node, message), octets("05 FE 00 01 02 02 17"));
  assertEquals(wrapFor(FAR, message), message);
});

Deno.test("wrapFor() wraps what has a long length by a short header", () => {
  const node = nodePeerOf(FAR, { wirelessNodeId: new Uint8Array(252) });
  const message = encodePacket({
    type: "WILLMSG",
    data: new Uint8Array(300),
  });
  const wrapped = wrapFor(node, message);
  assertEquals(wrapped.length, 255 + 304);
  assertEquals([wrapped[0], wrapped[1]], [255, 0xfe]);
  assertEquals(wrapped.subarray(255), message);
});

// Through the router

const NODE = octets("01 02");
const OTHER = octets("03");

function wrap(
  node: Uint8Array,
  packet: MqttSnPacket | Uint8Array,
): MqttSnPacket {
  return {
    type: "ENCAPSULATED",
    radius: 0,
    wirelessNodeId: node,
    message: packet instanceof Uint8Array ? packet : encodePacket(packet),
  };
}

/** Where a message of a client goes that is behind the forwarder, or is it. */
type Place = Uint8Array | undefined;

/** A forwarder, and what it passes on; a packet is sent to a node or to itself. */
class ForwarderBench extends GatewayBench {
  /** Passes a packet on; gives to whom what is sent, unwrapped. */
  from(place: Place, packet: MqttSnPacket | string) {
    const bytes = typeof packet === "string"
      ? octets(packet)
      : encodePacket(packet);
    return unwrap(
      this.take(FAR, place === undefined ? bytes : wrap(place, bytes)),
    );
  }

  connectAt(place: Place, clientId: string, duration = 0) {
    return this.from(place, {
      type: "CONNECT",
      will: false,
      cleanSession: true,
      protocolId: 1,
      duration,
      clientId,
    });
  }

  subscribeAt(place: Place, topicName: string, qos: 0 | 1 = 0) {
    return this.from(place, {
      type: "SUBSCRIBE",
      dup: false,
      qos,
      msgId: 1,
      topic: { topicIdType: "normal", topicName },
    });
  }
}

/** `peer`, or `peer/node` if it is wrapped, and the type of each packet. */
function unwrap(sent: readonly SentPacket[]): string[] {
  return sent.map(([to, packet]) => {
    if (packet.type !== "ENCAPSULATED") return `${to} ${packet.type}`;
    assertEquals(packet.radius, 0);
    const inner = decodePacket(packet.message);
    assert(to.endsWith(`/${packet.wirelessNodeId.toHex()}`));
    return `${to} ${inner.type}`;
  });
}

function at(place: Place, type: string, forwarder: Peer = FAR): string {
  const node = place === undefined ? "" : `/${place.toHex()}`;
  return `${forwarder.key}${node} ${type}`;
}

/** Two nodes of a forwarder, and the forwarder itself, each connected. */
function begin(options: RouterOptions = {}) {
  const bench = new ForwarderBench(options);
  assertEquals(bench.connectAt(NODE, "node"), [at(NODE, "CONNACK")]);
  assertEquals(bench.connectAt(OTHER, "other"), [at(OTHER, "CONNACK")]);
  assertEquals(bench.connectAt(undefined, "self"), [at(undefined, "CONNACK")]);
  return bench;
}

const PLACES = [NODE, OTHER, undefined] as const;

Deno.test("E1 the golden encapsulation: PINGREQ of a node, answered with a wrapped PINGRESP", () => {
  const bench = begin();
  bench.take(FAR, "05 FE 00 01 02 02 16");
  assertEquals(bench.wire, ["05fe0001020217"]);
  const { receivedByType } = bench.stats;
  assertEquals([receivedByType.ENCAPSULATED, receivedByType.PINGREQ], [3, 1]);
});

Deno.test("E1 the inner message ends where the datagram does", () => {
  for (const ignoreTail of [false, true]) {
    const bench = begin({ ignoreTail });
    for (
      const hex of [
        "05 FE 00 01 02 02 16 00", // a tail
        "05 FE 00 01 02 03 16", // too short
        "05 FE 00 01 02 02", // no type
        "05 FE 00 01 02", // nothing
      ]
    ) {
      assertEquals(bench.take(FAR, hex), [], hex);
    }
    const { dropped } = bench.router.stats();
    assertEquals(dropped.malformed, 4);
  }
});

Deno.test("E1 an inner message may have the long form", () => {
  const bench = begin();
  bench.take(FAR, "05 FE 00 01 02 01 00 04 16");
  assertEquals(bench.wire, ["05fe0001020217"]);
});

Deno.test("E2 Ctrl's radius from the forwarder means nothing", () => {
  const bench = begin();
  for (const ctrl of ["01", "03", "FF"]) {
    bench.take(FAR, `05 FE ${ctrl} 01 02 02 16`);
    assertEquals(bench.wire, ["05fe0001020217"]);
  }
});

Deno.test("E2 the same node id behind another forwarder is another node", () => {
  const bench = begin();
  assertEquals(bench.take(BOB, wrap(NODE, { type: "PINGREQ", clientId: "" })), [
    [`${BOB.key}/0102`, wrap(NODE, GOODBYE)],
  ]);
  const far = peerOf(FAR.hostname, FAR.port + 1);
  assertEquals(bench.take(far, wrap(NODE, { type: "PINGREQ", clientId: "" })), [
    [`${far.key}/0102`, wrap(NODE, GOODBYE)],
  ]);
  assertEquals(bench.stats.clients.active, 3);
});

Deno.test("E3 two nodes of a forwarder and the forwarder itself are three clients", () => {
  const bench = begin();
  const { clients, lostBy, takenOver } = bench.stats;
  assertEquals([clients.active, lostBy.displaced, takenOver], [3, 0, 0]);
  for (const place of PLACES) {
    assertEquals(bench.subscribeAt(place, "a"), [at(place, "SUBACK")]);
  }
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  const sent = unwrap(bench.publish(BOB, a, "x"));
  assertEquals(
    sent.toSorted(),
    PLACES.map((place) => at(place, "PUBLISH")).toSorted(),
  );
});

for (const [index, place] of PLACES.entries()) {
  const name = place === undefined ? "the forwarder" : `node ${place.toHex()}`;
  const others = PLACES.filter((_, i) => i !== index);

  Deno.test(`E3 the DISCONNECT of ${name} leaves the others`, () => {
    const bench = begin();
    assertEquals(bench.from(place, GOODBYE), [at(place, "DISCONNECT")]);
    assertEquals(bench.stats.clients.active, 2);
    for (const other of others) {
      assertEquals(bench.from(other, "02 16"), [at(other, "PINGRESP")]);
    }
    assertEquals(bench.from(place, "02 16"), [at(place, "DISCONNECT")]);
  });
}

Deno.test("E3 a node that falls silent leaves the others", () => {
  const bench = new ForwarderBench();
  bench.connectAt(NODE, "node", 10);
  bench.connectAt(OTHER, "other");
  bench.connectAt(undefined, "self");
  bench.run(10_000);
  bench.from(undefined, "02 16");
  assertEquals(bench.run(4_999), []);
  assertEquals(bench.stats.lostBy.silence, 0);
  assertEquals(bench.run(1), []);
  assertEquals(bench.stats.lostBy.silence, 1, "a forwarder is no sign of life");
  assertEquals(bench.stats.clients.active, 2);
  assertEquals(bench.from(undefined, "02 16"), [at(undefined, "PINGRESP")]);
});

Deno.test("E3 node ids of 1 and of 252 octets", () => {
  const bench = new ForwarderBench();
  for (const length of [1, 2, 126, 252]) {
    const node = new Uint8Array(length).fill(0x7b);
    assertEquals(bench.connectAt(node, `${length}`), [at(node, "CONNACK")]);
    assertEquals(bench.from(node, "02 16"), [at(node, "PINGRESP")]);
  }
  assertEquals(bench.stats.clients.active, 4);
});

Deno.test("E3 a sleeping node is woken, and moves to another forwarder by its ClientId", () => {
  const bench = begin();
  bench.subscribeAt(NODE, "a", 1);
  assertEquals(bench.from(NODE, "04 18 00 0A"), [at(NODE, "DISCONNECT")]);
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  assertEquals(unwrap(bench.publish(BOB, a, "x", { qos: 1 })), [
    `${BOB.key} PUBACK`,
  ]);
  const wake: MqttSnPacket = { type: "PINGREQ", clientId: "node" };
  assertEquals(unwrap(bench.take(BOB, wrap(OTHER, wake))), [
    at(OTHER, "PUBLISH", BOB),
  ]);
  assertEquals(unwrap(bench.take(BOB, wrap(OTHER, puback(1, 1)))), [
    at(OTHER, "PINGRESP", BOB),
  ]);
  assertEquals(bench.from(NODE, "02 16"), [at(NODE, "DISCONNECT")]);
  assertEquals(bench.from(OTHER, "02 16"), [at(OTHER, "PINGRESP")]);
});

Deno.test("E3 a node's will, and its prompts, are wrapped", () => {
  const bench = new ForwarderBench();
  assertEquals(bench.from(NODE, "08 04 0C 01 00 0A 63 31"), [
    at(NODE, "WILLTOPICREQ"),
  ]);
  assertEquals(bench.from(undefined, "06 07 30 61 2F 77"), [
    at(undefined, "DISCONNECT"),
  ], "it was not the forwarder who was asked");
  assertEquals(bench.from(NODE, "06 07 30 61 2F 77"), [
    at(NODE, "WILLMSGREQ"),
  ]);
  assertEquals(bench.from(NODE, "05 09 62 79 65"), [at(NODE, "CONNACK")]);
});

for (
  const [name, hex] of [
    ["a message encapsulated twice", "04 FE 00 01 04 FE 00 02 02 16"],
    ["a node id of no octets", "03 FE 00 02 16"],
    ["a length in three octets", "01 00 07 FE 00 01 02 02 16"],
    ["a header longer than the datagram", "20 FE 00 01 02 02 16"],
    ["an inner message of a reserved type", "04 FE 00 01 02 03"],
    ["an inner message of no length", "04 FE 00 01 00 16"],
  ] as const
) {
  Deno.test(`E4 ${name} is dropped, and not answered`, () => {
    const bench = begin();
    assertEquals(bench.take(FAR, hex), []);
    const { dropped, mqttsn } = bench.router.stats();
    const unanswered = dropped.malformed + dropped.unknownType;
    assertEquals(unanswered, 1, JSON.stringify(dropped));
    assertEquals(mqttsn.clients.active, 3);
  });
}

Deno.test("E5 nothing is broadcast to nodes", () => {
  const bench = new ForwarderBench({ advertise: 900 });
  bench.connectAt(NODE, "node");
  bench.run(0);
  const sent = bench.run(900_000);
  assertEquals(sent, [
    ["everybody", { type: "ADVERTISE", gwId: 1, duration: 900 }],
  ]);
});

Deno.test("E5 a SEARCHGW of a node is answered to that node alone", () => {
  const bench = new ForwarderBench();
  assertEquals(bench.from(NODE, "03 01 00"), [at(NODE, "GWINFO")]);
  assertEquals(bench.wire, ["05fe000102030201"]);
});

Deno.test("G33 an unknown node is told DISCONNECT, wrapped", () => {
  const bench = new ForwarderBench();
  bench.connectAt(undefined, "self");
  for (const hex of ["02 16", "04 10 00 01", "02 18", "05 16 65 76 65"]) {
    bench.from(NODE, hex);
    assertEquals(bench.wire, ["05fe0001020218"], hex);
  }
  assertEquals(bench.from(NODE, "07 0D 00 01 00 01 00"), [], "not for acks");
  assertEquals(bench.stats.clients.active, 1);
});

Deno.test("G19 a delivery that is too long for a node's wrapping is aborted", () => {
  // 7 octets around the payload, 5 around all that.
  const bench = begin({ maxPacket: 50 });
  bench.subscribeAt(NODE, "a");
  bench.subscribeAt(undefined, "a");
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  const send = (octets: number) =>
    unwrap(bench.publish(BOB, a, "x".repeat(octets))).toSorted();
  const both = [at(undefined, "PUBLISH"), at(NODE, "PUBLISH")];
  assertEquals(send(38), both.toSorted());
  assertEquals(bench.stats.lost.tooLong, 0);
  assertEquals(send(39), [at(undefined, "PUBLISH")]);
  assertEquals(bench.stats.lost.tooLong, 1);
  assertEquals(send(43), [at(undefined, "PUBLISH")]);
  assertEquals(send(44), []);
  assertEquals(bench.stats.lost.tooLong, 4);
  assertEquals(bench.from(NODE, "02 16"), [at(NODE, "PINGRESP")]);
});

Deno.test("G19 a REGISTER that is too long for a node's wrapping is aborted", () => {
  const bench = begin({ maxPacket: 32 });
  bench.subscribeAt(NODE, "#");
  bench.connect(BOB, "bob");
  const fits = bench.register(BOB, "x".repeat(21));
  const doesNot = bench.register(BOB, "x".repeat(22));
  assertEquals(bench.publish(BOB, { id: doesNot }, "x"), []);
  assertEquals(bench.stats.lost.tooLong, 1);
  assertEquals(unwrap(bench.publish(BOB, { id: fits }, "x")), [
    at(NODE, "REGISTER"),
  ]);
  assertEquals(bench.wire[0]!.length, 2 * 32);
});

Deno.test("G19 the longest datagram to a node with the longest id", () => {
  const node = new Uint8Array(252).fill(1);
  const bench = new ForwarderBench();
  bench.connectAt(node, "node");
  bench.subscribeAt(node, "a");
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  const longest = 65_507 - 255 - 9;
  const sent = bench.publish(BOB, a, "x".repeat(longest));
  assertEquals(unwrap(sent), [at(node, "PUBLISH")]);
  assertEquals(bench.wire[0]!.length, 2 * 65_507);
  assertEquals(bench.publish(BOB, a, "x".repeat(longest + 1)), []);
  assertEquals(bench.stats.lost.tooLong, 1);
});

Deno.test("wrapFor() refuses what fits no datagram", () => {
  const node = nodePeerOf(FAR, { wirelessNodeId: NODE });
  let error: unknown;
  try {
    wrapFor(node, new Uint8Array(65_507));
  } catch (caught) {
    error = caught;
  }
  assert(error instanceof LocalProtocolError);
});

Deno.test("G31 a node's PINGREQ is answered while its forwarder is unknown", () => {
  const bench = new ForwarderBench();
  bench.connectAt(NODE, "node");
  assertEquals(bench.take(FAR, wrap(NODE, { type: "PINGREQ", clientId: "" })), [
    [`${FAR.key}/0102`, wrap(NODE, PONG)],
  ]);
  assertEquals(bench.from(undefined, "02 16"), [at(undefined, "DISCONNECT")]);
});
