import { assert, assertEquals, assertRejects } from "@std/assert";
import { Broker } from "../../broker.ts";
import { BatchedTransport, bindSocket } from "../../transport/batched.ts";
import { BatchesError, type Libc, openLibc } from "../../transport/libc.ts";
import { Log } from "../../base/log.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { SenderThreads } from "../../transport/sender_threads.ts";
import { PeerTable, SOCKADDR_WORDS } from "../../transport/sockaddr.ts";
import { unsoughtPort } from "../support/ports.ts";
import type { Transport } from "../../transport/transport.ts";
import { MAX_UNSENT, TURN_MS, UdpTransport } from "../../transport/udp.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

/** Why there are no batches here, `undefined` where there are. */
const reason = (() => {
  try {
    openLibc();
    return undefined;
  } catch (error) {
    return error instanceof BatchesError ? error.reason : String(error);
  }
})();
const ignore = reason !== undefined;
const skipped = ignore ? ` (skipped: ${reason})` : "";

const hasIpv6 = (() => {
  try {
    Deno.listenDatagram({ transport: "udp", hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
})();

function number(i: number, length = 8): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, i);
  return bytes;
}

/** The numbers of what arrives, once there are so many. */
function numbers(transport: Transport, count: number): Promise<number[]> {
  const { promise, resolve } = Promise.withResolvers<number[]>();
  const seen: number[] = [];
  transport.receive((_peer, bytes) => {
    seen.push(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
    if (seen.length === count) resolve(seen);
  });
  return promise;
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** The system's calls, but for some. */
function calls(other: Partial<Libc>): Libc {
  return { ...openLibc(), ...other };
}

const ENDS: readonly [name: string, here: string, there: string][] = [
  ["IPv4", "127.0.0.1", "127.0.0.1"],
  ["IPv6", "::1", "::1"],
  ["dual-stack, to IPv4", "::", "127.0.0.1"],
  ["dual-stack, to IPv6", "::", "::1"],
];

for (const [name, here, there] of ENDS) {
  Deno.test({
    name:
      `BatchedTransport carries datagrams of every size there and back: ${name}${skipped}`,
    ignore: ignore || (here.includes(":") && !hasIpv6),
    async fn() {
      await using batched = await BatchedTransport.bind({ hostname: here });
      await using plain = await UdpTransport.bind({ hostname: there });
      const sizes = [0, 1, 71, 255, 256, 1_472, 1_473, 9_000, 65_506, 65_507];
      batched.receive((peer, bytes) => batched.send(peer, bytes));
      const { promise, resolve } = Promise.withResolvers<void>();
      const back: [string, number][] = [];
      plain.receive((peer, bytes) => {
        back.push([peer.key, bytes.length]);
        if (back.length === sizes.length) resolve();
      });
      const towards = peerOf(there, batched.address.port);
      for (const size of sizes) plain.send(towards, new Uint8Array(size));
      await promise;
      assertEquals(back, sizes.map((size) => [towards.key, size]));
      const { sent, received, sendErrors } = batched.stats();
      assertEquals([sent, received, sendErrors], [
        sizes.length,
        sizes.length,
        0,
      ]);
    },
  });
}

Deno.test({
  name:
    `BatchedTransport is one socket, also when another address has its port${skipped}`,
  // Elsewhere 127.0.0.1 is the only address of loopback.
  ignore,
  async fn() {
    await using other = await BatchedTransport.bind();
    await using here = await BatchedTransport.bind({
      hostname: "127.0.0.2",
      port: other.address.port,
    });
    await using there = await UdpTransport.bind();
    const { promise, resolve } = Promise.withResolvers<string>();
    there.receive((peer) => resolve(peer.key));
    here.send(there.address, number(0));
    assertEquals(await promise, here.address.key);
    const arrived = numbers(here, 10);
    for (let i = 0; i < 10; i++) there.send(here.address, number(i));
    assertEquals(await arrived, upTo(10));
  },
});

Deno.test("BatchedTransport.bind() takes no port that is shared: it may be another's socket", async () => {
  await assertRejects(
    () => BatchedTransport.bind({ isShared: true }),
    BatchesError,
  );
});

Deno.test({
  name:
    `BatchedTransport gives a peer the same object for each datagram${skipped}`,
  ignore,
  async fn() {
    await using here = await BatchedTransport.bind();
    await using there = await UdpTransport.bind();
    const peers = new Set<Peer>();
    const { promise, resolve } = Promise.withResolvers<void>();
    let count = 0;
    here.receive((peer) => {
      peers.add(peer);
      if (++count === 300) resolve();
    });
    for (let i = 0; i < 300; i++) there.send(here.address, number(i));
    await promise;
    assertEquals([...peers].map(({ key }) => key), [there.address.key]);
  },
});

for (const kind of ["portable", "batched"] as const) {
  Deno.test({
    name:
      `A ${kind} socket sends in order, also the first it ever sends, and more than one call takes${skipped}`,
    ignore: ignore && kind === "batched",
    async fn() {
      const fail = (reason: string) => {
        throw new Error(reason);
      };
      await using here = await bindSocket({}, kind, fail);
      assertEquals(here instanceof BatchedTransport, kind === "batched");
      await using there = await bindSocket({}, kind, fail);
      const arrived = numbers(there, 240);
      // In goes that fit a receive buffer of the usual size.
      for (const [from, to] of [[0, 10], [10, 110], [110, 240]] as const) {
        for (let i = from; i < to; i++) here.send(there.address, number(i));
        await here.flush();
      }
      assertEquals(await arrived, upTo(240));
      assertEquals(here.unsent, 0);
    },
  });
}

for (const kind of ["portable", "batched"] as const) {
  Deno.test({
    name:
      `A ${kind} socket lets others have a turn between large fan-outs${skipped}`,
    ignore: ignore && kind === "batched",
    async fn() {
      await using here = await bindSocket({}, kind, () => {});
      await using there = await UdpTransport.bind();
      await using sink = await UdpTransport.bind();
      let [handled, seen, most] = [0, 0, 0];
      const { promise, resolve } = Promise.withResolvers<void>();
      for (let i = 0; i < 16; i++) there.send(here.address, number(i));
      await there.flush();
      here.receive(() => {
        handled++;
        const end = performance.now() + TURN_MS;
        for (let i = 0; i < MAX_UNSENT; i++) here.send(sink.address, number(i));
        while (performance.now() < end);
      });
      const look = () => {
        most = Math.max(most, handled - seen);
        seen = handled;
        if (handled < 16) setImmediate(look);
        else resolve();
      };
      setImmediate(look);
      await promise;
      assert(most <= 2, `${most} fan-outs without a turn`);
      assertEquals(here.stats().received, 16);
    },
  });
}

Deno.test({
  name:
    `BatchedTransport.send() counts what the system refuses, by its error, and sends what is behind${skipped}`,
  ignore,
  async fn() {
    await using here = await BatchedTransport.bind();
    await using there = await UdpTransport.bind();
    const arrived = numbers(there, 2);
    here.send(there.address, number(0));
    here.send(there.address, new Uint8Array(65_508));
    here.send(peerOf("127.0.0.1", 0), number(9));
    here.send(there.address, number(1));
    await here.flush();
    assertEquals(await arrived, [0, 1]);
    const { sent, sendErrors, refused } = here.stats();
    assertEquals([sent, sendErrors], [2, 2]);
    assertEquals(refused, { EMSGSIZE: 1, EINVAL: 1 });
  },
});

Deno.test({
  name:
    `BatchedTransport sends what one peer gets in one message, and one by one where that is refused${skipped}`,
  ignore,
  async fn() {
    const { sendmmsg } = openLibc();
    let messages = 0;
    let refused = 0;
    let cuts = true;
    const libc = calls({
      sendmmsg(fd, batch, count, flags) {
        const { buffer, byteOffset } = batch as Uint8Array;
        const view = new DataView(buffer, byteOffset);
        let alone = 0; // by the number of pieces of a `struct mmsghdr`
        while (alone < count && view.getUint32(alone * 64 + 24, true) === 1) {
          alone++;
        }
        if (!cuts && alone === 0) {
          refused++;
          return -1;
        }
        const sent = sendmmsg(fd, batch, cuts ? count : alone, flags);
        messages += sent;
        return sent;
      },
      errno: () => "EINVAL",
    });
    await using here = await BatchedTransport.bind({ libc });
    await using there = await UdpTransport.bind();
    await using elsewhere = await UdpTransport.bind();
    const [arrived, others] = [numbers(there, 120), numbers(elsewhere, 60)];
    const sendAll = async (from: number, to: number) => {
      for (let i = from; i < to; i++) {
        here.send(there.address, number(i));
        if (i % 2 === 0) here.send(elsewhere.address, number(i));
      }
      await here.flush();
    };
    await sendAll(0, 60);
    assertEquals(messages, 2);
    cuts = false;
    for (let i = 60; i < 120; i += 3) await sendAll(i, i + 3);
    assertEquals(await arrived, upTo(120));
    assertEquals(await others, upTo(60).map((i) => 2 * i));
    const { sent, sendErrors } = here.stats();
    assertEquals([sent, sendErrors], [180, 0]);
    assertEquals(refused, 16); // then nothing is cut any more
  },
});

for (const code of ["EAGAIN", "ENOBUFS"]) {
  Deno.test({
    name:
      `BatchedTransport waits for room at ${code}, loses nothing, and takes nothing meanwhile${skipped}`,
    ignore,
    async fn() {
      const { sendmmsg } = openLibc();
      let room = 0;
      const asked = Promise.withResolvers<void>();
      const libc = calls({
        sendmmsg(fd, batch, count, flags) {
          if (room === 0) {
            asked.resolve();
            return -1;
          }
          const sent = sendmmsg(fd, batch, Math.min(count, room), flags);
          room -= sent;
          return sent;
        },
        errno: () => code,
      });
      await using here = await BatchedTransport.bind({ libc });
      // It has room for all of them, should it be late.
      await using there = await BatchedTransport.bind();
      const arrived = numbers(there, 1_200);
      let taken = 0;
      here.receive((peer) => {
        taken++;
        // More than a batch holds, so that some is behind it.
        const first = (taken - 1) * 600;
        for (let i = 0; i < 600; i++) here.send(peer, number(first + i));
      });
      there.send(here.address, number(0));
      await asked.promise;
      there.send(here.address, number(0));
      await new Promise((resolve) => setImmediate(resolve));
      assertEquals([taken, here.unsent], [1, 600]);
      // Messages of 64 datagrams: 600 are eight from a batch of 512, and two.
      for (let i = 0; i < 10; i++) {
        room = 2;
        // As it is read: the receiver has room for few more than that.
        while (room > 0 || there.stats().received < here.stats().sent) {
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      }
      assertEquals(await arrived, upTo(1_200));
      assertEquals([taken, here.unsent], [2, 0]);
      assert(here.stats().congested > 0);
    },
  });
}

Deno.test({
  name:
    `BatchedTransport goes on after a call that a signal has interrupted${skipped}`,
  ignore,
  async fn() {
    const { sendmmsg } = openLibc();
    let calls_ = 0;
    const libc = calls({
      sendmmsg: (...args) => calls_++ === 0 ? -1 : sendmmsg(...args),
      errno: () => "EINTR",
    });
    await using here = await BatchedTransport.bind({ libc });
    await using there = await UdpTransport.bind();
    const arrived = numbers(there, 1);
    here.send(there.address, number(0));
    assertEquals(await arrived, [0]);
    assertEquals(here.stats().sendErrors, 0);
  },
});

Deno.test({
  name:
    `BatchedTransport.close() ends at once, whatever has not left${skipped}`,
  ignore,
  async fn() {
    const libc = calls({ sendmmsg: () => -1, errno: () => "EAGAIN" });
    const here = await BatchedTransport.bind({ libc });
    const received = here.receive(() => {});
    here.send(peerOf("127.0.0.1", 9), number(0));
    const flushed = here.flush();
    here.close();
    here.close();
    await Promise.all([received, flushed]);
    here.send(peerOf("127.0.0.1", 9), number(0));
    assertEquals(here.stats().refused, { EBADF: 1 });
  },
});

Deno.test({
  name:
    `BatchedTransport.overflowed() tells what found no room, also what came since${skipped}`,
  ignore,
  async fn() {
    // Unchanged, it would take a hundred thousand datagrams.
    const libc = calls({ setsockopt: () => -1 });
    await using here = await BatchedTransport.bind({ libc });
    await using there = await BatchedTransport.bind();
    assertEquals(await here.overflowed(), 0);
    for (let i = 0; i < 2_000; i++) there.send(here.address, number(i));
    await there.flush();
    const drops = await here.overflowed();
    assert(drops > 0, `${drops}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    let count = 0;
    here.receive(() => {
      if (++count === 2_000 - drops) resolve();
    });
    await promise;
  },
});

Deno.test({
  name:
    `BatchedTransport has more room for what arrives than a plain socket${skipped}`,
  ignore,
  async fn() {
    await using here = await BatchedTransport.bind();
    assert(here.receiveBuffer > 212_992, `${here.receiveBuffer}`);
  },
});

Deno.test("bindSocket() falls back to a portable socket, and says why", async () => {
  const blind = reason === undefined ? calls({ getsockname: () => -1 }) : null;
  const options = blind === null ? {} : { libc: blind };
  const why = reason ?? "the descriptor of the socket cannot be found";
  const reasons: string[] = [];
  await using socket = await bindSocket(options, "auto", (reason) => {
    reasons.push(reason);
  });
  assertEquals(socket instanceof BatchedTransport, false);
  assertEquals(reasons, [why]);
  const { message } = await assertRejects(
    () => bindSocket(options, "batched", () => {}),
    BatchesError,
  );
  assertEquals(message, `Cannot send and receive in batches: ${why}`);
});

for (const size of [1, 2, 4]) {
  Deno.test({
    name:
      `SenderThreads of ${size} sends a fan-out, each peer's in order, none twice or lost${skipped}`,
    ignore,
    async fn() {
      const senders = new SenderThreads(size, { from: 0 });
      await using here = await BatchedTransport.bind({ senders });
      await using ends = new AsyncDisposableStack();
      const peers: Transport[] = [];
      for (let i = 0; i < 10; i++) {
        peers.push(ends.use(await BatchedTransport.bind()));
      }
      const arrived = peers.map((peer) => numbers(peer, 3_000));
      for (let i = 0; i < 3_000; i++) {
        // Of every kind: the same octets for all, and for each its own.
        const shared = number(i, 8 + i % 50);
        for (const { address } of peers) {
          here.send(address, i % 3 === 0 ? number(i) : shared);
        }
        if (i === 10) {
          await here.flush();
          await senders.whenReady();
        }
        if (i % 100 === 0) await here.flush();
      }
      for (const seen of arrived) assertEquals(await seen, upTo(3_000));
      await here.flush();
      const { sent, senders: counted } = here.stats();
      assertEquals(sent + counted!.sent, 30_000);
      assertEquals([counted!.senders, counted!.waiting], [size, 0]);
      assert(counted!.sent > 10_000, `${counted!.sent} by threads`);
    },
  });
}

Deno.test({
  name:
    `SenderThreads replaces a thread that fails, which goes on with what is left${skipped}`,
  ignore,
  async fn() {
    const failures: boolean[] = [];
    const senders = new SenderThreads(1, {
      from: 0,
      onFailure: (_reason, isReplaced) => failures.push(isReplaced),
    });
    await using here = await BatchedTransport.bind({ senders });
    await using one = await BatchedTransport.bind();
    await using other = await BatchedTransport.bind();
    const arrived = [one, other].map((end) => numbers(end, 40));
    const sendBoth = (from: number, to: number) => {
      for (let i = from; i < to; i++) {
        for (const { address } of [one, other]) here.send(address, number(i));
      }
    };
    sendBoth(0, 20); // the threads begin
    await here.flush();
    await senders.whenReady();
    // A length that no datagram has: the thread cannot go on from there.
    const ring = senders.rings[0]!;
    const words = new Int32Array(ring.memory);
    const block = (256 + 65_536 + (words[0]! % 32_768) * 32) / 4;
    const table = new PeerTable({ isIpv6: false });
    const at = table.slotOf(other.address) * SOCKADDR_WORDS;
    assert(ring.write(table.words, at, number(20)));
    words[block] = 1 << 28;
    ring.publish();
    while (senders.stats().failed === 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    words[block] = 8;
    here.send(one.address, number(20));
    sendBoth(21, 40);
    // The one that was written by hand has no place in the order.
    for (const seen of arrived) {
      assertEquals((await seen).toSorted((a, b) => a - b), upTo(40));
    }
    await here.flush();
    assert(failures.length > 0 && failures[0]);
    const { senders: counted } = here.stats();
    assertEquals(counted!.lost, 0);
  },
});

Deno.test({
  name:
    `SenderThreads.begin() begins nothing without a descriptor, and does with one${skipped}`,
  ignore,
  async fn() {
    await using senders = new SenderThreads(1, { from: 0 });
    senders.begin(-1, 16);
    await using here = await BatchedTransport.bind({ senders });
    await using there = await UdpTransport.bind();
    const arrived = numbers(there, 3);
    here.send(there.address, number(0));
    await here.flush();
    await senders.whenReady();
    for (let i = 1; i < 3; i++) here.send(there.address, number(i));
    assertEquals(await arrived, [0, 1, 2]);
    await here.flush();
    assertEquals(here.stats().senders!.refused, {});
  },
});

/**
 * Binds a port. A test beside this one may be starting a program: until that runs, it
 * has every descriptor of this process, and the port with them.
 */
async function bindSoon(port: number): Promise<UdpTransport> {
  for (let tries = 1;; tries++) {
    try {
      return await UdpTransport.bind({ port });
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse) || tries === 40) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

Deno.test({
  name:
    `What a program starts does not keep the port of a socket that has threads${skipped}`,
  ignore,
  async fn() {
    const senders = new SenderThreads(1, { from: 0 });
    const port = unsoughtPort();
    const here = await BatchedTransport.bind({ port, senders });
    here.send(here.address, number(0)); // they begin
    await here.flush();
    await senders.whenReady();
    const cat = new Deno.Command("cat", { stdin: "piped", stdout: "null" });
    const child = cat.spawn();
    try {
      await here[Symbol.asyncDispose]();
      await using again = await bindSoon(port);
      assertEquals(again.address.port, port);
    } finally {
      await child.stdin.close();
      await child.status;
    }
  },
});

Deno.test({
  name:
    `A broker that may not read its threads' module has none, says so and asks nobody${skipped}`,
  ignore,
  // FFI is for all or none, so only reading is taken away.
  permissions: { net: true, ffi: true, sys: true, read: false },
  async fn() {
    const lines: string[] = [];
    const log = new Log({ write: (line) => lines.push(line) });
    await using broker = await Broker.listen({ port: 0, workers: 1, log });
    assertEquals(broker.stats().transport.senders?.senders, 0);
    assert(lines.some((line) => line.includes("--allow-read")), lines.join());
  },
});
