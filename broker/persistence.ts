/**
 * What of the broker's core outlives the process: whether there is a store,
 * whether it keeps up, and how a session persists its parts.
 *
 * A broker without a store persists nothing and may promise everything. With a
 * store it first loads the records, and promises nothing until that is done. It
 * also promises nothing while the store fails or cannot keep up. What nobody was
 * promised is left out as soon as the store is busy, as it would only pile up:
 * messages at QoS 0 for sleeping clients, and what these add to a history.
 *
 * @module
 */

import type { EffectQueue } from "../base/machine.ts";
import type { DatumRecord, QueuedRecord, StoreChange } from "./records.ts";

/** The state of the store. */
export type StoreState =
  /** There is none: everything is in memory only. */
  | "none"
  /** The records are being loaded. */
  | "loading"
  /** It persists every change. */
  | "ready"
  /** There is much to do: it persists what was promised, and nothing else. */
  | "busy"
  /** It fails, or is too far behind: nothing is promised. */
  | "refusing";

/** What is persisted of one broker. */
export class Persistence {
  readonly #effects: EffectQueue<unknown, StoreChange>;
  #state: StoreState = "none";
  #skipped = 0;

  /**
   * Persists nothing, until its state changes.
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

  /** Takes over a new state of the store. */
  set state(state: StoreState) {
    this.#state = state;
  }

  /** Whether there is a store. */
  get isOn(): boolean {
    return this.#state !== "none";
  }

  /**
   * Whether a peer may be promised something now: the store will persist it, or
   * there is no store and no such promise.
   */
  get mayPromise(): boolean {
    return this.#state !== "loading" && this.#state !== "refusing";
  }

  /** Changes that were left out, as nobody was promised them. */
  get skipped(): number {
    return this.#skipped;
  }

  /** Persists a change, if there is a store. */
  persist(change: StoreChange): void {
    if (this.#state !== "none") this.#effects.persist(change);
  }

  /**
   * Persists a change that nobody was promised, if the store has time for it.
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

/** A session or a part of one, which may be persisted. */
export interface Persistable {
  /** Persists its changes; `undefined` while it is in memory only. */
  readonly persister: SessionPersister | undefined;
}

/** The owner of what is never persisted. */
export const NOT_PERSISTED: Persistable = { persister: undefined };

/** A change of one session or of its parts, without the session's number. */
export type SessionChange = WithoutSession<StoreChange>;

/** Distributes over a union, as `Omit` alone does not. */
type WithoutSession<Change> = Change extends { readonly session: number }
  ? Omit<Change, "session">
  : never;

/** Persists one session and its parts. */
export class SessionPersister {
  readonly #persistence: Persistence;
  readonly #session: number;

  /**
   * Persists a session from now on.
   *
   * @param persistence where to
   * @param session its number
   */
  constructor(persistence: Persistence, session: number) {
    this.#persistence = persistence;
    this.#session = session;
  }

  /** See {@linkcode Persistence.mayPromise}. */
  get mayPromise(): boolean {
    return this.#persistence.mayPromise;
  }

  /**
   * Persists a change.
   *
   * @returns whether it was persisted: a message that waits at QoS 0 may be left
   * out, as nobody was promised it
   */
  persist(change: SessionChange): boolean {
    const whole = { ...change, session: this.#session };
    if (whole.type === "queued" && whole.qos === 0) {
      return this.#persistence.persistLoosely(whole);
    }
    this.#persistence.persist(whole);
    return true;
  }
}
