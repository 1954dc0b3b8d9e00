/**
 * Tests of the judge that reads what devices and routers say to each other: it
 * finds nothing wrong with what is right, and each wrong that it knows.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { wrapFor } from "../../wire/forwarder.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type {
  Connect,
  Disconnect,
  MqttSnPacket,
  Publish,
  Qos,
  Register,
  Suback,
  Subscribe,
  TopicAck,
} from "../../wire/packets.ts";
import { Judge } from "../support/judge.ts";
import { ForwarderBox } from "../support/nodes.ts";

const GATEWAY = peerOf("127.0.0.1", 1);
const OTHER = peerOf("127.0.0.1", 2);
const ANN = peerOf("127.0.0.1", 1001);
const BOB = peerOf("127.0.0.1", 1002);

const PONG = { type: "PINGRESP" } as const;
const GOODBYE: Disconnect = { type: "DISCONNECT", duration: undefined };
const SLEEP: Disconnect = { type: "DISCONNECT", duration: 60 };
/** A PUBLISH that nobody writes. */
const RESERVED = Uint8Array.of(8, 0x0c, 3, 0x61, 0x62, 0, 0, 1);
const CONNACK = { type: "CONNACK", returnCode: 0 } as const;

function connect(fields: Partial<Connect> = {}): Connect {
  return {
    type: "CONNECT",
    will: false,
    cleanSession: false,
    protocolId: 1,
    duration: 60,
    clientId: "ann",
    ...fields,
  };
}

function publish(
  qos: Qos,
  msgId: number,
  fields: Partial<Publish> = {},
): Publish {
  return {
    type: "PUBLISH",
    dup: false,
    qos,
    retain: false,
    topicIdType: "short",
    topicId: 0x6162,
    msgId,
    data: Uint8Array.of(1),
    ...fields,
  };
}

function register(
  topicName: string,
  msgId: number,
  topicId = 0,
): Register {
  return { type: "REGISTER", topicId, msgId, topicName };
}

function ack<Type extends "REGACK" | "PUBACK">(
  type: Type,
  topicId: number,
  msgId: number,
  returnCode = 0,
): TopicAck<Type> {
  return { type, topicId, msgId, returnCode };
}

function subscribe(topicName: string, msgId: number, qos: Qos = 1): Subscribe {
  const topic = { topicIdType: "normal", topicName } as const;
  return { type: "SUBSCRIBE", dup: false, qos, msgId, topic };
}

function suback(topicId: number, msgId: number, qos: Qos = 1): Suback {
  return { type: "SUBACK", qos, topicId, msgId, returnCode: 0 };
}

function only<Type extends "PUBREC" | "PUBREL" | "PUBCOMP" | "UNSUBACK">(
  type: Type,
  msgId: number,
): { readonly type: Type; readonly msgId: number } {
  return { type, msgId };
}

function ping(clientId = ""): MqttSnPacket {
  return { type: "PINGREQ", clientId };
}

/** A judge, and what it is shown. Each datagram takes a second. */
class Court {
  readonly judge = new Judge([GATEWAY, OTHER]);
  now = 0;

  /** One where Ann is connected. */
  static connected(fields: Partial<Connect> = {}): Court {
    const court = new Court();
    court.says(connect(fields));
    court.hears(CONNACK);
    assertEquals(court.judge.violations, []);
    return court;
  }

  /** One where she sleeps. */
  static asleep(): Court {
    const court = Court.connected();
    court.says(SLEEP);
    court.hears(GOODBYE);
    return court;
  }

  /** A client sends something, and it arrives. */
  says(packet: MqttSnPacket, from: Peer = ANN, to: Peer = GATEWAY): void {
    this.sends(packet, from, to);
    this.judge.handleDelivery(this.now, from, to, encodePacket(packet));
  }

  /** A gateway sends something, and it arrives. */
  hears(packet: MqttSnPacket, to: Peer = ANN, from: Peer = GATEWAY): void {
    this.says(packet, from, to);
  }

  /** Somebody sends something, and it is lost. */
  sends(packet: MqttSnPacket, from: Peer, to: Peer | undefined): void {
    this.now += 1_000;
    this.judge.handleSend(this.now, from, to, encodePacket(packet));
  }

  /** What was found, without who and when. */
  get found(): string[] {
    this.judge.rest(this.now);
    return this.judge.violations.map((line) =>
      line.replace(/^.*? at \d+: /, "")
    );
  }
}

Deno.test("Judge finds nothing wrong with a conversation of all kinds", () => {
  const court = new Court();
  const { judge } = court;
  court.says({ type: "SEARCHGW", radius: 0 });
  court.hears({ type: "GWINFO", gwId: 1, gwAdd: new Uint8Array() });
  court.says(connect({ will: true }));
  court.hears({ type: "WILLTOPICREQ" });
  const will = { topicName: "w", qos: 1, retain: false } as const;
  court.says({ type: "WILLTOPIC", will });
  court.hears({ type: "WILLMSGREQ" });
  court.says({ type: "WILLMSG", data: Uint8Array.of(1) });
  court.hears(CONNACK);

  court.says(register("a/b", 1));
  court.hears(ack("REGACK", 1, 1));
  const named = { topicIdType: "normal", topicId: 1 } as const;
  court.says(publish(0, 0, named));
  court.says(publish(1, 2, named));
  court.hears(ack("PUBACK", 1, 2));
  court.sends(publish(2, 3, named), ANN, GATEWAY);
  court.says(publish(2, 3, { ...named, dup: true }));
  court.hears(only("PUBREC", 3));
  court.says(only("PUBREL", 3));
  court.hears(only("PUBCOMP", 3));
  court.says(publish(-1, 0));

  court.sends(subscribe("a/+", 4, 2), ANN, GATEWAY);
  court.says({ ...subscribe("a/+", 4, 2), dup: true });
  court.hears(suback(0, 4, 2));
  court.says(subscribe("x", 5));
  court.hears(suback(2, 5));
  court.hears(register("a/c", 1, 3));
  court.says(ack("REGACK", 3, 1));
  const theirs = { topicIdType: "normal", topicId: 3 } as const;
  court.hears(publish(0, 0, theirs));
  court.sends(publish(1, 2, theirs), GATEWAY, ANN);
  court.hears(publish(1, 2, { ...theirs, dup: true }));
  court.says(ack("PUBACK", 3, 2));
  court.hears(publish(2, 3, theirs));
  court.says(only("PUBREC", 3));
  court.hears(only("PUBREL", 3));
  court.says(only("PUBCOMP", 3));
  const x = { topicIdType: "normal", topicName: "x" } as const;
  court.says({ type: "UNSUBSCRIBE", msgId: 6, topic: x });
  court.hears(only("UNSUBACK", 6));
  court.says({ type: "WILLMSGUPD", data: Uint8Array.of(2) });
  court.hears({ type: "WILLMSGRESP", returnCode: 0 });
  court.says(ping());
  court.hears(PONG);

  court.says(SLEEP);
  court.hears(GOODBYE);
  court.now += 50_000;
  court.says(ping("ann"));
  court.hears(publish(1, 4, theirs));
  court.says(ack("PUBACK", 3, 4, 2));
  court.hears(register("a/c", 5, 3));
  court.says(ack("REGACK", 3, 5));
  court.hears(publish(1, 4, { ...theirs, dup: true }));
  court.says(ack("PUBACK", 3, 4));
  court.hears(PONG);
  // From another address, as NAT has it.
  judge.move(ANN, BOB);
  court.says(ping("ann"), BOB);
  court.hears(PONG, BOB);
  court.says(connect(), BOB);
  court.hears(CONNACK, BOB);
  court.says(GOODBYE, BOB);
  court.hears(GOODBYE, BOB);
  assertEquals(court.found, []);
});

Deno.test("Judge looks into what a forwarder wraps", () => {
  const court = new Court();
  const forwarder = new ForwarderBox(ANN);
  const node = forwarder.peerOf(Uint8Array.of(1));
  const wrap = (packet: MqttSnPacket) => wrapFor(node, encodePacket(packet));
  const { judge } = court;
  judge.handleSend(1, ANN, GATEWAY, wrap(connect({ protocolId: 2 })));
  judge.handleDelivery(2, ANN, GATEWAY, wrap(connect({ protocolId: 2 })));
  judge.handleSend(2, GATEWAY, ANN, wrap(CONNACK));
  judge.handleSend(2, GATEWAY, ANN, wrap(CONNACK));
  assertEquals(judge.violations, [
    `${ANN.key}/01 at 1: CONNECT with the protocol 2`,
    `${GATEWAY.key} at 2: to ${ANN.key}/01: CONNACK that nothing asked for`,
  ]);
});

Deno.test("Judge starts anew with a gateway that was restarted", () => {
  const court = Court.connected();
  court.judge.restart(GATEWAY);
  court.hears(publish(1, 1));
  court.says(ack("PUBACK", 0x6162, 1));
  assertEquals(court.found, [`to ${ANN.key}: PUBLISH to who is not connected`]);
});

Deno.test("Judge starts anew with a client that is another, or is no more", () => {
  const court = Court.connected();
  court.judge.introduce(ANN);
  court.says(connect({ clientId: "another" }));
  court.hears(CONNACK);
  court.judge.dismiss(ANN);
  court.now += 1_000_000;
  assertEquals(court.found, []);
});

Deno.test("Judge blames who owes an answer once anything else happens", () => {
  const court = Court.connected();
  court.hears(publish(1, 1));
  assertEquals(court.judge.violations, []);
  court.says(connect({ clientId: "bob" }), BOB);
  assertEquals(court.judge.violations, [
    `${ANN.key} at 4000: leaves PUBLISH 1 unanswered`,
  ]);
  assertEquals(court.found.slice(1), [
    `leaves CONNECT of ${BOB.key} unanswered`,
  ]);
});

/** One where Ann has something to answer. */
function flight(qos: 1 | 2, msgId = 1): Court {
  const court = Court.connected();
  court.hears(publish(qos, msgId));
  return court;
}

/** What a gateway may not do, how it does it, and what is said of it. */
const GATEWAYS: readonly (readonly [string, () => Court, string])[] = [
  ["its client's direction", () => {
    const court = Court.connected();
    court.hears(subscribe("a", 1));
    return court;
  }, "SUBSCRIBE, which a client never gets"],
  ["no message at all", () => {
    const court = Court.connected();
    court.judge.handleSend(9, GATEWAY, ANN, Uint8Array.of(9, 9));
    return court;
  }, "a datagram that is no message"],
  ["an answer to nothing", () => {
    const court = Court.connected();
    court.hears(CONNACK);
    return court;
  }, "CONNACK that nothing asked for"],
  ["an answer under another msgId", () => {
    const court = Court.connected();
    court.sends(subscribe("a", 4), ANN, GATEWAY);
    court.hears(suback(1, 5));
    return court;
  }, "SUBACK that nothing asked for"],
  ["an answer twice", () => {
    const court = Court.connected();
    court.says(publish(2, 4));
    court.hears(only("PUBREC", 4));
    court.hears(only("PUBREC", 4));
    return court;
  }, "PUBREC that nothing asked for"],
  ["no answer", () => {
    const court = Court.connected();
    court.says(subscribe("a", 4));
    return court;
  }, "leaves SUBSCRIBE 4 of 127.0.0.1:1001 unanswered"],
  ["PUBREC at QoS 1", () => {
    const court = Court.connected();
    court.says(publish(1, 4));
    court.hears(only("PUBREC", 4));
    return court;
  }, "PUBREC for a PUBLISH at QoS 1"],
  ["PUBACK at QoS 2", () => {
    const court = Court.connected();
    court.says(publish(2, 4));
    court.hears(ack("PUBACK", 0x6162, 4));
    return court;
  }, "PUBACK of a PUBLISH at QoS 2"],
  ["PUBACK with another id", () => {
    const court = Court.connected();
    court.says(publish(1, 4));
    court.hears(ack("PUBACK", 5, 4));
    return court;
  }, "PUBACK of 24930 with the id 5"],
  ["a higher QoS than was asked", () => {
    const court = Court.connected();
    court.says(subscribe("a", 4, 1));
    court.hears(suback(1, 4, 2));
    return court;
  }, "SUBACK grants QoS 2 where 1 was asked"],
  ["an id for a filter", () => {
    const court = Court.connected();
    court.says(subscribe("a/+", 4));
    court.hears(suback(1, 4));
    return court;
  }, 'SUBACK of "a/+" with the id 1'],
  ["no id for a name", () => {
    const court = Court.connected();
    court.says(subscribe("a", 4));
    court.hears(suback(0, 4));
    return court;
  }, "SUBACK with the reserved id 0"],
  ["a reserved id in REGACK", () => {
    const court = Court.connected();
    court.says(register("a", 4));
    court.hears(ack("REGACK", 0xffff, 4));
    return court;
  }, "REGACK with the reserved id 65535"],
  ["an id for two names", () => {
    const court = Court.connected();
    court.says(register("a", 4));
    court.hears(ack("REGACK", 1, 4));
    court.says(register("b", 5));
    court.hears(ack("REGACK", 1, 5));
    return court;
  }, 'REGACK of "b" with the id 1 of "a"'],
  ["a reserved id to register", () => {
    const court = Court.connected();
    court.hears(register("a", 1, 0xffff));
    court.says(ack("REGACK", 0xffff, 1));
    return court;
  }, "REGISTER with the reserved id 65535"],
  ["a wildcard to register", () => {
    const court = Court.connected();
    court.hears(register("a/+", 1, 9));
    court.says(ack("REGACK", 9, 1, 3));
    return court;
  }, 'REGISTER of "a/+", which is no name'],
  ["REGISTER without msgId", () => {
    const court = Court.connected();
    court.hears(register("a", 0, 9));
    court.says(ack("REGACK", 9, 0));
    return court;
  }, "REGISTER, msgId 0"],
  ["two REGISTERs", () => {
    const court = Court.connected();
    court.sends(register("a", 1, 9), GATEWAY, ANN);
    court.sends(register("b", 2, 10), GATEWAY, ANN);
    return court;
  }, "REGISTER 2 while 1 is out"],
  ["another REGISTER under the same msgId", () => {
    const court = Court.connected();
    court.sends(register("a", 1, 9), GATEWAY, ANN);
    court.sends(register("b", 1, 10), GATEWAY, ANN);
    return court;
  }, "REGISTER 1 again, but not as it was"],
  ["PUBLISH at QoS -1", () => {
    const court = Court.connected();
    court.hears(publish(-1, 0));
    return court;
  }, "PUBLISH at QoS -1"],
  ["PUBLISH at QoS 1 without msgId", () => {
    const court = Court.connected();
    court.hears(publish(1, 0));
    court.says(ack("PUBACK", 0x6162, 0));
    return court;
  }, "PUBLISH at QoS 1, msgId 0"],
  ["PUBLISH at QoS 0 with a msgId", () => {
    const court = Court.connected();
    court.hears(publish(0, 4));
    return court;
  }, "PUBLISH at QoS 0, msgId 4"],
  ["PUBLISH at QoS 0 with DUP", () => {
    const court = Court.connected();
    court.hears(publish(0, 0, { dup: true }));
    return court;
  }, "PUBLISH at QoS 0 with DUP"],
  ["PUBLISH with DUP at first", () => {
    const court = Court.connected();
    court.hears(publish(1, 4, { dup: true }));
    court.says(ack("PUBACK", 0x6162, 4));
    return court;
  }, "PUBLISH 4 with DUP at first"],
  ["PUBLISH again without DUP", () => {
    const court = Court.connected();
    court.sends(publish(1, 4), GATEWAY, ANN);
    court.sends(publish(1, 4), GATEWAY, ANN);
    return court;
  }, "PUBLISH 4 again without DUP"],
  ["another PUBLISH under the same msgId", () => {
    const court = Court.connected();
    court.sends(publish(1, 4), GATEWAY, ANN);
    const other = { dup: true, data: Uint8Array.of(2) };
    court.sends(publish(1, 4, other), GATEWAY, ANN);
    return court;
  }, "PUBLISH 4 again, but not as it was"],
  ["a second PUBLISH before PUBACK", () => {
    const court = flight(1);
    court.says(ack("PUBACK", 0x6162, 9)); // not that one
    court.judge.violations.length = 0;
    court.hears(publish(1, 2));
    court.says(ack("PUBACK", 0x6162, 2));
    return court;
  }, "PUBLISH 2 while 1 is under way"],
  ["a second PUBLISH before PUBCOMP", () => {
    const court = flight(2);
    court.says(only("PUBREC", 1));
    court.hears(publish(1, 2));
    court.says(ack("PUBACK", 0x6162, 2));
    return court;
  }, "PUBLISH 2 while 1 is under way"],
  ["PUBLISH after PUBREL", () => {
    const court = flight(2);
    court.says(only("PUBREC", 1));
    court.sends(only("PUBREL", 1), GATEWAY, ANN);
    court.sends(publish(2, 1, { dup: true }), GATEWAY, ANN);
    return court;
  }, "PUBLISH 1 after PUBREL"],
  ["PUBREL without PUBREC", () => {
    const court = flight(2);
    court.sends(only("PUBREC", 1), ANN, GATEWAY);
    court.hears(only("PUBREL", 1));
    court.says(only("PUBCOMP", 1));
    return court;
  }, "PUBREL 1 without PUBREC"],
  ["PUBLISH under an id that was not told", () => {
    const court = Court.connected();
    court.sends(
      publish(0, 0, { topicIdType: "normal", topicId: 3 }),
      GATEWAY,
      ANN,
    );
    return court;
  }, "PUBLISH under the id 3, which was not told"],
  ["PUBLISH under an id that the client says not to know", () => {
    const court = Court.connected();
    const named = { topicIdType: "normal", topicId: 3 } as const;
    court.hears(register("a", 1, 3));
    court.says(ack("REGACK", 3, 1));
    court.hears(publish(1, 2, named));
    court.says(ack("PUBACK", 3, 2, 2));
    court.sends(publish(1, 2, { ...named, dup: true }), GATEWAY, ANN);
    return court;
  }, "PUBLISH under the id 3, which was not told"],
  ["PUBLISH under an id of a session that was clean", () => {
    const court = Court.connected({ cleanSession: true });
    court.says(register("a", 4));
    court.hears(ack("REGACK", 1, 4));
    court.now += 10_000;
    court.says(connect({ cleanSession: true }));
    court.hears(CONNACK);
    const named = { topicIdType: "normal", topicId: 1 } as const;
    court.sends(publish(0, 0, named), GATEWAY, ANN);
    return court;
  }, "PUBLISH under the id 1, which was not told"],
  ["PUBLISH to an id that the client refused", () => {
    const court = Court.connected();
    court.hears(register("a", 1, 3));
    court.says(ack("REGACK", 3, 1, 3));
    const named = { topicIdType: "normal", topicId: 3 } as const;
    court.sends(publish(0, 0, named), GATEWAY, ANN);
    return court;
  }, "PUBLISH to 3, whose REGISTER was refused"],
  ["PUBLISH with the reserved topic id type", () => {
    const court = Court.connected();
    court.judge.handleSend(9, GATEWAY, ANN, RESERVED);
    return court;
  }, "PUBLISH with the reserved topic id type"],
  ["PUBLISH to a client asleep", () => {
    const court = Court.asleep();
    court.hears(publish(1, 4));
    return court;
  }, "PUBLISH to a client that is asleep"],
  ["REGISTER to a client that sleeps on", () => {
    const court = Court.asleep();
    court.says(ping("ann"));
    court.hears(PONG);
    court.hears(register("a", 1, 3));
    return court;
  }, "REGISTER to a client that is asleep"],
  ["PUBLISH to a client that has left", () => {
    const court = Court.connected();
    court.says(GOODBYE);
    court.hears(GOODBYE);
    court.hears(publish(0, 0));
    return court;
  }, "PUBLISH to who is not connected"],
  ["PUBLISH to where a client was before it was taken over", () => {
    const court = Court.connected();
    court.says(connect(), BOB);
    court.sends(GOODBYE, GATEWAY, ANN);
    court.hears(CONNACK, BOB);
    court.hears(publish(0, 0));
    return court;
  }, "PUBLISH to who is not connected"],
  ["DISCONNECT out of the blue", () => {
    const court = Court.connected();
    court.hears(GOODBYE);
    return court;
  }, "DISCONNECT that nothing asked for"],
  ["DISCONNECT with a duration", () => {
    const court = Court.connected();
    court.says(SLEEP);
    court.hears(SLEEP);
    return court;
  }, "DISCONNECT with a duration"],
  ["PINGREQ with a client id", () => {
    const court = Court.connected();
    court.hears(ping("ann"));
    court.says(PONG);
    return court;
  }, "PINGREQ with a client id"],
  ["PINGRESP to who has not asked", () => {
    const court = Court.connected();
    court.hears(PONG);
    return court;
  }, "PINGRESP that nothing asked for"],
  ["a prompt for a will that is none", () => {
    const court = new Court();
    court.says(connect());
    court.hears({ type: "WILLTOPICREQ" });
    return court;
  }, "WILLTOPICREQ without Will flag"],
  ["the second prompt before the first", () => {
    const court = new Court();
    court.says(connect({ will: true }));
    court.hears({ type: "WILLMSGREQ" });
    return court;
  }, "WILLMSGREQ before WILLTOPIC"],
  ["WILLMSGRESP that nothing asked for", () => {
    const court = Court.connected();
    court.hears({ type: "WILLMSGRESP", returnCode: 0 });
    return court;
  }, "WILLMSGRESP that nothing asked for"],
  ["an address in GWINFO", () => {
    const court = new Court();
    const gwAdd = Uint8Array.of(1);
    court.sends({ type: "GWINFO", gwId: 1, gwAdd }, GATEWAY, undefined);
    return court;
  }, "GWINFO of a gateway with an address"],
  ["PUBLISH to everybody", () => {
    const court = new Court();
    court.sends(publish(0, 0), GATEWAY, undefined);
    return court;
  }, "PUBLISH to everybody"],
];

for (const [name, tell, detail] of GATEWAYS) {
  Deno.test(`Judge blames a gateway for ${name}`, () => {
    const [first, ...others] = tell().found;
    assert(first?.includes(detail), first ?? "nothing");
    assertEquals(others, []);
  });
}

/** What a client may not do, how it does it, and what is said of it. */
const CLIENTS: readonly (readonly [string, () => Court, string])[] = [
  ["its gateway's direction", () => {
    const court = Court.connected();
    court.sends(CONNACK, ANN, GATEWAY);
    return court;
  }, "CONNACK, which only a gateway sends"],
  ["no message at all", () => {
    const court = new Court();
    court.judge.handleSend(9, ANN, GATEWAY, Uint8Array.of(9, 9));
    return court;
  }, "a datagram that is no message"],
  ["a message to another client", () => {
    const court = new Court();
    court.sends(ping(), ANN, BOB);
    return court;
  }, "PINGREQ to 127.0.0.1:1002, which is no gateway"],
  ["a message to a gateway that it has not connected to", () => {
    const court = Court.connected();
    court.sends(publish(1, 4), ANN, OTHER);
    return court;
  }, "PUBLISH to a gateway that it is not connected to"],
  ["another protocol", () => {
    const court = new Court();
    court.sends(connect({ protocolId: 2 }), ANN, GATEWAY);
    return court;
  }, "CONNECT with the protocol 2"],
  ["no client id", () => {
    const court = new Court();
    court.sends(connect({ clientId: "" }), ANN, GATEWAY);
    return court;
  }, "CONNECT with a client id of 0 characters"],
  ["a client id of 24 characters", () => {
    const court = new Court();
    court.sends(connect({ clientId: "a".repeat(24) }), ANN, GATEWAY);
    return court;
  }, "CONNECT with a client id of 24 characters"],
  ["another client id than before", () => {
    const court = Court.connected();
    court.sends(connect({ clientId: "bob" }), ANN, GATEWAY);
    return court;
  }, 'CONNECT as "bob" after "ann"'],
  ["a request before CONNACK", () => {
    const court = new Court();
    court.says(connect());
    court.sends(CONNACK, GATEWAY, ANN);
    court.sends(subscribe("a", 4), ANN, GATEWAY);
    return court;
  }, "SUBSCRIBE of a client that is connecting"],
  ["a request after it was told that nobody knows it", () => {
    const court = Court.connected();
    court.judge.restart(GATEWAY);
    court.says(publish(1, 4));
    court.hears(GOODBYE);
    court.sends(publish(1, 4, { dup: true }), ANN, GATEWAY);
    return court;
  }, "PUBLISH of a client that is disconnected"],
  ["a request while it sleeps", () => {
    const court = Court.asleep();
    court.sends(publish(0, 0), ANN, GATEWAY);
    return court;
  }, "PUBLISH of a client that is asleep"],
  ["a request while it is awake", () => {
    const court = Court.asleep();
    court.says(ping("ann"));
    court.sends(register("a", 4), ANN, GATEWAY);
    return court;
  }, "REGISTER of a client that is awake"],
  ["an answer while it sleeps", () => {
    const court = Court.connected();
    court.sends(SLEEP, ANN, GATEWAY);
    court.hears(publish(0, 0));
    court.judge.handleDelivery(9_000, GATEWAY, ANN, encodePacket(GOODBYE));
    court.sends(ack("PUBACK", 0x6162, 0, 2), ANN, GATEWAY);
    return court;
  }, "PUBACK of a client that is asleep"],
  ["a request after DISCONNECT", () => {
    const court = Court.connected();
    court.sends(SLEEP, ANN, GATEWAY);
    court.sends(publish(1, 4), ANN, GATEWAY);
    return court;
  }, "PUBLISH after DISCONNECT"],
  ["a sleep of no time", () => {
    const court = Court.connected();
    court.sends({ type: "DISCONNECT", duration: 0 }, ANN, GATEWAY);
    return court;
  }, "DISCONNECT for 0 s"],
  ["waking as somebody else", () => {
    const court = Court.asleep();
    court.sends(ping("bob"), ANN, GATEWAY);
    return court;
  }, 'PINGREQ as "bob" of a client that wakes'],
  ["waking while it does not sleep", () => {
    const court = Court.connected();
    court.sends(ping("ann"), ANN, GATEWAY);
    return court;
  }, 'PINGREQ as "ann" of a client that is active'],
  ["an id in REGISTER", () => {
    const court = Court.connected();
    court.sends(register("a", 4, 1), ANN, GATEWAY);
    return court;
  }, "REGISTER with the id 1"],
  ["a wildcard to register", () => {
    const court = Court.connected();
    court.sends(register("a/#", 4), ANN, GATEWAY);
    return court;
  }, 'REGISTER of "a/#"'],
  ["a request without msgId", () => {
    const court = Court.connected();
    court.sends(subscribe("a", 0), ANN, GATEWAY);
    return court;
  }, "SUBSCRIBE, msgId 0"],
  ["what is no filter", () => {
    const court = Court.connected();
    court.sends(subscribe("a/#/b", 4), ANN, GATEWAY);
    return court;
  }, "SUBSCRIBE to what is no filter"],
  ["SUBSCRIBE at QoS -1", () => {
    const court = Court.connected();
    court.sends(subscribe("a", 4, -1), ANN, GATEWAY);
    return court;
  }, "SUBSCRIBE at QoS -1"],
  ["two REGISTERs", () => {
    const court = Court.connected();
    court.sends(register("a", 4), ANN, GATEWAY);
    court.sends(register("b", 5), ANN, GATEWAY);
    return court;
  }, "REGISTER 5 while REGISTER 4 is out"],
  ["SUBSCRIBE and UNSUBSCRIBE at once", () => {
    const court = Court.connected();
    court.sends(subscribe("a", 4), ANN, GATEWAY);
    const topic = { topicIdType: "normal", topicName: "a" } as const;
    court.sends({ type: "UNSUBSCRIBE", msgId: 5, topic }, ANN, GATEWAY);
    return court;
  }, "UNSUBSCRIBE 5 while SUBSCRIBE 4 is out"],
  ["two PUBLISHes at QoS 1 and 2", () => {
    const court = Court.connected();
    court.sends(publish(1, 4), ANN, GATEWAY);
    court.sends(publish(2, 5), ANN, GATEWAY);
    return court;
  }, "PUBLISH 5 to short 24930 while PUBLISH 4 to short 24930 is out"],
  ["PUBLISH before PUBCOMP", () => {
    const court = Court.connected();
    court.says(publish(2, 4));
    court.hears(only("PUBREC", 4));
    court.sends(only("PUBREL", 4), ANN, GATEWAY);
    court.sends(publish(1, 5), ANN, GATEWAY);
    return court;
  }, "PUBLISH 5 to short 24930 while PUBREL 4 is out"],
  ["PUBREL without PUBREC", () => {
    const court = Court.connected();
    court.says(publish(2, 4));
    court.sends(only("PUBREC", 4), GATEWAY, ANN);
    court.sends(only("PUBREL", 4), ANN, GATEWAY);
    return court;
  }, "PUBREL 4 without PUBREC"],
  ["SUBSCRIBE again without DUP", () => {
    const court = Court.connected();
    court.sends(subscribe("a", 4), ANN, GATEWAY);
    court.sends(subscribe("a", 4), ANN, GATEWAY);
    return court;
  }, "SUBSCRIBE 4 again without DUP"],
  ["SUBSCRIBE with DUP at first", () => {
    const court = Court.connected();
    court.sends({ ...subscribe("a", 4), dup: true }, ANN, GATEWAY);
    return court;
  }, "SUBSCRIBE 4 with DUP at first"],
  ["another request under the same msgId", () => {
    const court = Court.connected();
    court.sends(register("a", 4), ANN, GATEWAY);
    court.sends(register("b", 4), ANN, GATEWAY);
    return court;
  }, "REGISTER 4 again, but not as it was"],
  ["another message when it resumes", () => {
    const court = Court.connected();
    court.sends(publish(1, 4), ANN, GATEWAY);
    court.says(connect());
    court.hears(CONNACK);
    const other = { dup: true, data: Uint8Array.of(2) };
    court.sends(publish(1, 4, other), ANN, GATEWAY);
    return court;
  }, "PUBLISH 4 to short 24930 again, but not as it was"],
  ["a new message before it has resumed", () => {
    const court = Court.connected();
    court.sends(publish(2, 4), ANN, GATEWAY);
    court.says(connect());
    court.hears(CONNACK);
    court.sends(publish(2, 5), ANN, GATEWAY);
    return court;
  }, "PUBLISH 5 to short 24930 while PUBLISH 4 to short 24930 is out"],
  ["asking again too soon", () => {
    const court = new Court();
    court.judge.introduce(ANN, { retryMs: 2_000, retries: 4 });
    court.says(connect());
    court.hears(CONNACK);
    court.sends(subscribe("a", 4), ANN, GATEWAY);
    court.sends({ ...subscribe("a", 4), dup: true }, ANN, GATEWAY);
    return court;
  }, "SUBSCRIBE 4 again after 1000 ms"],
  ["asking again too often", () => {
    const court = new Court();
    court.judge.introduce(ANN, { retryMs: 1_000, retries: 1 });
    court.says(connect());
    court.hears(CONNACK);
    court.sends(publish(1, 4), ANN, GATEWAY);
    court.sends(publish(1, 4, { dup: true }), ANN, GATEWAY);
    court.sends(publish(1, 4, { dup: true }), ANN, GATEWAY);
    return court;
  }, "PUBLISH 4 to short 24930 sent 3 times"],
  ["PUBLISH under an id that it was not given", () => {
    const court = Court.connected();
    const named = { topicIdType: "normal", topicId: 3 } as const;
    court.sends(publish(0, 0, named), ANN, GATEWAY);
    return court;
  }, "PUBLISH under the id 3, which it was not given"],
  ["PUBLISH under an id of the connection before", () => {
    const court = Court.connected();
    court.says(register("a", 4));
    court.hears(ack("REGACK", 3, 4));
    court.says(connect());
    court.hears(CONNACK);
    const named = { topicIdType: "normal", topicId: 3 } as const;
    court.sends(publish(0, 0, named), ANN, GATEWAY);
    return court;
  }, "PUBLISH under the id 3, which it was not given"],
  ["PUBLISH under an id that was refused", () => {
    const court = Court.connected();
    court.says(register("a", 4));
    court.hears(ack("REGACK", 3, 4));
    const named = { topicIdType: "normal", topicId: 3 } as const;
    court.says(publish(1, 5, named));
    court.hears(ack("PUBACK", 3, 5, 2));
    court.sends(publish(1, 5, { ...named, dup: true }), ANN, GATEWAY);
    return court;
  }, "PUBLISH under the id 3, which it was not given"],
  ["PUBLISH with the reserved topic id type", () => {
    const court = Court.connected();
    court.judge.handleSend(9, ANN, GATEWAY, RESERVED);
    return court;
  }, "PUBLISH with the reserved topic id type"],
  ["PUBLISH at QoS 0 with DUP", () => {
    const court = Court.connected();
    court.sends(publish(0, 0, { dup: true }), ANN, GATEWAY);
    return court;
  }, "PUBLISH at QoS 0 with DUP"],
  ["PUBLISH at QoS 0 with a msgId", () => {
    const court = Court.connected();
    court.sends(publish(0, 4), ANN, GATEWAY);
    return court;
  }, "PUBLISH at QoS 0, msgId 4"],
  ["PUBLISH at QoS -1 to an id of nobody's", () => {
    const court = new Court();
    const named = { topicIdType: "normal", topicId: 3 } as const;
    court.sends(publish(-1, 0, named), ANN, GATEWAY);
    return court;
  }, "PUBLISH at QoS -1 to a normal topic"],
  ["an answer to nothing", () => {
    const court = Court.connected();
    court.sends(ack("PUBACK", 3, 4), ANN, GATEWAY);
    return court;
  }, "PUBACK that nothing asked for"],
  ["an answer twice", () => {
    const court = flight(2);
    court.says(only("PUBREC", 1));
    court.says(only("PUBREC", 1));
    return court;
  }, "PUBREC that nothing asked for"],
  ["PUBACK at QoS 2", () => {
    const court = flight(2);
    court.says(ack("PUBACK", 0x6162, 1));
    return court;
  }, "PUBACK of a PUBLISH at QoS 2"],
  ["PUBREC at QoS 1", () => {
    const court = flight(1);
    court.says(only("PUBREC", 1));
    return court;
  }, "PUBREC for a PUBLISH at QoS 1"],
  ["PUBACK with another id", () => {
    const court = flight(1);
    court.says(ack("PUBACK", 5, 1));
    return court;
  }, "PUBACK of 24930 with the id 5"],
  ["REGACK with another id", () => {
    const court = Court.connected();
    court.hears(register("a", 1, 3));
    court.says(ack("REGACK", 4, 1));
    return court;
  }, "REGACK of 3 with the id 4"],
  ["no answer", () => {
    return flight(2);
  }, "leaves PUBLISH 1 unanswered"],
  ["a will that was not asked for", () => {
    const court = new Court();
    court.says(connect({ will: true }));
    court.sends({ type: "WILLTOPICREQ" }, GATEWAY, ANN);
    court.sends({ type: "WILLTOPIC", will: undefined }, ANN, GATEWAY);
    return court;
  }, "WILLTOPIC that was not asked for"],
  ["silence beyond its keep alive", () => {
    const court = Court.connected({ duration: 10 });
    court.now += 11_000;
    return court;
  }, "silent for 11000 ms with a keep alive of 10 s"],
  ["GWINFO without the gateway's address", () => {
    const court = new Court();
    const gwAdd = new Uint8Array();
    court.sends({ type: "GWINFO", gwId: 1, gwAdd }, ANN, undefined);
    return court;
  }, "GWINFO of a client without the gateway's address"],
  ["PINGREQ to everybody", () => {
    const court = new Court();
    court.sends(ping(), ANN, undefined);
    return court;
  }, "PINGREQ to everybody"],
];

for (const [name, tell, detail] of CLIENTS) {
  Deno.test(`Judge blames a client for ${name}`, () => {
    const [first, ...others] = tell().found;
    assert(first?.includes(detail), first ?? "nothing");
    assertEquals(others, []);
  });
}

Deno.test("Judge does not blame a client for silence while it was switched off", () => {
  const court = Court.connected({ duration: 10 });
  court.now += 60_000;
  court.judge.excuse(court.now, ANN);
  court.says(ping());
  court.hears(PONG);
  assertEquals(court.found, []);
});
