import { assert, assertEquals, assertRejects } from "@std/assert";
import { Broker } from "../broker.ts";
import { ClassicClient } from "../classic_client.ts";
import { seededRandom } from "../base/clock.ts";
import { Log } from "../base/log.ts";
import { MAX_DATAGRAM } from "../base/peer.ts";
import { MemoryNetwork } from "../transport/memory.ts";
import { UdpTransport } from "../transport/udp.ts";
import { unsoughtPort } from "./support/ports.ts";

Deno.test("Broker.listen() serves publishers and subscribers over UDP", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using publisher = await ClassicClient.connect({ port: broker.port });
  await using first = await ClassicClient.connect({ port: broker.port });
  await using second = await ClassicClient.connect({ port: broker.port });
  const waiting = [first.subscribe("weather"), second.subscribe("weather")];
  // Both wait for certain when the broker has answered something later.
  while (broker.stats().classic.waiting < 2) await publisher.ping();
  await publisher.publish("weather", "21.5 °C");
  assertEquals(await Promise.all(waiting), ["21.5 °C", "21.5 °C"]);
  const { published, delivered, classic } = broker.stats();
  assertEquals([published, delivered, classic.waiting], [1, 2, 0]);
});

Deno.test("Broker.listen() throws when the port is taken", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await assertRejects(
    () => Broker.listen({ port: broker.port }),
    Deno.errors.AddrInUse,
    `Cannot bind 127.0.0.1:${broker.port}`,
  );
});

Deno.test("Broker.listen() throws RangeError before it opens anything", async () => {
  for (
    const options of [{ port: -1 }, { port: 65_536 }, { port: 0, history: -1 }]
  ) {
    await assertRejects(() => Broker.listen(options), RangeError);
  }
});

Deno.test("Broker.close() frees the port", async () => {
  const port = unsoughtPort();
  const broker = await Broker.listen({ port });
  await broker.close();
  await broker.close();
  await using again = await Broker.listen({ port });
  assertEquals(again.port, port);
});

Deno.test("Broker logs what happens at debug, and warns when others can reach it", async () => {
  const lines: string[] = [];
  const log = new Log({
    level: "debug",
    write: (line) => lines.push(line.slice(25)),
  });
  const network = new MemoryNetwork();
  const transport = network.bind({ hostname: "0.0.0.0", port: 12_003 });
  await using broker = await Broker.listen({ transport, log, history: 1 });
  await using peer = network.bind();
  for (
    const request of [
      '{"type":"subscribe","topic":"a"}',
      '{"type":"publish","topic":"a","data":"x"}',
      '{"type":"publish","topic":"a","data":"y"}',
      "{}",
      "\u001b[2J",
    ]
  ) {
    peer.send(broker.address, new TextEncoder().encode(request));
  }
  await peer.flush();
  const { key } = peer.address;
  assertEquals(lines, [
    "debug Listening at 0.0.0.0:12003",
    "warn  Everybody who reaches 0.0.0.0:12003 can publish and subscribe: there are no passwords",
    `debug ${key} subscribed to "a"`,
    `debug ${key} published 1 octets to "a"`,
    `debug Sent 1 octets of "a" to ${key}`,
    'debug Forgot 1 of "a": count',
    `debug ${key} published 1 octets to "a"`,
    `debug Refused ${key}: Invalid request provided`,
    `debug Dropped a datagram from ${key}: Neither JSON nor MQTT-SN: Cannot read a datagram: reserved type 91 (octet 1, MQTT-SN 1.2 §5.2.2) in 1b 5b 32 4a (4 octets)`,
  ]);
});

Deno.test("Broker.stats() counts what its transport did", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using publisher = await ClassicClient.connect({ port: broker.port });
  await publisher.publish("a", "x");
  const { transport, failures } = broker.stats();
  assertEquals(transport.received, 1);
  assertEquals(transport.receiveErrors, 0);
  assertEquals(failures, 0);
});

/** Hostile datagrams: of every kind, and of every length at a step. */
function* hostile(count: number, seed: number): Generator<Uint8Array> {
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const encoder = new TextEncoder();
  const noise = Uint8Array.from({ length: MAX_DATAGRAM }, () => below(256));
  const request = encoder.encode(
    '{"type": "publish", "topic": "hostile", "data": "0123456789"}',
  );
  // 131 lengths from 0 to 65,507 and the last itself.
  for (let length = 0; length <= MAX_DATAGRAM; length += 503) {
    yield noise.subarray(0, length);
  }
  yield noise;
  const kinds: (() => Uint8Array)[] = [
    () => noise.subarray(below(60_000)).subarray(0, below(2_000)),
    () => request.subarray(0, below(request.length)),
    () => {
      const changed = request.slice();
      changed[below(changed.length)] = below(256);
      return changed;
    },
    () => encoder.encode("[".repeat(below(3_000))),
    () => encoder.encode(`{"type":${'{"a":'.repeat(below(500))}`),
    () => {
      const depth = below(below(50) ? 2_000 : 32_000);
      const nested = "[".repeat(depth) + "]".repeat(depth);
      return encoder.encode(`{"type":"publish","topic":"a","data":${nested}}`);
    },
    () => {
      const numbers = "1.0,".repeat(below(below(50) ? 500 : 16_000));
      return encoder.encode(
        `{"type":"publish","topic":"a","data":[${numbers}1]}`,
      );
    },
    () =>
      encoder.encode(
        JSON.stringify({
          type: below(2) ? "publish" : "subscribe",
          topic: `${below(1e9)}`.repeat(1 + below(below(50) ? 9 : 7_000)),
          data: "x",
        }),
      ),
    () => encoder.encode(["5", "null", "{}", "[]", '"type topic"'][below(5)]!),
  ];
  for (let i = 133; i < count; i++) yield kinds[below(kinds.length)]!();
}

Deno.test("Broker serves an ordinary client after 100,000 hostile datagrams, in bounded memory", async () => {
  const seed = 20_261_123;
  await using broker = await Broker.listen({ port: 0 });
  await using attacker = await UdpTransport.bind();
  let answers = 0;
  attacker.receive(() => answers++);

  // A window, or it is the system's full socket that would drop most of them.
  let sent = 0;
  let octets = 0;
  for (const datagram of hostile(100_000, seed)) {
    attacker.send(broker.address, datagram);
    sent++;
    octets += datagram.length;
    if (sent % 32 > 0 && octets < 30_000) continue;
    octets = 0;
    const { received } = broker.stats();
    for (let turn = 0; turn < 100; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (broker.stats().received - received >= 32) break;
      if (broker.stats().received === sent) break;
    }
  }

  await using publisher = await ClassicClient.connect({ port: broker.port });
  await using subscriber = await ClassicClient.connect({ port: broker.port });
  // It waits for a first datum, as any other.
  const { subscribed } = broker.stats();
  const waiting = subscriber.subscribe("ordinary");
  while (broker.stats().subscribed === subscribed) await publisher.ping();
  await publisher.publish("ordinary", "still here");
  assertEquals(await waiting, "still here");

  const stats = broker.stats();
  const told = `seed ${seed}: ${JSON.stringify(stats)}`;
  assertEquals(stats.failures, 0, told);
  // What the system dropped all the same is neither ours nor much.
  assert(stats.received > 95_000, told);
  assert(stats.dropped.malformed > 10_000, told);
  assert(stats.classic.refused.invalidRequest > 1_000, told);
  assert(
    stats.classic.topics <= 10_000 && stats.classic.waiting <= 10_000,
    told,
  );
  assert(stats.classic.memory <= 2 * 64 * 1024 * 1024, told);
  assert(stats.dropped.empty > 0, told);
  assert(answers > 1_000, told);
});

Deno.test("Broker.listen() throws for a way to use a socket, or threads, that there is not", async () => {
  const io = "fast" as "auto";
  await assertRejects(
    () => Broker.listen({ port: 0, io }),
    TypeError,
    'Cannot use a socket in the way "fast": auto, portable, batched are known',
  );
  for (const workers of [-1, 1.5, 17, NaN]) {
    await assertRejects(
      () => Broker.listen({ port: 0, workers }),
      RangeError,
      `Cannot take "${workers}" as the workers`,
    );
  }
});
