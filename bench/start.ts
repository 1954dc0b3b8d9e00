/**
 * What a start on a large file takes: time, memory, and whether the broker answers
 * meanwhile. Makes the file, starts `broker.ts` on it as anybody does, and asks it
 * all the time to connect somebody, which it refuses with congestion until all has
 * been loaded. `bench/README.md` tells what came of it.
 *
 * ```sh
 * deno run -A bench/start.ts --help
 * ```
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type Flags, type Program, run } from "../cli/program.ts";
import { decodePacket, encodePacket } from "../wire/mqttsn.ts";
import type { StoreChange } from "../broker/records.ts";
import { Store } from "../store/store.ts";
import { EXIT, print } from "../cli/terminal.ts";

const BROKER = fileURLToPath(new URL("../broker.ts", import.meta.url));

const PROGRAM: Program = {
  name: "start",
  summary: "Measures the start of a broker on a large file.",
  examples: [
    ["start", "100,000 sessions with ten messages each, three times"],
    ["start --sessions 1000 --messages 1000", "few clients, long queues"],
  ],
  flags: [
    { name: "rounds", value: "N", usual: "3", help: "starts" },
    { name: "sessions", value: "N", usual: "100000", help: "kept sessions" },
    { name: "messages", value: "N", usual: "10", help: "that wait for each" },
    { name: "octets", value: "N", usual: "64", help: "of each payload" },
    {
      name: "dir",
      value: "DIRECTORY",
      usual: "the system's for temporary files",
      help: "where the file is: on which disk",
    },
  ],
};

/** Sessions, each with a subscription, its topic id, and messages that wait. */
function* content(
  sessions: number,
  messages: number,
  octets: number,
): Generator<StoreChange> {
  for (let session = 1; session <= sessions; session++) {
    const topicName = `room/${session}/state`;
    yield {
      type: "session",
      session,
      clientId: `client-${session}`,
      isClean: false,
      state: "lost",
      peer: undefined,
      allowedMs: 90_000,
      duration: 60,
      announcedWill: false,
      leftAt: Date.now(),
      will: undefined,
    };
    yield {
      type: "subscription",
      session,
      topicFilter: topicName,
      qos: 1,
      isPending: false,
    };
    yield {
      type: "topicId",
      session,
      topicName,
      topicId: 1,
      aliasType: undefined,
      aliasId: 0,
      isRegistered: false,
      isSubscribed: true,
    };
    for (let seq = 1; seq <= messages; seq++) {
      yield {
        type: "queued",
        session,
        seq,
        topicName,
        payload: new Uint8Array(octets).fill(seq),
        qos: 1,
        retain: false,
        at: Date.now(),
        msgId: 0,
        isReleased: false,
      };
    }
  }
}

/** Writes them, and gives how many records there are. */
function fill(path: string, changes: Iterable<StoreChange>): number {
  using store = Store.open(path, { durability: "off" });
  let batch: StoreChange[] = [];
  for (const change of changes) {
    batch.push(change);
    if (batch.length < 10_000) continue;
    store.commit(batch);
    batch = [];
  }
  store.commit(batch);
  return store.size;
}

/** What one start took. */
interface Start {
  /** From the process's start to its line on standard output, in milliseconds. */
  readonly ms: number;
  /** The most memory that the process had, in MiB; known on Linux only. */
  readonly peakMib: number | undefined;
  /** CONNECTs that were refused with congestion, and the longest wait for that. */
  readonly refusals: number;
  readonly slowestMs: number;
}

async function start(db: string, sessions: number): Promise<Start> {
  const port = freePort();
  const startedAt = performance.now();
  const broker = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", BROKER, "--db", db, "--port", String(port)],
      ...["--max-clients", String(2 * sessions)],
    ],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = broker.stdout.getReader();
  let isOver = false;
  const ready = reader.read().then(() => {
    isOver = true;
    return performance.now() - startedAt;
  });
  let refusals = 0;
  let slowestMs = 0;
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  const connect = encodePacket({
    type: "CONNECT",
    will: false,
    cleanSession: true,
    protocolId: 1,
    duration: 60,
    clientId: "prober",
  });
  const to = { transport: "udp", hostname: "127.0.0.1", port } as const;
  // Until it listens nothing comes back: so it is asked again and again.
  const asking = setInterval(() => {
    if (refusals === 0) socket.send(connect, to).catch(() => {});
  }, 5);
  const asked = (async () => {
    while (!isOver) {
      const askedAt = performance.now();
      const [bytes] = await socket.receive(new Uint8Array(64));
      const packet = decodePacket(bytes);
      if (packet.type !== "CONNACK" || packet.returnCode !== 1) break;
      if (refusals++ > 0) {
        slowestMs = Math.max(slowestMs, performance.now() - askedAt);
      }
      await new Promise((go) => setTimeout(go, 5));
      await socket.send(connect, to);
    }
  })().catch(() => {});
  const ms = await ready;
  clearInterval(asking);
  const peakMib = peakOf(broker.pid);
  broker.kill("SIGTERM");
  socket.close();
  await asked;
  await reader.cancel();
  await broker.status;
  return { ms, peakMib, refusals, slowestMs };
}

/** A port that nobody has, to be asked before the broker can say which it took. */
function freePort(): number {
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  const { port } = socket.addr as Deno.NetAddr;
  socket.close();
  return port;
}

/** The most memory that a process has had. */
function peakOf(pid: number): number | undefined {
  try {
    const status = Deno.readTextFileSync(`/proc/${pid}/status`);
    return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1_024;
  } catch {
    return undefined;
  }
}

async function main(flags: Flags): Promise<number> {
  const rounds = flags.integer("rounds", 1, 1_000) ?? 3;
  const sessions = flags.integer("sessions", 1, 1_000_000) ?? 100_000;
  const messages = flags.integer("messages", 0, 100_000) ?? 10;
  const octets = flags.integer("octets", 0, 65_000) ?? 64;
  const parent = flags.text("dir");
  const dir = await Deno.makeTempDir(
    parent === undefined ? {} : { dir: parent },
  );
  try {
    const db = `${dir}/start.db`;
    const size = fill(db, content(sessions, messages, octets));
    const mib = Deno.statSync(db).size / 2 ** 20;
    print(
      `${sessions.toLocaleString("en")} sessions, ${
        (sessions * messages).toLocaleString("en")
      } messages: ${size.toLocaleString("en")} records, ${
        mib.toFixed(0)
      } MiB\n`,
    );
    for (let round = 0; round < rounds; round++) {
      const { ms, peakMib, refusals, slowestMs } = await start(db, sessions);
      print(
        `ready after ${(ms / 1_000).toFixed(1)} s (${
          Math.round(size / ms * 1_000).toLocaleString("en")
        } records/s), peak memory ${
          peakMib?.toFixed(0) ?? "unknown"
        } MiB, ${refusals} refusals, the slowest after ${
          slowestMs.toFixed(0)
        } ms\n`,
      );
    }
    return EXIT.done;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

if (import.meta.main) await run(PROGRAM, main);
