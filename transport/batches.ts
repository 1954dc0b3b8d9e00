/**
 * Many datagrams at a time, as `recvmmsg` and `sendmmsg` take them: the one place that
 * has memory which the system reads and writes by address.
 *
 * Each batch is one buffer that never moves, and whose structures point into
 * itself, so that they are written once. The system uses those addresses during
 * a call only. From its start a buffer holds, for `n` datagrams:
 *
 * | what               | octets each | fields that are used                          |
 * | ------------------ | ----------- | --------------------------------------------- |
 * | `struct mmsghdr`   | 64          | 0 name, 8 its length, 16 `iov`, 24 their      |
 * |                    |             | number (1), 48 flags, 56 octets received      |
 * | `struct iovec`     | 16          | 0 where the octets are, 8 how many            |
 * | `struct sockaddr`  | 32          | `transport/sockaddr.ts`                                 |
 * | the octets         |             | received: a place each; sent: behind each other |
 *
 * What is sent to one peer in datagrams of one length is a single message, which
 * the system cuts (`UDP_SEGMENT`): that costs a fifth, and they arrive as they would
 * have. For that a second buffer holds the `struct iovec`s in the order of messages,
 * and for each of these a control message of 24 octets: 0 its length (18), 8 level,
 * 12 type, 16 octets of each datagram.
 *
 * @module
 */

import { type Libc, MSG_DONTWAIT } from "./libc.ts";
import { Segments } from "./segments.ts";
import { SOCKADDR_WORDS } from "./sockaddr.ts";

const MMSGHDR = 64;
const IOVEC = 16;
const SOCKADDR = SOCKADDR_WORDS * 4;

/** Datagrams that are received in one call, at most. */
const RECEIVE = 64;

/**
 * Octets for each: more than any datagram has, and no multiple of a page, as all
 * would otherwise share the same lines of the processor's cache.
 */
const RECEIVE_OCTETS = 65_536 + 192;

/** Datagrams that are sent in one call, at most. */
const SEND = 512;

/** Octets of what is sent in one call, at most; several of the longest. */
const SEND_OCTETS = 1 << 20;

/** Octets of the control message that says how to cut, and what it says of them. */
const [CUT, CUT_LENGTH] = [24, 18];
const [SOL_UDP, UDP_SEGMENT] = [17, 103];

/**
 * Refusals after which nothing is to be cut any more: a system before Linux 4.18
 * cannot, nor can every network.
 */
const MAX_REFUSED_CUTS = 16;

/** The structures that both ways have, in one buffer. */
class Layout {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Int32Array;
  /** Where the octets of datagrams begin. */
  readonly octetsAt: number;
  /** The first word of the first `sockaddr`. */
  readonly namesAt: number;
  readonly #count: number;
  readonly #base: bigint;

  constructor(count: number, octets: number) {
    this.#count = count;
    this.namesAt = count * (MMSGHDR + IOVEC) / 4;
    this.octetsAt = count * (MMSGHDR + IOVEC + SOCKADDR);
    this.bytes = new Uint8Array(this.octetsAt + octets);
    this.words = new Int32Array(this.bytes.buffer, 0, this.octetsAt / 4);
    this.#base = Deno.UnsafePointer.value(Deno.UnsafePointer.of(this.bytes));
    const view = new DataView(this.bytes.buffer);
    for (let i = 0; i < count; i++) {
      const header = i * MMSGHDR;
      this.#point(view, header, this.namesAt * 4 + i * SOCKADDR);
      this.#point(view, header + 16, count * MMSGHDR + i * IOVEC);
      view.setUint32(header + 24, 1, true);
    }
  }

  /** Says where the octets of a datagram are, and how many. */
  setOctets(index: number, offset: number, length: number): void {
    const at = this.iovecAt(index);
    const view = new DataView(this.bytes.buffer);
    this.#point(view, at * 4, this.octetsAt + offset);
    this.words[at + 2] = length;
  }

  /** The first word of a `struct iovec`. */
  iovecAt(index: number): number {
    return (this.#count * MMSGHDR + index * IOVEC) / 4;
  }

  /** The address of the first of the octets. */
  get octetsAddress(): bigint {
    return this.#base + BigInt(this.octetsAt);
  }

  #point(view: DataView, at: number, offset: number): void {
    view.setBigUint64(at, this.#base + BigInt(offset), true);
  }
}

/** Receives up to 64 datagrams in a call. */
export class ReceiveBatch {
  readonly #layout = new Layout(RECEIVE, RECEIVE * RECEIVE_OCTETS);
  /** What was received in each place last, as it is often as long again. */
  readonly #views: Uint8Array[] = [];
  /** The words in which {@linkcode ReceiveBatch.nameAt} points. */
  readonly words: Int32Array = this.#layout.words;

  /** Datagrams that it has room for. */
  readonly size: number = RECEIVE;

  /**
   * Makes room.
   *
   * @param sockaddrLength octets of the socket's addresses
   */
  constructor(sockaddrLength: number) {
    for (let i = 0; i < RECEIVE; i++) {
      this.#layout.setOctets(i, i * RECEIVE_OCTETS, 65_536);
      this.words[i * MMSGHDR / 4 + 2] = sockaddrLength;
    }
  }

  /**
   * Receives what is there, without waiting.
   *
   * @returns how many; −1 when none could be
   */
  receive(libc: Libc, fd: number): number {
    const { bytes } = this.#layout;
    return libc.recvmmsg(fd, bytes, RECEIVE, MSG_DONTWAIT, null);
  }

  /** The octets of a datagram; valid until more is received. */
  datagram(index: number): Uint8Array {
    const length = this.words[index * MMSGHDR / 4 + 14]!;
    const last = this.#views[index];
    if (last !== undefined && last.length === length) return last;
    const { bytes, octetsAt } = this.#layout;
    const at = octetsAt + index * RECEIVE_OCTETS;
    return this.#views[index] = bytes.subarray(at, at + length);
  }

  /** The first word of the sender's `sockaddr`. */
  nameAt(index: number): number {
    return this.#layout.namesAt + index * SOCKADDR_WORDS;
  }
}

/** Counts what became of datagrams that were to be sent. */
export interface SendTally {
  /** So many datagrams have left. */
  sent(datagrams: number): void;
  /** The system has no room for more at the moment. */
  congested(): void;
  /** The system refuses a datagram; the code is `EMSGSIZE`, say. */
  refused(code: string): void;
}

/** Sends up to 512 datagrams in a call. */
export class SendBatch {
  readonly #layout = new Layout(SEND, SEND_OCTETS);
  readonly #names: Address;
  readonly #octets: Address;
  /** The `struct iovec`s in the order of messages, and how each is to be cut. */
  readonly #order = new Int32Array(SEND * (IOVEC + CUT) / 4);
  readonly #iovecs: Address;
  readonly #nameWords: number;
  readonly #lengths = new Int32Array(SEND);
  readonly #offsets = new Int32Array(SEND);
  #count = 0;
  /** Datagrams that have left or were left out. */
  #sent = 0;
  #used = 0;
  /** What was added last: it is often sent to many. */
  #last: Uint8Array | undefined;
  #lastAt = 0;
  readonly #segments: Segments;
  /** Whether messages have been made of the datagrams. */
  #isGathered = false;
  /** Messages at the start that have left or were left out. */
  #gone = 0;
  #refusedCuts = 0;

  /**
   * Starts with nothing.
   *
   * @param sockaddrLength octets of the socket's addresses
   */
  constructor(sockaddrLength: number) {
    const { bytes, words, namesAt, octetsAt } = this.#layout;
    this.#names = new Address(bytes, namesAt * 4);
    this.#octets = new Address(bytes, octetsAt);
    this.#iovecs = new Address(new Uint8Array(this.#order.buffer), 0);
    this.#nameWords = sockaddrLength === 16 ? 2 : 7;
    this.#segments = new Segments(SEND, sockaddrLength !== 16);
    for (let i = 0; i < SEND; i++) {
      const header = i * MMSGHDR / 4;
      words[header + 2] = sockaddrLength;
      const cut = SEND * IOVEC + i * CUT;
      this.#iovecs.write(words, header + 8, cut);
      this.#order.set([CUT_LENGTH, 0, SOL_UDP, UDP_SEGMENT], cut / 4);
    }
  }

  /** Datagrams that have not left. */
  get size(): number {
    return this.#count - this.#sent;
  }

  /**
   * Adds a datagram. Its octets are copied, unless they are those of the one
   * before.
   *
   * @param words where the receiver's `sockaddr` stands
   * @param at its first word there
   * @param bytes the datagram, 65,535 octets at most
   * @returns false when there is no room: send first
   */
  add(words: Int32Array, at: number, bytes: Uint8Array): boolean {
    const index = this.#count;
    if (index === SEND || this.#isGathered) return false;
    let offset = this.#lastAt;
    if (bytes !== this.#last) {
      offset = this.#used;
      if (offset + bytes.length > SEND_OCTETS) return false;
      this.#layout.bytes.set(bytes, this.#layout.octetsAt + offset);
      // To the next multiple of 8: copies are cheaper from there.
      this.#used = (offset + bytes.length + 7) & ~7;
      this.#last = bytes;
      this.#lastAt = offset;
    }
    const own = this.#layout.words;
    const name = this.#layout.namesAt + index * SOCKADDR_WORDS;
    for (let i = 0; i < this.#nameWords; i++) own[name + i] = words[at + i]!;
    this.#lengths[index] = bytes.length;
    this.#offsets[index] = offset;
    this.#count = index + 1;
    return true;
  }

  /**
   * Sends what there is, from the first that has not left, without waiting.
   *
   * @returns how many datagrams have left; −1 when not even the first could
   */
  #send(libc: Libc, fd: number): number {
    if (!this.#isGathered) this.#gather();
    const { bytes } = this.#layout;
    const gone = this.#gone;
    const rest = gone === 0 ? bytes : bytes.subarray(gone * MMSGHDR);
    const left = this.#segments.count - gone;
    const messages = libc.sendmmsg(fd, rest, left, MSG_DONTWAIT);
    if (messages <= 0) return messages;
    let count = 0;
    for (let i = 0; i < messages; i++) count += this.#segments.sizes[gone + i]!;
    this.#leave(messages, count);
    return count;
  }

  /**
   * Sends all that there is, as long as the system has room. What the system
   * refuses is left out.
   *
   * @param tally counts what becomes of the datagrams
   * @returns false when the system has no room: the rest waits for another call
   */
  sendAll(libc: Libc, fd: number, tally: SendTally): boolean {
    while (this.size > 0) {
      const count = this.#send(libc, fd);
      if (count > 0) {
        tally.sent(count);
        continue;
      }
      // The error is about the first of the datagrams that are left.
      const code = libc.errno();
      if (code === "EINTR") continue;
      if (code === "EAGAIN" || code === "ENOBUFS") {
        tally.congested();
        return false;
      }
      if (this.#refuse()) tally.refused(code);
    }
    return true;
  }

  /**
   * Leaves out the first datagram of those that have not left, as the system
   * refuses it. If it was in one message with others, none is left out: from now
   * on each goes by itself, and then it shows which was meant.
   *
   * @returns whether it was left out
   */
  #refuse(): boolean {
    if (this.#segments.sizes[this.#gone] === 1) {
      this.#leave(1, 1);
      return true;
    }
    this.#refusedCuts++;
    this.#segments.split(this.#gone);
    this.#write();
    return false;
  }

  /** Makes messages of all datagrams. */
  #gather(): void {
    const isWorthIt = this.#count > 1 && this.#refusedCuts < MAX_REFUSED_CUTS;
    if (isWorthIt) {
      const { words, namesAt } = this.#layout;
      this.#segments.gather(words, namesAt, this.#lengths, this.#count);
    } else this.#segments.separate(this.#count);
    this.#write();
  }

  /** Writes the messages as the system reads them. */
  #write(): void {
    const { words } = this.#layout;
    const { count, sizes, firsts, order } = this.#segments;
    for (let message = 0, at = 0; message < count; message++) {
      const header = message * MMSGHDR / 4;
      const size = sizes[message]!;
      const first = firsts[message]!;
      this.#names.write(words, header, first * SOCKADDR);
      this.#iovecs.write(words, header + 4, at * IOVEC);
      words[header + 6] = size;
      words[header + 10] = size > 1 ? CUT : 0;
      const cut = (SEND * IOVEC + message * CUT) / 4;
      this.#order[cut + 4] = this.#lengths[first]!;
      for (const end = at + size; at < end; at++) {
        const datagram = order[at]!;
        this.#octets.write(this.#order, at * 4, this.#offsets[datagram]!);
        this.#order[at * 4 + 2] = this.#lengths[datagram]!;
      }
    }
    this.#gone = 0;
    this.#isGathered = true;
  }

  #leave(messages: number, datagrams: number): void {
    this.#gone += messages;
    this.#sent += datagrams;
    if (this.#sent < this.#count) return;
    this.#count = 0;
    this.#sent = 0;
    this.#used = 0;
    this.#last = undefined;
    this.#isGathered = false;
  }
}

/** A place in memory, in halves: the low one may carry over to the high one. */
class Address {
  readonly #low: number;
  readonly #high: number;

  constructor(bytes: Uint8Array<ArrayBuffer>, offset: number) {
    const base = Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
    const address = base + BigInt(offset);
    this.#low = Number(address & 0xffff_ffffn);
    this.#high = Number(address >> 32n);
  }

  /** Writes where something is that stands so many octets behind it. */
  write(words: Int32Array, at: number, offset: number): void {
    const low = this.#low + offset;
    words[at] = low | 0;
    words[at + 1] = this.#high + (low > 0xffff_ffff ? 1 : 0);
  }
}
