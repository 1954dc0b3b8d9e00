import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Broker } from "../../broker.ts";
import { ClassicClient } from "../../classic_client.ts";
import { Client } from "../../client.ts";
import { ManualClock, seededRandom } from "../../base/clock.ts";
import type { FaultEvent } from "../../netsim/faults.ts";
import { Log } from "../../base/log.ts";
import { peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import { NetPaths } from "../../netsim/paths.ts";
import { parseNetSpec } from "../../netsim/spec_text.ts";
import { NetSim, type NetSimOptions } from "../../netsim/netsim.ts";
import type { Transport } from "../../transport/transport.ts";
import { MemoryNetwork } from "../../transport/memory.ts";
import { UdpTransport } from "../../transport/udp.ts";

Deno.test.sanitizer({ ops: true, resources: true });

// The system's library is opened by the first broker, and stays open: no leak of a
// test's.
await (await Broker.listen({ port: 0 })).close();

/** A turn of the event loop: datagrams in memory have arrived then. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

interface Arrival {
  readonly at: number;
  readonly octets: string;
}

/** An end behind a bad network, a good one before it, and a clock for both. */
function setUp(options: Partial<NetSimOptions> = {}) {
  const clock = new ManualClock(1_000);
  const network = new MemoryNetwork();
  const there = network.bind({ port: 12_003 });
  const net = new NetSim({ side: "client", clock, seed: 1, ...options });
  const here = net.around(network.bind());
  const arrivals: Record<"here" | "there", Arrival[]> = { here: [], there: [] };
  const keep = (where: "here" | "there") => (_: unknown, bytes: Uint8Array) => {
    arrivals[where].push({ at: clock.now() - 1_000, octets: `${bytes}` });
    bytes.fill(0xee); // a network that keeps a view shall not go unnoticed
  };
  const ended = Promise.all([
    here.receive(keep("here")),
    there.receive(keep("there")),
  ]);
  return {
    clock,
    net,
    here,
    there,
    arrivals,
    /** Lets so many milliseconds pass, and all that is due arrive. */
    async pass(ms: number) {
      await turn();
      for (let i = 0; i < ms; i++) {
        clock.advance(1);
        net.handleTimeout();
        await Promise.resolve();
      }
      await turn();
    },
    async [Symbol.asyncDispose]() {
      here.close();
      there.close();
      await ended;
    },
  };
}

Deno.test("NetSim lets everything pass at once when it is off", async () => {
  await using scene = setUp({ net: "off" });
  const sent = Uint8Array.of(1, 2);
  scene.here.send(scene.there.address, sent);
  scene.there.send(scene.here.address, Uint8Array.of(3));
  await turn();
  assertEquals(scene.arrivals.there, [{ at: 0, octets: "1,2" }]);
  assertEquals(scene.arrivals.here, [{ at: 0, octets: "3" }]);
  assertEquals(scene.net.stats().out.sent, 0);
});

Deno.test("NetSim delays each direction by itself, in order, and copies what it keeps", async () => {
  await using scene = setUp({ net: "in: delay 5ms out: delay 20ms" });
  for (const octet of [1, 2]) {
    scene.here.send(scene.there.address, Uint8Array.of(octet));
    // The sender's buffer is the receiver's own during the call alone.
    scene.there.send(scene.here.address, Uint8Array.of(octet));
  }
  await scene.pass(30);
  assertEquals(scene.arrivals.here, [
    { at: 5, octets: "1" },
    { at: 5, octets: "2" },
  ]);
  assertEquals(scene.arrivals.there, [
    { at: 20, octets: "1" },
    { at: 20, octets: "2" },
  ]);
  const { in: into, out, underWay } = scene.net.stats();
  assertEquals([into.delivered, out.delivered, underWay], [2, 2, 0]);
});

Deno.test("NetSim.set() makes it another network, and what is under way still arrives", async () => {
  await using scene = setUp({ net: "delay 10ms" });
  const send = (octet: number) =>
    scene.here.send(scene.there.address, Uint8Array.of(octet));
  send(1);
  scene.net.set("off");
  send(2);
  assertThrows(() => scene.net.set("loss 10"), TypeError);
  assertEquals(`${scene.net}`, "off");
  scene.net.set("loss 100%");
  send(3);
  await scene.pass(20);
  assertEquals(scene.arrivals.there, [
    { at: 0, octets: "2" },
    { at: 10, octets: "1" },
  ]);
  assertEquals(scene.net.stats().out.lost, 1);
});

Deno.test("NetSim loses what is under way when its transport closes, and says so", async () => {
  const scene = setUp({ net: "delay 1h" });
  scene.here.send(scene.there.address, Uint8Array.of(1));
  assertEquals(scene.net.stats().underWay, 1);
  await scene[Symbol.asyncDispose](); // at once; no timer is left, says the sanitizer
  const { underWay, cutOff } = scene.net.stats();
  assertEquals([underWay, cutOff], [0, 1]);
});

Deno.test("NetSim lets what was sent leave before its transport is disposed of, and takes nothing more", async () => {
  const network = new MemoryNetwork();
  const there = network.bind({ port: 12_003 });
  const got: string[] = [];
  const ended = there.receive((_, bytes) => got.push(`${bytes}`));
  const net = new NetSim({ net: "delay 20ms", side: "client", seed: 1 });
  {
    await using here = net.around(network.bind());
    here.receive(() => got.push("here"));
    there.send(here.address, Uint8Array.of(9));
    here.send(there.address, Uint8Array.of(1));
    here.send(there.address, Uint8Array.of(2));
    assertEquals(here.unsent, 0);
    await here.flush(); // as far as its user can know all has left
  }
  await turn();
  assertEquals(got, ["1", "2"]);
  there.close();
  await ended;
});

Deno.test("NetSim passes on what its transport counts and knows", async () => {
  await using there = await UdpTransport.bind();
  await using udp = await UdpTransport.bind();
  const here = new NetSim({ net: "off", side: "client" }).around(udp);
  here.send(there.address, Uint8Array.of(1));
  await here.flush();
  assertEquals(here.address, udp.address);
  assertEquals(here.stats(), udp.stats());
  assertEquals(await here.overflowed(), 0);
});

Deno.test("NetSim has a path for each peer, or one for all", async () => {
  for (const [text, expected] of [["", [10, 10]], ["shared", [10, 20]]]) {
    await using scene = setUp({ net: `rate 8kbit ${text}` });
    const other = peerOf("127.0.0.1", 9);
    const datagram = new Uint8Array(10);
    const at: number[] = [];
    const waits = (transport: Transport) =>
      Object.defineProperty(transport, "unsent", { value: 0 });
    waits(scene.there);
    scene.here.send(other, datagram);
    scene.here.send(scene.there.address, datagram);
    for (let ms = 1; ms <= 20; ms++) {
      await scene.pass(1);
      const { underWay } = scene.net.stats();
      while (at.length < 2 - underWay) at.push(ms);
    }
    assertEquals(at, expected as number[]);
    assertEquals(scene.net.stats().paths, text === "" ? 2 : 1);
  }
});

Deno.test("NetPaths chooses by address, port and client id, the last that fits", () => {
  const paths = new NetPaths(
    parseNetSpec(
      "mtu 1 peer 10.0.0.7: mtu 2 peer 10.0.0.7:5: mtu 3 client lamp-*: mtu 4 client lamp-9: mtu 5",
    ),
    seededRandom(1),
    0,
  );
  const connect = (clientId: string) =>
    encodePacket({
      type: "CONNECT",
      will: false,
      cleanSession: true,
      protocolId: 1,
      duration: 0,
      clientId,
    });
  const nothing: Uint8Array = new Uint8Array(0);
  const mtuFor = (hostname: string, port: number, bytes = nothing) => {
    const { in: path } = paths.of(peerOf(hostname, port), bytes);
    for (let length = 1;; length++) {
      let passes = false;
      path.send(0, new Uint8Array(length), () => passes = true);
      if (!passes) return length - 1;
    }
  };
  assertEquals(mtuFor("10.0.0.6", 4), 1);
  assertEquals(mtuFor("10.0.0.7", 4), 2);
  assertEquals(mtuFor("10.0.0.7", 5), 3);
  assertEquals(mtuFor("10.0.0.7", 5, connect("lamp-1")), 4);
  assertEquals(mtuFor("10.0.0.7", 5), 4); // it is known now
  assertEquals(mtuFor("10.0.0.7", 5, connect("lamp-9")), 5);
  assertEquals(mtuFor("10.0.0.7", 5, connect("ann")), 3);
});

Deno.test("NetPaths does not grow without bound", () => {
  const spec = parseNetSpec("loss 1%");
  const paths = new NetPaths(spec, seededRandom(1), 0);
  for (let i = 0; i < 12_000; i++) {
    paths.of(peerOf(`10.0.${i >> 8}.${i & 255}`, 1), new Uint8Array(2));
  }
  assertEquals(paths.size, 10_000);
});

Deno.test("NetSim does not grow without bound", async () => {
  await using scene = setUp({ net: "delay 1h limit 1000000" });
  const datagram = new Uint8Array(60_000);
  for (let i = 0; i < 1_200; i++) {
    scene.here.send(scene.there.address, datagram);
  }
  const { underWay, noRoom } = scene.net.stats();
  assertEquals(underWay + noRoom, 1_200);
  assert(underWay * 60_000 <= 64 * 1024 * 1024, `${underWay}`);
  assert(noRoom > 0);
});

/** All that arrives at either end, and when, of a busy conversation. */
async function conversation(seed: number, net: string): Promise<string[]> {
  await using scene = setUp({
    net,
    seed,
    faults: [
      { type: "PINGREQ", chance: "30%", do: { corrupt: "clientId" } },
      { type: "PINGREQ", chance: "10%", do: { duplicate: 2, after: "3ms" } },
    ],
  });
  // What is sent does not depend on the seed.
  const random = seededRandom(99);
  for (let i = 0; i < 150; i++) {
    const length = 1 + Math.floor(random() * 20);
    const clientId = "x".repeat(length);
    const bytes = encodePacket({ type: "PINGREQ", clientId });
    const [from, to] = random() < 0.5
      ? [scene.here, scene.there]
      : [scene.there, scene.here];
    from.send(to.address, bytes);
    if (random() < 0.3) await scene.pass(Math.floor(random() * 5));
  }
  await scene.pass(200);
  return (["here", "there"] as const).flatMap((where) =>
    scene.arrivals[where].map(({ at, octets }) => `${where} ${at} ${octets}`)
  );
}

const BUSY =
  "loss 10% 30% delay 20ms 10ms 20% distribution normal duplicate 5% corrupt 5% reorder 5% in: rate 64kbit limit 5 loss gemodel 5% 30%";

Deno.test("NetSim with the same seed and input gives the same output to the octet", async () => {
  for (let seed = 1; seed <= 3; seed++) {
    const [one, again, other] = [
      await conversation(seed, BUSY),
      await conversation(seed, BUSY),
      await conversation(seed + 100, BUSY),
    ];
    assert(one.length > 75, `seed ${seed}`);
    assertEquals(one, again, `seed ${seed}`);
    assertNotEquals(one, other, `seed ${seed}`);
  }
});

Deno.test("NetSim answers a sender only when its call is over, and its faults do not go round without end", async () => {
  const struck: FaultEvent[] = [];
  await using scene = setUp({
    faults: [{ type: "PINGREQ", do: { answer: "accepted" } }],
    onFault: (event) => struck.push(event),
  });
  const ping = encodePacket({ type: "PINGREQ", clientId: "" });
  scene.here.send(scene.there.address, ping);
  assertEquals(scene.arrivals.here, []);
  await turn();
  await scene.pass(1);
  assertEquals(scene.arrivals.here.map(({ octets }) => octets), ["2,23"]);
  assertEquals([struck.length, scene.arrivals.there.length], [1, 0]);
});

Deno.test("Broker and Client take a network and faults, and refuse wrong ones before anything is open", async () => {
  for (const wrong of [{ net: "loss 10" }, { faults: [{ do: "explode" }] }]) {
    await assertRejects(() => Broker.listen({ port: 0, ...wrong }), TypeError);
    await assertRejects(() => Client.open(wrong), TypeError);
    await assertRejects(() => ClassicClient.connect(wrong), TypeError);
  }
});

for (const qos of [0, 1, 2] as const) {
  Deno.test(`a message at QoS ${qos} passes a bad network between real programs as QoS ${qos} has it`, async () => {
    const net = qos === 0
      ? "delay 2ms 1ms"
      : "loss 20% delay 2ms 2ms duplicate 10%";
    const lines: string[] = [];
    await using broker = await Broker.listen({
      port: 0,
      net,
      seed: 5,
      retryMs: 20,
      retries: 1_000,
      log: new Log({ level: "warn", write: (line) => lines.push(line) }),
    });
    const connect = (clientId: string) =>
      Client.connect({
        port: broker.port,
        clientId,
        retryMs: 20,
        retries: 1_000,
        net: "loss 5%",
        seed: 6,
      });
    await using subscriber = await connect("sub");
    await using publisher = await connect("pub");
    const messages = await subscriber.subscribe("a", { qos: 2 });
    if (qos === 0) {
      subscriber.network!.set("off");
      publisher.network!.set("off");
    }
    const expected = Array.from({ length: 20 }, (_, i) => `${i}`);
    for (const text of expected) await publisher.publish("a", text, { qos });
    const got: string[] = [];
    while (got.length < 20) {
      const text = (await messages.take()).text();
      if (qos !== 1 || got.at(-1) !== text) got.push(text);
    }
    if (qos === 0) got.sort((one, other) => Number(one) - Number(other));
    assertEquals(got, expected);
    const stats = broker.stats().net!;
    assert(stats.in.sent > 20 && stats.out.sent > 20);
    if (qos > 0) assert(stats.in.lost > 0 && stats.out.lost > 0);
    if (qos > 0) assert(publisher.stats().net!.out.sent > 20);
    assertEquals(lines.length, 1);
    assert(
      lines[0]!.includes(`The network is bad: ${broker.network} (seed 5)`),
    );
  });
}

Deno.test("ClassicClient goes on with its network when its port is another one", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using client = await ClassicClient.connect({
    port: broker.port,
    timeoutMs: 500,
    net: "loss 100%",
    seed: 3,
  });
  assertEquals(await client.ping(), false);
  const { lost } = client.network!.stats().out;
  assert(lost > 0);
  client.network!.set("delay 1ms");
  await client.publish("weather", "21.5");
  assertEquals(client.network!.stats().out.lost, lost);
  assertEquals(broker.stats().published, 1);
});
