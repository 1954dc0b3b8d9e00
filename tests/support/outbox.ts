/**
 * An outbox with a client that writes down what it is sent, in hexadecimal.
 *
 * @module
 */

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
import { octets } from "./gateway.ts";
import { makePersistence } from "./kept.ts";

export class TestClient implements OutboxClient {
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
export class TestOutbox extends Outbox {
  readonly #client: TestClient;

  constructor(limits: OutboxLimits, client: TestClient) {
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

export const A = parseTopicName("a")!;
export const B = parseTopicName("b")!;

export function makeOutbox(
  options: Partial<OutboxLimits> & { known?: boolean } = {},
) {
  const { known = true, ...limits } = options;
  const queueBudget = new MemoryBudget(1e9);
  const nameBudget = new MemoryBudget(1e9);
  const topicIds = new TopicIds({ maxTopicIds: 10, nameBudget });
  const client = new TestClient(topicIds);
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
    client,
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
  const { done } = client;
  return { outbox, client, topicIds, a, add, ack, reg, ...budgets, done };
}

/** A PUBLISH of one character to topic id 1, in hexadecimal. */
export function publish(flags: string, msgId: number, text: string): string {
  const id = msgId.toString(16).padStart(4, "0");
  return `080c${flags}0001${id}${encodeUtf8(text).toHex()}`;
}

const QUEUED = {
  type: "queued",
  session: 1,
  topicName: "a",
  qos: 1,
  retain: false,
  msgId: 0,
  isReleased: false,
} as const;

export function makePersistedOutbox(
  options: Parameters<typeof makeOutbox>[0] = {},
) {
  const { session, persistence, take } = makePersistence();
  const made = makeOutbox(options);
  made.client.persistence = session;
  made.topicIds.assign(B);
  return { ...made, session, persistence, changes: take };
}

/** A record of one character that was queued at its number. */
export function queued(
  seq: number,
  text: string,
  fields: Partial<QueuedRecord> = {},
): QueuedRecord {
  return { ...QUEUED, seq, payload: encodeUtf8(text), at: seq, ...fields };
}

export const queuedEnd = (seq: number) =>
  ({ type: "queuedEnd", session: 1, seq }) as const;

export function inFlight(seq: number, msgId: number, isReleased = false) {
  return { type: "inFlight", session: 1, seq, msgId, isReleased } as const;
}

export function texts(client: TestClient): string[] {
  return client.take().map((hex) =>
    new TextDecoder().decode(octets(hex).subarray(7))
  );
}

export const ALL = parseTopicFilter("#")!;

/** What is retained, each of one character. */
export function retained(
  ...messages: (readonly [typeof A, DeliveryQos, string])[]
) {
  return messages.map(([topicName, qos, text]) =>
    new Message(topicName, encodeUtf8(text), qos, true)
  ).values();
}

export const begun = (topicName: string, topicFilter = "#") =>
  ({ type: "begun", session: 1, topicFilter, topicName }) as const;

export const begunEnd = (topicFilter = "#") =>
  ({ type: "begunEnd", session: 1, topicFilter }) as const;
