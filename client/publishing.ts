/**
 * What a client publishes: to register topics, and to hand a message over at QoS
 * 0, 1 or 2 (MQTT-SN 1.2 §6.5, §6.6). Knows the two lanes for that and the ids of
 * topics; nothing of the connection.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import {
  type Command,
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
  readonly lanes: CommandQueues;
  /** The way to the gateway. */
  readonly uplink: Requests;
  /** The ids of topics. */
  readonly topics: KnownTopicIds;
  /** How much may go out at QoS 0. */
  readonly flow: SendWindow;
  /** How often a topic is registered again for a message. */
  readonly maxRejections: number;
}

/** What a client publishes. */
export class Publishing {
  readonly #effects: EffectQueue<DeviceEvent>;
  readonly #lanes: CommandQueues;
  readonly #uplink: Requests;
  readonly #topics: KnownTopicIds;
  readonly #flow: SendWindow;
  readonly #maxRejections: number;

  /** Publishes nothing yet. */
  constructor(parts: PublishingParts) {
    this.#effects = parts.effects;
    this.#lanes = parts.lanes;
    this.#uplink = parts.uplink;
    this.#topics = parts.topics;
    this.#flow = parts.flow;
    this.#maxRejections = parts.maxRejections;
  }

  /** Whether a PUBLISH waits for an id. */
  get isUnregistered(): boolean {
    const { current, request } = this.#lanes.publish;
    return current !== undefined && request === undefined;
  }

  /** Asks for what a command wants; false when it has to wait for another. */
  begin(
    now: Millis,
    lane: CommandQueue,
    command: Extract<Command, { type: "register" | "publish" }>,
  ): boolean {
    if (command.type === "publish") return this.#publish(now, lane, command);
    const { topicName } = command;
    if (this.#topics.idOf(topicName) === undefined) {
      return this.#register(now, lane, topicName);
    }
    this.#lanes.finish(lane);
    return true;
  }

  /** A new session knows nothing of exchanges that the last one began. */
  beginAnew(): void {
    const command = this.#lanes.publish.current?.command;
    if (command?.type !== "publish") return;
    command.msgId = 0;
    command.isReleased = false;
  }

  /** The gateway has taken a message at QoS 2. */
  handlePubrec(msgId: number): void {
    const { publish } = this.#lanes;
    const asked = publish.asked("PUBLISH");
    if (asked?.msgId !== msgId || asked.qos !== 2) return;
    (publish.current!.command as PublishCommand).isReleased = true;
    publish.request = undefined;
  }

  /** And will not take it again. */
  handlePubcomp(msgId: number): void {
    const { publish } = this.#lanes;
    if (publish.asked("PUBREL")?.msgId === msgId) this.#lanes.finish(publish);
  }

  /** The gateway has assigned an id, or refuses to. */
  handleRegack(now: Millis, packet: TopicAck<"REGACK">): void {
    const { register, publish } = this.#lanes;
    const lane = [register, publish].find((lane) =>
      lane.asked("REGISTER")?.msgId === packet.msgId
    );
    if (lane === undefined) return;
    const { returnCode } = packet;
    if (returnCode === RETURN_CODE.congestion && isSent(lane)) {
      // It may have been taken: it is not refused, but asked for again.
      lane.request = undefined;
      return this.#lanes.hold(now, register);
    }
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#lanes.refuse(now, lane, returnCode, register);
    }
    this.#topics.learn(lane.asked("REGISTER")!.topicName, packet.topicId);
    if (lane === register) return this.#lanes.finish(lane);
    lane.request = undefined; // and now the PUBLISH
  }

  /** The gateway has taken a message at QoS 1, or refuses one. */
  handlePuback(now: Millis, packet: TopicAck<"PUBACK">): void {
    const { topicId, msgId, returnCode } = packet;
    const { publish } = this.#lanes;
    const asked = publish.asked("PUBLISH");
    const isAsked = asked !== undefined && asked.msgId === msgId;
    if (returnCode === RETURN_CODE.accepted) {
      if (isAsked && asked.qos === 1) this.#lanes.finish(publish);
      return;
    }
    // §6.6: an error is told whatever the QoS; at 0 nothing waits for it.
    if (!isAsked && msgId !== 0) return;
    if (!isAsked) {
      const topicName = this.#topics.nameOfId(topicId);
      this.#effects.trace({ type: "rejected", topicName, returnCode });
    }
    if (returnCode === RETURN_CODE.congestion) {
      if (isAsked) return this.#lanes.refuse(now, publish, returnCode);
      return this.#lanes.hold(now, publish);
    }
    const isUnknown = returnCode === RETURN_CODE.invalidTopicId;
    if (!isAsked) {
      if (isUnknown) this.#topics.forget(topicId);
      return;
    }
    if (!isUnknown || asked.topicIdType !== "normal") {
      return this.#lanes.refuse(now, publish, returnCode);
    }
    // The copy of a refusal from before the name had its present id.
    if (topicId !== 0 && topicId !== asked.topicId) return;
    this.#topics.forget(asked.topicId);
    const command = publish.current!.command as PublishCommand;
    if (command.rejections++ >= this.#maxRejections) {
      return this.#lanes.refuse(now, publish, returnCode); // it never ends
    }
    publish.request = undefined; // registered again, and sent again
  }

  /** §6.5: one REGISTER at a time, whoever wants it, and none in T_WAIT. */
  #register(now: Millis, lane: CommandQueue, topicName: string): boolean {
    const { register, publish } = this.#lanes;
    const isRegistering = register.request !== undefined ||
      now < register.holdUntil || publish.asked("REGISTER") !== undefined;
    if (isRegistering) return false;
    lane.request = this.#uplink.request(now, {
      type: "REGISTER",
      topicId: 0,
      msgId: this.#uplink.nextMsgId(),
      topicName,
    });
    return true;
  }

  #publish(now: Millis, lane: CommandQueue, command: PublishCommand): boolean {
    const { topic, payload, qos, retain } = command;
    if (command.isReleased) {
      lane.request = this.#uplink.request(now, {
        type: "PUBREL",
        msgId: command.msgId,
      });
      return true;
    }
    const topicId = typeof topic === "string"
      ? this.#topics.idOf(topic)
      : topicIdOf(topic);
    if (topicId === undefined) {
      return this.#register(now, lane, topic as string);
    }
    if (qos === 0 && this.#flow.isFull) return false;
    const dup = command.msgId !== 0;
    if (qos > 0 && !dup) command.msgId = this.#uplink.nextMsgId();
    const packet: Publish = {
      type: "PUBLISH",
      dup,
      qos,
      retain,
      topicIdType: topicIdTypeOf(topic),
      topicId,
      msgId: command.msgId,
      data: payload,
    };
    if (qos > 0) {
      lane.request = this.#uplink.request(now, packet);
      return true;
    }
    this.#uplink.send(now, packet);
    this.#flow.count();
    this.#lanes.finish(lane);
    return true;
  }
}

/** Whether what is under way is a message that the gateway may have. */
function isSent({ current }: CommandQueue): boolean {
  const command = current?.command;
  return command?.type === "publish" && command.msgId !== 0;
}
