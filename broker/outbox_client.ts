/**
 * The client of an outbox as `broker/outbox.ts` and its parts see it, with the
 * limits that hold for it. A session is one, and a test has its own.
 *
 * @module
 */

import type { DeliveryQos, Message, TopicFilter } from "../wire/message.ts";
import type { LossReason } from "./events.ts";
import type { Settings } from "./options.ts";
import type { Persisted } from "./persistence.ts";
import type { TopicAlias, TopicEntry, TopicIds } from "./topic_ids.ts";

/** The limits of an outbox. */
export type OutboxLimits = Pick<
  Settings,
  | "maxQueue"
  | "overflow"
  | "messageExpiryMs"
  | "maxQueueOctets"
  | "queueBudget"
  | "retryMs"
  | "retries"
  | "isDurable"
  | "nameBudget"
>;

/** Who gets the messages of an outbox. */
export interface OutboxClient extends Persisted {
  /** The client's topic ids. */
  readonly topicIds: TopicIds;
  /** Whether it takes messages now: it is active or awake. */
  readonly isListening: boolean;
  /**
   * Sends a PUBLISH.
   *
   * @param header may change afterwards
   * @returns false when it does not fit a packet: nothing is sent then
   */
  sendPublish(message: Message, header: PublishHeader): boolean;
  /**
   * Sends a PUBLISH at QoS 0. There are so many that no header is made for each.
   *
   * @param entry the topic, by an id or alias that the client knows
   * @returns false when it does not fit a packet: nothing is sent then
   */
  sendPublishQos0(
    message: Message,
    entry: TopicEntry,
    retain: boolean,
  ): boolean;
  /** Sends a REGISTER; false when it does not fit a packet. */
  sendRegister(entry: TopicEntry, msgId: number): boolean;
  /** Sends a PUBREL. */
  sendPubrel(msgId: number): void;
  /** Is told that a packet is sent again. */
  handleRetry(): void;
  /** Is told that the client does not get a message. */
  handleLoss(message: Message, reason: LossReason): void;
  /** Is told that the client does not want a topic (§6.10). */
  handleTopicRefused(entry: TopicEntry): void;
  /** Is told that the retained messages of a subscription have been delivered. */
  handleRetainedDone(filter: TopicFilter): void;
}

/** All of a PUBLISH to one client but its message. */
export interface PublishHeader {
  /** At which QoS this client gets the message. */
  readonly qos: DeliveryQos;
  /** Whether it is sent because it was retained. */
  readonly retain: boolean;
  /** Whether it was sent before. */
  readonly dup: boolean;
  /** How the client knows the topic. */
  readonly topicIdType: "normal" | TopicAlias["topicIdType"];
  /** The id, or the short name's octets. */
  readonly topicId: number;
  /** 0 at QoS 0. */
  readonly msgId: number;
}
