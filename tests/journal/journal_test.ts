import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Broker, type BrokerOptions } from "../../broker.ts";
import { encodePublish } from "../../wire/classic.ts";
import { Client } from "../../client.ts";
import { ManualClock } from "../../base/clock.ts";
import type { JournalEntry } from "../../journal/query.ts";
import { ExpectationError, Journal } from "../../journal/journal.ts";
import { LocalProtocolError } from "../../base/errors.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { Connect, MqttSnPacket, Publish } from "../../wire/packets.ts";
import { MemoryNetwork } from "../../transport/memory.ts";
import { encodeUtf8 } from "../../base/utf8.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

const LAMP = peerOf("127.0.0.1", 1_001);
const ANN = peerOf("127.0.0.1", 1_002);

const CONNECT: Connect = {
  ...{ type: "CONNECT", will: false, cleanSession: true, protocolId: 1 },
  ...{ duration: 60, clientId: "lamp-7" },
};

function publish(fields: Partial<Publish> = {}): Publish {
  return {
    ...{ type: "PUBLISH", dup: false, qos: 1, retain: false },
    ...{ topicIdType: "predefined", topicId: 1, msgId: 7 },
    ...{ data: encodeUtf8("on"), ...fields },
  };
}

/** A journal on a clock that is moved by hand, and who writes in it. */
function setUp(options: { maxEntries?: number } = {}) {
  const clock = new ManualClock();
  const predefined = new Map([[1, "room/1/light"], [2, "room/2/light"]]);
  const journal = new Journal({ clock, predefined, ...options });
  const came = (peer: Peer, packet: MqttSnPacket) =>
    journal.add("received", peer, encodePacket(packet));
  const went = (peer: Peer, packet: MqttSnPacket) =>
    journal.add("sent", peer, encodePacket(packet));
  const join = (peer: Peer, clientId: string) => {
    came(peer, { ...CONNECT, clientId });
    went(peer, { type: "CONNACK", returnCode: 0 });
  };
  return { clock, journal, came, went, join };
}

function namesOf(entries: readonly JournalEntry[]): string[] {
  return entries.map(({ clientId, peer, type, topicName }) =>
    `${clientId ?? peer?.key} ${type} ${topicName}`
  );
}

async function failed(promise: Promise<unknown>): Promise<string> {
  const { message } = await assertRejects(() => promise, ExpectationError);
  return message.split("\n")[0]!;
}

/** Whether a promise is settled, once all that is ready has happened. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(() => settled = true, () => settled = true);
  for (let i = 0; i < 5; i++) await Promise.resolve();
  return settled;
}

Deno.test("Journal.received() finds what was published to a filter's topics, whoever did and however", async () => {
  const network = new MemoryNetwork();
  const transport = network.bind({ port: 12003 });
  const predefined = new Map([[1, "room/0/light"]]);
  await using broker = await Broker.listen({ transport, predefined });
  await using lamp = await Client.connect({
    ...{ transport: network.bind(), port: 12003, clientId: "lamp-7" },
    predefined,
  });
  await lamp.publish("room/1/light", "by a registered id", { qos: 1 });
  await lamp.subscribe("room/2/light");
  await lamp.publish("room/2/light", "by a subscription's id", { qos: 2 });
  await lamp.publish({ predefined: 1 }, "by a pre-defined id", { qos: 1 });
  await lamp.publish("room/1/heating", "another topic", { qos: 1 });
  await using raw = network.bind();
  raw.send(broker.address, encodePublish("room/3/light", "in JSON"));
  const found = await broker.journal.received("room/+/light", { count: 4 });
  assertEquals(found.map(({ payload }) => new TextDecoder().decode(payload)), [
    "by a registered id",
    "by a subscription's id",
    "by a pre-defined id",
    "in JSON",
  ]);
  assertEquals(namesOf(found), [
    "lamp-7 PUBLISH room/1/light",
    "lamp-7 PUBLISH room/2/light",
    "lamp-7 PUBLISH room/0/light",
    `${raw.address.key} classic publish room/3/light`,
  ]);
  await broker.journal.received("#", { from: "lamp-7", atLeast: 4 });
  await broker.journal.sent("room/2/light", { to: "lamp-7", exactly: 1 });
  await broker.journal.sent({ type: "PUBACK", to: "lamp-7", count: 3 });
  await broker.journal.sent({ type: "PUBCOMP", to: lamp.address });
  await broker.journal.received({ type: "SUBSCRIBE", topic: "room/2/light" });
  await broker.journal.received("room/1/light", {
    payload: "by a registered id",
  });
});

Deno.test("Journal.received() resolves as soon as there are enough, without the clock", async () => {
  const { journal, came, join } = setUp();
  const expected = journal.received("room/+/light", { count: 2, within: 10 });
  join(LAMP, "lamp-7");
  came(LAMP, publish());
  assertEquals(await isSettled(expected), false);
  came(ANN, publish({ topicId: 2, qos: -1, msgId: 0 }));
  assertEquals(await isSettled(expected), true);
  assertEquals(namesOf(await expected), [
    "lamp-7 PUBLISH room/1/light",
    "127.0.0.1:1002 PUBLISH room/2/light",
  ]);
});

Deno.test("Journal.received() fails when its clock says that the time is over", async () => {
  const { clock, journal, came } = setUp();
  const expected = journal.received("room/+/light", { count: 2, within: 500 });
  came(LAMP, publish());
  clock.advance(499);
  assertEquals(await isSettled(expected), false);
  clock.advance(1);
  assertEquals(
    await failed(expected),
    'Expected to receive 2 × publish on "room/+/light" within 500 ms, but there was 1',
  );
  came(LAMP, publish());
  clock.advance(10_000);
});

Deno.test("Journal.received() waits by the system's timers on the system's clock", async () => {
  const journal = new Journal();
  assertEquals(
    await failed(journal.received("a", { within: 5 })),
    'Expected to receive at least 1 × publish on "a" within 5 ms, but there was none',
  );
  const expected = journal.received("a", { within: 60_000 });
  journal.add("received", ANN, encodePublish("a", "1"));
  assertEquals((await expected).length, 1);
});

Deno.test("Journal counts in each of its ways", async () => {
  const { clock, journal, came } = setUp();
  const light = "room/1/light";
  for (let msgId = 1; msgId <= 3; msgId++) came(LAMP, publish({ msgId }));
  assertEquals((await journal.received(light)).length, 3);
  assertEquals((await journal.received(light, { atLeast: 2 })).length, 3);
  assertEquals((await journal.received(light, { count: 3 })).length, 3);
  assertEquals((await journal.received(light, { exactly: 3 })).length, 3);
  assertEquals(await journal.received("no", { never: true }), []);
  assertEquals(await journal.received("no", { count: 0 }), []);
  assertEquals(
    await failed(journal.received(light, { count: 2 })),
    `Expected to receive 2 × publish on "${light}" within 1000 ms, but there were 3`,
  );
  assertEquals(
    await failed(journal.received(light, { never: true })),
    `Expected to receive no publish on "${light}", but there were 3`,
  );
  // Patience: it ends well when the time is over, and badly at once.
  const since = journal.mark();
  const exact = journal.received(light, { exactly: 1, within: 100, since });
  const none = journal.received(light, { never: true, within: 100, since });
  const few = journal.received(light, { exactly: 2, within: 100, since });
  came(LAMP, publish({ msgId: 9 }));
  assertEquals(await isSettled(exact), false);
  assertEquals(
    await failed(none),
    `Expected to receive no publish on "${light}" within 100 ms, but there was 1`,
  );
  clock.advance(101);
  assertEquals((await exact).length, 1);
  assertEquals(
    await failed(few),
    `Expected to receive 2 × publish on "${light}" within 100 ms, but there was 1`,
  );
});

Deno.test("Journal does not count what comes when the time is over", async () => {
  const clock = { at: 0, now: () => clock.at };
  const journal = new Journal({ clock });
  const expected = journal.received("a", { within: 10 });
  clock.at = 10.5; // as when the system's timer is late
  journal.add("received", ANN, encodePublish("a", "1"));
  assertEquals(
    await failed(expected),
    'Expected to receive at least 1 × publish on "a" within 10 ms, but there was none',
  );
});

Deno.test("Journal does not count what was sent again, unless it is asked to", async () => {
  const { journal, came, join } = setUp();
  join(LAMP, "lamp-7");
  came(LAMP, publish());
  came(LAMP, publish({ dup: true }));
  await journal.received("room/1/light", { exactly: 1 });
  await journal.received("room/1/light", { exactly: 2, duplicates: true });
  await journal.received({ type: "PUBLISH", with: { dup: true }, never: true });
  await journal.received({
    ...{ type: "PUBLISH", with: { dup: true }, duplicates: true },
  });
});

Deno.test("Journal.sent() looks for types, fields, topics and who it was", async () => {
  const { journal, came, went, join } = setUp();
  join(LAMP, "lamp-7");
  join(ANN, "ann");
  const ack = { topicId: 1, msgId: 7 };
  went(LAMP, { type: "PUBACK", ...ack, returnCode: 0 });
  went(ANN, { type: "PUBACK", ...ack, returnCode: 1 });
  await journal.sent({ type: "PUBACK", exactly: 2 });
  await journal.sent({ type: "PUBACK", to: "lamp-7", exactly: 1 });
  await journal.sent({ type: "PUBACK", to: LAMP, exactly: 1 });
  await journal.sent({ type: "PUBACK", to: "127.0.0.1:1002", exactly: 1 });
  const refused = { returnCode: 1, msgId: 7 };
  const [found] = await journal.sent({ type: "PUBACK", with: refused });
  assertEquals(found?.clientId, "ann");
  assertEquals(
    await failed(
      journal.sent({
        ...{ type: "PUBACK", to: "lamp-7", with: { returnCode: 1 }, within: 0 },
      }),
    ),
    'Expected to send at least 1 × PUBACK with returnCode=1 to "lamp-7", but there was none',
  );
  const topic = { topicIdType: "normal", topicName: "a/#" } as const;
  came(LAMP, { type: "SUBSCRIBE", dup: false, qos: 1, msgId: 9, topic });
  await journal.received({ type: "SUBSCRIBE", topic: "a/#" });
  // Parts of a field will do, and octets are given as text or as they are.
  const will = { topicName: "gone", qos: 1, retain: true } as const;
  came(LAMP, { type: "WILLTOPIC", will });
  await journal.received({
    ...{ type: "WILLTOPIC", with: { will: { ...will } } },
  });
  came(LAMP, { type: "WILLMSG", data: encodeUtf8("lost") });
  const data = encodeUtf8("lost");
  await journal.received({ type: "WILLMSG", with: { data } });
  assertEquals(
    journal.entries({ type: "CONNECT", from: "ann" }).length,
    1,
  );
  assertEquals(journal.entries({ to: "lamp-7" }).length, 2);
  journal.add("received", ANN, Uint8Array.of(0xff, 0xff));
  await journal.received({ type: "malformed", from: ANN });
});

Deno.test("Journal.note() stands between the datagrams", () => {
  const { journal, came } = setUp();
  came(LAMP, publish());
  journal.note("dropped the second PUBACK", LAMP);
  journal.note("x".repeat(70_000));
  const [note, long] = journal.entries({ type: "note" });
  assertEquals(
    [note?.text, note?.peer?.key, note?.way],
    ["dropped the second PUBACK", LAMP.key, "note"],
  );
  assertEquals(long?.text.length, 65_536);
  assertStringIncludes(`${journal}`, "note     dropped the second PUBACK\n");
});

Deno.test("ExpectationError shows what is relevant of the conversation", async () => {
  const { clock, journal, came, went, join } = setUp();
  join(LAMP, "lamp-7");
  clock.advance(1_500);
  came(LAMP, publish());
  const ack = { topicId: 1, msgId: 7, returnCode: 0 };
  went(LAMP, { type: "PUBACK", ...ack });
  clock.advance(250);
  journal.note("the network is down", LAMP);
  came(LAMP, publish({ dup: true }));
  came(ANN, publish({ topicId: 2, msgId: 8 }));
  came(LAMP, publish({ msgId: 9, data: encodeUtf8("off") }));
  came(LAMP, { type: "PINGREQ", clientId: "" });
  const expected = journal.received("room/1/light", { count: 3, within: 0 });
  const error = await assertRejects(() => expected, ExpectationError);
  assertEquals(error.message, ABOUT_A_TOPIC);
  assertEquals(error.found.length, 2);
  const sent = journal.sent({
    type: "PUBACK",
    to: "lamp-7",
    count: 2,
    within: 0,
  });
  const { message } = await assertRejects(() => sent, ExpectationError);
  assertEquals(message, ABOUT_A_CLIENT);
});

const ABOUT_A_TOPIC = `\
Expected to receive 3 × publish on "room/1/light", but there were 2

   seconds     client          message  fields
     0.000  >  lamp-7          CONNECT  cleanSession protocolId=1 duration=60 clientId="lamp-7"
     0.000  <  lamp-7          CONNACK  returnCode=0
*    1.500  >  lamp-7          PUBLISH  qos=1 topicIdType=predefined topicId=1 msgId=7 data="on" ("room/1/light")
     1.750     lamp-7          note     the network is down
     1.750  >  lamp-7          PUBLISH  dup qos=1 topicIdType=predefined topicId=1 msgId=7 data="on" ("room/1/light")  [again]
     1.750  >  127.0.0.1:1002  PUBLISH  qos=1 topicIdType=predefined topicId=2 msgId=8 data="on" ("room/2/light")
*    1.750  >  lamp-7          PUBLISH  qos=1 topicIdType=predefined topicId=1 msgId=9 data="off" ("room/1/light")
`;

const ABOUT_A_CLIENT = `\
Expected to send 2 × PUBACK to "lamp-7", but there was 1

   seconds     client  message  fields
     0.000  >  lamp-7  CONNECT  cleanSession protocolId=1 duration=60 clientId="lamp-7"
     0.000  <  lamp-7  CONNACK  returnCode=0
     1.500  >  lamp-7  PUBLISH  qos=1 topicIdType=predefined topicId=1 msgId=7 data="on" ("room/1/light")
*    1.500  <  lamp-7  PUBACK   topicId=1 msgId=7 returnCode=0
     1.750     lamp-7  note     the network is down
     1.750  >  lamp-7  PUBLISH  dup qos=1 topicIdType=predefined topicId=1 msgId=7 data="on" ("room/1/light")  [again]
     1.750  >  lamp-7  PUBLISH  qos=1 topicIdType=predefined topicId=1 msgId=9 data="off" ("room/1/light")
     1.750  >  lamp-7  PINGREQ  clientId=""
`;

Deno.test("ExpectationError shows everybody when nobody is who was asked for, and not too much", async () => {
  const { journal, came } = setUp({ maxEntries: 90 });
  for (let msgId = 1; msgId <= 100; msgId++) came(ANN, publish({ msgId }));
  const expected = journal.sent({ to: "lamp-8", within: 0 });
  const { message } = await assertRejects(() => expected, ExpectationError);
  const lines = message.trimEnd().split("\n");
  assertEquals(lines.length, 2 + 1 + 1 + 40 + 1);
  assertEquals(lines[3], "   … 50 before these");
  assertEquals(lines.at(-1), "   10 older ones are not kept");
  // A terminal is not steered by what a peer has sent.
  came(LAMP, { ...CONNECT, clientId: "\u001b[2J" });
  assert(!`${journal}`.includes("\u001b"));
});

Deno.test("Journal knows names also when what gave them is not kept any more", async () => {
  for (const asksOften of [false, true]) {
    const { journal, came, went, join } = setUp({ maxEntries: 8 });
    join(LAMP, "lamp-7");
    const topicName = "room/7/light";
    came(LAMP, { type: "REGISTER", topicId: 0, msgId: 1, topicName });
    const ack = { topicId: 3, msgId: 1, returnCode: 0 };
    went(LAMP, { type: "REGACK", ...ack });
    for (let i = 0; i < 100; i++) {
      came(LAMP, publish({ msgId: i + 1 }));
      if (asksOften) await journal.received("#");
    }
    came(LAMP, publish({ topicIdType: "normal", topicId: 3, msgId: 200 }));
    const [found] = await journal.received(topicName, { from: "lamp-7" });
    assertEquals(found?.topicName, topicName);
    assertEquals([journal.size, journal.forgotten], [8, 97]);
  }
});

Deno.test("Journal.close() ends what waits, and what is kept can be read", async () => {
  const { journal, came } = setUp();
  const missing = journal.received("a", { within: 1_000 });
  const never = journal.received("a", { never: true, within: 1_000 });
  came(LAMP, publish());
  journal.close();
  assertEquals(
    await failed(missing),
    'Expected to receive at least 1 × publish on "a" within 1000 ms, but there was none when it was closed',
  );
  assertEquals(await never, []);
  assertEquals((await journal.received("room/1/light")).length, 1);
  await failed(journal.received("a"));
});

Deno.test("Journal refuses questions that make no sense", async () => {
  const { journal } = setUp();
  const rejects = async (
    query: unknown,
    error: new () => Error,
    text: string,
  ) => {
    await assertRejects(
      () => journal.received(query as string),
      error,
      text,
    );
  };
  await rejects("a/#/b", TypeError, 'the topic "a/#/b": it is no topic filter');
  await rejects({ type: "PUBAK" }, TypeError, 'the type "PUBAK": it is one of');
  await rejects({ count: 1, never: true }, TypeError, "in several ways");
  await rejects({ never: false }, TypeError, '"never: false"');
  await rejects({ count: -1 }, RangeError, 'Cannot expect "-1" of it');
  await rejects({ within: NaN }, RangeError, 'Cannot wait for "NaN" ms');
  assertThrows(() => journal.entries({ topic: "" }), TypeError);
});

Deno.test("Broker.journal is kept unless it is told not to", async () => {
  const listen = (options: BrokerOptions) =>
    Broker.listen({ transport: new MemoryNetwork().bind(), ...options });
  await using broker = await listen({ journal: { maxEntries: 5 } });
  for (let i = 0; i < 9; i++) broker.journal.note(`${i}`);
  assertEquals([broker.journal.size, broker.journal.forgotten], [5, 4]);
  await using quiet = await listen({ journal: false });
  assertThrows(
    () => quiet.journal,
    LocalProtocolError,
    "Cannot ask the journal: this broker was started with journal: false",
  );
  await assertRejects(
    () => listen({ journal: { maxOctets: 5 } }),
    RangeError,
    'Cannot take "5" as maxOctets',
  );
});

Deno.test("Journal of a client has what the client has seen", async () => {
  const network = new MemoryNetwork();
  const transport = network.bind({ port: 12003 });
  await using broker = await Broker.listen({ transport });
  const journal = new Journal({ side: "client" });
  await using client = await Client.connect({
    ...{ transport: network.bind(), port: 12003, clientId: "lamp-7", journal },
  });
  const messages = await client.subscribe("room/+");
  await client.publish("room/1", "on", { qos: 1 });
  await messages.take();
  const [sent] = await journal.sent("room/+", { exactly: 1 });
  const [received] = await journal.received("room/1", { exactly: 1 });
  await journal.received({ type: "SUBACK", from: broker.address });
  assertEquals([sent?.clientId, sent?.topicName], ["lamp-7", "room/1"]);
  assertEquals(received?.payload, encodeUtf8("on"));
});

Deno.test("a fault that strikes is in the broker's journal, behind what it struck, and told too", async () => {
  const network = new MemoryNetwork();
  const told: string[] = [];
  await using broker = await Broker.listen({
    transport: network.bind({ port: 12_003 }),
    faults: [{ name: "second", type: "PUBACK", nth: 2, do: "drop" }],
    onFault: ({ what }) => told.push(what),
  });
  await using lamp = await Client.connect({
    transport: network.bind(),
    clientId: "lamp-7",
    retryMs: 20,
  });
  await lamp.publish("a", "1", { qos: 1 });
  await lamp.publish("a", "2", { qos: 1 });
  assertEquals(told, ["dropped"]);
  const [note, ...others] = await broker.journal.noted("dropped", {
    about: "lamp-7",
  });
  assertEquals(others, []);
  const { key } = lamp.address;
  assertEquals(
    note?.text,
    `Fault 1 (second): PUBACK to lamp-7 (${key}) dropped`,
  );
  const pubacks = broker.journal.entries({ type: "PUBACK", to: "lamp-7" });
  assertEquals(note?.number, pubacks[1]!.number + 1);
});

Deno.test("a fault that strikes is in a client's journal, and told too", async () => {
  const network = new MemoryNetwork();
  const told: string[] = [];
  await using broker = await Broker.listen({
    transport: network.bind({ port: 12_003 }),
  });
  const journal = new Journal({ side: "client" });
  await using _lamp = await Client.connect({
    transport: network.bind(),
    clientId: "lamp-7",
    retryMs: 20,
    journal,
    faults: [{ type: "CONNECT", first: 1, do: "drop" }],
    onFault: ({ what }) => told.push(what),
  });
  assertEquals(told, ["dropped"]);
  const [note] = await journal.noted("CONNECT");
  assertEquals(
    note?.text,
    `Fault 1: CONNECT from lamp-7 (${broker.address.key}) dropped`,
  );
});

Deno.test("Journal.noted() expects remarks, and received() and sent() send those who do there", async () => {
  const { clock, journal, join } = setUp();
  join(LAMP, "lamp-7");
  const soon = journal.noted("down", { count: 2, within: 100 });
  journal.note("the network is down");
  journal.note("the network is up again", LAMP);
  journal.note("shut down", LAMP);
  assertEquals((await soon).map(({ text }) => text), [
    "the network is down",
    "shut down",
  ]);
  assertEquals(
    (await journal.noted(undefined, { about: "lamp-7", within: 0 })).length,
    2,
  );
  await journal.noted("up", { since: journal.mark(), never: true });
  const missing = journal.noted("sideways", { within: 5 });
  clock.advance(6);
  const error = await assertRejects(() => missing, ExpectationError);
  assertStringIncludes(
    error.message,
    'Expected to note at least 1 × "sideways" within 5 ms, but there was none',
  );
  assertStringIncludes(error.message, "the network is down");
  for (const ask of ["received", "sent"] as const) {
    await assertRejects(
      () => journal[ask]({ type: "note" as "PUBACK" }),
      TypeError,
      'Cannot look for the type "note"',
    );
  }
});
