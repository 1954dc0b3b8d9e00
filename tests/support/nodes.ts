/**
 * What can stand between a client and the network: a forwarder, and a client's bad
 * memory.
 *
 * @module
 */

import { earliest, type Millis } from "../../base/clock.ts";
import { type NodePeer, nodePeerOf, wrapFor } from "../../wire/forwarder.ts";
import {
  type Effect,
  EffectQueue,
  type Machine,
  type SendEffect,
} from "../../base/machine.ts";
import type { Peer } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import { RETURN_CODE } from "../../wire/packets.ts";
import type { Device } from "../../client/device.ts";
import type { DeviceEvent } from "../../client/events.ts";

interface Node {
  readonly peer: NodePeer;
  readonly machine: Machine<unknown>;
  /** Takes the machine's next effect; its events go to who wants them. */
  readonly poll: () => Exclude<Effect<never>, { type: "trace" }> | undefined;
}

/**
 * A forwarder (MQTT-SN 1.2 §5.5): the machines behind it have no address of their
 * own, and speak by it. Between it and them nothing is late or lost.
 */
export class ForwarderBox implements Machine<never> {
  /** Where it is. */
  readonly peer: Peer;
  readonly #nodes = new Map<string, Node>();

  /** Makes a forwarder with nobody behind it. */
  constructor(peer: Peer) {
    this.peer = peer;
  }

  /** The peer that a node is to a gateway. */
  peerOf(wirelessNodeId: Uint8Array): NodePeer {
    return nodePeerOf(this.peer, { wirelessNodeId });
  }

  /** Puts a machine behind it, as a node. */
  attach<Event>(
    wirelessNodeId: Uint8Array,
    machine: Machine<Event>,
    onEvent?: (event: Event) => void,
  ): void {
    const peer = this.peerOf(wirelessNodeId);
    const poll = () => {
      for (let effect; (effect = machine.pollEffect()) !== undefined;) {
        if (effect.type !== "trace") return effect;
        onEvent?.(effect.event);
      }
      return undefined;
    };
    this.#nodes.set(peer.key, { peer, machine, poll });
  }

  /** Takes a node away. */
  detach(wirelessNodeId: Uint8Array): void {
    this.#nodes.delete(this.peerOf(wirelessNodeId).key);
  }

  /** Unwraps what is for one of its nodes. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    const packet = decodePacket(bytes);
    if (packet.type !== "ENCAPSULATED") return; // nothing is for all of them
    const { key } = this.peerOf(packet.wirelessNodeId);
    this.#nodes.get(key)?.machine.handleDatagram(now, peer, packet.message);
  }

  /** Lets each node do what is due. */
  handleTimeout(now: Millis): void {
    for (const { machine } of this.#nodes.values()) machine.handleTimeout(now);
  }

  /** When the first node has something to do. */
  nextTimeout(): Millis | undefined {
    let at: Millis | undefined;
    for (const { machine } of this.#nodes.values()) {
      at = earliest(at, machine.nextTimeout());
    }
    return at;
  }

  /** What a node sends, wrapped. */
  pollEffect(): Effect<never> | undefined {
    for (const { peer, poll } of this.#nodes.values()) {
      const effect = poll();
      if (effect === undefined) continue;
      return { ...effect, bytes: wrapFor(peer, effect.bytes) };
    }
    return undefined;
  }
}

/**
 * A device that forgets the ids of topics when it falls asleep or connects: it
 * says so to whoever publishes to it under one that it was told before (§6.10).
 */
export class Forgetful implements Machine<DeviceEvent> {
  readonly #device: Device;
  readonly #effects = new EffectQueue<DeviceEvent>();
  /** The ids that it has not forgotten. */
  readonly #told = new Set<number>();

  /** Gives a device a bad memory. */
  constructor(device: Device) {
    this.#device = device;
  }

  /** Hands a datagram on, unless it is about what is forgotten. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    const packet = decodePacket(bytes);
    switch (packet.type) {
      case "REGISTER":
      case "REGACK":
      case "SUBACK":
        this.#told.add(packet.topicId);
        break;
      case "PUBLISH": {
        const { topicIdType, topicId, msgId } = packet;
        if (topicIdType !== "normal" || this.#told.has(topicId)) break;
        if (peer.key !== this.#device.gateway?.key || !this.#hears) break;
        const returnCode = RETURN_CODE.invalidTopicId;
        return this.#effects.send(
          peer,
          encodePacket({ type: "PUBACK", topicId, msgId, returnCode }),
        );
      }
    }
    this.#device.handleDatagram(now, peer, bytes);
  }

  /** Lets the device do what is due. */
  handleTimeout(now: Millis): void {
    this.#device.handleTimeout(now);
  }

  /** When the device has something to do. */
  nextTimeout(): Millis | undefined {
    return this.#device.nextTimeout();
  }

  /** Its own answers, then what the device does. */
  pollEffect(): Effect<DeviceEvent> | undefined {
    const own = this.#effects.poll() as SendEffect | undefined;
    if (own !== undefined) return own;
    const effect = this.#device.pollEffect();
    if (effect?.type === "trace" && effect.event.type === "state") {
      const { state } = effect.event;
      if (state === "asleep" || state === "connecting") this.#told.clear();
    }
    return effect;
  }

  get #hears(): boolean {
    const { state } = this.#device;
    return state === "active" || state === "awake";
  }
}
