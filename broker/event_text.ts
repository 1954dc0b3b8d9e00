/**
 * What the broker's core tells, as a person reads it: a line for each event.
 *
 * @module
 */

import { CLASSIC_REPLY, type ClassicRefusal } from "../wire/classic.ts";
import {
  type Refusal,
  REFUSALS,
  type RefuseEvent,
  type RouterEvent,
} from "./events.ts";

/**
 * An event in a line.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { describeEvent } from "./event_text.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const peer = peerOf("127.0.0.1", 4711);
 * assertEquals(
 *   describeEvent({ type: "refuse", peer, reason: "topicId" }),
 *   "Refused 127.0.0.1:4711: the topic id is unknown",
 * );
 * ```
 */
export function describeEvent(event: RouterEvent): string {
  switch (event.type) {
    case "publish":
      return `${event.peer.key} published ${event.octets} octets to "${event.topicName}"`;
    case "subscribe":
      return `${event.peer.key} subscribed to "${event.topicName}"`;
    case "deliver":
      return `Sent ${event.octets} octets of "${event.topicName}" to ${event.peer.key}`;
    case "hold":
      return `Held back "${event.topicName}" for ${event.peer.key}: its allowance is spent`;
    case "refuse":
      return `Refused ${event.peer.key}: ${refusalText(event)}`;
    case "drop":
      return `Dropped a datagram from ${event.peer.key}: ${event.detail}`;
    case "forget":
      return `Forgot ${event.count} of "${event.topicName}": ${event.reason}`;
    case "unsubscribe":
      return `${event.peer.key} unsubscribed from "${event.topicName}"`;
    case "register":
      return `${event.peer.key} registered "${event.topicName}" as ${event.topicId}`;
    case "connect":
      return `"${event.clientId}" connected from ${event.peer.key}, keep alive ${event.duration} s${
        event.cleanSession ? ", clean session" : ""
      }`;
    case "state":
      return `"${event.clientId}" is ${event.state}: ${event.event}`;
    case "move":
      return `"${event.clientId}" goes on from ${event.peer.key}, no longer ${event.from.key}`;
    case "will":
      return `Published the will of "${event.clientId}" to "${event.topicName}"`;
    case "lose":
      return `"${event.clientId}" does not get a message of "${event.topicName}": ${event.reason}`;
    case "expire":
      return `Forgot the session of "${event.clientId}": it was away for too long`;
    case "store":
      return `The store is ${event.state}`;
    default:
      return event satisfies never;
  }
}

/** Why a request was refused, for a person. */
function refusalText({ reason }: RefuseEvent): string {
  return reason in CLASSIC_REPLY
    ? CLASSIC_REPLY[reason as ClassicRefusal]
    : REFUSALS[reason as Refusal][1];
}
