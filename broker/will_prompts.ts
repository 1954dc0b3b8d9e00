/**
 * Clients that are being asked for their will (MQTT-SN 1.2 §6.2): from the CONNECT
 * that announces it to the message that is its last part.
 *
 * Nothing tells whether there is anybody at the address that a CONNECT came
 * from. So a prompt is over after a while, and where there are too many, the
 * oldest goes for the next: a client that is there has long answered.
 *
 * @module
 */

import type { MemoryBudget } from "./memory_budget.ts";
import type { Millis } from "../base/clock.ts";
import type { Peer } from "../base/peer.ts";
import type { Connect } from "../wire/packets.ts";
import type { Will } from "./session.ts";

/** A client that is being asked for its will. */
export interface Prompt {
  /** Where it is. */
  readonly peer: Peer;
  /** What it connects with. */
  readonly connect: Connect;
  /** Where the will goes; `undefined` until that is known. */
  readonly topic: Omit<Will, "payload"> | undefined;
  /** When it is over. */
  readonly until: Millis;
}

/** How many prompts, and how long. */
export interface PromptLimits {
  /** WillPrompts at a time; 1 or more. */
  readonly maxPrompts: number;
  /** How long a client has for each part, in milliseconds. */
  readonly lifetimeMs: Millis;
  /** The memory that the topics of wills come from. */
  readonly nameBudget: MemoryBudget;
}

/** The prompts of one gateway. */
export class WillPrompts {
  readonly #limits: PromptLimits;
  /** In the order in which they end, as all live equally long. */
  readonly #byPeer = new Map<string, Prompt>();
  #expired = 0;

  /**
   * Starts with nobody.
   *
   * @param limits how many, and how long
   */
  constructor(limits: PromptLimits) {
    this.#limits = limits;
  }

  /** How many there are. */
  get size(): number {
    return this.#byPeer.size;
  }

  /** How many were over before they were answered. */
  get expired(): number {
    return this.#expired;
  }

  /** The prompt of a peer, `undefined` for none. */
  at({ key }: Peer): Prompt | undefined {
    return this.#byPeer.get(key);
  }

  /** Begins to ask a client, anew if it was being asked. */
  begin(now: Millis, peer: Peer, connect: Connect): Prompt {
    this.end(peer);
    const { maxPrompts, lifetimeMs } = this.#limits;
    for (const { peer: oldest } of this.#byPeer.values()) {
      if (this.size < maxPrompts) break;
      this.#expire(oldest);
    }
    const until = now + lifetimeMs;
    const prompt = { peer, connect, topic: undefined, until };
    this.#byPeer.set(peer.key, prompt);
    return prompt;
  }

  /**
   * Notes where a client's will goes, and gives it time for the rest.
   *
   * @returns the prompt as it is now, or `undefined` when there is no memory
   */
  note(
    now: Millis,
    { peer, connect, topic: last }: Prompt,
    topic: Omit<Will, "payload">,
  ): Prompt | undefined {
    const { nameBudget, lifetimeMs } = this.#limits;
    nameBudget.give(costOf(last));
    if (!nameBudget.take(costOf(topic))) {
      this.#byPeer.delete(peer.key);
      return undefined;
    }
    this.#byPeer.delete(peer.key);
    const prompt = { peer, connect, topic, until: now + lifetimeMs };
    this.#byPeer.set(peer.key, prompt);
    return prompt;
  }

  /** Stops asking a client; false when it was not being asked. */
  end({ key }: Peer): boolean {
    const prompt = this.#byPeer.get(key);
    if (prompt === undefined) return false;
    this.#limits.nameBudget.give(costOf(prompt.topic));
    return this.#byPeer.delete(key);
  }

  /** When the next one is over, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    for (const { until } of this.#byPeer.values()) return until;
    return undefined;
  }

  /** Ends those that are over by `now`. */
  handleTimeout(now: Millis): void {
    for (const { peer, until } of this.#byPeer.values()) {
      if (until > now) return;
      this.#expire(peer);
    }
  }

  #expire(peer: Peer): void {
    this.end(peer);
    this.#expired++;
  }
}

function costOf(topic: Omit<Will, "payload"> | undefined): number {
  return topic === undefined ? 0 : (topic.topicName ?? "").length * 2;
}
