/**
 * Persists what is to outlive the process, and says what may be promised.
 *
 * A broker without a store persists nothing and may promise everything. With a store
 * it first loads what was persisted, and promises nothing until that is done. It also
 * promises nothing while the store is behind or refuses. Nobody was promised a message
 * at QoS 0 for a sleeper, or what such a message adds to a history. These are left out
 * as soon as the store has much to do: they would only pile up.
 *
 * @module
 */

import type { EffectQueue } from "../base/machine.ts";
import type {
  DatumRecord,
  InFlightRecord,
  QueuedEnd,
  QueuedRecord,
  StoreChange,
} from "./records.ts";

/**
 * The state of the store.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().store, "none");
 * ```
 */
export type StoreState =
  /** There is no store: all is in memory. */
  | "none"
  /** It is being read. */
  | "loading"
  /** It takes every change. */
  | "ready"
  /** It has much to do: it takes what was promised, and nothing else. */
  | "busy"
  /** It takes nothing, or is far behind: nothing may be promised. */
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

  /** The state of the store. */
  get state(): StoreState {
    return this.#state;
  }

  /** Sets the state of the store. */
  set state(state: StoreState) {
    this.#state = state;
  }

  /** Whether there is a store. */
  get isOn(): boolean {
    return this.#state !== "none";
  }

  /**
   * Whether something may be promised to a peer: the store persists it, or there is
   * no store and no such promise.
   */
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
   * Persists what nobody was promised, if the store has time for it.
   *
   * @returns whether it was persisted
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

/** What may be persisted: a session, or a part of one. */
export interface Persisted {
  /** Where its changes go; `undefined` while it is not persisted. */
  readonly persistence: SessionPersistence | undefined;
}

/** A part of no session, or of one that is not persisted. */
export const NOT_PERSISTED: Persisted = { persistence: undefined };

/** A change of a message on its way to a client. */
export type MessageChange = QueuedRecord | InFlightRecord | QueuedEnd;

/** Any other change of one session, without the session's number. */
export type SessionChange = WithoutSession<Exclude<StoreChange, MessageChange>>;

/** A change without the number of its session; `never` for one of no session. */
export type WithoutSession<Change> = Change extends { readonly session: number }
  ? Omit<Change, "session">
  : never;

/** Persists one session and its parts. */
export class SessionPersistence {
  readonly #persistence: Persistence;
  /** The session's number. */
  readonly session: number;

  /**
   * Persists a session from now on.
   *
   * @param persistence the broker's
   * @param session the session's number
   */
  constructor(persistence: Persistence, session: number) {
    this.#persistence = persistence;
    this.session = session;
  }

  /** See {@linkcode Persistence.mayPromise}. */
  get mayPromise(): boolean {
    return this.#persistence.mayPromise;
  }

  /** Persists a change of the session or of a part of it. */
  persist(change: SessionChange): void {
    this.#persistence.persist({ ...change, session: this.session });
  }

  /**
   * Persists a change of a message. There are many: so it has the session's number
   * already, and is not copied. A message at QoS 0 was promised to nobody, and is
   * left out while the store has no time for it.
   *
   * @returns whether the change was persisted
   */
  persistMessage(change: MessageChange): boolean {
    if (change.type === "queued" && change.qos === 0) {
      return this.#persistence.persistLoosely(change);
    }
    this.#persistence.persist(change);
    return true;
  }
}
