/**
 * What a client is subscribed to, and asks to be (MQTT-SN 1.2 §6.9). Knows the
 * lane for that, and what has to be asked for again; nothing of the connection.
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

/** What a client subscribes to. */
export class Subscribing {
  readonly #lanes: CommandQueues;
  readonly #uplink: Requests;
  readonly #topics: KnownTopicIds;
  /** What was granted, by the topic's key, to ask for it again. */
  readonly #granted = new Map<string, SubscribeCommand>();

  /** Is subscribed to nothing yet. */
  constructor(lanes: CommandQueues, uplink: Requests, topics: KnownTopicIds) {
    this.#lanes = lanes;
    this.#uplink = uplink;
    this.#topics = topics;
  }

  /** Asks for what a command wants. */
  begin(
    now: Millis,
    lane: CommandQueue,
    command: Extract<Command, { type: "subscribe" | "unsubscribe" }>,
  ): void {
    const topic = referenceOf(command.topic);
    const msgId = this.#uplink.nextMsgId();
    lane.request = this.#uplink.request(
      now,
      command.type === "unsubscribe"
        ? { type: "UNSUBSCRIBE", msgId, topic }
        : { type: "SUBSCRIBE", dup: false, qos: command.qos, msgId, topic },
    );
  }

  /** The gateway has granted a subscription, or refuses it. */
  handleSuback(now: Millis, packet: Suback): void {
    const { subscribe } = this.#lanes;
    const asked = subscribe.asked("SUBSCRIBE");
    const command = subscribe.current?.command;
    if (asked?.msgId !== packet.msgId || command?.type !== "subscribe") return;
    if (packet.returnCode !== RETURN_CODE.accepted) {
      return this.#lanes.refuse(now, subscribe, packet.returnCode);
    }
    const { topic } = command;
    // §5.4.16: an id of a filter with wildcards means nothing.
    if (isName(topic) && packet.topicId !== 0) {
      this.#topics.learn(topic, packet.topicId);
    }
    this.#granted.set(topicKeyOf(topic), command);
    this.#lanes.finish(subscribe, packet.qos);
  }

  /** The gateway has ended a subscription. */
  handleUnsuback(msgId: number): void {
    const { subscribe } = this.#lanes;
    if (subscribe.asked("UNSUBSCRIBE")?.msgId !== msgId) return;
    const { command } = subscribe.current!;
    if (command.type === "unsubscribe") {
      this.#granted.delete(topicKeyOf(command.topic));
    }
    this.#lanes.finish(subscribe);
  }

  /** Asks again for all subscriptions, before whatever else is about them. */
  resubscribe(): void {
    const lane = this.#lanes.subscribe;
    const again = [...this.#granted.values()].map((command) => ({
      token: 0,
      order: 0,
      command,
      giveUpAt: undefined,
    }));
    // Those of the last time may not all have been asked for.
    const given = [lane.current, ...lane.waiting].filter((job) =>
      job !== undefined
    ).filter(({ order }) => order > 0);
    lane.current = undefined;
    lane.replaceWaiting([...again, ...given]);
  }
}
