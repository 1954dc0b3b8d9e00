/**
 * What a broker can be given, and what it counts. Knows what is usual; nothing of
 * how it is used.
 *
 * @module
 */

import type { Io } from "./transport/batched.ts";
import type { NetOptions, NetStats } from "./netsim/netsim.ts";
import type { RouterOptions } from "./broker/options.ts";
import type { RecorderStats } from "./journal/recorder.ts";
import type { Durability } from "./store/file.ts";
import type { RouterStats } from "./broker/sys_topics.ts";
import type { TapeOptions } from "./journal/buffer.ts";
import type { TemplateOptions } from "./template.ts";
import type { Transport, TransportStats } from "./transport/transport.ts";

/** Where a broker listens, what it logs, and its limits. */
export interface BrokerOptions
  extends TemplateOptions, RouterOptions, NetOptions {
  /** Address or name of an interface of this machine. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** UDP port, 0 to 65535; 0 lets the system choose. Default 12003. */
  readonly port?: number;
  /**
   * How the socket is used: `batched`, many datagrams in a call of the system, which
   * takes Linux and FFI; `portable`; or `auto`, the default: batched where it can be.
   */
  readonly io?: Io;
  /** Carries the datagrams. Default: a UDP socket at `hostname` and `port`. */
  readonly transport?: Transport;
  /**
   * The multicast group in which clients look for gateways, as `ADDRESS` or
   * `ADDRESS:PORT`; without a port it is the broker's. Default: none. A group
   * that cannot be joined is a warning in the log.
   */
  readonly multicast?: string;
  /**
   * The file in which sessions, queues, retained messages and histories outlive
   * the process; made where it is missing. Default: none, all is in memory.
   */
  readonly db?: string;
  /**
   * What a promise survives, if there is a file: `full`, the default, also a cut of
   * the power; `normal` and `off` the end of the process, however sudden.
   */
  readonly durability?: Durability;
  /**
   * Web Workers that send what many subscribers get, 0 to 16, beside this thread;
   * they need a `batched` socket. With 0 the work on files is done in this thread
   * too. Default `auto`: as many as the machine's cores make use of.
   */
  readonly workers?: "auto" | number;
  /** Makes its bad network's chances the same each time. Default: by chance. */
  readonly seed?: number;
  /**
   * Whether it keeps what goes over the wire, for `broker.journal`, and how much
   * of it. Default true: the last 8,192 datagrams, at most 1 MiB.
   */
  readonly journal?: boolean | TapeOptions;
  /**
   * The file for a recording of what goes over the wire, to be played again, and
   * overwritten. Its journal keeps more, unless it is told how much.
   */
  readonly record?: string;
  /** The file for a capture of the same, for Wireshark, overwritten. */
  readonly pcap?: string;
  /** Is told how much of the file has been loaded, in records. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What a broker counted since its start. */
export interface BrokerStats extends RouterStats {
  /** What its transport counted. */
  readonly transport: TransportStats;
  /** Times that the broker failed: a fault of ours, each in the log. */
  readonly failures: number;
  /** What it counted of its store; `undefined` without one. */
  readonly commits: CommitStats | undefined;
  /** What its bad network counted; `undefined` without one. */
  readonly net: NetStats | undefined;
  /** What it counted of its recording; `undefined` without one. */
  readonly recording: RecorderStats | undefined;
}

/** What a broker counted of its store. */
export interface CommitStats {
  /** Commits that succeeded. */
  readonly commits: number;
  /** Changes in them. */
  readonly changes: number;
  /** Commits that failed. */
  readonly failedCommits: number;
  /** Changes that are not committed now. */
  readonly uncommitted: number;
  /** Datagrams that wait for a commit now. */
  readonly held: number;
  /** Datagrams that were left out, as too many waited for a commit. */
  readonly leftOut: number;
  /** Promises that were taken back as a commit failed. */
  readonly takenBack: number;
  /** Records that made no sense as they were loaded. */
  readonly unreadable: number;
}

/** How a socket can be used. */
export const IOS: readonly Io[] = ["auto", "portable", "batched"];

/** Threads that send, at most. */
export const MAX_WORKERS = 16;
