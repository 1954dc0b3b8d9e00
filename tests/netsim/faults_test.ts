import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { parseFaults } from "../../netsim/fault_text.ts";
import { type FaultEvent, Faults } from "../../netsim/faults.ts";
import { wrapFor } from "../../wire/forwarder.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket, Publish, Side } from "../../wire/packets.ts";
import { describePacket } from "../../wire/describe.ts";
import { encodeUtf8 } from "../../base/utf8.ts";

const LAMP = peerOf("10.0.0.7", 1_883);
const ANN = peerOf("10.0.0.8", 1_883);

const CONNECT: MqttSnPacket = {
  type: "CONNECT",
  will: false,
  cleanSession: true,
  protocolId: 1,
  duration: 60,
  clientId: "lamp",
};

function publish(fields: Partial<Publish> = {}): Publish {
  return {
    type: "PUBLISH",
    dup: false,
    qos: 1,
    retain: false,
    topicIdType: "normal",
    topicId: 1,
    msgId: 7,
    data: encodeUtf8("on"),
    ...fields,
  };
}

function puback(msgId: number): MqttSnPacket {
  return { type: "PUBACK", topicId: 1, msgId, returnCode: 0 };
}

/** Rules, and what becomes of packets that pass them. */
class Bench {
  readonly events: FaultEvent[] = [];
  readonly faults: Faults;
  now = 0;

  constructor(rules: unknown[], seed = 1) {
    this.faults = new Faults(parseFaults(rules), {
      random: seededRandom(seed),
      predefined: new Map([[5, "sky"]]),
      onFault: (event) => this.events.push(event),
    });
  }

  /** What goes on (`>`) and what comes back (`<`), and how late; as it is: `-`. */
  pass(from: Side, packet: MqttSnPacket, peer: Peer = LAMP): string[] {
    const bytes = wrapFor(peer, encodePacket(packet));
    const verdict = this.faults.judge(this.now, from, peer, bytes);
    if (verdict === undefined) return ["-"];
    const line =
      (sign: string) =>
      ({ bytes, afterMs }: { bytes: Uint8Array; afterMs: number }) =>
        `${sign} ${describePacket(decodePacket(bytes))}` +
        (afterMs > 0 ? ` after ${afterMs}` : "");
    return [
      ...verdict.onward.map(line(">")),
      ...verdict.back.map(line("<")),
    ];
  }

  client(packet: MqttSnPacket, peer?: Peer): string[] {
    return this.pass("client", packet, peer);
  }

  broker(packet: MqttSnPacket, peer?: Peer): string[] {
    return this.pass("broker", packet, peer);
  }

  /** A client that is connected and has registered `room/1` as 1. */
  connect(clientId = "lamp", peer = LAMP): void {
    this.client({ ...CONNECT, clientId } as MqttSnPacket, peer);
    this.broker({ type: "CONNACK", returnCode: 0 }, peer);
    this.client({
      type: "REGISTER",
      topicId: 0,
      msgId: 1,
      topicName: "room/1",
    }, peer);
    this.broker({
      type: "REGACK",
      topicId: 1,
      msgId: 1,
      returnCode: 0,
    }, peer);
  }
}

Deno.test("Faults drop the second PUBACK to lamp-7, and tell it", () => {
  const bench = new Bench([{
    name: "it",
    type: "PUBACK",
    from: "broker",
    client: "lamp-7",
    nth: 2,
    do: "drop",
  }]);
  bench.connect("lamp-7");
  bench.connect("ann", ANN);
  bench.now = 500;
  const answers = [1, 2, 3].flatMap((msgId) => bench.broker(puback(msgId)));
  assertEquals(answers, ["-", "-"]);
  assertEquals(bench.broker(puback(2), ANN), ["-"]);
  assertEquals(bench.faults.struck, 1);
  assertEquals(bench.events, [{
    at: 500,
    rule: 1,
    name: "it",
    from: "broker",
    peer: LAMP,
    clientId: "lamp-7",
    packet: puback(2),
    what: "dropped",
  }]);
});

Deno.test("Faults answer congestion to the first three CONNECTs", () => {
  const bench = new Bench([
    { type: "CONNECT", first: 3, do: { answer: "congestion" } },
  ]);
  const refused = ["< CONNACK returnCode=1"];
  for (const peer of [LAMP, ANN, LAMP]) {
    assertEquals(bench.client(CONNECT, peer), refused);
  }
  assertEquals(bench.client(CONNECT), ["-"]);
});

Deno.test("Faults swallow the final PINGRESP, and no other", () => {
  const bench = new Bench([
    { type: "PINGRESP", state: "awake", do: "drop" },
  ]);
  bench.connect();
  bench.client({ type: "PINGREQ", clientId: "" });
  assertEquals(bench.broker({ type: "PINGRESP" }), ["-"]);
  bench.client({ type: "DISCONNECT", duration: 60 });
  bench.broker({ type: "DISCONNECT", duration: undefined });
  bench.client({ type: "PINGREQ", clientId: "lamp" });
  assertEquals(bench.broker({ type: "PINGRESP" }), []);
});

Deno.test("Faults count each client's by themselves where told", () => {
  const bench = new Bench([
    { type: "PUBACK", first: 1, perClient: true, do: "drop" },
  ]);
  bench.connect("lamp");
  bench.connect("ann", ANN);
  assertEquals(bench.broker(puback(1)), []);
  assertEquals(bench.broker(puback(1), ANN), []);
  assertEquals(bench.broker(puback(2)), ["-"]);
});

Deno.test("Faults strike every third, and the first rule whose turn it is acts", () => {
  const bench = new Bench([
    { type: "PUBACK", every: 3, do: "drop" },
    { type: "PUBACK", nth: 3, do: "duplicate" },
    { type: "PUBACK", nth: 4, do: { delay: "1s" } },
  ]);
  const fates = [1, 2, 3, 4, 5, 6].map((msgId) => bench.broker(puback(msgId)));
  assertEquals(fates.map((fate) => fate.length), [1, 1, 0, 1, 1, 0]);
  assertEquals(fates[3], [
    "> PUBACK topicId=1 msgId=4 returnCode=0 after 1000",
  ]);
});

Deno.test("Faults strike by chance as often as told, the same for a seed", () => {
  const run = (seed: number) => {
    const bench = new Bench([{ chance: "20%", do: "drop" }], seed);
    return Array.from(
      { length: 10_000 },
      (_, i) => bench.broker(puback(i)).length === 0,
    );
  };
  const struck = run(3).filter(Boolean).length;
  assert(Math.abs(struck - 2_000) < 5 * Math.sqrt(1_600), `${struck}`);
  assertEquals(run(3), run(3));
});

Deno.test("Faults match topics by ids of either end's REGISTER, by SUBACK, by pre-defined and short names", () => {
  const bench = new Bench([
    {
      type: "PUBLISH",
      topic: "room/+",
      do: "drop",
    },
    { type: "PUBLISH", topic: "sky", do: "drop" },
    {
      type: "PUBLISH",
      topic: "ab",
      do: "drop",
    },
  ]);
  assertEquals(bench.client(publish()), ["-"]); // nobody knows yet
  bench.connect();
  assertEquals(bench.client(publish()), []);
  assertEquals(bench.client(publish({ topicId: 9 })), ["-"]);
  bench.broker({
    type: "REGISTER",
    topicId: 9,
    msgId: 3,
    topicName: "room/9",
  });
  assertEquals(bench.broker(publish({ topicId: 9 })), []);
  bench.client({
    type: "SUBSCRIBE",
    dup: false,
    qos: 1,
    msgId: 4,
    topic: { topicIdType: "normal", topicName: "room/4" },
  });
  bench.broker({
    type: "SUBACK",
    qos: 1,
    topicId: 4,
    msgId: 4,
    returnCode: 0,
  });
  assertEquals(bench.broker(publish({ topicId: 4 })), []);
  const short = publish({ topicIdType: "short", topicId: 0x6162 });
  const sky = publish({ topicIdType: "predefined", topicId: 5 });
  assertEquals([bench.client(short), bench.client(sky)], [[], []]);
});

Deno.test("Faults match an acknowledgement by what it acknowledges", () => {
  const bench = new Bench([
    { type: ["PUBACK", "PUBREC"], topic: "room/1", qos: 2, do: "drop" },
  ]);
  bench.connect();
  bench.client(publish({ msgId: 7, qos: 1 }));
  bench.client(publish({ msgId: 8, qos: 2 }));
  assertEquals(bench.broker(puback(7)), ["-"]);
  assertEquals(bench.broker({ type: "PUBREC", msgId: 8 }), []);
  assertEquals(bench.broker({ type: "PUBREC", msgId: 9 }), ["-"]);
});

Deno.test("Faults match fields, and client ids by how they begin", () => {
  const bench = new Bench([
    { client: "lamp-*", where: { retain: true, data: "on" }, do: "drop" },
  ]);
  bench.connect("lamp-1");
  assertEquals(bench.client(publish({ retain: true })), []);
  assertEquals(bench.client(publish()), ["-"]);
  bench.connect("ann", ANN);
  assertEquals(bench.client(publish({ retain: true }), ANN), ["-"]);
});

Deno.test("Faults know a client that comes back from another address", () => {
  const bench = new Bench([{ client: "lamp", type: "PUBLISH", do: "drop" }]);
  bench.connect();
  bench.client({ type: "PINGREQ", clientId: "lamp" }, ANN);
  assertEquals(bench.client(publish(), ANN), []);
});

Deno.test("Faults look into what a forwarder has wrapped, and wrap what they send", () => {
  const node = { ...LAMP, key: "", wirelessNodeId: Uint8Array.of(3) };
  const bench = new Bench([
    { type: "CONNECT", first: 1, do: { answer: 1 } },
    { type: "PUBACK", do: { corrupt: { returnCode: 2 } } },
  ]);
  assertEquals(bench.client(CONNECT, node), [
    "< node 03: CONNACK returnCode=1",
  ]);
  assertEquals(bench.broker(puback(1), node), [
    "> node 03: PUBACK topicId=1 msgId=1 returnCode=2",
  ]);
});

Deno.test("Faults pass on what is no message of MQTT-SN", () => {
  const bench = new Bench([{ do: "drop" }]);
  for (
    const bytes of [
      new Uint8Array(),
      Uint8Array.of(1),
      encodeUtf8('{"command":"publish"}'),
      Uint8Array.of(3, 0x16),
      Uint8Array.of(4, 0x0d, 0, 0),
    ]
  ) assertEquals(bench.faults.judge(0, "client", LAMP, bytes), undefined);
});

Deno.test("Faults alter each field that a packet has into something else", () => {
  const packets: MqttSnPacket[] = [
    CONNECT,
    publish(),
    puback(3),
    {
      type: "SUBSCRIBE",
      dup: false,
      qos: 0,
      msgId: 4,
      topic: { topicIdType: "normal", topicName: "a" },
    },
    {
      type: "WILLTOPIC",
      will: { qos: 0, retain: false, topicName: "a" },
    },
    { type: "REGISTER", topicId: 1, msgId: 2, topicName: "a/b" },
  ];
  const fields = [
    "cleanSession",
    "clientId",
    "data",
    "duration",
    "msgId",
    "qos",
    "retain",
    "returnCode",
    "topicId",
    "topicIdType",
    "topicName",
  ];
  let altered = 0;
  for (const field of fields) {
    for (const packet of packets) {
      for (let seed = 0; seed < 20; seed++) {
        const bench = new Bench([{ do: { corrupt: field } }], seed);
        const [fate] = bench.client(packet);
        if (fate === "-") continue; // it has no such field
        assert(fate !== `> ${describePacket(packet)}`, `${fate}, seed ${seed}`);
        assert(fate!.startsWith(`> ${packet.type}`));
        altered++;
      }
    }
  }
  assert(altered > 400, `${altered}`);
});

Deno.test("Faults leave alone what they cannot alter, and do not claim to have", () => {
  const bench = new Bench([{ do: { corrupt: "clientId" } }]);
  assertEquals(bench.client({ type: "PINGREQ", clientId: "" }), ["-"]);
  assertEquals(bench.broker(puback(1)), ["-"]);
  assertEquals(bench.events, []);
});

Deno.test("Faults double, delay and insert", () => {
  const bench = new Bench([
    { type: "PINGREQ", do: { duplicate: 3, after: "20ms" } },
    {
      type: "PUBLISH",
      do: { insert: { type: "PUBACK", returnCode: 3 }, to: "client" },
    },
    {
      type: "DISCONNECT",
      do: { insert: { type: "PINGREQ", clientId: "x" }, to: "broker" },
    },
  ]);
  const ping = '> PINGREQ clientId=""';
  assertEquals(bench.client({ type: "PINGREQ", clientId: "" }), [
    ping,
    `${ping} after 20`,
    `${ping} after 40`,
  ]);
  assertEquals(bench.client(publish()), [
    '> PUBLISH qos=1 topicId=1 msgId=7 data="on"',
    "< PUBACK topicId=1 msgId=7 returnCode=3",
  ]);
  assertEquals(bench.client({ type: "DISCONNECT", duration: undefined }), [
    '> PINGREQ clientId="x"',
    "> DISCONNECT",
  ]);
});

Deno.test("Faults answer in the client's place, by QoS", () => {
  const bench = new Bench([{ type: "PUBLISH", do: { answer: "accepted" } }]);
  assertEquals(bench.broker(publish({ qos: 0, msgId: 0 })), []);
  assertEquals(bench.broker(publish({ qos: 1 })), [
    "< PUBACK topicId=1 msgId=7 returnCode=0",
  ]);
  assertEquals(bench.broker(publish({ qos: 2 })), ["< PUBREC msgId=7"]);
});

Deno.test("Faults replay what the client was sent last, and not what it has sent", () => {
  const bench = new Bench([{ type: "PINGREQ", do: { replay: 2 } }]);
  assertEquals(bench.client({ type: "PINGREQ", clientId: "" }), ["-"]);
  bench.client(publish({ msgId: 99 }));
  for (const msgId of [1, 2, 3]) bench.broker(publish({ msgId }));
  assertEquals(bench.client({ type: "PINGREQ", clientId: "" }), [
    '> PINGREQ clientId=""',
    '< PUBLISH qos=1 topicId=1 msgId=2 data="on"',
    '< PUBLISH qos=1 topicId=1 msgId=3 data="on"',
  ]);
});

Deno.test("Faults forget a topic id until it is agreed on again, whoever uses it", () => {
  const bench = new Bench([
    { type: "PINGREQ", first: 1, do: { forget: "topicIds" } },
  ]);
  bench.connect();
  const ping: MqttSnPacket = { type: "PINGREQ", clientId: "" };
  assertEquals(bench.client(ping), ['> PINGREQ clientId=""']);
  const unknown = ["< PUBACK topicId=1 msgId=7 returnCode=2"];
  assertEquals(bench.client(publish()), unknown);
  assertEquals(bench.broker(publish()), unknown);
  assertEquals(bench.events.map(({ rule }) => rule), [1, 0, 0]);
  bench.broker({ type: "REGACK", topicId: 1, msgId: 9, returnCode: 0 });
  assertEquals(bench.client(publish()), ["-"]);
});

Deno.test("Faults have nothing forgotten any more once a session begins anew", () => {
  const bench = new Bench([
    { type: "PINGREQ", first: 1, do: { forget: "topicIds" } },
  ]);
  bench.connect();
  bench.client({ type: "PINGREQ", clientId: "" });
  // A session that goes on does not bring the ids back.
  bench.client({ ...CONNECT, cleanSession: false } as MqttSnPacket);
  assertEquals(bench.client(publish()), [
    "< PUBACK topicId=1 msgId=7 returnCode=2",
  ]);
  bench.client(CONNECT);
  assertEquals(bench.broker(publish()), ["-"]);
});

Deno.test("Faults know who has been sent away from who has taken leave to sleep", () => {
  const bench = new Bench([
    { state: "disconnected", type: "PUBLISH", do: "drop" },
  ]);
  const leave: MqttSnPacket = { type: "DISCONNECT", duration: undefined };
  bench.connect();
  bench.client({ type: "DISCONNECT", duration: 9 });
  bench.broker(leave); // the answer
  assertEquals(bench.broker(publish()), ["-"]);
  bench.broker(leave);
  assertEquals(bench.broker(publish()), []);
});

Deno.test("Faults forget the topic id of a PUBLISH, and refuse that at once", () => {
  const bench = new Bench([
    { type: "PUBLISH", nth: 2, do: { forget: "topicId" } },
  ]);
  bench.connect();
  assertEquals(bench.client(publish()), ["-"]);
  const unknown = ["< PUBACK topicId=1 msgId=7 returnCode=2"];
  assertEquals(bench.client(publish()), unknown);
  assertEquals(bench.client(publish()), unknown);
});

Deno.test("Faults have the broker forget a session, and keep its answers from the client", () => {
  const bench = new Bench([
    { type: "PUBLISH", from: "client", first: 1, do: { forget: "session" } },
  ]);
  bench.connect();
  assertEquals(bench.client(publish()), [
    '> CONNECT cleanSession protocolId=1 duration=60 clientId="lamp"',
    "> DISCONNECT",
    '> PUBLISH qos=1 topicId=1 msgId=7 data="on"',
  ]);
  assertEquals(bench.broker({ type: "CONNACK", returnCode: 0 }), []);
  const goodbye: MqttSnPacket = { type: "DISCONNECT", duration: undefined };
  assertEquals(bench.broker(goodbye), []);
  assertEquals(bench.broker(goodbye), ["-"]); // the answer to its PUBLISH
});

Deno.test("Faults do not wait for those answers for ever", () => {
  const bench = new Bench([
    { type: "PUBLISH", from: "client", first: 1, do: { forget: "session" } },
  ]);
  bench.connect();
  bench.client(publish());
  bench.now += 5_001;
  assertEquals(bench.broker({ type: "CONNACK", returnCode: 0 }), ["-"]);
});

Deno.test("Faults cannot have a client forgotten whose name they do not know", () => {
  const bench = new Bench([{ type: "PUBLISH", do: { forget: "session" } }]);
  assertEquals(bench.client(publish()), ["-"]);
  assertEquals(bench.events, []);
});

Deno.test("Faults with since are for a client only behind that, and count from there", () => {
  const bench = new Bench([{
    since: { type: "CONNECT", state: "asleep" },
    type: "PUBLISH",
    from: "broker",
    first: 1,
    do: "drop",
  }]);
  bench.connect();
  assertEquals(bench.broker(publish()), ["-"]);
  for (let i = 0; i < 2; i++) {
    bench.client({ type: "DISCONNECT", duration: 9 });
    bench.client(CONNECT);
    bench.broker({ type: "CONNACK", returnCode: 0 });
    assertEquals(bench.broker(publish()), []);
    assertEquals(bench.broker(publish()), ["-"]);
  }
});

Deno.test("Faults learn from a client only what its broker gets", () => {
  const bench = new Bench([
    { type: "DISCONNECT", nth: 1, do: "drop" },
    { state: "asleep", type: "PUBLISH", do: "drop" },
  ]);
  bench.connect();
  bench.client({ type: "DISCONNECT", duration: 9 });
  assertEquals(bench.broker(publish()), ["-"]);
  bench.client({ type: "DISCONNECT", duration: 9 });
  assertEquals(bench.broker(publish()), []);
});

Deno.test("Faults bear any octets", () => {
  const seed = 77;
  const random = seededRandom(seed);
  const acts = [
    { corrupt: "topicName" },
    { corrupt: "topicIdType" },
    { forget: "topicIds" },
    { forget: "session" },
    { replay: 3 },
    { insert: { type: "PUBLISH" } },
    "duplicate",
  ];
  const bench = new Bench(
    acts.map((act) => ({ chance: "15%", do: act })),
    seed,
  );
  const seeds = [
    encodePacket(CONNECT),
    encodePacket(publish()),
    wrapFor(
      { ...LAMP, wirelessNodeId: Uint8Array.of(1) } as Peer,
      encodePacket(puback(1)),
    ),
  ];
  for (let i = 0; i < 20_000; i++) {
    const bytes = seeds[Math.floor(random() * seeds.length)]!.slice();
    const flips = Math.floor(random() * 4);
    for (let j = 0; j < flips; j++) {
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    const end = random() < 0.5 ? "client" : "broker";
    bench.faults.judge(i, end, random() < 0.5 ? LAMP : ANN, bytes);
  }
  assert(bench.events.length > 1_000);
});
