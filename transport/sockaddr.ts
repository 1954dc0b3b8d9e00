/**
 * The sender of a datagram, as the system writes it (`sockaddr`), and as a {@linkcode
 * Peer}.
 *
 * A `sockaddr` takes eight words of 32 bits here, in the order of a little-endian
 * machine:
 *
 * | word | IPv4 (16 octets)            | IPv6 (28 octets)            |
 * | ---- | --------------------------- | --------------------------- |
 * | 0    | 2, port (big-endian)        | 10, port (big-endian)       |
 * | 1    | address                     | flow, 0                     |
 * | 2–3  | 0                           | address                     |
 * | 4–5  | –                           | address                     |
 * | 6    | –                           | scope                       |
 * | 7    | whatever the table's user keeps of a peer                 |
 *
 * @module
 */

import { type Peer, peerOf } from "../base/peer.ts";

/** Words of 32 bits from one `sockaddr` to the next. */
export const SOCKADDR_WORDS = 8;

const AF_INET = 2;
const AF_INET6 = 10;

/** The word of a peer's slot that is its user's: 0 until that writes it. */
export const USER_WORD = 7;

/** The first words of an IPv4 address within IPv6: `::ffff:a.b.c.d`. */
const MAPPED = 0xffff_0000 | 0;

/** Peers that are remembered, unless told otherwise. */
const MAX_PEERS = 1 << 18;

/** A peer that has a place in a table. */
class SocketPeer implements Peer {
  readonly hostname: string;
  readonly port: number;
  readonly key: string;
  /** Its place in the table that it came from. */
  slot: number;

  constructor({ hostname, port, key }: Peer, slot: number) {
    this.hostname = hostname;
    this.port = port;
    this.key = key;
    this.slot = slot;
  }
}

/**
 * The peers that a socket has met.
 *
 * @example
 * ```ts
 * import { assertEquals, assertStrictEquals } from "@std/assert";
 * import { peerOf } from "../base/peer.ts";
 * import { PeerTable } from "./sockaddr.ts";
 *
 * const table = new PeerTable({ isIpv6: false });
 * const slot = table.slotOf(peerOf("127.0.0.1", 12003));
 * const met = table.find(table.words, slot * 8);
 * assertEquals(met.key, "127.0.0.1:12003");
 * assertStrictEquals(table.find(table.words, slot * 8), met);
 * ```
 */
export class PeerTable {
  readonly #isIpv6: boolean;
  readonly #maxPeers: number;
  /** The `sockaddr` of each peer, by its slot; another array when it has grown. */
  words: Int32Array;
  /** Times that all were forgotten: a slot may be another's since then. */
  generation = 0;
  #peers: SocketPeer[] = [];
  /** Slot + 1 by hash, 0 where there is none: open addressing, half empty. */
  #index: Int32Array;
  /** The slots of peers that were not met but named, by key. */
  readonly #named = new Map<string, SocketPeer>();

  /**
   * Starts with nobody.
   *
   * @param isIpv6 whether the socket is one of IPv6
   * @param maxPeers how many are remembered; one more, and all are forgotten
   */
  constructor(
    { isIpv6, maxPeers = MAX_PEERS }: {
      readonly isIpv6: boolean;
      readonly maxPeers?: number;
    },
  ) {
    this.#isIpv6 = isIpv6;
    this.#maxPeers = maxPeers;
    this.words = new Int32Array(64 * SOCKADDR_WORDS);
    this.#index = new Int32Array(128);
  }

  /** How many are remembered. */
  get size(): number {
    return this.#peers.length;
  }

  /** Octets of each `sockaddr` here. */
  get sockaddrLength(): number {
    return this.#isIpv6 ? 28 : 16;
  }

  /**
   * Tells who a `sockaddr` is: the same object each time, as long as it is
   * remembered.
   *
   * @param words where it stands
   * @param at its first word there
   */
  find(words: Int32Array, at: number): Peer {
    const mask = this.#index.length - 1;
    for (let i = hashOf(words, at, this.#isIpv6) & mask;; i = (i + 1) & mask) {
      const slot = this.#index[i]! - 1;
      if (slot < 0) return this.#add(readPeer(words, at), words, at);
      if (this.#isAt(slot, words, at)) return this.#peers[slot]!;
    }
  }

  /** The same peer as the object that {@linkcode PeerTable.find} gives. */
  meet(peer: Peer): Peer {
    return this.#peers[this.slotOf(peer)]!;
  }

  /**
   * Tells where {@linkcode PeerTable.words} has the `sockaddr` of a peer, who is
   * met by that if need be.
   *
   * @returns its slot; its first word is at `slot * 8`
   */
  slotOf(peer: Peer): number {
    if (peer instanceof SocketPeer) {
      if (this.#peers[peer.slot] === peer) return peer.slot;
    }
    const named = this.#named.get(peer.key);
    if (named !== undefined) return named.slot;
    const words = new Int32Array(SOCKADDR_WORDS);
    writeSockaddr(peer, this.#isIpv6, words);
    const met = this.find(words, 0) as SocketPeer;
    if (this.#named.size >= this.#maxPeers) this.#named.clear();
    this.#named.set(peer.key, met);
    return met.slot;
  }

  #isAt(slot: number, words: Int32Array, at: number): boolean {
    const own = this.words;
    const base = slot * SOCKADDR_WORDS;
    if (own[base] !== words[at] || own[base + 1] !== words[at + 1]) {
      return false;
    }
    if (!this.#isIpv6) return true;
    for (let i = 2; i < 7; i++) {
      if (own[base + i] !== words[at + i]) return false;
    }
    return true;
  }

  #add(peer: Peer, words: Int32Array, at: number): SocketPeer {
    if (this.#peers.length >= this.#maxPeers) this.#forget();
    const slot = this.#peers.length;
    if ((slot + 1) * SOCKADDR_WORDS > this.words.length) this.#grow();
    const base = slot * SOCKADDR_WORDS;
    const count = this.#isIpv6 ? 7 : 2;
    for (let i = 0; i < count; i++) this.words[base + i] = words[at + i]!;
    const added = new SocketPeer(peer, slot);
    this.#peers.push(added);
    this.#enter(slot);
    return added;
  }

  /** Peers that are still there come back when they are next met, or named. */
  #forget(): void {
    this.generation++;
    this.#peers = [];
    this.#named.clear();
    this.#index.fill(0);
    this.words.fill(0);
  }

  #grow(): void {
    const words = new Int32Array(this.words.length * 2);
    words.set(this.words);
    this.words = words;
    this.#index = new Int32Array(this.#index.length * 2);
    for (let slot = 0; slot < this.#peers.length; slot++) this.#enter(slot);
  }

  #enter(slot: number): void {
    const mask = this.#index.length - 1;
    let i = hashOf(this.words, slot * SOCKADDR_WORDS, this.#isIpv6) & mask;
    while (this.#index[i] !== 0) i = (i + 1) & mask;
    this.#index[i] = slot + 1;
  }
}

function hashOf(words: Int32Array, at: number, isIpv6: boolean): number {
  let hash = Math.imul(
    words[at]! ^ Math.imul(words[at + 1]!, 0x9e37_79b1),
    0x85eb_ca6b,
  );
  if (isIpv6) {
    for (let i = 2; i < 7; i++) {
      hash = Math.imul(hash ^ words[at + i]!, 0xc2b2_ae35);
      hash ^= hash >>> 15;
    }
  }
  hash ^= hash >>> 16;
  return hash & 0x7fff_ffff;
}

/** Reads the peer of a `sockaddr`; an IPv4 address within IPv6 is one of IPv4. */
function readPeer(words: Int32Array, at: number): Peer {
  const port = swap16(words[at]! >>> 16);
  if ((words[at]! & 0xffff) === AF_INET) {
    return peerOf(dotted(words[at + 1]!), port);
  }
  const isMapped = words[at + 2] === 0 && words[at + 3] === 0 &&
    words[at + 4] === MAPPED;
  if (isMapped) return peerOf(dotted(words[at + 5]!), port);
  const groups: string[] = [];
  for (let i = 2; i < 6; i++) {
    const word = words[at + i]!;
    groups.push(swap16(word & 0xffff).toString(16));
    groups.push(swap16(word >>> 16).toString(16));
  }
  // The system's own way to write an address: the longest run of zeros is short.
  const { hostname } = new URL(`http://[${groups.join(":")}]`);
  return peerOf(hostname.slice(1, -1), port);
}

/** Writes the `sockaddr` of a peer. */
function writeSockaddr(
  { hostname, port }: Peer,
  isIpv6: boolean,
  words: Int32Array,
): void {
  const [address, scope = "0"] = hostname.split("%");
  const isV4 = !hostname.includes(":");
  words[0] = (swap16(port) << 16) | (isIpv6 ? AF_INET6 : AF_INET);
  if (isV4) {
    const octets = hostname.split(".").map(Number);
    const word = octets[0]! | octets[1]! << 8 | octets[2]! << 16 |
      octets[3]! << 24;
    words[isIpv6 ? 5 : 1] = word;
    if (isIpv6) words[4] = MAPPED;
    return;
  }
  const groups = groupsOf(address!);
  for (let i = 0; i < 4; i++) {
    words[2 + i] = swap16(groups[i * 2]!) | swap16(groups[i * 2 + 1]!) << 16;
  }
  words[6] = Number(scope) | 0;
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const read = (text: string) =>
    text === "" ? [] : text.split(":").map((group) => parseInt(group, 16));
  const [first, last] = [read(head), read(tail ?? "")];
  return [
    ...first,
    ...new Array<number>(8 - first.length - last.length).fill(0),
    ...last,
  ];
}

function dotted(word: number): string {
  return `${word & 255}.${word >>> 8 & 255}.${word >>> 16 & 255}.${
    word >>> 24
  }`;
}

function swap16(number: number): number {
  return (number & 255) << 8 | number >>> 8;
}
