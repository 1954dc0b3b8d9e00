/**
 * One UDP socket that plays any number of clients, each with an address of its own in
 * 127.0.0.0/8: so that a generator of load costs little, as it shares the cores with
 * whom it puts under load.
 *
 * The socket is bound to every address. The system says with each datagram to
 * which it was sent, and is told with each from which it is to go, in a control
 * message (`IP_PKTINFO`). For `n` datagrams a buffer holds:
 *
 * | what             | octets each | fields that are used                            |
 * | ---------------- | ----------- | ----------------------------------------------- |
 * | `struct mmsghdr` | 64          | 0 name, 8 its length, 16 `iov`, 24 their number, |
 * |                  |             | 32 control, 40 its length, 56 octets received   |
 * | `struct iovec`   | 16          | 0 where the octets are, 8 how many              |
 * | control          | 64          | 0 length (28), 8 level, 12 type, 16 interface,  |
 * |                  |             | 20 address of ours, 24 address in the datagram; |
 * |                  |             | to send also 32 length (18), 40 level, 44 type, |
 * |                  |             | 48 octets of each datagram                      |
 * | the octets       | 2,112       |                                                 |
 *
 * What one client sends in a row, datagrams of one length, the system is given as
 * one message that it cuts (`UDP_SEGMENT`), where it knows how: that costs a fifth.
 * They arrive as they would have.
 *
 * Behind them stands one `sockaddr`: all is sent to the same server.
 *
 * @module
 */

import {
  dropsOf,
  findDescriptor,
  type Libc,
  MSG_DONTWAIT,
  openLibc,
  raiseReceiveBuffer,
} from "../transport/libc.ts";

const MMSGHDR = 64;
const IOVEC = 16;
const CONTROL = 64;
/** Octets of the control messages about an address, and of both. */
const [ADDRESS_ONLY, ADDRESS_AND_CUT] = [32, 56];
/** No multiple of a page, as all would otherwise share lines of the cache. */
const OCTETS = 2_048 + 64;

const AF_INET = 2;
const IPPROTO_IP = 0;
const IP_PKTINFO = 8;
const POLLIN = 1;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;

/** Datagrams that the system cuts one message into, at most. */
const CUT = 64;

/** Datagrams in one call of the system. */
const BATCH = 128;

/** The most clients that there are addresses for. */
export const MAX_CLIENTS = 250 << 16;

/** What `Deno.dlopen` is asked for beyond `libc.ts`. */
const CALLS = {
  ppoll: {
    parameters: ["buffer", "usize", "buffer", "pointer"],
    result: "i32",
  },
  prctl: {
    parameters: ["i32", "usize", "usize", "usize", "usize"],
    result: "i32",
  },
} as const;

const PR_SET_TIMERSLACK = 29;

/** Datagrams with their structures, which point into the same buffer. */
class Batch {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly words: Int32Array;

  constructor(server: number) {
    this.bytes = new Uint8Array(
      BATCH * (MMSGHDR + IOVEC + CONTROL + OCTETS) + 16,
    );
    this.view = new DataView(this.bytes.buffer);
    this.words = new Int32Array(this.bytes.buffer);
    const base = Deno.UnsafePointer.value(Deno.UnsafePointer.of(this.bytes));
    const point = (at: number, offset: number) =>
      this.view.setBigUint64(at, base + BigInt(offset), true);
    const nameAt = this.bytes.length - 16;
    this.view.setUint16(nameAt, AF_INET, true);
    this.view.setUint16(nameAt + 2, server);
    this.bytes.set([127, 0, 0, 1], nameAt + 4);
    for (let i = 0; i < BATCH; i++) {
      const header = i * MMSGHDR;
      if (server > 0) {
        point(header, nameAt);
        this.view.setUint32(header + 8, 16, true);
      }
      point(header + 16, iovecAt(i));
      this.view.setUint32(header + 24, 1, true);
      point(header + 32, controlAt(i));
      this.view.setUint32(header + 40, ADDRESS_ONLY, true);
      point(iovecAt(i), octetsAt(i));
      this.view.setUint32(iovecAt(i) + 8, OCTETS, true);
      this.view.setUint32(controlAt(i), 28, true);
      this.view.setUint32(controlAt(i) + 8, IPPROTO_IP, true);
      this.view.setUint32(controlAt(i) + 12, IP_PKTINFO, true);
      this.view.setUint32(controlAt(i) + 32, 18, true);
      this.view.setUint32(controlAt(i) + 40, SOL_UDP, true);
      this.view.setUint32(controlAt(i) + 44, UDP_SEGMENT, true);
    }
  }
}

function iovecAt(index: number): number {
  return BATCH * MMSGHDR + index * IOVEC;
}

function controlAt(index: number): number {
  return BATCH * (MMSGHDR + IOVEC) + index * CONTROL;
}

function octetsAt(index: number): number {
  return BATCH * (MMSGHDR + IOVEC + CONTROL) + index * OCTETS;
}

/** The address of a client, as the system has it in a word of 32 bits. */
function addressOf(client: number): number {
  return 127 | ((client >>> 16) + 1) << 8 | (client >>> 8 & 255) << 16 |
    (client & 255) << 24;
}

function clientOf(address: number): number {
  return ((address >>> 8 & 255) - 1) << 16 | (address >>> 16 & 255) << 8 |
    address >>> 24;
}

/** All clients of a load. Everything about it waits for the system: no promises. */
export class ManyClients implements Disposable {
  /** Octets that it holds until they are received, as the system counts. */
  readonly receiveBuffer: number;
  /** What was received last, octets of all datagrams together. */
  readonly incoming: DataView<ArrayBuffer>;
  /** Where a datagram is written that is to be sent. */
  readonly outgoing: DataView<ArrayBuffer>;
  /** The same, as octets. */
  readonly outgoingBytes: Uint8Array<ArrayBuffer>;
  readonly #socket: Deno.DatagramConn;
  readonly #libc: Libc;
  readonly #wait: Deno.DynamicLibrary<typeof CALLS>;
  readonly #fd: number;
  readonly #in = new Batch(0);
  readonly #out: Batch;
  readonly #poll: Int32Array;
  readonly #timeout = new BigInt64Array(2);
  /** Where the `struct iovec` of each datagram is, in two words. */
  readonly #iovecs: Int32Array;
  readonly #senders = new Int32Array(BATCH);
  #count = 0;
  #cut = CUT;
  #refused = 0;

  /**
   * Opens the socket.
   *
   * @param server the UDP port at 127.0.0.1 to which all is sent
   * @throws {Error} when this is no Linux, or FFI is not granted
   */
  constructor(server: number) {
    this.#libc = openLibc();
    this.#wait = Deno.dlopen("libc.so.6", CALLS);
    // Otherwise the system wakes a thread up to 50 µs late.
    this.#wait.symbols.prctl(PR_SET_TIMERSLACK, 1n, 0n, 0n, 0n);
    this.#socket = Deno.listenDatagram({
      transport: "udp",
      hostname: "0.0.0.0",
      port: 0,
    });
    const { port } = this.#socket.addr as Deno.NetAddr;
    // Its family, its port and the address 0.0.0.0, as a sockaddr has them.
    const bound = Int32Array.of(
      (port & 255) << 24 | port >>> 8 << 16 | AF_INET,
      0,
    );
    const fd = findDescriptor(this.#libc, bound);
    if (fd === undefined) throw new Error("Cannot find the socket");
    this.#fd = fd;
    const on = Uint32Array.of(1);
    if (this.#libc.setsockopt(fd, IPPROTO_IP, IP_PKTINFO, on, 4) !== 0) {
      throw new Error(`Cannot ask for addresses: ${this.#libc.errno()}`);
    }
    this.receiveBuffer = raiseReceiveBuffer(this.#libc, fd, 16 << 20);
    this.#out = new Batch(server);
    this.#iovecs = new Int32Array(2 * BATCH);
    for (let i = 0; i < BATCH; i++) {
      this.#iovecs[2 * i] = this.#out.words[i * MMSGHDR / 4 + 4]!;
      this.#iovecs[2 * i + 1] = this.#out.words[i * MMSGHDR / 4 + 5]!;
    }
    this.incoming = this.#in.view;
    this.outgoing = this.#out.view;
    this.outgoingBytes = this.#out.bytes;
    this.#poll = Int32Array.of(fd, POLLIN);
  }

  /** Datagrams that found no room here, as they were not received in time. */
  get drops(): number {
    return dropsOf(this.#libc, this.#fd);
  }

  /**
   * Receives nothing any more: from now on the system drops nearly all that comes,
   * which costs it little, and {@linkcode ManyClients.drops} says how much.
   */
  starve(): void {
    const [SOL_SOCKET, SO_RCVBUF, least] = [1, 8, Uint32Array.of(1)];
    this.#libc.setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUF, least, 4);
  }

  /** Datagrams that the system would not send. */
  get refused(): number {
    return this.#refused;
  }

  /** Receives what is there, without waiting; gives how many. */
  receive(): number {
    const { bytes } = this.#in;
    const count = this.#libc.recvmmsg(
      this.#fd,
      bytes,
      BATCH,
      MSG_DONTWAIT,
      null,
    );
    return count > 0 ? count : 0;
  }

  /** Waits until there is something to receive, or so many microseconds. */
  wait(us: number): void {
    this.#timeout[0] = BigInt(Math.floor(us / 1e6));
    this.#timeout[1] = BigInt(Math.round(us % 1e6 * 1e3));
    this.#wait.symbols.ppoll(this.#poll, 1n, this.#timeout, null);
  }

  /** Whose the datagram is that was received. */
  receiver(index: number): number {
    return clientOf(this.#in.words[controlAt(index) / 4 + 6]!);
  }

  /** Where its octets begin in {@linkcode ManyClients.incoming}. */
  startOf(index: number): number {
    return octetsAt(index);
  }

  /** How many octets it has. */
  lengthOf(index: number): number {
    return this.#in.words[index * MMSGHDR / 4 + 14]!;
  }

  /**
   * Adds a datagram to those that are sent together.
   *
   * @param client who sends it
   * @param length how many octets it has, 2,112 at most
   * @returns where in {@linkcode ManyClients.outgoing} they are to be written
   */
  add(client: number, length: number): number {
    if (this.#count === BATCH) this.flush();
    const index = this.#count++;
    this.#senders[index] = client;
    this.#out.words[iovecAt(index) / 4 + 2] = length;
    return octetsAt(index);
  }

  /** Sends what was added. What the system has no room for is tried again. */
  flush(): void {
    for (let first = 0; first < this.#count;) {
      const messages = this.#gather(first);
      const sent = this.#sendMessages(messages);
      if (sent === messages) break;
      // Of the first that is left: an old system does not know how to cut.
      if (this.#cut === 1) this.#refused++;
      for (let i = 0; i < sent; i++) first += this.#datagramsOf(i);
      if (this.#cut === 1) first++;
      this.#cut = 1;
    }
    this.#count = 0;
  }

  /** Makes messages of the datagrams from `first`; gives how many. */
  #gather(first: number): number {
    const { words } = this.#out;
    let messages = 0;
    for (let i = first; i < this.#count;) {
      const client = this.#senders[i]!;
      const length = words[iovecAt(i) / 4 + 2]!;
      const end = Math.min(this.#count, i + this.#cut);
      let next = i + 1;
      while (
        next < end && this.#senders[next] === client &&
        words[iovecAt(next) / 4 + 2] === length
      ) next++;
      const header = messages * MMSGHDR / 4;
      const control = controlAt(messages) / 4;
      words[header + 4] = this.#iovecs[2 * i]!;
      words[header + 5] = this.#iovecs[2 * i + 1]!;
      words[header + 6] = next - i;
      words[header + 10] = next - i > 1 ? ADDRESS_AND_CUT : ADDRESS_ONLY;
      words[control + 5] = addressOf(client);
      words[control + 12] = length;
      messages++;
      i = next;
    }
    return messages;
  }

  #datagramsOf(message: number): number {
    return this.#out.words[message * MMSGHDR / 4 + 6]!;
  }

  /** Sends so many messages; gives how many left before one was refused. */
  #sendMessages(messages: number): number {
    let sent = 0;
    while (sent < messages) {
      const { bytes } = this.#out;
      const rest = sent === 0 ? bytes : bytes.subarray(sent * MMSGHDR);
      const left = messages - sent;
      const count = this.#libc.sendmmsg(this.#fd, rest, left, MSG_DONTWAIT);
      if (count > 0) {
        sent += count;
        continue;
      }
      const code = this.#libc.errno();
      if (code === "EAGAIN" || code === "EINTR" || code === "ENOBUFS") continue;
      return sent;
    }
    return sent;
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#socket.close();
    this.#wait.close();
  }
}
