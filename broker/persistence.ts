/**
 * What of the core is to outlive the process: whether anything is, whether it can
 * be at present, and how a session's parts tell what has become of them. Knows
 * records and who may be promised what; nothing of where they are kept.
 *
 * A broker without a store persists nothing and may promise everything. With one
 * it begins by loading what was kept, and promises nothing until that is done;
 * nor does it while the store cannot keep up or keeps nothing. What nobody was
 * promised, a message at QoS 0 for who sleeps or what it adds to a history, is left
 * out as soon as the store has much to do: it would only pile up.
 *
 * @module
 */

import type { EffectQueue } from "../base/machine.ts";
import type {
  DatumRecord,
  QueuedRecord,
  ReceivedRecord,
  SessionRecord,
  StoreChange,
  SubscriptionRecord,
  TopicIdRecord,
} from "./records.ts";

/** How it is with the store. */
export type StoreState =
  /** There is none: what is held is held in memory. */
  | "none"
  /** What was kept is being read. */
  | "loading"
  /** It keeps what it is told. */
  | "ready"
  /** So it does, but only what is promised: there is much to do. */
  | "busy"
  /** It does not, or is behind: nothing is promised. */
  | "refusing";

/** What is persisted of one broker. */
export class Persistence {
  readonly #effects: EffectQueue<unknown, StoreChange>;
  #state: StoreState = "none";
  #skipped = 0;

  /**
   * Persists nothing, until its state says otherwise.
   *
   * @param effects where changes go
   */
  constructor(effects: EffectQueue<unknown, StoreChange>) {
    this.#effects = effects;
  }

  /** How it is with the store. */
  get state(): StoreState {
    return this.#state;
  }

  /** Says how it is with the store. */
  set state(state: StoreState) {
    this.#state = state;
  }

  /** Whether there is a store. */
  get isOn(): boolean {
    return this.#state !== "none";
  }

  /** Whether what is persisted now is kept, or need not be. */
  get mayPromise(): boolean {
    return this.#state !== "loading" && this.#state !== "refusing";
  }

  /** Changes that were left out as nobody was promised them. */
  get skipped(): number {
    return this.#skipped;
  }

  /** Persists a change, if there is a store. */
  persist(change: StoreChange): void {
    if (this.#state !== "none") this.#effects.persist(change);
  }

  /**
   * Persists what nobody was promised.
   *
   * @returns whether it was: not where there is no store, or it has no room
   */
  persistLoosely(change: QueuedRecord | DatumRecord): boolean {
    if (this.#state === "ready") {
      this.#effects.persist(change);
      return true;
    }
    if (this.#state !== "none") this.#skipped++;
    return false;
  }
}

/** Whatever may be of a session that is kept. */
export interface Kept {
  /** Tells what becomes of it; `undefined` as long as it is not kept. */
  readonly keeper: SessionKeeper | undefined;
}

/** Of no session that is kept. */
export const NOT_KEPT: Kept = { keeper: undefined };

/** The fields of a record that is not told yet whose it is. */
export type Fields<
  Row extends { readonly type: string; readonly session: number },
> = Omit<Row, "type" | "session">;

/** Tells what becomes of one session and its parts. */
export class SessionKeeper {
  readonly #persistence: Persistence;
  readonly #session: number;

  /**
   * Keeps a session from now on.
   *
   * @param persistence where to
   * @param session its number
   */
  constructor(persistence: Persistence, session: number) {
    this.#persistence = persistence;
    this.#session = session;
  }

  /** Whether what is told now is kept. */
  get mayPromise(): boolean {
    return this.#persistence.mayPromise;
  }

  /** Says what the session is. */
  put(fields: Fields<SessionRecord>): void {
    this.#persist({ type: "session", session: this.#session, ...fields });
  }

  /** Says that the session is over, with all its parts. */
  end(): void {
    this.#persist({ type: "sessionEnd", session: this.#session });
  }

  /** Says what a subscription is. */
  putSubscription(fields: Fields<SubscriptionRecord>): void {
    this.#persist({ type: "subscription", session: this.#session, ...fields });
  }

  /** Says that a subscription is over. */
  endSubscription(topicFilter: string): void {
    const session = this.#session;
    this.#persist({ type: "subscriptionEnd", session, topicFilter });
  }

  /** Says that a retained message was begun at QoS 2 for a subscription. */
  putBegun(topicFilter: string, topicName: string): void {
    const session = this.#session;
    this.#persist({ type: "begun", session, topicFilter, topicName });
  }

  /** Says that none of a subscription has to be known any more. */
  endBegun(topicFilter: string): void {
    this.#persist({ type: "begunEnd", session: this.#session, topicFilter });
  }

  /** Says how the client knows a topic. */
  putTopicId(fields: Fields<TopicIdRecord>): void {
    this.#persist({ type: "topicId", session: this.#session, ...fields });
  }

  /** Says that a topic has no entry any more. */
  endTopicId(topicName: string): void {
    const session = this.#session;
    this.#persist({ type: "topicIdEnd", session, topicName });
  }

  /**
   * Says what waits for the client.
   *
   * @returns whether that is kept: at QoS 0 not always
   */
  putQueued(fields: Fields<QueuedRecord>): boolean {
    const session = this.#session;
    const { topicName, payload, qos, retain, seq, at, msgId, isReleased } =
      fields;
    const record: QueuedRecord = {
      type: "queued",
      session,
      seq,
      topicName,
      payload,
      qos,
      retain,
      at,
      msgId,
      isReleased,
    };
    if (qos === 0) return this.#persistence.persistLoosely(record);
    this.#persist(record);
    return true;
  }

  /** Says how far a message is that waits. */
  putInFlight(seq: number, msgId: number, isReleased: boolean): void {
    const session = this.#session;
    this.#persist({ type: "inFlight", session, seq, msgId, isReleased });
  }

  /** Says that a message waits no more. */
  endQueued(seq: number): void {
    this.#persist({ type: "queuedEnd", session: this.#session, seq });
  }

  /** Says what is known of a message that the client has sent. */
  putReceived(fields: Fields<ReceivedRecord>): void {
    this.#persist({ type: "received", session: this.#session, ...fields });
  }

  /** Says that no copy of it can come any more. */
  endReceived(msgId: number): void {
    this.#persist({ type: "receivedEnd", session: this.#session, msgId });
  }

  #persist(change: StoreChange): void {
    this.#persistence.persist(change);
  }
}
