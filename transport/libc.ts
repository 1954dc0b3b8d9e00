/**
 * The system's own calls on a socket, by FFI: those of Linux that take many datagrams
 * at a time, which Deno has no way to ask for.
 *
 * The numbers and the layouts (`transport/batches.ts`) are those of 64-bit little-endian
 * Linux. On all else there is a reason instead of a library, and the socket is
 * used as Deno has it.
 *
 * @module
 */

/** The calls. Each answers −1 when it fails; `errno` says why. */
const CALLS = {
  recvmmsg: {
    parameters: ["i32", "buffer", "u32", "i32", "pointer"],
    result: "i32",
  },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "buffer"],
    result: "i32",
  },
  setsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "u32"],
    result: "i32",
  },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
} as const;

/** The calls that are used on sockets. */
export interface Libc {
  /** Receives up to `count` datagrams into a batch; tells how many. */
  recvmmsg(
    fd: number,
    batch: Uint8Array<ArrayBuffer>,
    count: number,
    flags: number,
    timeout: null,
  ): number;
  /** Sends the first `count` datagrams of a batch, or some; tells how many. */
  sendmmsg(
    fd: number,
    batch: Uint8Array<ArrayBuffer>,
    count: number,
    flags: number,
  ): number;
  /** Tells where a socket is bound. */
  getsockname(
    fd: number,
    name: Uint8Array<ArrayBuffer>,
    length: Uint32Array<ArrayBuffer>,
  ): number;
  /** Reads an option of a socket. */
  getsockopt(
    fd: number,
    level: number,
    option: number,
    value: Uint32Array<ArrayBuffer>,
    length: Uint32Array<ArrayBuffer>,
  ): number;
  /** Sets an option of a socket. */
  setsockopt(
    fd: number,
    level: number,
    option: number,
    value: Uint32Array<ArrayBuffer>,
    length: number,
  ): number;
  /** Waits for a socket. */
  poll(
    sockets: Int32Array<ArrayBuffer>,
    count: bigint,
    timeoutMs: number,
  ): number;
  /** Another descriptor of the same socket, which no other program inherits. */
  dup(fd: number): number;
  /** Gives a descriptor back. */
  close(fd: number): number;
  /** Why the last call of this thread failed, by its name in the system. */
  errno(): string;
}

const F_DUPFD_CLOEXEC = 1030;

/** Neither `recvmmsg` nor `sendmmsg` waits. */
export const MSG_DONTWAIT = 0x40;

/** What the system may answer to a call; all else is shown as its number. */
const ERRORS: ReadonlyMap<number, string> = new Map([
  [1, "EPERM"],
  [4, "EINTR"],
  [11, "EAGAIN"],
  [12, "ENOMEM"],
  [13, "EACCES"],
  [22, "EINVAL"],
  [90, "EMSGSIZE"],
  [97, "EAFNOSUPPORT"],
  [99, "EADDRNOTAVAIL"],
  [101, "ENETUNREACH"],
  [105, "ENOBUFS"],
  [111, "ECONNREFUSED"],
  [113, "EHOSTUNREACH"],
]);

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SO_MEMINFO = 55;

/** Where {@linkcode SO_MEMINFO} has the datagrams that found no room. */
const MEMINFO_DROPS = 8;

/** Descriptors among which a socket is looked for; they are given lowest first. */
const MAX_DESCRIPTOR = 65_536;

/** Octets of the longest `sockaddr` of IP. */
const SOCKADDR = 28;

let opened: Libc | undefined;

/** Batches cannot be had here. */
export class BatchesError extends Error {
  /** Which error this is. */
  override readonly name = "BatchesError";
  /** Why, as the end of a sentence. */
  readonly reason: string;

  /** Says so. */
  constructor(reason: string, options?: ErrorOptions) {
    super(`Cannot send and receive in batches: ${reason}`, options);
    this.reason = reason;
  }
}

/**
 * Opens the system's library, once for each thread.
 *
 * @throws {BatchesError} when it cannot be used here
 */
export function openLibc(): Libc {
  if (opened !== undefined) return opened;
  const { os, arch } = Deno.build;
  if (os !== "linux") {
    throw new BatchesError(`that is for Linux, and this is ${os}`);
  }
  if (arch !== "x86_64" && arch !== "aarch64") {
    throw new BatchesError(`the system's layouts are not known for ${arch}`);
  }
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    throw new BatchesError("FFI is not granted (--allow-ffi)");
  }
  try {
    const { __errno_location, fcntl, ...calls } =
      Deno.dlopen("libc.so.6", CALLS).symbols;
    opened = {
      ...calls,
      // `dup` alone would give it to whatever is started: the port would be taken
      // for as long as that runs.
      dup: (fd) => fcntl(fd, F_DUPFD_CLOEXEC, 0),
      errno: () => errorAt(__errno_location()),
    };
  } catch (cause) {
    throw new BatchesError("the system's library libc.so.6 cannot be opened", {
      cause,
    });
  }
  return opened;
}

function errorAt(where: Deno.PointerValue): string {
  if (where === null) return "errno unknown";
  const number = new Deno.UnsafePointerView(where).getInt32();
  return ERRORS.get(number) ?? `errno ${number}`;
}

/**
 * Finds the descriptor of a socket that Deno has bound.
 *
 * @param bound the words of the `sockaddr` that it is bound to, without the scope:
 * another address of this machine may have the same port
 * @returns `undefined` when no socket is bound like that
 */
export function findDescriptor(
  libc: Libc,
  bound: Int32Array,
): number | undefined {
  const name = new Uint8Array(SOCKADDR);
  const words = new Int32Array(name.buffer);
  const length = new Uint32Array(1);
  for (let fd = 0; fd < MAX_DESCRIPTOR; fd++) {
    length[0] = SOCKADDR;
    if (libc.getsockname(fd, name, length) !== 0) continue;
    if (bound.some((word, i) => words[i] !== word)) continue;
    if (isDatagram(libc, fd)) return fd;
  }
  return undefined;
}

/** Whether a socket is one of UDP: a TCP port may have the same number. */
function isDatagram(libc: Libc, fd: number): boolean {
  const [SO_TYPE, SOCK_DGRAM] = [3, 2];
  return getOption(libc, fd, SO_TYPE, 1)?.[0] === SOCK_DGRAM;
}

/**
 * Raises what a socket holds until it is received, as far as the system lets us:
 * beyond its limit (`net.core.rmem_max`) only for who may administer networks.
 *
 * @param octets what is wished for
 * @returns what it holds now, as the system counts it
 */
export function raiseReceiveBuffer(
  libc: Libc,
  fd: number,
  octets: number,
): number {
  const wish = Uint32Array.of(octets);
  for (const option of [SO_RCVBUFFORCE, SO_RCVBUF]) {
    if (libc.setsockopt(fd, SOL_SOCKET, option, wish, 4) === 0) break;
  }
  return getOption(libc, fd, SO_RCVBUF, 1)?.[0] ?? 0;
}

/** Datagrams that found no room in a socket since it was opened. */
export function dropsOf(libc: Libc, fd: number): number {
  return getOption(libc, fd, SO_MEMINFO, 9)?.[MEMINFO_DROPS] ?? 0;
}

/**
 * Waits until a socket has room for what is to be sent. Blocks the thread.
 *
 * @param timeoutMs how long at the most
 */
export function waitForRoom(libc: Libc, fd: number, timeoutMs: number): void {
  const POLLOUT = 4;
  // struct pollfd: the descriptor, then what is asked and what is answered.
  libc.poll(Int32Array.of(fd, POLLOUT), 1n, timeoutMs);
}

function getOption(
  libc: Libc,
  fd: number,
  option: number,
  words: number,
): Uint32Array | undefined {
  const value = new Uint32Array(words);
  const length = Uint32Array.of(words * 4);
  const answer = libc.getsockopt(fd, SOL_SOCKET, option, value, length);
  return answer === 0 ? value : undefined;
}
