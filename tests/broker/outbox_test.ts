/**
 * What is on its way to a client: the outbox by itself, and through the gateway
 * what is resent, and what is done with what was resent (D1 to D6).
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import { type DeliveryQos, Message } from "../../wire/message.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import { Outbox } from "../../broker/outbox.ts";
import type {
  OutboxClient,
  OutboxLimits,
  PublishHeader,
} from "../../broker/outbox_client.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import type { SessionPersistence } from "../../broker/persistence.ts";
import type { QueuedRecord } from "../../broker/records.ts";
import { type TopicEntry, TopicIds } from "../../broker/topic_ids.ts";
import { parseTopicFilter, parseTopicName } from "../../wire/topics.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  GatewayBench,
  octets,
  puback,
  publishTo,
  regack,
  to,
} from "../support/gateway.ts";
import { makePersistence } from "../support/kept.ts";
import { ANN, BOB } from "../support/router.ts";

/** Sends nothing, but writes down the octets, and what else it is told. */
class Client implements OutboxClient {
  /** What was sent since it was taken last, in hexadecimal. */
  #wire: string[] = [];
  readonly losses: string[] = [];
  readonly refused: string[] = [];
  retries = 0;
  /** The longest payload or name that fits a packet. */
  limit = Infinity;
  /** Subscriptions of which all that is retained was delivered. */
  readonly done: string[] = [];
  isListening = false;
  persistence: SessionPersistence | undefined;
  readonly topicIds: TopicIds;

  constructor(topicIds: TopicIds) {
    this.topicIds = topicIds;
  }

  take(): string[] {
    const wire = this.#wire;
    this.#wire = [];
    return wire;
  }

  sendPublish(
    { payload: data }: Message,
    { dup, qos, retain, topicIdType, topicId, msgId }: PublishHeader,
  ): boolean {
    if (data.length > this.limit) return false;
    const topic = { topicIdType, topicId };
    const type = "PUBLISH";
    return this.#send({ type, dup, qos, retain, ...topic, msgId, data });
  }

  sendPublishQos0(
    message: Message,
    { alias, topicId }: TopicEntry,
    retain: boolean,
  ): boolean {
    return this.sendPublish(message, {
      qos: 0,
      retain,
      dup: false,
      ...alias ?? { topicIdType: "normal", topicId },
      msgId: 0,
    });
  }

  sendRegister(
    { topicId, topicName }: TopicEntry,
    msgId: number,
  ): boolean {
    if (topicName.length > this.limit) return false;
    return this.#send({ type: "REGISTER", topicId, topicName, msgId });
  }

  sendPubrel(msgId: number): void {
    this.#send({ type: "PUBREL", msgId });
  }

  handleRetry(): void {
    this.retries++;
  }

  handleLoss({ payload }: Message, reason: string): void {
    this.losses.push(`${new TextDecoder().decode(payload)}: ${reason}`);
  }

  handleTopicRefused({ topicName }: TopicEntry): void {
    this.refused.push(topicName);
  }

  handleRetainedDone(filter: string): void {
    this.done.push(filter);
  }

  #send(packet: MqttSnPacket): boolean {
    this.#wire.push(encodePacket(packet).toHex());
    return true;
  }
}

/** An outbox whose client listens as the test says. */
class TestOutbox extends Outbox {
  readonly #client: Client;

  constructor(limits: OutboxLimits, client: Client) {
    super(limits, client);
    this.#client = client;
  }

  override open(now: number): void {
    this.#client.isListening = true;
    super.open(now);
  }

  override openForAwakening(now: number): void {
    this.#client.isListening = true;
    super.openForAwakening(now);
  }

  /** A client that does not answer is lost. */
  override handleTimeout(now: number): boolean {
    const isThere = super.handleTimeout(now);
    if (!isThere) this.close();
    return isThere;
  }

  close(): void {
    this.#client.isListening = false;
  }
}

const A = parseTopicName("a")!;
const B = parseTopicName("b")!;

function make(options: Partial<OutboxLimits> & { known?: boolean } = {}) {
  const { known = true, ...limits } = options;
  const queueBudget = new MemoryBudget(1e9);
  const nameBudget = new MemoryBudget(1e9);
  const topicIds = new TopicIds({ maxTopicIds: 10, nameBudget });
  const host = new Client(topicIds);
  const outbox = new TestOutbox(
    {
      maxQueue: 100,
      maxQueueOctets: 1e9,
      overflow: "drop",
      retryMs: 100,
      retries: 3,
      messageExpiryMs: Infinity,
      queueBudget,
      nameBudget,
      isDurable: true,
      ...limits,
    },
    host,
  );
  const a = topicIds.assign(A)!;
  a.isKnown = known;
  const add = (now: number, text: string, qos: DeliveryQos, topic = A) => {
    const message = new Message(topic, encodeUtf8(text), qos, false);
    outbox.add(now, message, qos, false);
  };
  const ack = (now: number, msgId: number, returnCode = 0, topicId = 1) =>
    outbox.handlePuback(now, {
      type: "PUBACK",
      topicId,
      msgId,
      returnCode,
    });
  const reg = (now: number, msgId: number, returnCode = 0, topicId = 1) =>
    outbox.handleRegack(now, {
      type: "REGACK",
      topicId,
      msgId,
      returnCode,
    });
  const budgets = { queueBudget, nameBudget };
  const { done } = host;
  return { outbox, host, topicIds, a, add, ack, reg, ...budgets, done };
}

/** A PUBLISH of one character to topic id 1, in hexadecimal. */
function publish(flags: string, msgId: number, text: string): string {
  const id = msgId.toString(16).padStart(4, "0");
  return `080c${flags}0001${id}${encodeUtf8(text).toHex()}`;
}

// What leaves, and when

Deno.test("Outbox sends nothing while it is closed", () => {
  const { outbox, host, add } = make();
  add(0, "x", 0);
  add(0, "y", 1);
  assertEquals(host.take(), []);
  assertEquals([outbox.size, outbox.isWaiting], [2, false]);
  assertEquals(outbox.retryAt, undefined);
});

Deno.test("Outbox sends in the order of coming, one exchange at a time", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  add(0, "1", 1);
  add(0, "2", 0);
  add(0, "3", 2);
  add(0, "4", 0);
  assertEquals(host.take(), [publish("20", 1, "1")]);
  assertEquals(outbox.size, 4);
  assert(ack(1, 1));
  assertEquals(host.take(), [publish("00", 0, "2"), publish("40", 2, "3")]);
  assert(outbox.handlePubrec(2, 2));
  assertEquals(host.take(), ["04100002"]);
  assert(outbox.handlePubcomp(3, 2));
  assertEquals(host.take(), [publish("00", 0, "4")]);
  assertEquals([outbox.size, outbox.isWaiting], [0, false]);
});

for (const qos of [1, 2] as const) {
  const flags = qos === 1 ? ["20", "a0"] as const : ["40", "c0"] as const;
  Deno.test(`Outbox sends a PUBLISH of QoS ${qos} again at the exact moments, the same octets but DUP`, () => {
    const { outbox, host, add } = make();
    outbox.open(1_000);
    add(1_000, "x", qos);
    assertEquals(host.take(), [publish(flags[0], 1, "x")]);
    for (let i = 1; i <= 3; i++) {
      const at = 1_000 + i * 100;
      assertEquals(outbox.retryAt, at);
      assert(outbox.handleTimeout(at - 1));
      assertEquals(host.take(), []);
      assert(outbox.handleTimeout(at));
      assertEquals(host.take(), [publish(flags[1], 1, "x")]);
      assertEquals(host.retries, i);
    }
    assert(outbox.handleTimeout(1_399));
    assertFalse(outbox.handleTimeout(1_400), "it is not there");
    assertEquals([host.take(), host.retries], [[], 3]);
    assertEquals([outbox.size, outbox.isWaiting], [1, false]);
  });
}

Deno.test("Outbox sends a REGISTER again, unchanged", () => {
  const { outbox, host, add } = make({ known: false });
  outbox.open(0);
  add(0, "x", 0);
  const register = "070a0001000161";
  assertEquals(host.take(), [register]);
  for (const at of [100, 200, 300]) {
    assert(outbox.handleTimeout(at));
    assertEquals(host.take(), [register]);
  }
  assertFalse(outbox.handleTimeout(400));
  assertEquals(outbox.size, 1);
});

Deno.test("Outbox sends a PUBREL again, unchanged, not the PUBLISH (D4)", () => {
  const { outbox, host, add } = make();
  outbox.open(0);
  add(0, "x", 2);
  host.take();
  outbox.handlePubrec(50, 1);
  assertEquals(host.take(), ["04100001"]);
  for (const at of [150, 250, 350]) {
    assert(outbox.handleTimeout(at - 1));
    assertEquals(host.take(), []);
    assert(outbox.handleTimeout(at));
    assertEquals(host.take(), ["04100001"]);
  }
  assertFalse(outbox.handleTimeout(450));
});

Deno.test("Outbox with 0 retries gives up after the first", () => {
  const { outbox, host, add } = make({ retries: 0 });
  outbox.open(0);
  add(0, "x", 1);
  assertFalse(outbox.handleTimeout(100));
  assertEquals([host.take().length, host.retries], [1, 0]);
});

Deno.test("Outbox begins its retries anew with each step", () => {
  const { outbox, host, add, reg } = make({ known: false });
  outbox.open(0);
  add(0, "x", 2);
  for (const at of [100, 200, 300]) assert(outbox.handleTimeout(at));
  reg(350, 1);
  for (const at of [450, 550, 650]) assert(outbox.handleTimeout(at));
  outbox.handlePubrec(700, 2);
  for (const at of [800, 900, 1_000]) assert(outbox.handleTimeout(at));
  assertEquals(host.retries, 9);
  assertFalse(outbox.handleTimeout(1_100));
});

// Closed and opened again

Deno.test("Outbox resumes a PUBLISH with the same msgId, and DUP", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  add(0, "x", 1);
  host.take();
  outbox.close();
  assertEquals([outbox.retryAt, outbox.size], [undefined, 1]);
  assert(outbox.handleTimeout(1e9));
  outbox.remind(1e9);
  assertEquals(host.take(), []);
  outbox.open(2e9);
  assertEquals(host.take(), [publish("a0", 1, "x")]);
  assertEquals(outbox.retryAt, 2e9 + 100);
  assert(ack(2e9, 1));
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox takes an answer that comes when it has been closed, and sends nothing", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  add(0, "x", 1);
  add(0, "y", 1);
  outbox.close();
  host.take();
  assert(ack(10, 1));
  assertFalse(ack(10, 1), "once");
  assertEquals([outbox.size, outbox.retryAt, host.take()], [1, undefined, []]);
  outbox.clear();
  assertFalse(ack(10, 2), "nothing is awaited");
});

Deno.test("Outbox forgets at the next opening that there was no room", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  add(0, "x", 1);
  outbox.close();
  assert(ack(10, 1, 1), "congestion");
  outbox.open(1_000);
  for (let now = 1_100; outbox.retryAt !== undefined; now += 100) {
    outbox.handleTimeout(now);
  }
  assertEquals([outbox.size, host.losses], [1, []], "it is not there");
});

Deno.test("Outbox resumes QoS 2 with PUBREL where PUBREC had come", () => {
  const { outbox, host, add, topicIds } = make();
  outbox.open(0);
  add(0, "x", 2);
  outbox.handlePubrec(10, 1);
  host.take();
  outbox.close();
  topicIds.forgetKnown();
  outbox.open(1_000);
  assertEquals(host.take(), ["04100001"], "no REGISTER, no PUBLISH");
  assert(outbox.handlePubcomp(1_000, 1));
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox resumes QoS 2 with PUBLISH where no PUBREC had come", () => {
  const { outbox, host, add } = make();
  outbox.open(0);
  add(0, "x", 2);
  host.take();
  outbox.close();
  outbox.open(1_000);
  assertEquals(host.take(), [publish("c0", 1, "x")]);
});

Deno.test("Outbox registers again what the client has forgotten, under a msgId of its own", () => {
  const { outbox, host, add, topicIds, reg } = make();
  outbox.open(0);
  add(0, "x", 1);
  host.take();
  outbox.close();
  topicIds.forgetKnown();
  outbox.open(1_000);
  assertEquals(host.take(), ["070a0001000261"]);
  assert(reg(1_000, 2));
  assertEquals(host.take(), [publish("a0", 1, "x")]);
});

Deno.test("Outbox.openForAwakening() tells when all has been delivered", () => {
  const { outbox, host, add, ack } = make();
  add(0, "1", 0);
  add(0, "2", 1);
  outbox.openForAwakening(10);
  assertFalse(outbox.isFlushed);
  assertEquals(host.take(), [publish("00", 0, "1"), publish("20", 1, "2")]);
  ack(20, 1);
  assert(outbox.isFlushed);
  outbox.close();
  add(30, "3", 0);
  assertEquals(host.take(), []);
});

// Topics

Deno.test("Outbox registers first, and publishes after REGACK", () => {
  const { outbox, host, add, reg } = make({ known: false });
  outbox.open(0);
  add(0, "x", 0);
  add(0, "y", 0);
  assertEquals(host.take(), ["070a0001000161"]);
  assertFalse(reg(1, 2), "another msgId");
  assertEquals(host.take(), []);
  assert(reg(1, 1));
  assertEquals(host.take(), [publish("00", 0, "x"), publish("00", 0, "y")]);
  assertFalse(reg(1, 1), "once");
});

for (const returnCode of [2, 3, 0x80]) {
  Deno.test(`Outbox loses what goes to a topic refused with ${returnCode} (G15)`, () => {
    const { outbox, host, a, add, reg } = make({ known: false });
    outbox.open(0);
    add(0, "x", 1);
    add(0, "y", 0);
    add(0, "z", 0, B);
    host.take();
    assert(reg(1, 1, returnCode));
    assertEquals(host.losses, ["x: topicRefused", "y: topicRefused"]);
    assertEquals(host.refused, ["a"], "it is told once");
    assertEquals(host.take(), ["070a0002000262"], "the next goes on");
    assert(a.isRefused);
    add(2, "w", 0);
    assertEquals(outbox.size, 2);
    assert(reg(3, 2, 0, 2));
    assertEquals(host.losses.at(-1), "w: topicRefused");
  });
}

for (const topicIdType of ["short", "predefined"] as const) {
  Deno.test(`Outbox needs no REGISTER for a ${topicIdType} topic`, () => {
    const { outbox, host, topicIds, add } = make();
    topicIds.setAlias(B, { topicIdType, topicId: 0x6162 });
    outbox.open(0);
    add(0, "x", 0, B);
    add(0, "y", 1, B);
    const type = topicIdType === "short" ? 2 : 1;
    assertEquals(host.take(), [
      `080c0${type}6162000078`,
      `080c2${type}6162000179`,
    ]);
  });
}

Deno.test("Outbox loses a message when the client's table is full", () => {
  const nameBudget = new MemoryBudget(1e6);
  const topicIds = new TopicIds({ maxTopicIds: 1, nameBudget });
  const host = new Client(topicIds);
  topicIds.assign(A)!.isRegistered = true;
  const queueBudget = new MemoryBudget(1e6);
  const outbox = new TestOutbox(
    {
      maxQueue: 9,
      maxQueueOctets: 1e6,
      overflow: "drop",
      retryMs: 1,
      retries: 1,
      messageExpiryMs: Infinity,
      queueBudget,
      isDurable: false,
      nameBudget,
    },
    host,
  );
  outbox.open(0);
  outbox.add(0, new Message(B, encodeUtf8("x"), 1, false), 1, false);
  assertEquals(host.losses, ["x: topicIds"]);
  assertEquals([outbox.size, queueBudget.used], [0, 0]);
});

for (const qos of [0, 1, 2] as const) {
  Deno.test(`Outbox silently aborts what is too long at QoS ${qos}, and goes on (G19)`, () => {
    const { outbox, host, add, queueBudget } = make();
    host.limit = 1;
    outbox.open(0);
    add(0, "long", qos);
    assertEquals(host.losses, ["long: tooLong"]);
    assertEquals([host.take(), outbox.size, queueBudget.used], [[], 0, 0]);
    add(0, "x", 0);
    assertEquals(host.take(), [publish("00", 0, "x")]);
  });
}

Deno.test("Outbox silently aborts what has too long a name (G19)", () => {
  const { outbox, host, add } = make();
  host.limit = 1;
  outbox.open(0);
  add(0, "x", 1, parseTopicName("long")!);
  assertEquals([host.losses, host.take()], [["x: tooLong"], []]);
});

// Errors that the client reports

for (const returnCode of [2, 3]) {
  Deno.test(`G16 PUBACK 0${returnCode}: registers again, then resends`, () => {
    const { outbox, host, add, ack, reg } = make();
    outbox.open(0);
    add(0, "x", 1);
    host.take();
    assert(ack(10, 1, returnCode));
    assertEquals(host.take(), ["070a0001000261"]);
    assert(reg(20, 2));
    assertEquals(host.take(), [publish("a0", 1, "x")]);
    assert(ack(30, 1));
    assertEquals([outbox.size, host.losses], [0, []]);
  });

  Deno.test(`G16 PUBACK 0${returnCode} to QoS 2: registers again, then resends`, () => {
    const { outbox, host, add, ack, reg } = make();
    outbox.open(0);
    add(0, "x", 2);
    host.take();
    assert(ack(10, 1, returnCode));
    assertEquals(host.take(), ["070a0001000261"]);
    assert(reg(20, 2));
    assertEquals(host.take(), [publish("c0", 1, "x")]);
  });
}

Deno.test("G16 PUBACK 02 once more than there are retries: counted and stopped", () => {
  const { outbox, host, add, ack, reg } = make({ retries: 1 });
  outbox.open(0);
  add(0, "x", 1);
  ack(10, 1, 2);
  reg(20, 2);
  host.take();
  ack(30, 1, 2);
  assertEquals(host.take(), [], "no second REGISTER");
  assertEquals(host.losses, ["x: messageRefused"]);
  assertEquals(outbox.size, 0);
});

Deno.test("G16 PUBACK 02 for ever: the loop is stopped at some time", () => {
  const { outbox, host, add, ack, reg, queueBudget } = make();
  outbox.open(0);
  add(0, "x", 1);
  for (let msgId = 2; outbox.size > 0; msgId++) {
    assert(msgId < 100);
    ack(msgId, 1, 2);
    reg(msgId, msgId);
  }
  assertEquals(host.losses, ["x: messageRefused"]);
  assertEquals(queueBudget.used, 0);
});

Deno.test("G16 PUBACK 02 for QoS 0 drops the mapping: the next one is registered", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  add(0, "x", 0);
  host.take();
  assert(ack(1, 0, 2));
  assertEquals(host.take(), []);
  add(2, "y", 0);
  assertEquals(host.take(), ["070a0001000161"]);
});

Deno.test("G16 PUBACK 02 for a pre-defined id: it is registered by a normal one", () => {
  const { outbox, host, topicIds, add, ack, reg } = make();
  topicIds.setAlias(B, { topicIdType: "predefined", topicId: 7 });
  outbox.open(0);
  add(0, "x", 1, B);
  assertEquals(host.take(), ["080c210007000178"]);
  assert(ack(1, 1, 2, 7));
  assertEquals(host.take(), ["070a0002000262"]);
  assert(reg(2, 2, 0, 2));
  assertEquals(host.take(), ["080ca00002000178"]);
});

Deno.test("G16 PUBACK 02 for QoS 0 by a pre-defined id is not taken for the normal one", () => {
  const { outbox, host, a, topicIds, add, ack } = make();
  topicIds.setAlias(B, { topicIdType: "predefined", topicId: 1 });
  outbox.open(0);
  add(0, "x", 0, B);
  assertEquals(host.take(), ["080c010001000078"]);
  ack(1, 0, 2, 1);
  add(2, "y", 0, B);
  const wire = host.take();
  assertEquals(wire.length, 1);
  assert(wire[0]!.startsWith("070a"), "the client does not know that id");
  assert(a.isKnown, "nobody said anything of it");
});

Deno.test("PUBACK 01: it is there, and gets the message again after T_retry", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  add(0, "x", 1);
  host.take();
  assert(ack(10, 1, 1));
  assertEquals(host.take(), [], "not at once");
  assert(outbox.handleTimeout(99));
  assertEquals(host.take(), []);
  assert(outbox.handleTimeout(100));
  assertEquals(host.take(), [publish("a0", 1, "x")]);
  assert(ack(110, 1));
  assertEquals([outbox.size, host.losses], [0, []]);
});

Deno.test("PUBACK 01 to all retries: the message is lost, the client is not", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  add(0, "x", 1);
  add(0, "y", 1);
  for (const at of [100, 200, 300]) {
    assert(ack(at - 10, 1, 1));
    assert(outbox.handleTimeout(at));
  }
  assert(ack(390, 1, 1));
  host.take();
  assert(outbox.handleTimeout(400));
  assertEquals(host.losses, ["x: messageRefused"]);
  assertEquals(host.take(), [publish("20", 2, "y")]);
});

Deno.test("Outbox takes no answer that is not awaited (G35)", () => {
  const { outbox, host, add, ack, reg } = make();
  outbox.open(0);
  assertFalse(ack(0, 1));
  assertFalse(ack(0, 1, 1));
  assertFalse(reg(0, 1));
  assertFalse(outbox.handlePubrec(0, 1));
  assertFalse(outbox.handlePubcomp(0, 1));
  add(0, "x", 1);
  host.take();
  assertFalse(ack(1, 2));
  assertFalse(reg(1, 1), "of another type");
  assertFalse(outbox.handlePubrec(1, 1));
  assertFalse(outbox.handlePubcomp(1, 1));
  assertEquals([host.take(), outbox.size], [[], 1]);
  assert(ack(1, 1));
  add(2, "y", 2);
  host.take();
  assertFalse(ack(3, 2), "PUBACK 00 is no answer to QoS 2");
  assertFalse(outbox.handlePubcomp(3, 2), "PUBREC comes first");
  assertEquals([host.take(), outbox.size], [[], 1]);
  assertEquals(host.losses, []);
});

// How much waits

function texts(host: Client): string[] {
  return host.take().map((hex) =>
    new TextDecoder().decode(octets(hex).subarray(7))
  );
}

Deno.test("Outbox with drop: the oldest of QoS 0 goes first, then the oldest", () => {
  const { outbox, host, add, ack, queueBudget } = make({ maxQueue: 3 });
  add(0, "1", 1);
  add(0, "2", 0);
  add(0, "3", 0);
  add(0, "4", 1);
  assertEquals(host.losses, ["2: overflow"]);
  add(0, "5", 2);
  assertEquals(host.losses.slice(1), ["3: overflow"]);
  add(0, "6", 1);
  assertEquals(host.losses.slice(2), ["1: overflow"]);
  add(0, "7", 0);
  assertEquals(host.losses.slice(3), ["7: overflow"]);
  assertEquals(outbox.size, 3);
  outbox.open(0);
  ack(0, 1);
  outbox.handlePubrec(0, 2);
  outbox.handlePubcomp(0, 2);
  ack(0, 3);
  assertEquals(texts(host).filter((text) => text !== ""), ["4", "5", "6"]);
  assertEquals(queueBudget.used, 0);
});

Deno.test("Outbox with refuse: only what is of QoS 0 goes", () => {
  const { outbox, host, add } = make({ maxQueue: 3, overflow: "refuse" });
  const message = new Message(A, encodeUtf8("?"), 1, false);
  add(0, "1", 1);
  add(0, "2", 0);
  add(0, "3", 0);
  assert(outbox.hasRoomFor(message, 0), "in the place of QoS 0");
  add(0, "4", 0);
  assertEquals(host.losses, ["2: overflow"]);
  add(0, "5", 1);
  add(0, "6", 1);
  assertEquals(host.losses.slice(1), ["3: overflow", "4: overflow"]);
  assertFalse(outbox.hasRoomFor(message, 0));
  add(0, "7", 0);
  add(0, "8", 1); // nobody asked before
  assertEquals(host.losses.slice(3), ["7: overflow", "8: overflow"]);
  assertEquals(outbox.size, 3);
});

Deno.test("Outbox drops no message that is under way", () => {
  const { outbox, host, add, ack } = make({ maxQueue: 1 });
  outbox.open(0);
  add(0, "1", 1);
  add(0, "2", 1);
  add(0, "3", 1);
  assertEquals(host.losses, ["2: overflow"]);
  host.take();
  assert(ack(1, 1));
  assertEquals(host.take(), [publish("20", 2, "3")]);
});

Deno.test("Outbox counts what is lost to the memory that all share", () => {
  const queueBudget = new MemoryBudget(1_000);
  const one = make({ queueBudget });
  const other = make({ queueBudget });
  one.add(0, "x".repeat(600), 1);
  other.add(0, "y".repeat(600), 1);
  assertEquals(other.host.losses, [`${"y".repeat(600)}: memory`]);
  assertEquals([one.outbox.size, other.outbox.size], [1, 0]);
  one.outbox.clear();
  assertEquals(queueBudget.used, 0);
  other.add(0, "y".repeat(600), 1);
  assertEquals(other.outbox.size, 1);
});

Deno.test("Outbox drops nothing for what would not fit all the same", () => {
  const queueBudget = new MemoryBudget(2_000);
  const one = make({ queueBudget });
  const other = make({ queueBudget });
  one.add(0, "x".repeat(1_200), 1);
  other.add(0, "1", 1);
  other.add(0, "2", 0);
  other.add(0, "y".repeat(1_200), 1);
  assertEquals(other.host.losses, [`${"y".repeat(1_200)}: memory`]);
  assertEquals(other.outbox.size, 2);
});

Deno.test("Outbox gives its memory back, whatever becomes of the messages", () => {
  const { outbox, host, add, ack, queueBudget } = make();
  add(0, "1", 0);
  add(0, "2", 1);
  add(0, "3", 2);
  add(0, "4", 1);
  assert(queueBudget.used > 0);
  outbox.open(0);
  ack(0, 1);
  outbox.handlePubrec(0, 2);
  assert(queueBudget.used > 0);
  outbox.clear();
  assertEquals([queueBudget.used, outbox.size], [0, 0]);
  assertEquals([outbox.isWaiting, outbox.retryAt], [false, undefined]);
  host.take();
  outbox.open(1);
  assertEquals(host.take(), [], "nothing is left of it");
  add(1, "5", 1);
  assertEquals(host.take().length, 1);
});

Deno.test("Outbox keeps a payload of its own of what waits", () => {
  const { outbox, host } = make();
  const datagram = encodeUtf8("x");
  for (const qos of [0, 1] as const) {
    outbox.add(0, new Message(A, datagram, qos, false), qos, false);
  }
  datagram.fill(0);
  outbox.open(0);
  assertEquals(host.take(), [publish("00", 0, "x"), publish("20", 1, "x")]);
});

// msgIds (D6)

Deno.test("D6 msgIds run from 1 to 65535, and begin again at 1", () => {
  const { outbox, host, add, ack } = make();
  outbox.open(0);
  const msgIds: number[] = [];
  for (let i = 0; i < 65_537; i++) {
    add(0, "x", 1);
    const [hex] = host.take();
    const msgId = parseInt(hex!.slice(10, 14), 16);
    msgIds.push(msgId);
    assert(ack(0, msgId));
  }
  assertEquals(msgIds.slice(0, 3), [1, 2, 3]);
  assertEquals(msgIds.slice(-3), [65_535, 1, 2]);
  assertEquals(new Set(msgIds).size, 65_535);
});

Deno.test("D6 the msgId of what is in flight is skipped", () => {
  const { outbox, host, add, ack, topicIds } = make();
  outbox.open(0);
  for (let msgId = 1; msgId < 5; msgId++) {
    add(0, "x", 1);
    ack(0, msgId);
  }
  add(0, "y", 1);
  host.take();
  // Msg 5 stays in flight, while REGISTERs use up all others.
  const msgIds: number[] = [];
  for (let i = 0; i < 65_536; i++) {
    outbox.close();
    topicIds.forgetKnown();
    outbox.open(0);
    const [hex] = host.take();
    assertEquals(hex!.slice(0, 8), "070a0001");
    msgIds.push(parseInt(hex!.slice(8, 12), 16));
  }
  assertEquals(msgIds[0], 6);
  assertEquals(new Set(msgIds).size, 65_534, "all but 0 and 5");
  assertFalse(msgIds.includes(5));
  assertFalse(msgIds.includes(0));
});

// D1 to D6, through the gateway

/** Ann subscribed to `a` at QoS 2, by name or by a filter; Bob publishes. */
function begin(filter = "a") {
  const bench = new GatewayBench({ retryMs: 100, retries: 4 });
  bench.connect(BOB, "bob");
  const topic = { id: bench.register(BOB, "a") };
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, filter, 2);
  /** Bob publishes; gives the octets that go to Ann. */
  const tell = (data: string, qos: DeliveryQos, msgId: number) => {
    const sent = bench.publish(BOB, topic, data, { qos, msgId });
    return bench.wire.filter((_, i) => sent[i]![0] === ANN.key);
  };
  /** The octets that are sent by then. */
  const after = (ms: number) => {
    bench.advance(ms);
    return [...bench.wire];
  };
  return { bench, topic, tell, after };
}

Deno.test("D1 DUP is 0 the first time, 1 on retransmission, in PUBLISH", () => {
  const { tell, after } = begin();
  assertEquals(tell("x", 1, 1), [publish("20", 1, "x")]);
  assertEquals(after(99), []);
  assertEquals(after(1), [publish("a0", 1, "x")]);
  assertEquals(after(100), [publish("a0", 1, "x")]);
});

Deno.test("D1 REGISTER is resent unchanged", () => {
  const { tell, after } = begin("+");
  assertEquals(tell("x", 1, 1), ["070a0001000161"]);
  assertEquals(after(100), ["070a0001000161"]);
  assertEquals(after(100), ["070a0001000161"]);
});

Deno.test("D1 a later message does not inherit DUP", () => {
  const { bench, tell, after } = begin();
  tell("x", 1, 1);
  after(100);
  bench.take(ANN, puback(1, 1));
  assertEquals(tell("y", 1, 2), [publish("20", 2, "y")]);
});

for (
  const [what, change] of [
    ["is unsubscribed from", "07 14 02 00 07 61 62"],
    ["is subscribed to by name", "07 12 20 00 07 61 62"],
    ["is registered", "08 0A 00 00 00 07 61 62"],
  ] as const
) {
  Deno.test(`D2 a retransmission has the same octets but DUP, also when its short topic ${what}`, () => {
    const { bench, after } = begin("z");
    const ab = { short: "ab" };
    bench.subscribe(ANN, ab, 1);
    bench.publish(BOB, ab, "x", { qos: 1 });
    assertEquals(bench.wire.at(-1), "080c226162000178");
    bench.take(ANN, change);
    assertEquals(bench.wire.length, 1, "answered, and nothing else");
    assertEquals(after(100), ["080ca26162000178"]);
  });
}

for (
  const [what, change] of [
    ["is unsubscribed from", "06 14 00 00 07 7A 7A"],
    ["is subscribed to as a short one", "07 12 22 00 07 7A 7A"],
  ] as const
) {
  Deno.test(`D2 a retransmission has the same octets but DUP, also when its topic ${what}`, () => {
    const { bench, after } = begin("zz");
    const zz = { short: "zz" };
    bench.publish(BOB, zz, "x", { qos: 1 });
    assertEquals(bench.wire.at(-1), publish("20", 1, "x"));
    const bytes = octets(change);
    bytes[0] = bytes.length;
    bench.take(ANN, bytes);
    assertEquals(after(100), [publish("a0", 1, "x")]);
  });
}

Deno.test("D3 a QoS 1 PUBLISH with DUP is taken, and acknowledged each time", () => {
  const { bench } = begin("z");
  bench.subscribe(ANN, { short: "ab" });
  const options = { qos: 1, msgId: 7, dup: true } as const;
  for (let i = 0; i < 2; i++) {
    assertEquals(bench.publish(BOB, { short: "ab" }, "x", options), [
      to(BOB, puback(0x6162, 7)),
      publishTo(ANN, { short: "ab" }, "x"),
    ]);
  }
});

Deno.test("D3 a repeated SUBSCRIBE and REGISTER are answered as the first time", () => {
  const { bench } = begin("z");
  bench.publish(BOB, { short: "ab" }, "kept", { retain: true });
  const subscribe = "07 12 A2 00 07 61 62";
  const [first, second] = [bench.take(ANN, subscribe), bench.wire];
  assertEquals(first[0]![1].type, "SUBACK");
  assertEquals(second.length, 2, "with what is retained");
  assertEquals(bench.take(ANN, subscribe)[0], first[0]);
  const register = "07 0A 00 00 00 08 6E";
  assertEquals(bench.take(ANN, register), bench.take(ANN, register));
  assertEquals(bench.stats.subscriptions, 2);
});

Deno.test("D4 PUBREL unanswered is sent again; PUBREC again brings no PUBLISH", () => {
  const { bench, tell, after } = begin();
  tell("x", 2, 1);
  bench.take(ANN, { type: "PUBREC", msgId: 1 });
  assertEquals(bench.wire, ["04100001"]);
  assertEquals(after(100), ["04100001"]);
  bench.take(ANN, { type: "PUBREC", msgId: 1 });
  for (const hex of bench.wire) assertEquals(hex, "04100001");
  assertEquals(bench.take(ANN, { type: "PUBCOMP", msgId: 1 }), []);
  assertEquals(after(1e6), []);
});

Deno.test("D4 PUBREC for an unknown MsgId is ignored, and counted", () => {
  const { bench } = begin();
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 77 }), []);
  assertEquals(bench.router.stats().dropped.lateAck, 1);
});

Deno.test("D4 PUBREL for an unknown MsgId is answered with PUBCOMP", () => {
  const { bench } = begin();
  assertEquals(bench.take(BOB, { type: "PUBREL", msgId: 77 }), [
    to(BOB, { type: "PUBCOMP", msgId: 77 }),
  ]);
});

Deno.test("D5 a CONNECT again while prompting: the prompt again", () => {
  const bench = new GatewayBench();
  const connect = "08 04 0C 01 00 0A 63 31";
  for (let i = 0; i < 3; i++) {
    assertEquals(bench.take(ANN, connect), [
      to(ANN, { type: "WILLTOPICREQ" }),
    ]);
  }
  bench.take(ANN, "06 07 30 61 2F 77");
  assertEquals(bench.take(ANN, connect), [to(ANN, { type: "WILLMSGREQ" })]);
  assertEquals(bench.take(ANN, "05 09 62 79 65"), [
    to(ANN, { type: "CONNACK", returnCode: 0 }),
  ]);
  assertEquals(bench.stats.connected, 1);
  assertEquals(bench.stats.prompts, 0);
});

for (const connect of ["08 04 04 01 00 0A 63 31", "08 04 0C 01 00 0A 63 31"]) {
  Deno.test(`D5 a CONNECT (${connect}) again within T_retry of its CONNACK wipes nothing`, () => {
    const bench = new GatewayBench({ retryMs: 100 });
    bench.take(ANN, connect);
    if (connect.includes("0C")) {
      bench.take(ANN, "06 07 30 61 2F 77");
      bench.take(ANN, "05 09 62 79 65");
    }
    bench.subscribe(ANN, "a");
    bench.advance(99);
    assertEquals(bench.take(ANN, connect), [
      to(ANN, { type: "CONNACK", returnCode: 0 }),
    ]);
    assertEquals(bench.stats.subscriptions, 1);
    assertEquals(bench.stats.connected, 1);
    bench.advance(1);
    bench.take(ANN, connect);
    const isAskedAgain = connect.includes("0C");
    assertEquals(bench.stats.subscriptions, isAskedAgain ? 1 : 0);
    assertEquals(bench.stats.connected, isAskedAgain ? 1 : 2);
    assertEquals(bench.stats.prompts, isAskedAgain ? 1 : 0);
  });
}

Deno.test("D5 another CONNECT within T_retry is a new one", () => {
  const bench = new GatewayBench();
  bench.take(ANN, "08 04 04 01 00 0A 63 31");
  bench.subscribe(ANN, "a");
  assertEquals(bench.take(ANN, "08 04 04 01 00 0B 63 31"), [
    to(ANN, { type: "CONNACK", returnCode: 0 }),
  ]);
  assertEquals(bench.stats.subscriptions, 0);
});

Deno.test("D6 our MsgId 1 and the client's MsgId 1 are two", () => {
  const { bench, tell } = begin();
  assertEquals(tell("x", 2, 1), [publish("40", 1, "x")]);
  const short = { short: "ab" };
  assertEquals(bench.publish(ANN, short, "y", { qos: 2, msgId: 1 }), [
    to(ANN, { type: "PUBREC", msgId: 1 }),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBREL", msgId: 1 }), [
    to(ANN, { type: "PUBCOMP", msgId: 1 }),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), [
    to(ANN, { type: "PUBREL", msgId: 1 }),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBCOMP", msgId: 1 }), []);
  assertEquals(bench.router.stats().dropped.lateAck, 0);
});

Deno.test("D6 acks are matched by type", () => {
  const { bench, tell } = begin("+");
  assertEquals(tell("x", 1, 1), ["070a0001000161"]);
  assertEquals(bench.take(ANN, puback(1, 1)), []);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), []);
  assertEquals(bench.router.stats().dropped.lateAck, 2);
  bench.take(ANN, regack(1, 1));
  assertEquals(bench.wire, [publish("20", 2, "x")]);
});

Deno.test("Router copies what waits: its caller may use the buffer again", () => {
  const { bench, topic } = begin();
  bench.sleep(ANN, 30);
  const bytes = encodePacket({
    type: "PUBLISH",
    dup: false,
    qos: 1,
    retain: true,
    topicIdType: "normal",
    topicId: topic.id,
    msgId: 1,
    data: encodeUtf8("x"),
  });
  bench.take(BOB, bytes);
  bytes.fill(0);
  bench.wake(ANN, "ann");
  assertEquals(bench.wire, [publish("20", 1, "x")]);
  bench.subscribe(BOB, "+");
  assertEquals(bench.wire.length, 2, "SUBACK, and what is retained");
});

// How long a message may wait

Deno.test("Outbox.expire() lets go what has waited for as long as it may, and counts it", () => {
  const { outbox, host, add, queueBudget } = make({ messageExpiryMs: 1_000 });
  assertEquals(outbox.expiresAt, Infinity);
  add(0, "1", 1);
  add(500, "2", 0);
  add(900, "3", 2);
  assertEquals(outbox.expiresAt, 1_000);
  outbox.expire(999);
  assertEquals(host.losses, []);
  outbox.expire(1_000);
  assertEquals([host.losses, outbox.size], [["1: expired"], 2]);
  assertEquals(outbox.expiresAt, 1_500);
  outbox.expire(5_000);
  assertEquals(host.losses, ["1: expired", "2: expired", "3: expired"]);
  assertEquals([outbox.size, outbox.expiresAt, queueBudget.used], [
    0,
    Infinity,
    0,
  ]);
});

Deno.test("Outbox lets nothing expire unless it is told to", () => {
  const { outbox, host, add } = make();
  add(0, "1", 1);
  assertEquals(outbox.expiresAt, Infinity);
  outbox.expire(Number.MAX_SAFE_INTEGER);
  assertEquals([host.losses, outbox.size], [[], 1]);
});

Deno.test("Outbox sends nothing that has waited too long", () => {
  const { outbox, host, add, ack } = make({ messageExpiryMs: 1_000 });
  add(0, "1", 1);
  add(600, "2", 1);
  outbox.open(1_200);
  assertEquals(host.losses, ["1: expired"]);
  assertEquals(host.take(), [publish("20", 1, "2")]);
  ack(1_200, 1);
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox lets what is under way not expire, but what waits behind it", () => {
  const { outbox, host, add, ack } = make({ messageExpiryMs: 250 });
  outbox.open(0);
  add(0, "1", 1);
  add(10, "2", 1);
  host.take();
  assertEquals(outbox.expiresAt, 260);
  outbox.expire(260);
  assertEquals([host.losses, outbox.size], [["2: expired"], 1]);
  outbox.close();
  outbox.expire(1e9);
  outbox.open(1e9);
  assertEquals(host.take(), [publish("a0", 1, "1")]);
  assert(ack(1e9, 1));
});

// What is kept of it

const QUEUED = {
  type: "queued",
  session: 1,
  topicName: "a",
  qos: 1,
  retain: false,
  msgId: 0,
  isReleased: false,
} as const;

function makePersisted(options: Parameters<typeof make>[0] = {}) {
  const { session, persistence, take } = makePersistence();
  const made = make(options);
  made.host.persistence = session;
  made.topicIds.assign(B);
  return { ...made, session, persistence, changes: take };
}

/** A record of one character that was queued at its number. */
function queued(
  seq: number,
  text: string,
  fields: Partial<QueuedRecord> = {},
): QueuedRecord {
  return { ...QUEUED, seq, payload: encodeUtf8(text), at: seq, ...fields };
}

const queuedEnd = (seq: number) =>
  ({ type: "queuedEnd", session: 1, seq }) as const;

function inFlight(seq: number, msgId: number, isReleased = false) {
  return { type: "inFlight", session: 1, seq, msgId, isReleased } as const;
}

Deno.test("Outbox tells of what waits in its order, and of its end", () => {
  const { outbox, add, ack, changes } = makePersisted();
  add(1, "x", 1);
  add(2, "y", 0);
  add(3, "z", 2);
  assertEquals(changes(), [
    queued(1, "x"),
    queued(2, "y", { qos: 0 }),
    queued(3, "z", { qos: 2 }),
  ]);
  outbox.open(4);
  assertEquals(changes(), [inFlight(1, 1)]);
  ack(5, 1);
  assertEquals(changes(), [queuedEnd(1), queuedEnd(2), inFlight(3, 2)]);
  outbox.handlePubrec(6, 2);
  assertEquals(changes(), [inFlight(3, 2, true)]);
  outbox.handlePubrec(6, 2);
  outbox.handleTimeout(1_000);
  assertEquals(changes(), [], "what is sent again is nothing new");
  outbox.handlePubcomp(7, 2);
  assertEquals(changes(), [queuedEnd(3)]);
});

Deno.test("Outbox tells of what leaves at once with its msgId, and not at all at QoS 0", () => {
  const { outbox, add, changes } = makePersisted();
  outbox.open(0);
  add(1, "x", 0);
  assertEquals(changes(), []);
  add(1, "y", 1);
  assertEquals(changes(), [queued(1, "y", { msgId: 1 })]);
  add(2, "z", 1);
  assertEquals(changes(), [queued(2, "z")]);
});

Deno.test("Outbox tells of what waits for its topic to be registered", () => {
  const { outbox, add, reg, changes } = makePersisted({ known: false });
  outbox.open(0);
  add(1, "x", 0);
  assertEquals(changes(), [queued(1, "x", { qos: 0 })]);
  reg(2, 1);
  assertEquals(changes(), [queuedEnd(1)]);
});

Deno.test("Outbox tells of what is lost: dropped, expired, refused, too long", () => {
  const { outbox, host, add, ack, changes } = makePersisted({
    maxQueue: 1,
    messageExpiryMs: 1_000,
  });
  add(1, "1", 1);
  add(2, "2", 1);
  assertEquals(changes(), [queued(1, "1"), queuedEnd(1), queued(2, "2")]);
  outbox.expire(1_002);
  assertEquals(changes(), [queuedEnd(2)]);
  outbox.open(2_000);
  add(2_000, "3", 1);
  changes();
  ack(2_000, 1, 4);
  assertEquals(changes(), [queuedEnd(3)]);
  host.limit = 0;
  add(2_000, "4", 1);
  assertEquals(changes(), [
    queued(4, "4", { at: 2_000, msgId: 2 }),
    queuedEnd(4),
  ]);
  assertEquals(host.losses, [
    "1: overflow",
    "2: expired",
    "3: messageRefused",
    "4: tooLong",
  ]);
});

Deno.test("Outbox.persistAll() tells of what is under way, and of what waits behind it", () => {
  const { outbox, host, session, add, changes } = makePersisted();
  host.persistence = undefined;
  outbox.open(0);
  add(1, "x", 2);
  outbox.handlePubrec(2, 1);
  add(2, "y", 0);
  add(3, "z", 1);
  assertEquals(changes(), []);
  host.persistence = session;
  outbox.persistAll(session);
  assertEquals(changes(), [
    queued(1, "x", { qos: 2, msgId: 1, isReleased: true }),
    queued(2, "y", { qos: 0 }),
    queued(3, "z"),
  ]);
  outbox.handlePubcomp(4, 1);
  assertEquals(changes(), [queuedEnd(1), queuedEnd(2), inFlight(3, 2)]);
});

Deno.test("Outbox tells of a retained message once it is under way with a msgId", () => {
  const { outbox, session, ack, reg, done, changes } = makePersisted({
    known: false,
  });
  const filter = parseTopicFilter("#")!;
  const message = (qos: DeliveryQos, text: string) =>
    new Message(A, encodeUtf8(text), qos, true);
  outbox.open(0);
  const messages = [message(1, "x"), message(0, "y")].values();
  outbox.addRetained(1, filter, messages, 1);
  assertEquals(changes(), [], "it waits for its id, and is retained anyway");
  outbox.persistAll(session);
  assertEquals(changes(), [], "that goes for a sleeper as well");
  assert(outbox.isDelivering(filter));
  reg(2, 1);
  const row = queued(1, "x", { retain: true, msgId: 2 });
  assertEquals(changes(), [row]);
  outbox.persistAll(session);
  assertEquals(changes(), [{ ...row, seq: 2 }]);
  ack(3, 2);
  assertEquals(changes(), [queuedEnd(2)]);
  assertEquals(done, ["#"]);
  assertFalse(outbox.isDelivering(filter));
});

const ALL = parseTopicFilter("#")!;

/** What is retained, each of one character. */
function retained(...messages: (readonly [typeof A, DeliveryQos, string])[]) {
  return messages.map(([topicName, qos, text]) =>
    new Message(topicName, encodeUtf8(text), qos, true)
  ).values();
}

const begun = (topicName: string, topicFilter = "#") =>
  ({ type: "begun", session: 1, topicFilter, topicName }) as const;

const begunEnd = (topicFilter = "#") =>
  ({ type: "begunEnd", session: 1, topicFilter }) as const;

Deno.test("Outbox tells at QoS 2 which of what is retained has been begun, until the last has been delivered", () => {
  const { outbox, topicIds, ack, nameBudget, done, changes } = makePersisted();
  topicIds.get(B)!.isKnown = true;
  const before = nameBudget.used;
  outbox.open(0);
  const messages = retained([A, 2, "x"], [B, 1, "y"]);
  outbox.addRetained(1, ALL, messages, 2);
  assertEquals(changes(), [
    queued(1, "x", { qos: 2, retain: true, msgId: 1 }),
    begun("a"),
  ]);
  assert(nameBudget.used > before);
  outbox.handlePubrec(2, 1);
  assertEquals(changes(), [inFlight(1, 1, true)]);
  outbox.handlePubcomp(3, 1);
  const next = { topicName: "b", retain: true, msgId: 2, at: 3 };
  assertEquals(changes(), [queuedEnd(1), queued(2, "y", next)]);
  ack(4, 2, 0, 2);
  assertEquals(changes(), [queuedEnd(2), begunEnd()]);
  assertEquals([done, nameBudget.used], [["#"], before]);
});

Deno.test("Outbox tells nothing of what has been begun at less than QoS 2", () => {
  for (const granted of [0, 1] as const) {
    const { outbox, ack, done, changes } = makePersisted();
    outbox.open(0);
    outbox.addRetained(0, ALL, retained([A, 2, "x"]), granted);
    ack(1, 1);
    assertEquals(done, ["#"]);
    const types = changes().map(({ type }) => type);
    assertEquals(types, granted === 0 ? [] : ["queued", "queuedEnd"]);
  }
});

Deno.test("Outbox.addRetained() passes over what has been begun, and forgets it in the end", () => {
  const { outbox, host, ack, nameBudget, done, changes } = makePersisted();
  const before = nameBudget.used;
  const messages = retained([B, 2, "y"], [A, 1, "x"], [B, 1, "z"]);
  outbox.addRetained(0, ALL, messages, 2, [B]);
  assertEquals(changes(), [], "it is kept already");
  outbox.open(1);
  assertEquals(host.take(), [publish("30", 1, "x")]);
  changes();
  ack(2, 1);
  assertEquals([host.take(), changes()], [[], [queuedEnd(1), begunEnd()]]);
  assertEquals([done, nameBudget.used], [["#"], before]);
});

Deno.test("Outbox.addRetained() in the place of what was left begins all again", () => {
  const { outbox, host, nameBudget, changes } = makePersisted();
  const before = nameBudget.used;
  outbox.open(0);
  outbox.addRetained(0, ALL, retained([A, 2, "x"], [B, 2, "y"]), 2);
  changes();
  outbox.addRetained(1, ALL, retained([A, 2, "x"], [B, 2, "y"]), 2);
  assertEquals([changes(), nameBudget.used], [[begunEnd()], before]);
  host.take();
  outbox.handlePubrec(2, 1);
  outbox.handlePubcomp(3, 1);
  assertEquals(host.take(), ["04100001", publish("50", 2, "x")]);
  assertEquals(changes().at(-1), begun("a"));
});

Deno.test("Outbox does not take what an earlier SUBSCRIBE has under way for begun", () => {
  const { outbox, reg, host, changes } = makePersisted({ known: false });
  outbox.open(0);
  outbox.addRetained(0, ALL, retained([A, 2, "x"]), 2);
  outbox.addRetained(1, ALL, retained([A, 2, "x"]), 2);
  reg(2, 1);
  assertEquals(changes(), [
    queued(1, "x", { qos: 2, retain: true, msgId: 2, at: 0 }),
  ]);
  host.take();
  outbox.handlePubrec(3, 2);
  outbox.handlePubcomp(4, 2);
  assertEquals(host.take(), ["04100002", publish("50", 3, "x")]);
});

Deno.test("Outbox knows of each subscription what has been begun for it", () => {
  const { outbox, host, done, changes } = makePersisted();
  const other = parseTopicFilter("+")!;
  outbox.open(0);
  outbox.addRetained(0, ALL, retained([A, 2, "x"]), 2);
  outbox.addRetained(0, other, retained([A, 2, "x"]), 2);
  host.take();
  outbox.handlePubrec(1, 1);
  outbox.handlePubcomp(2, 1);
  assertEquals(host.take(), ["04100001", publish("50", 2, "x")]);
  assertEquals(changes().slice(-3), [
    begunEnd(),
    queued(2, "x", { qos: 2, retain: true, msgId: 2, at: 2 }),
    begun("a", "+"),
  ]);
  assertEquals(done, ["#"]);
});

Deno.test("Outbox.dropRetained() and clear() forget what has been begun", () => {
  const { outbox, host, nameBudget, changes } = makePersisted();
  const before = nameBudget.used;
  outbox.open(0);
  outbox.addRetained(0, ALL, retained([A, 2, "x"], [B, 2, "y"]), 2);
  changes();
  outbox.dropRetained(ALL);
  assertEquals([changes(), nameBudget.used], [[begunEnd()], before]);
  outbox.dropRetained(ALL);
  assertEquals(changes(), []);
  outbox.clear();
  outbox.open(1);
  outbox.addRetained(1, ALL, retained([A, 2, "x"], [B, 2, "y"]), 2);
  assert(nameBudget.used > before);
  host.persistence = undefined;
  outbox.clear();
  assertEquals(nameBudget.used, before);
});

Deno.test("Outbox.persistAll() tells which of what is retained has been begun", () => {
  const { outbox, host, session, changes } = makePersisted();
  host.persistence = undefined;
  outbox.open(0);
  outbox.addRetained(0, ALL, retained([A, 2, "x"], [B, 2, "y"]), 2);
  outbox.handlePubrec(1, 1);
  outbox.handlePubcomp(2, 1);
  assertEquals(changes(), []);
  host.persistence = session;
  outbox.persistAll(session);
  assertEquals(changes(), [begun("a")], "the other waits for its topic id");
});

Deno.test("Outbox delivers what is retained also without room to know what has been begun", () => {
  const { outbox, host, add, queueBudget, changes } = makePersisted({
    maxQueueOctets: 10,
  });
  outbox.open(0);
  outbox.addRetained(0, ALL, retained([A, 2, "x"], [B, 2, "y"]), 2);
  assertEquals(changes().map(({ type }) => type), ["queued"]);
  assertEquals(host.take(), [publish("50", 1, "x")]);
  outbox.dropRetained(ALL);
  assertEquals(changes(), []);
  outbox.handlePubrec(1, 1);
  outbox.handlePubcomp(2, 1);
  assertEquals([outbox.size, queueBudget.used], [0, 0]);
  add(3, "z", 1);
  assertEquals(host.losses, []);
});

Deno.test("Outbox does not count what has been begun among what waits", () => {
  const { outbox, queueBudget } = makePersisted();
  const counts = () => [outbox.size, queueBudget.used, outbox.expiresAt];
  const source = () => retained([A, 2, "x"], [B, 2, "y"]);
  outbox.addRetained(0, ALL, source(), 2);
  const before = counts();
  outbox.addRetained(0, ALL, source(), 2, [A, B]);
  assertEquals(counts(), before);
});

Deno.test("Outbox ends what is retained for a subscription where there is no topic id", () => {
  const { outbox, topicIds, host, done } = makePersisted();
  for (let i = 0; topicIds.size < 10; i++) {
    topicIds.register(topicIds.assign(parseTopicName(`full/${i}`)!)!);
  }
  for (const topic of [A, B]) topicIds.register(topicIds.get(topic)!);
  assertEquals(host.topicIds.size, 10);
  const filter = parseTopicFilter("c/#")!;
  const names = ["c/1", "c/2"].map((text) => parseTopicName(text)!);
  const messages = names.map((name) =>
    new Message(name, encodeUtf8("x"), 0, true)
  );
  outbox.open(0);
  outbox.addRetained(1, filter, messages.values(), 1);
  assertEquals([done, outbox.size], [["c/#"], 0]);
});

Deno.test("Outbox.restore() goes on as before: DUP before PUBREC, PUBREL after", () => {
  for (const isReleased of [false, true]) {
    const { outbox, host, add, changes } = makePersisted();
    const message = new Message(A, encodeUtf8("x"), 2, false);
    const next = new Message(A, encodeUtf8("y"), 1, false);
    outbox.restore(0, next, queued(4, "y"));
    outbox.restore(
      0,
      message,
      queued(5, "x", { qos: 2, msgId: 9, isReleased }),
    );
    outbox.restoreMsgId(9);
    assertEquals([outbox.size, host.take(), changes()], [2, [], []]);
    outbox.open(10);
    if (!isReleased) {
      assertEquals(host.take(), [publish("c0", 9, "x")]);
      assert(outbox.handlePubrec(11, 9));
    }
    assertEquals(host.take(), ["04100009"]);
    assert(outbox.handlePubcomp(12, 9));
    assertEquals(host.take(), [publish("20", 10, "y")]);
    changes();
    add(13, "z", 1);
    assertEquals(changes(), [queued(6, "z", { at: 13 })], "behind all");
  }
});

Deno.test("Outbox.restore() knows no limit, but what is new does", () => {
  const { outbox, host, add, queueBudget } = makePersisted({
    maxQueue: 2,
    maxQueueOctets: 1,
  });
  for (const seq of [1, 2, 3]) {
    const message = new Message(A, encodeUtf8(`${seq}`), 1, false);
    outbox.restore(0, message, queued(seq, `${seq}`));
  }
  assertEquals(outbox.size, 3);
  const cost = queueBudget.used / 3;
  add(4, "4", 1);
  assertEquals(host.losses, ["1: overflow", "2: overflow", "3: overflow"]);
  assertEquals([outbox.size, queueBudget.used], [1, cost]);
  outbox.clear();
  assertEquals(queueBudget.used, 0);
});

Deno.test("Outbox.restore() lets QoS 0 go first for what is new", () => {
  const { outbox, host, add } = makePersisted({ maxQueue: 2 });
  outbox.restore(0, new Message(A, encodeUtf8("1"), 1, false), queued(1, "1"));
  outbox.restore(
    0,
    new Message(A, encodeUtf8("2"), 0, false),
    queued(2, "2", { qos: 0 }),
  );
  add(3, "3", 1);
  assertEquals([host.losses, outbox.size], [["2: overflow"], 2]);
});

// While nothing can be kept

Deno.test("Outbox leaves at QoS 0 and 1 what needs no store", () => {
  const { outbox, host, add, ack, persistence, changes } = makePersisted();
  persistence.state = "refusing";
  outbox.open(0);
  add(0, "x", 0);
  add(0, "y", 1);
  assertEquals(host.take(), [publish("00", 0, "x"), publish("20", 1, "y")]);
  assertEquals(changes().length, 1, "in case that the store can keep it");
  assert(outbox.handleTimeout(100));
  assertEquals(host.take(), [publish("a0", 1, "y")]);
  assert(ack(150, 1));
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox pauses before a REGISTER and before a PUBLISH of QoS 2, and then goes on", () => {
  for (const known of [false, true]) {
    const { outbox, host, add, persistence } = makePersisted({ known });
    persistence.state = "refusing";
    outbox.open(0);
    add(0, "x", known ? 2 : 0);
    add(0, "y", 0);
    assertEquals([host.take(), outbox.size], [[], 2]);
    for (const at of [1_000, 2_000, 3_000]) {
      assertEquals(outbox.retryAt, at);
      assert(outbox.handleTimeout(at), "its client is not lost for it");
      assertEquals(host.take(), []);
    }
    persistence.state = "ready";
    assert(outbox.handleTimeout(4_000));
    assertEquals(host.take(), [
      known ? publish("40", 1, "x") : "070a0001000161",
    ]);
  }
});

Deno.test("Outbox lets nobody be lost for what it may not send again", () => {
  const { outbox, host, add, reg, persistence, changes } = makePersisted({
    known: false,
  });
  outbox.open(0);
  add(0, "x", 2);
  host.take();
  persistence.state = "refusing";
  for (let at = 100; at <= 2_000; at += 100) {
    assert(outbox.handleTimeout(at));
    outbox.remind(at);
  }
  assertEquals([host.take(), host.retries], [[], 0]);
  persistence.state = "ready";
  assert(outbox.handleTimeout(2_100));
  assertEquals(host.take(), ["070a0001000161"]);
  reg(2_100, 1);
  assertEquals(host.take(), [publish("40", 2, "x")]);

  persistence.state = "refusing";
  changes();
  assert(outbox.handlePubrec(2_150, 2), "it is awaited");
  assert(outbox.handleTimeout(2_300));
  assertEquals([host.take(), changes()], [[], []], "but not answered");
  persistence.state = "ready";
  assert(outbox.handleTimeout(2_400));
  assertEquals(host.take(), [publish("c0", 2, "x")]);
  assert(outbox.handlePubrec(2_450, 2));
  assertEquals(host.take(), ["04100002"]);

  persistence.state = "refusing";
  assert(outbox.handlePubrec(2_500, 2), "again, as PUBREL was lost");
  for (let at = 2_550; at <= 5_000; at += 100) assert(outbox.handleTimeout(at));
  assertEquals(host.take(), [], "that PUBREC came may not be kept");
  assert(outbox.handlePubcomp(5_000, 2), "what is over is over");
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox lets who is awake sleep on instead of waiting for the store", () => {
  const { outbox, host, add, persistence } = makePersisted();
  add(0, "x", 0);
  add(0, "y", 2);
  add(0, "z", 0);
  persistence.state = "refusing";
  outbox.openForAwakening(10);
  assertEquals(host.take(), [publish("00", 0, "x")]);
  assert(outbox.isFlushed);
  assertEquals(outbox.size, 2);
  outbox.close();
  persistence.state = "ready";
  outbox.openForAwakening(20);
  assertEquals(host.take(), [publish("40", 1, "y")]);
  assertFalse(outbox.isFlushed);
});

Deno.test("Outbox of who is not kept does not care about the store", () => {
  const { outbox, host, add, persistence } = makePersisted({
    known: false,
  });
  host.persistence = undefined;
  persistence.state = "refusing";
  outbox.open(0);
  add(0, "x", 2);
  assertEquals(host.take(), ["070a0001000161"]);
});
