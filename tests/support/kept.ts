/**
 * What a durable router keeps, as a test reads it: its sends with what is
 * promised by them, and its sessions as records.
 *
 * @module
 */

import { EffectQueue } from "../../base/machine.ts";
import type { Peer } from "../../base/peer.ts";
import { decodePacket, encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { Persistence, SessionPersister } from "../../broker/persistence.ts";
import type { StoreChange } from "../../broker/records.ts";
import { Session } from "../../broker/session.ts";
import type { GatewayBench } from "./gateway.ts";

/** A datagram that a router sent. */
export interface Send {
  /** Where to. */
  readonly peer: Peer;
  /** Its octets. */
  readonly bytes: Uint8Array;
  /** Whether its peer relies on what was persisted. */
  readonly isPromise: boolean;
}

/** Takes what a router sends; what it tells to be kept goes to the bench. */
export function drainSends(bench: GatewayBench): Send[] {
  const sends: Send[] = [];
  for (let effect; (effect = bench.router.pollEffect()) !== undefined;) {
    if (effect.type === "trace") bench.events.push(effect.event);
    else if (effect.type === "persist") bench.changes.push(effect.change);
    else if (effect.type === "send") {
      const { peer, bytes, isPromise } = effect;
      sends.push({ peer, bytes, isPromise });
    }
  }
  return sends;
}

/** Hands a router a packet, or octets, and gives what it sends. */
export function takeSends(
  bench: GatewayBench,
  peer: Peer,
  packet: MqttSnPacket | Uint8Array,
): Send[] {
  const bytes = packet instanceof Uint8Array ? packet : encodePacket(packet);
  bench.router.handleDatagram(bench.clock.now(), peer, bytes);
  return drainSends(bench);
}

/** The packet in a datagram, without its wrapping. */
export function packetIn(bytes: Uint8Array): MqttSnPacket {
  const packet = decodePacket(bytes.slice());
  return packet.type === "ENCAPSULATED"
    ? decodePacket(packet.message.slice())
    : packet;
}

/** Sees all sessions while it is there, as a router shows them to nobody. */
export class Witness implements Disposable {
  /** Whatever sessions there have been. */
  readonly sessions = new Set<Session>();
  readonly #apply = Session.prototype.apply;
  readonly #restore = Session.prototype.restore;

  constructor() {
    const { sessions } = this;
    const apply = this.#apply;
    const restore = this.#restore;
    Session.prototype.apply = function (...args) {
      sessions.add(this);
      return apply.apply(this, args);
    };
    Session.prototype.restore = function (...args) {
      sessions.add(this);
      restore.apply(this, args);
    };
  }

  /** Clients that were promised to be kept and are not. */
  get forgotten(): string[] {
    return [...this.sessions]
      .filter(({ isConnected, mustPersist, persister }) =>
        isConnected && mustPersist && persister === undefined
      )
      .map(({ clientId }) => clientId);
  }

  /** What of them is to be kept; none of them can be used any more. */
  dump(): StoreChange[] {
    const effects = new EffectQueue<unknown, StoreChange>();
    const persistence = new Persistence(effects);
    persistence.state = "ready";
    let number = 0;
    for (const session of this.sessions) {
      if (session.persister === undefined) continue;
      session.startPersisting(new SessionPersister(persistence, ++number));
    }
    const changes: StoreChange[] = [];
    for (let effect; (effect = effects.poll()) !== undefined;) {
      if (effect.type === "persist") changes.push(effect.change);
    }
    return changes;
  }

  [Symbol.dispose](): void {
    Session.prototype.apply = this.#apply;
    Session.prototype.restore = this.#restore;
  }
}

/**
 * The records of sessions as lines that can be compared: by client, as numbers of
 * sessions and messages mean nothing.
 *
 * @param leavesOut whether a record is not compared
 */
export function linesOf(
  records: readonly StoreChange[],
  leavesOut: (record: StoreChange) => boolean = () => false,
): string[] {
  const clients = new Map<number, string>();
  for (const record of records) {
    if (record.type !== "session") continue;
    clients.set(record.session, record.clientId);
  }
  const queued = records.filter((record) => record.type === "queued")
    // What is under way goes first, whatever came before it.
    .sort((one, other) =>
      Number(other.msgId !== 0) - Number(one.msgId !== 0) || one.seq - other.seq
    );
  const places = new Map<number, number>();
  const lines: string[] = [];
  for (
    const record of [
      ...records.filter(({ type }) => type !== "queued"),
      ...queued,
    ]
  ) {
    if (!("session" in record) || leavesOut(record)) continue;
    const session = clients.get(record.session);
    if (record.type !== "queued") {
      lines.push(lineOf({ ...record, session }));
      continue;
    }
    const seq = (places.get(record.session) ?? 0) + 1;
    places.set(record.session, seq);
    lines.push(lineOf({ ...record, session, seq }));
  }
  return lines.sort();
}

function lineOf(fields: object): string {
  const sorted = Object.entries(fields).sort(([a], [b]) => a < b ? -1 : 1);
  return JSON.stringify(
    sorted,
    (_, value) => value instanceof Uint8Array ? value.toHex() : value,
  );
}

/** A session's persister, and what it was told since that was asked last. */
export function makePersister(number = 1): {
  readonly persister: SessionPersister;
  readonly persistence: Persistence;
  readonly take: () => StoreChange[];
} {
  const effects = new EffectQueue<unknown, StoreChange>();
  const persistence = new Persistence(effects);
  persistence.state = "ready";
  const take = () => {
    const changes: StoreChange[] = [];
    for (let effect; (effect = effects.poll()) !== undefined;) {
      if (effect.type === "persist") changes.push(effect.change);
    }
    return changes;
  };
  return {
    persister: new SessionPersister(persistence, number),
    persistence,
    take,
  };
}
