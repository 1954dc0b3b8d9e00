/**
 * What a client is subscribed to, and asks to be (MQTT-SN 1.2 §6.9). It asks again for
 * all that was granted, when the gateway may have forgotten it.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import {
  type Command,
  isName,
  referenceOf,
  type SubscribeCommand,
  topicKeyOf,
} from "./commands.ts";
import type { KnownTopicIds } from "./topic_ids.ts";
import type { CommandQueue, CommandQueues } from "./queues.ts";
import { RETURN_CODE, type Suback } from "../wire/packets.ts";
import type { Requests } from "./requests.ts";

/** What it takes to subscribe. */
export interface SubscribingParts {
  /** What is to be done. */
  readonly queues: CommandQueues;
  /** The way to the gateway. */
  readonly requests: Requests;
  /** The ids of topics. */
  readonly topics: KnownTopicIds;
}

/** What a client subscribes to. */
export class Subscribing {
  readonly #queues: CommandQueues;
  readonly #requests: Requests;
  readonly #topics: KnownTopicIds;
  /** What was granted, by the topic's key, to ask for it again. */
  readonly #granted = new Map<string, SubscribeCommand>();

  /** Is subscribed to nothing yet. */
  constructor({ queues, requests, topics }: SubscribingParts) {
    this.#queues = queues;
    this.#requests = requests;
    this.#topics = topics;
  }

  /** Asks for what a command wants. */
  begin(
    now: Millis,
    queue: CommandQueue,
    command: Extract<Command, { type: "subscribe" | "unsubscribe" }>,
  ): void {
    const topic = referenceOf(command.topic);
    const msgId = this.#requests.nextMsgId();
    queue.ask(this.#requests.request(
      now,
      command.type === "unsubscribe"
        ? { type: "UNSUBSCRIBE", msgId, topic }
        : { type: "SUBSCRIBE", dup: false, qos: command.qos, msgId, topic },
    ));
  }

  /** The gateway has granted a subscription, or refuses it. */
  handleSuback(now: Millis, packet: Suback): void {
    const { subscribe } = this.#queues;
    const asked = subscribe.asked("SUBSCRIBE");
    const command = subscribe.current?.command;
    if (asked?.msgId !== packet.msgId || command?.type !== "subscribe") return;
    if (packet.returnCode !== RETURN_CODE.accepted) {
      return this.#queues.refuse(now, subscribe, packet.returnCode);
    }
    const { topic } = command;
    // §5.4.16: an id of a filter with wildcards means nothing.
    if (isName(topic) && packet.topicId !== 0) {
      this.#topics.learn(topic, packet.topicId);
    }
    this.#granted.set(topicKeyOf(topic), command);
    this.#queues.finish(subscribe, packet.qos);
  }

  /** The gateway has ended a subscription. */
  handleUnsuback(msgId: number): void {
    const { subscribe } = this.#queues;
    if (subscribe.asked("UNSUBSCRIBE")?.msgId !== msgId) return;
    const { command } = subscribe.current!;
    if (command.type === "unsubscribe") {
      this.#granted.delete(topicKeyOf(command.topic));
    }
    this.#queues.finish(subscribe);
  }

  /** Asks again for all subscriptions, before anything else about them. */
  resubscribe(): void {
    this.#queues.subscribe.askAgain(this.#granted.values());
  }
}
