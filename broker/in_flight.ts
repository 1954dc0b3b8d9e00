/**
 * The one exchange that is under way with a client: REGISTER where the client does
 * not know the topic's id, then PUBLISH, and PUBREL at QoS 2 (MQTT-SN 1.2 §6.5,
 * §6.6, §6.10). `Outbox` decides which message is next, and when nothing is sent.
 *
 * The exchange is always in one of the states below, and each state that waits for
 * something has its own deadline. A message whose exchange was interrupted, as the
 * client fell asleep or was lost, is ready again. It goes on with the same msgId:
 * by PUBLISH with DUP set, or at once by PUBREL where PUBREC had come.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { RETURN_CODE, type TopicAck } from "../wire/packets.ts";
import type {
  MessageQueue,
  QueuedMessage,
  TransferProgress,
} from "./message_queue.ts";
import type { LossReason } from "./events.ts";
import type {
  OutboxClient,
  OutboxLimits,
  PublishHeader,
} from "./outbox_client.ts";
import type { SessionPersistence } from "./persistence.ts";
import type { TopicEntry } from "./topic_ids.ts";

/** What follows from a packet, a timeout, or a step. */
export type Outcome =
  /** The packet answers nothing that was sent. */
  | "unexpected"
  /** The client has still to answer. */
  | "waiting"
  /** The next step can be made. */
  | "ready"
  /** The message was delivered, or is lost: another one can be taken. */
  | "over";

/**
 * A message that was taken from the queue, and how far it has come. By itself it is
 * a state, too: its next step can be made as soon as the outbox allows it.
 */
interface Transfer extends TransferProgress {
  readonly kind: "ready";
  readonly queued: QueuedMessage;
  msgId: number;
  isReleased: boolean;
  /** How often its topic was registered again because the client asked for it. */
  repairs: number;
  /** Whether the client has answered with congestion since the outbox opened. */
  isCongested: boolean;
}

/** Nothing is sent before a moment. */
interface Paused {
  readonly kind: "paused";
  /** The message that goes on then, if there is one. */
  readonly transfer: Transfer | undefined;
  readonly retryAt: Millis;
}

/** A packet is sent again at a moment, so many times. */
interface Unanswered {
  readonly transfer: Transfer;
  retryAt: Millis;
  triesLeft: number;
}

/** REGISTER was sent: REGACK is awaited. */
interface Registering extends Unanswered {
  readonly kind: "registering";
  readonly entry: TopicEntry;
  /** The REGISTER's own: the PUBLISH may have one from before. */
  readonly msgId: number;
}

/**
 * PUBLISH was sent at QoS 1 or 2: PUBACK or PUBREC is awaited. Sent again, it names
 * the topic as it did the first time.
 */
interface Unacknowledged extends Unanswered, PublishHeader {
  readonly kind: "publishing";
  dup: boolean;
}

/** PUBREL was sent: PUBCOMP is awaited. */
interface Releasing extends Unanswered {
  readonly kind: "releasing";
}

/** A state in which something is awaited. */
type Awaiting = Paused | Registering | Unacknowledged | Releasing;

/** No message is under way. */
const IDLE = { kind: "idle" } as const;

type State = typeof IDLE | Transfer | Awaiting;

/** The exchanges with one client, one at a time. */
export class InFlight {
  readonly #limits: OutboxLimits;
  readonly #client: OutboxClient;
  readonly #queue: MessageQueue;
  #lastMsgId: number;
  #state: State = IDLE;

  /** Starts with no message. */
  constructor({ limits, client, queue, lastMsgId }: {
    /** How long and how often a packet is sent again. */
    readonly limits: OutboxLimits;
    /** Who gets the messages. */
    readonly client: OutboxClient;
    /** Where the messages come from; it is told how far they are. */
    readonly queue: MessageQueue;
    /** The first msgId is the next one. */
    readonly lastMsgId: number;
  }) {
    this.#limits = limits;
    this.#client = client;
    this.#queue = queue;
    this.#lastMsgId = lastMsgId;
  }

  /** The message that is under way, `undefined` for none. */
  get message(): QueuedMessage | undefined {
    return this.#transfer?.queued;
  }

  /** Whether an answer or the end of a pause is awaited. */
  get isWaiting(): boolean {
    return isWaiting(this.#state);
  }

  /** When something is sent again, or a pause ends; `undefined` for never. */
  get retryAt(): Millis | undefined {
    return isWaiting(this.#state) ? this.#state.retryAt : undefined;
  }

  /** Whether the next step, if it has to be persisted, can be persisted now. */
  get mayAdvance(): boolean {
    if (this.#mayPromise) return true;
    const transfer = this.#transfer;
    if (transfer === undefined) return true;
    const { qos, message } = transfer.queued;
    const known = this.#client.topicIds.get(message.topicName);
    return qos < 2 &&
      (known?.alias !== undefined || known?.isKnown === true);
  }

  /** Whether the next packet may promise something to the client. */
  get #mayPromise(): boolean {
    return this.#client.persistence?.mayPromise ?? true;
  }

  get #transfer(): Transfer | undefined {
    const state = this.#state;
    if (isWaiting(state)) return state.transfer;
    return state.kind === "idle" ? undefined : state;
  }

  /** Takes the next message. */
  take(queued: QueuedMessage): void {
    this.#ready(transferOf(queued));
  }

  /**
   * Takes over a message that was persisted when it was under way: its PUBLISH may
   * have arrived, and so its answer may come before it is sent again.
   */
  restore(
    now: Millis,
    queued: QueuedMessage,
    progress: TransferProgress,
  ): void {
    const transfer: Transfer = { ...transferOf(queued), ...progress };
    const waits = { transfer, retryAt: now, triesLeft: 0 };
    this.#state = progress.isReleased ? { kind: "releasing", ...waits } : {
      ...waits,
      kind: "publishing",
      qos: queued.qos,
      retain: queued.retain,
      dup: true,
      topicIdType: "normal", // until it is named anew
      topicId: 0,
      msgId: progress.msgId,
    };
  }

  /** Starts msgIds behind this one. */
  restoreMsgId(lastMsgId: number): void {
    this.#lastMsgId = lastMsgId;
  }

  /** Takes up again what was interrupted: nothing is awaited any more. */
  resume(): void {
    const transfer = this.#transfer;
    this.#state = IDLE;
    if (transfer === undefined) return;
    // A client that had no room may have some now, or may not be there at all.
    transfer.isCongested = false;
    this.#ready(transfer);
  }

  /** Waits until a moment before the next step. */
  pause(until: Millis): void {
    const transfer = this.#transfer;
    this.#state = { kind: "paused", transfer, retryAt: until };
  }

  /** Forgets the message. */
  clear(): void {
    this.#state = IDLE;
  }

  /** Persists the message; a retained one only once its PUBLISH has a msgId. */
  persist(persistence: SessionPersistence): void {
    const transfer = this.#transfer;
    if (transfer === undefined) return;
    if (transfer.queued.source !== undefined && transfer.msgId === 0) return;
    this.#queue.persist(persistence, transfer.queued, transfer);
  }

  /**
   * Makes the next step of a message that is ready.
   *
   * @returns what follows; "noTopicId" when the client's table of topic ids is full
   */
  advance(now: Millis): Outcome | "noTopicId" {
    const transfer = this.#state;
    if (transfer.kind !== "ready") return "waiting";
    if (transfer.isReleased) {
      this.#client.sendPubrel(transfer.msgId);
      this.#state = { kind: "releasing", ...this.#unanswered(now, transfer) };
      return "waiting";
    }
    const { topicIds } = this.#client;
    const { topicName } = transfer.queued.message;
    const known = topicIds.get(topicName);
    if (known?.isRefused) return this.lose("topicRefused");
    const entry = known?.alias === undefined
      ? topicIds.assign(topicName)
      : known;
    if (entry === undefined) return "noTopicId";
    return entry.alias === undefined && !entry.isKnown
      ? this.#register(now, transfer, entry)
      : this.#publish(now, transfer, entry);
  }

  #register(now: Millis, transfer: Transfer, entry: TopicEntry): Outcome {
    const msgId = this.#nextMsgId(transfer);
    if (!this.#client.sendRegister(entry, msgId)) return this.lose("tooLong");
    const waits = this.#unanswered(now, transfer);
    this.#state = { kind: "registering", ...waits, entry, msgId };
    return "waiting";
  }

  #publish(now: Millis, transfer: Transfer, entry: TopicEntry): Outcome {
    const { message, qos, retain } = transfer.queued;
    if (qos === 0) {
      return this.#client.sendPublishQos0(message, entry, retain)
        ? this.#end(transfer)
        : this.lose("tooLong");
    }
    const dup = transfer.msgId !== 0;
    if (!dup) {
      transfer.msgId = this.#nextMsgId(transfer);
      this.#persistProgress(transfer);
      this.#noteBegun(transfer.queued);
    }
    const { alias } = entry;
    const state: Unacknowledged = {
      kind: "publishing",
      transfer,
      retryAt: now + this.#limits.retryMs,
      triesLeft: this.#limits.retries,
      qos,
      retain,
      dup,
      topicIdType: alias === undefined ? "normal" : alias.topicIdType,
      topicId: alias === undefined ? entry.topicId : alias.topicId,
      msgId: transfer.msgId,
    };
    if (!this.#client.sendPublish(message, state)) {
      return this.lose("tooLong");
    }
    this.#state = state;
    return "waiting";
  }

  /** Takes a REGACK. */
  handleRegack({ msgId, returnCode }: TopicAck<"REGACK">): Outcome {
    const state = this.#state;
    if (state.kind !== "registering" || state.msgId !== msgId) {
      return "unexpected";
    }
    const { transfer, entry } = state;
    if (returnCode === RETURN_CODE.accepted) {
      entry.isKnown = true;
      return this.#ready(transfer);
    }
    if (returnCode === RETURN_CODE.congestion) {
      transfer.isCongested = true; // it is sent again when its time has come
      return "waiting";
    }
    // §6.10: the client has no place for the topic, and is not told of it again.
    this.#client.topicIds.refuse(entry);
    this.lose("topicRefused");
    this.#client.handleTopicRefused(entry);
    return "over";
  }

  /** Takes a PUBACK. */
  handlePuback({ topicId, msgId, returnCode }: TopicAck<"PUBACK">): Outcome {
    const state = this.#state;
    const isUnknownTopic = returnCode === RETURN_CODE.invalidTopicId ||
      returnCode === RETURN_CODE.notSupported; // some clients say this instead
    if (state.kind !== "publishing" || state.msgId !== msgId) {
      // §6.6: an error is reported at each QoS; at QoS 0 there is no msgId.
      return isUnknownTopic && this.#client.topicIds.forget(topicId)
        ? "waiting"
        : "unexpected";
    }
    const { transfer } = state;
    switch (returnCode) {
      case RETURN_CODE.accepted:
        return state.qos === 1 ? this.#end(transfer) : "unexpected";
      case RETURN_CODE.congestion:
        transfer.isCongested = true; // it is sent again when its time has come
        return "waiting";
    }
    // To register the topic once should do. But the refusal, or its cause, may
    // have come twice.
    return isUnknownTopic &&
        transfer.repairs < Math.max(1, this.#limits.retries)
      ? this.#repair(transfer)
      : this.lose("messageRefused");
  }

  /** Has the topic registered again, as the client does not know its id. */
  #repair(transfer: Transfer): Outcome {
    transfer.repairs++;
    const { topicIds } = this.#client;
    const entry = topicIds.get(transfer.queued.message.topicName);
    if (entry !== undefined) topicIds.unlearn(entry);
    return this.#ready(transfer);
  }

  /** Takes a PUBREC. */
  handlePubrec(msgId: number): Outcome {
    const state = this.#state;
    if (state.kind === "releasing" && state.transfer.msgId === msgId) {
      // It comes again, as PUBREL was lost. PUBREL waits for its next retry while
      // the client does not listen, or PUBREC may not have been persisted.
      if (this.#client.isListening && this.#mayPromise) {
        this.#client.sendPubrel(msgId);
      }
      return "waiting";
    }
    if (
      state.kind !== "publishing" || state.qos !== 2 || state.msgId !== msgId
    ) {
      return "unexpected";
    }
    // What cannot be persisted has not come: PUBLISH is sent again, and brings it.
    if (!this.#mayPromise) return "waiting";
    const { transfer } = state;
    transfer.isReleased = true;
    this.#persistProgress(transfer);
    return this.#ready(transfer);
  }

  /** Takes a PUBCOMP. */
  handlePubcomp(msgId: number): Outcome {
    const state = this.#state;
    return state.kind === "releasing" && state.transfer.msgId === msgId
      ? this.#end(state.transfer)
      : "unexpected";
  }

  /**
   * Does what is due by `now`.
   *
   * @returns what follows; "unanswered" when a packet was sent often enough and
   * the client is not there
   */
  handleTimeout(now: Millis): Outcome | "unanswered" {
    const state = this.#state;
    if (!isWaiting(state) || now < state.retryAt) return "waiting";
    if (state.kind === "paused") {
      this.#state = IDLE;
      if (state.transfer !== undefined) this.#ready(state.transfer);
      return "ready";
    }
    if (!this.#mayResend(state)) {
      state.retryAt = now + this.#limits.retryMs;
      return "waiting";
    }
    if (state.triesLeft === 0) {
      // A client that is congested is there, and has no room.
      return state.transfer.isCongested
        ? this.lose("messageRefused")
        : "unanswered";
    }
    state.triesLeft--;
    return this.#resend(now, state);
  }

  /** Sends again at once what is unanswered: the client asks for it. */
  remind(now: Millis): Outcome {
    const state = this.#state;
    return isWaiting(state) && state.kind !== "paused" && this.#mayResend(state)
      ? this.#resend(now, state)
      : "waiting";
  }

  /**
   * Whether a packet may be sent again. While nothing can be persisted, most have
   * perhaps not been sent at all, and still may not be.
   */
  #mayResend(state: Registering | Unacknowledged | Releasing): boolean {
    return this.#mayPromise ||
      (state.kind === "publishing" && state.qos === 1);
  }

  #resend(
    now: Millis,
    state: Registering | Unacknowledged | Releasing,
  ): Outcome {
    state.retryAt = now + this.#limits.retryMs;
    this.#client.handleRetry();
    const { transfer } = state;
    let fits = true;
    switch (state.kind) {
      case "registering":
        fits = this.#client.sendRegister(state.entry, state.msgId);
        break;
      case "publishing":
        state.dup = true;
        fits = this.#client.sendPublish(transfer.queued.message, state);
        break;
      case "releasing":
        this.#client.sendPubrel(transfer.msgId);
        break;
      default:
        state satisfies never;
    }
    // The client may have moved to where less fits a packet.
    return fits ? "waiting" : this.lose("tooLong");
  }

  /** Gives the message up. */
  lose(reason: LossReason): Outcome {
    const { queued } = this.#transfer!;
    const outcome = this.#end(this.#transfer!);
    this.#client.handleLoss(queued.message, reason);
    return outcome;
  }

  #end({ queued }: Transfer): Outcome {
    this.#state = IDLE;
    this.#queue.end(queued);
    return "over";
  }

  #ready(transfer: Transfer): Outcome {
    this.#state = transfer;
    return "ready";
  }

  #unanswered(now: Millis, transfer: Transfer): Unanswered {
    const { retryMs, retries: triesLeft } = this.#limits;
    return { transfer, retryAt: now + retryMs, triesLeft };
  }

  #persistProgress(transfer: Transfer): void {
    const { persistence } = this.#client;
    if (persistence === undefined) return;
    const { queued, msgId, isReleased } = transfer;
    const { session } = persistence;
    const { seq } = queued;
    if (seq === 0) return this.#queue.persist(persistence, queued, transfer);
    const type = "inFlight";
    persistence.persistMessage({ type, session, seq, msgId, isReleased });
  }

  /** Notes that a retained message at QoS 2 shall not come again. */
  #noteBegun({ qos, source, message }: QueuedMessage): void {
    if (qos < 2 || source === undefined || !this.#limits.isDurable) return;
    const { persistence } = this.#client;
    source.delivery.note(source, message.topicName, persistence);
  }

  /** 1 to 65535, and not that of the message under way. */
  #nextMsgId({ msgId }: Transfer): number {
    do this.#lastMsgId = this.#lastMsgId % 0xffff + 1; while (
      this.#lastMsgId === msgId
    );
    return this.#lastMsgId;
  }
}

function isWaiting(state: State): state is Awaiting {
  return state.kind !== "idle" && state.kind !== "ready";
}

function transferOf(queued: QueuedMessage): Transfer {
  return {
    kind: "ready",
    queued,
    msgId: 0,
    isReleased: false,
    repairs: 0,
    isCongested: false,
  };
}
