/**
 * What a client publishes: to register topics, and to hand a message over at QoS 0, 1
 * or 2 (MQTT-SN 1.2 §6.5, §6.6). It has two queues for that, and the ids of topics.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import {
  type Command,
  type DeviceTopic,
  type PublishCommand,
  topicIdOf,
  topicIdTypeOf,
} from "./commands.ts";
import type { DeviceEvent } from "./events.ts";
import type { SendWindow } from "./send_window.ts";
import type { KnownTopicIds } from "./topic_ids.ts";
import type { CommandQueue, CommandQueues } from "./queues.ts";
import type { EffectQueue } from "../base/machine.ts";
import { type Publish, RETURN_CODE, type TopicAck } from "../wire/packets.ts";
import type { Requests } from "./requests.ts";

/** What it takes to publish. */
export interface PublishingParts {
  /** Takes what happens. */
  readonly effects: EffectQueue<DeviceEvent>;
  /** What is to be done. */
  readonly queues: CommandQueues;
  /** The way to the gateway. */
  readonly requests: Requests;
  /** The ids of topics. */
  readonly topics: KnownTopicIds;
  /** How much may go out at QoS 0. */
  readonly sendWindow: SendWindow;
  /** How often a topic is registered again for a message. */
  readonly maxRejections: number;
}

/** How far a message at QoS 1 or 2 has come, over all connections. */
interface PublishProgress {
  readonly command: PublishCommand;
  /** Its PUBLISH's msgId; `undefined` until it was sent. */
  msgId: number | undefined;
  /** Whether PUBREC has come. */
  isReleased: boolean;
  /** How often the gateway did not know its topic id. */
  rejections: number;
}

/** What a client publishes. */
export class Publishing {
  readonly #effects: EffectQueue<DeviceEvent>;
  readonly #queues: CommandQueues;
  readonly #requests: Requests;
  readonly #topics: KnownTopicIds;
  readonly #sendWindow: SendWindow;
  readonly #maxRejections: number;
  /** Of the message that is, or was last, under way. */
  #progress: PublishProgress | undefined;

  /** Publishes nothing yet. */
  constructor(parts: PublishingParts) {
    this.#effects = parts.effects;
    this.#queues = parts.queues;
    this.#requests = parts.requests;
    this.#topics = parts.topics;
    this.#sendWindow = parts.sendWindow;
    this.#maxRejections = parts.maxRejections;
  }

  /** Whether a PUBLISH waits for an id. */
  get isUnregistered(): boolean {
    const { current, request } = this.#queues.publish;
    return current !== undefined && request === undefined;
  }

  /** Whether the gateway may have the message that is under way. */
  get isSent(): boolean {
    const command = this.#queues.publish.current?.command;
    return command !== undefined && command === this.#progress?.command &&
      this.#progress.msgId !== undefined;
  }

  /** Whether a message at QoS 0 to a topic can be sent before all others. */
  isOpenTo(topic: DeviceTopic): boolean {
    return this.#queues.publish.length === 0 && !this.#sendWindow.isFull &&
      (typeof topic !== "string" || this.#topics.idOf(topic) !== undefined);
  }

  /** Asks for what a command wants; false when it has to wait for another. */
  begin(
    now: Millis,
    queue: CommandQueue,
    command: Extract<Command, { type: "register" | "publish" }>,
  ): boolean {
    if (command.type === "publish") return this.#publish(now, queue, command);
    const { topicName } = command;
    if (this.#topics.idOf(topicName) === undefined) {
      return this.#register(now, queue, topicName);
    }
    this.#queues.finish(queue);
    return true;
  }

  /** A new session knows nothing of exchanges that the last one began. */
  beginAnew(): void {
    if (this.#progress === undefined) return;
    this.#progress.msgId = undefined;
    this.#progress.isReleased = false;
  }

  /** The gateway has taken a message at QoS 2. */
  handlePubrec(msgId: number): void {
    const { publish } = this.#queues;
    const asked = publish.asked("PUBLISH");
    if (asked?.msgId !== msgId || asked.qos !== 2) return;
    this.#progress!.isReleased = true;
    publish.answered();
  }

  /** And will not take it again. */
  handlePubcomp(msgId: number): void {
    const { publish } = this.#queues;
    if (publish.asked("PUBREL")?.msgId === msgId) this.#finish(publish);
  }

  /** The gateway has assigned an id, or refuses to. */
  handleRegack(now: Millis, packet: TopicAck<"REGACK">): void {
    const { register, publish } = this.#queues;
    const queue = [register, publish].find((queue) =>
      queue.asked("REGISTER")?.msgId === packet.msgId
    );
    if (queue === undefined) return;
    const { returnCode } = packet;
    const isSent = queue === publish && this.isSent;
    if (returnCode === RETURN_CODE.congestion && isSent) {
      // The gateway may have taken it, so it is not given up: it is sent again.
      queue.answered();
      return this.#queues.hold(now, register);
    }
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#queues.refuse(now, queue, returnCode, register);
    }
    this.#topics.learn(queue.asked("REGISTER")!.topicName, packet.topicId);
    if (queue === register) return this.#queues.finish(queue);
    queue.answered(); // and now the PUBLISH
  }

  /** The gateway has taken a message at QoS 1, or refuses one. */
  handlePuback(now: Millis, packet: TopicAck<"PUBACK">): void {
    const { topicId, msgId, returnCode } = packet;
    const { publish } = this.#queues;
    const asked = publish.asked("PUBLISH");
    const isAsked = asked !== undefined && asked.msgId === msgId;
    if (returnCode === RETURN_CODE.accepted) {
      if (isAsked && asked.qos === 1) this.#finish(publish);
      return;
    }
    // §6.6: an error is told whatever the QoS; at 0 nothing waits for it.
    if (!isAsked && msgId !== 0) return;
    if (!isAsked) {
      const topicName = this.#topics.nameOfId(topicId);
      this.#effects.trace({ type: "rejected", topicName, returnCode });
    }
    if (returnCode === RETURN_CODE.congestion) {
      if (isAsked) return this.#queues.refuse(now, publish, returnCode);
      return this.#queues.hold(now, publish);
    }
    const isUnknown = returnCode === RETURN_CODE.invalidTopicId;
    if (!isAsked) {
      if (isUnknown) this.#topics.forget(topicId);
      return;
    }
    if (!isUnknown || asked.topicIdType !== "normal") {
      return this.#queues.refuse(now, publish, returnCode);
    }
    // A late copy of a refusal: the name has another id by now.
    if (topicId !== 0 && topicId !== asked.topicId) return;
    this.#topics.forget(asked.topicId);
    if (this.#progress!.rejections++ >= this.#maxRejections) {
      return this.#queues.refuse(now, publish, returnCode); // it never ends
    }
    publish.answered(); // registered again, and sent again
  }

  /** §6.5: one REGISTER at a time, in either queue, and none in T_WAIT. */
  #register(now: Millis, queue: CommandQueue, topicName: string): boolean {
    const { register, publish } = this.#queues;
    const isRegistering = register.request !== undefined ||
      register.isHeld(now) || publish.asked("REGISTER") !== undefined;
    if (isRegistering) return false;
    queue.ask(this.#requests.request(now, {
      type: "REGISTER",
      topicId: 0,
      msgId: this.#requests.nextMsgId(),
      topicName,
    }));
    return true;
  }

  #publish(
    now: Millis,
    queue: CommandQueue,
    command: PublishCommand,
  ): boolean {
    const { topic, payload, qos, retain } = command;
    const progress = qos > 0 ? this.#progressOf(command) : undefined;
    if (progress?.isReleased && progress.msgId !== undefined) {
      const { msgId } = progress;
      queue.ask(this.#requests.request(now, { type: "PUBREL", msgId }));
      return true;
    }
    const topicId = typeof topic === "string"
      ? this.#topics.idOf(topic)
      : topicIdOf(topic);
    if (topicId === undefined) {
      return this.#register(now, queue, topic as string);
    }
    if (qos === 0 && this.#sendWindow.isFull) return false;
    const dup = progress?.msgId !== undefined;
    if (progress !== undefined) {
      progress.msgId ??= this.#requests.nextMsgId();
    }
    const packet: Publish = {
      type: "PUBLISH",
      dup,
      qos,
      retain,
      topicIdType: topicIdTypeOf(topic),
      topicId,
      msgId: progress?.msgId ?? 0,
      data: payload,
    };
    if (qos > 0) {
      queue.ask(this.#requests.request(now, packet));
      return true;
    }
    this.#requests.send(now, packet);
    this.#sendWindow.count();
    this.#queues.finish(queue);
    return true;
  }

  /** The message under way was taken over: nothing of it is needed any more. */
  #finish(publish: CommandQueue): void {
    this.#progress = undefined;
    this.#queues.finish(publish);
  }

  #progressOf(command: PublishCommand): PublishProgress {
    if (this.#progress?.command === command) return this.#progress;
    return this.#progress = {
      command,
      msgId: undefined,
      isReleased: false,
      rejections: 0,
    };
  }
}
