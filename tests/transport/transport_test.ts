import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { peerOf } from "../../base/peer.ts";
import type { Transport } from "../../transport/transport.ts";
import { findBroker, resolve } from "../../transport/resolve.ts";
import { MemoryNetwork } from "../../transport/memory.ts";
import { MAX_UNSENT, UdpTransport } from "../../transport/udp.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

/** Resolves with the next datagrams that a transport receives. */
function receive(
  transport: Transport,
  count: number,
): Promise<[string, number][]> {
  const received: [string, number][] = [];
  return new Promise((resolve) => {
    transport.receive((peer, bytes) => {
      received.push([peer.key, bytes.length]);
      if (received.length === count) resolve(received);
    });
  });
}

const hasIpv6 = (() => {
  try {
    Deno.listenDatagram({ transport: "udp", hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
})();

Deno.test("UdpTransport.send() carries datagrams of every size up to 65,507 octets", async () => {
  await using here = await UdpTransport.bind();
  await using there = await UdpTransport.bind();
  const sizes = [0, 1, 2, 255, 256, 1_472, 1_473];
  // macOS sends none beyond 9,216 octets unless its settings are changed.
  if (Deno.build.os !== "darwin") sizes.push(65_506, 65_507);
  const received = receive(there, sizes.length);
  for (const size of sizes) {
    here.send(there.address, new Uint8Array(size));
    await here.flush();
  }
  assertEquals(await received, sizes.map((size) => [here.address.key, size]));
  assertEquals(here.stats(), {
    sent: sizes.length,
    received: 0,
    sendErrors: 0,
    receiveErrors: 0,
    refused: {},
    congested: 0,
  });
  assertEquals(there.stats().received, sizes.length);
});

Deno.test("UdpTransport.send() counts what the system will not send", async () => {
  await using here = await UdpTransport.bind();
  here.send(peerOf("127.0.0.1", 9), new Uint8Array(70_000));
  await here.flush();
  const { sent, sendErrors, refused } = here.stats();
  assertEquals([sent, sendErrors], [0, 1]);
  const [code] = Object.keys(refused);
  assertEquals(refused, { [code!]: 1 });
  if (Deno.build.os === "linux") assertEquals(code, "EMSGSIZE");
});

Deno.test("UdpTransport.receive() survives a peer that is gone", async () => {
  await using here = await UdpTransport.bind();
  const gone = await UdpTransport.bind();
  const { address } = gone;
  gone.close();
  const received = receive(here, 1);
  here.send(address, new Uint8Array(1));
  await here.flush();
  await using other = await UdpTransport.bind();
  other.send(here.address, new Uint8Array(2));
  assertEquals(await received, [[other.address.key, 2]]);
});

Deno.test("UdpTransport.unsent counts what has not left yet, whether it will or not", async () => {
  await using here = await UdpTransport.bind();
  await using there = await UdpTransport.bind();
  assertEquals(here.unsent, 0);
  await here.flush();
  here.send(there.address, new Uint8Array(1));
  here.send(there.address, new Uint8Array(70_000));
  here.send(there.address, new Uint8Array(1));
  assertEquals(here.unsent, 3);
  await Promise.all([here.flush(), here.flush()]);
  assertEquals(here.unsent, 0);
  assertEquals(here.stats().sent, 2);
});

Deno.test("UdpTransport.receive() takes nothing while too much is unsent", async () => {
  // A system that sends nothing until it is told to.
  const sends: (() => void)[] = [];
  const end = Promise.withResolvers<never>();
  end.promise.catch(() => {}); // it may end between two datagrams
  let arrivals = 0;
  const addr: Deno.NetAddr = {
    transport: "udp",
    hostname: "127.0.0.1",
    port: 7,
  };
  const socket = {
    addr,
    receive: () =>
      arrivals++ < 3 ? Promise.resolve([new Uint8Array(1), addr]) : end.promise,
    send: () => new Promise<void>((resolve) => sends.push(resolve)),
    close: () => end.reject(new Error("Closed")),
  };
  const { listenDatagram } = Deno;
  Deno.listenDatagram = () => socket as unknown as Deno.DatagramConn;
  const here = await UdpTransport.bind().finally(() =>
    Deno.listenDatagram = listenDatagram
  );
  let taken = 0;
  const received = here.receive((peer) => {
    taken++;
    for (let i = 0; i < MAX_UNSENT; i++) here.send(peer, new Uint8Array(1));
  });
  for (let count = 1; count <= 3; count++) {
    await new Promise((resolve) => setImmediate(resolve));
    assertEquals([taken, here.unsent], [count, MAX_UNSENT]);
    // One after the other, as that is how they are sent.
    for (let left = MAX_UNSENT; left > 0; left--) {
      assertEquals([sends.length, here.unsent], [1, left]);
      sends.pop()!();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  await here[Symbol.asyncDispose]();
  await received;
  assertEquals(here.unsent, 0);
});

for (const hostname of ["127.0.0.1", "::1"]) {
  const ignore = Deno.build.os !== "linux" ||
    (hostname === "::1" && !hasIpv6);
  Deno.test({
    name: `UdpTransport.overflowed() counts what found no room at ${hostname}${
      ignore ? " (skipped: the system does not tell)" : ""
    }`,
    ignore,
    async fn() {
      await using here = await UdpTransport.bind({ hostname });
      await using there = await UdpTransport.bind({ hostname });
      assertEquals(await there.overflowed(), 0);
      let sent = 0;
      while (await there.overflowed() === 0) {
        // More than any system has room for.
        assert(sent++ < 100_000);
        here.send(there.address, new Uint8Array(60_000));
        await here.flush();
      }
      assertEquals(await here.overflowed(), 0);
      there.close();
      assertEquals(await there.overflowed(), 0);
    },
  });
}

Deno.test("UdpTransport.bind() says that the port is taken", async () => {
  await using here = await UdpTransport.bind();
  await assertRejects(
    () => UdpTransport.bind({ port: here.address.port }),
    Deno.errors.AddrInUse,
    `Cannot bind ${here.address.key}: another program has the port`,
  );
});

Deno.test("UdpTransport.bind() says that no interface has the address", async () => {
  await assertRejects(
    () => UdpTransport.bind({ hostname: "192.0.2.1" }),
    Deno.errors.AddrNotAvailable,
    "Cannot bind 192.0.2.1:0: no interface",
  );
});

Deno.test("UdpTransport.close() ends receive(), and again does nothing", async () => {
  const here = await UdpTransport.bind();
  const ended = here.receive(() => {});
  here.close();
  here.close();
  await ended;
  await here[Symbol.asyncDispose]();
});

Deno.test("UdpTransport.receive() gives timers a turn under load", async () => {
  await using here = await UdpTransport.bind();
  await using there = await UdpTransport.bind();
  // Two that answer each other until a timer fires: without a turn for timers,
  // for ever.
  const warm = Promise.withResolvers<void>();
  let rallies = 0;
  let isOver = false;
  for (const transport of [here, there]) {
    transport.receive((peer, bytes) => {
      if (++rallies === 1_000) warm.resolve();
      if (!isOver) transport.send(peer, bytes);
    });
  }
  for (let i = 0; i < 32; i++) here.send(there.address, new Uint8Array([i]));
  await warm.promise;
  await new Promise((resolve) => setTimeout(resolve, 0));
  isOver = true;
  assert(rallies >= 1_000, String(rallies));
});

Deno.test({
  name:
    `UdpTransport of both families reaches IPv4 peers under their IPv4 address${
      hasIpv6 ? "" : " (skipped: no IPv6 here)"
    }`,
  ignore: !hasIpv6,
  async fn() {
    await using dual = await UdpTransport.bind({ hostname: "::" });
    await using four = await UdpTransport.bind();
    await using six = await UdpTransport.bind({ hostname: "::1" });
    const received = receive(dual, 2);
    four.send(peerOf("127.0.0.1", dual.address.port), new Uint8Array(4));
    six.send(peerOf("::1", dual.address.port), new Uint8Array(6));
    assertEquals((await received).sort(), [
      [four.address.key, 4],
      [six.address.key, 6],
    ]);
    const atFour = receive(four, 1);
    dual.send(four.address, new Uint8Array(7));
    assertEquals(await atFour, [[`127.0.0.1:${dual.address.port}`, 7]]);
  },
});

Deno.test("UdpTransport.towards() stays on this machine for a peer on it", async () => {
  await using local = await UdpTransport.towards(peerOf("127.0.0.1", 1));
  assertEquals(local.address.hostname, "127.0.0.1");
  await using remote = await UdpTransport.towards(peerOf("192.0.2.1", 1));
  assertEquals(remote.address.hostname, "0.0.0.0");
});

Deno.test("resolve() finds names, and says which it does not know", async () => {
  assertEquals((await resolve("localhost", 7)).key, "127.0.0.1:7");
  assertEquals((await resolve("10.1.2.3", 7)).key, "10.1.2.3:7");
  assertEquals((await resolve("::1", 7)).key, "[::1]:7");
  assertEquals((await resolve("0:0:0:0:0:0:0:1", 7)).key, "[::1]:7");
  assertEquals((await resolve("FE80::0001", 7)).key, "[fe80::1]:7");
  assertEquals((await resolve("::ffff:7f00:1", 7)).key, "127.0.0.1:7");
  assertEquals((await resolve("::ffff:10.0.0.7", 7)).key, "10.0.0.7:7");
  await assertRejects(
    () => resolve("no-such-host.invalid", 7),
    Error,
    'Cannot find a host called "no-such-host.invalid"',
  );
});

Deno.test("findBroker() finds a broker on every interface on this machine", async () => {
  assertEquals((await findBroker("0.0.0.0", 7)).key, "127.0.0.1:7");
  assertEquals((await findBroker("::", 7)).key, "[::1]:7");
  assertEquals((await findBroker("0:0::0", 7)).key, "[::1]:7");
  assertEquals((await findBroker("10.1.2.3", 7)).key, "10.1.2.3:7");
  for (const port of [0, 65_536, 1.5, NaN]) {
    await assertRejects(
      () => findBroker("127.0.0.1", port),
      RangeError,
      `Cannot take "${port}" as the port`,
    );
  }
});

Deno.test("MemoryNetwork carries datagrams in order, never within the call", async () => {
  const network = new MemoryNetwork();
  await using here = network.bind();
  await using there = network.bind({ port: 12_003 });
  let isSending = true;
  const sizes: number[] = [];
  there.receive((peer, bytes) => {
    assert(!isSending);
    assertEquals(peer, here.address);
    sizes.push(bytes.length);
  });
  for (const size of [3, 1, 2]) here.send(there.address, new Uint8Array(size));
  isSending = false;
  await here.flush();
  assertEquals(sizes, [3, 1, 2]);
});

Deno.test("MemoryNetwork keeps what arrives before receive(), and loses the rest", async () => {
  const network = new MemoryNetwork();
  await using here = network.bind();
  await using there = network.bind();
  for (let i = 0; i < 300; i++) here.send(there.address, new Uint8Array(1));
  here.send(peerOf("127.0.0.1", 1), new Uint8Array(1));
  await here.flush();
  assertEquals(await there.overflowed(), 44);
  assertEquals((await receive(there, 256)).length, 256);
  assertEquals(await there.overflowed(), 44);
  assertEquals(here.unsent, 0);
});

Deno.test("MemoryNetwork sends nothing from an end that is closed", async () => {
  const network = new MemoryNetwork();
  const here = network.bind({ port: 5 });
  await using there = network.bind();
  const sizes: number[] = [];
  there.receive((_peer, bytes) => sizes.push(bytes.length));
  here.send(there.address, new Uint8Array(1));
  here.close();
  here.send(there.address, new Uint8Array(2));
  // Not even when another has its address by now.
  await using again = network.bind({ port: 5 });
  here.send(there.address, new Uint8Array(3));
  here.close();
  again.send(there.address, new Uint8Array(4));
  await again.flush();
  assertEquals(sizes, [1, 4]);
  assertEquals([here.stats().sent, here.stats().sendErrors], [1, 2]);
});

Deno.test("MemoryNetwork.bind() throws when the port is taken, until it is closed", async () => {
  const network = new MemoryNetwork();
  const first = network.bind({ port: 5 });
  assertThrows(() => network.bind({ port: 5 }), Deno.errors.AddrInUse);
  await first[Symbol.asyncDispose]();
  await using _again = network.bind({ port: 5 });
});
