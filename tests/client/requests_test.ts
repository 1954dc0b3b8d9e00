/**
 * Requests that are sent again until they are answered, each wait longer than the
 * last.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import type { Millis } from "../../base/clock.ts";
import { Device } from "../../client/device.ts";
import type { DeviceEvent } from "../../client/events.ts";
import { EffectQueue } from "../../base/machine.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import { describeDatagram } from "../../wire/describe.ts";
import {
  type Patience,
  type Request,
  Requests,
} from "../../client/requests.ts";
import { Bench, CONNACK, RETRY_MS, text } from "../support/device.ts";
import { publishOf } from "../support/gateway.ts";

const GATEWAY = peerOf("127.0.0.1", 12003);

/** A way to a gateway, and what went along it. */
class Way {
  readonly #effects = new EffectQueue<DeviceEvent>();
  readonly uplink: Requests;

  constructor(
    patience: Partial<Patience> = {},
    gateway: Peer | undefined = GATEWAY,
    msgId = 0,
  ) {
    this.uplink = new Requests(this.#effects, {
      gateway,
      patience: { retryMs: 10_000, retries: 4, backoff: 1, ...patience },
      msgId,
    });
  }

  drain(): string[] {
    const sent: string[] = [];
    for (let effect; (effect = this.#effects.poll()) !== undefined;) {
      if (effect.type !== "trace") sent.push(describeDatagram(effect.bytes));
    }
    return sent;
  }

  /** When a request is sent again, until it is given up. */
  timesOf(packet: MqttSnPacket): Millis[] {
    const request = this.uplink.request(0, packet);
    const times: Millis[] = [0];
    while (this.uplink.repeat(request.retryAt, request)) {
      times.push(this.uplink.sentAt);
      assertEquals(times.length < 100, true);
    }
    return [...times, request.retryAt];
  }
}

const PUBREL: MqttSnPacket = { type: "PUBREL", msgId: 7 };

Deno.test("repeat() waits for T_retry each time, N_retry times, at a factor of 1", () => {
  const way = new Way();
  assertEquals(way.timesOf(PUBREL), [
    0,
    10_000,
    20_000,
    30_000,
    40_000,
    50_000,
  ]);
  assertEquals(way.drain(), Array(5).fill("PUBREL msgId=7"));
});

Deno.test("repeat() waits longer by the factor each time", () => {
  assertEquals(new Way({ backoff: 2, retries: 3 }).timesOf(PUBREL), [
    0,
    10_000,
    30_000,
    70_000,
    150_000,
  ]);
  assertEquals(new Way({ backoff: 1.5, retries: 2 }).timesOf(PUBREL), [
    0,
    10_000,
    25_000,
    47_500,
  ]);
});

Deno.test("repeat() does nothing where nothing is sent again", () => {
  assertEquals(new Way({ retries: 0 }).timesOf(PUBREL), [0, 10_000]);
  assertEquals(new Way({ retries: 0.5 }).timesOf(PUBREL), [0, 10_000]);
});

Deno.test("request() sends DUP again with PUBLISH and SUBSCRIBE alone", () => {
  const topic = { topicIdType: "normal", topicName: "a" } as const;
  const packets: [MqttSnPacket, string][] = [
    [publishOf(1, "x", { qos: 1, msgId: 2 }), "PUBLISH dup qos=1"],
    [
      { type: "SUBSCRIBE", dup: false, qos: 1, msgId: 2, topic },
      "SUBSCRIBE dup qos=1",
    ],
    [{ type: "UNSUBSCRIBE", msgId: 2, topic }, "UNSUBSCRIBE msgId=2"],
    [PUBREL, "PUBREL msgId=7"],
    [{ type: "PINGREQ", clientId: "" }, 'PINGREQ clientId=""'],
  ];
  for (const [packet, again] of packets) {
    const way = new Way();
    const request = way.uplink.request(0, packet);
    assertEquals(way.drain()[0]!.includes("dup"), false);
    way.uplink.repeat(0, request);
    const [line] = way.drain();
    assertEquals(line!.slice(0, again.length), again);
  }
});

Deno.test("replace() begins the retries and the waits anew", () => {
  const way = new Way({ backoff: 2, retries: 2 });
  const request = way.uplink.request(0, PUBREL);
  way.uplink.repeat(10_000, request);
  way.uplink.replace(15_000, request, { type: "PINGRESP" });
  assertEquals(way.drain().at(-1), "PINGRESP");
  assertEquals(waitsOf(way, request), [25_000, 45_000, 85_000]);
  assertEquals(way.drain(), ["PINGRESP", "PINGRESP"]);
});

Deno.test("revert() goes back to what was asked, and sends nothing", () => {
  const way = new Way();
  const request = way.uplink.request(0, PUBREL);
  way.uplink.replace(0, request, { type: "PINGRESP" });
  way.drain();
  way.uplink.revert(request);
  assertEquals(way.drain(), []);
  way.uplink.repeat(10_000, request);
  assertEquals(way.drain(), ["PUBREL msgId=7"]);
});

Deno.test("restart() waits as long as at first, with the tries that are left", () => {
  const way = new Way({ backoff: 2, retries: 2 });
  const request = way.uplink.request(0, PUBREL);
  way.uplink.repeat(10_000, request);
  way.uplink.restart(15_000, request);
  assertEquals(waitsOf(way, request), [25_000, 45_000]);
});

/** When it is due from now on; the last is when it is given up. */
function waitsOf({ uplink }: Way, request: Request): Millis[] {
  const times = [request.retryAt];
  while (uplink.repeat(request.retryAt, request)) times.push(request.retryAt);
  return times;
}

Deno.test("nextMsgId() goes from 65535 to 1: 0 is none", () => {
  const { uplink } = new Way({}, GATEWAY, 0xfffd);
  assertEquals([1, 2, 3].map(() => uplink.nextMsgId()), [0xfffe, 0xffff, 1]);
});

Deno.test("Without a gateway nothing is sent but broadcasts", () => {
  const effects = new EffectQueue<DeviceEvent>();
  const uplink = new Requests(effects, {
    gateway: undefined,
    patience: { retryMs: 1, retries: 0, backoff: 1 },
    msgId: 0,
  });
  uplink.send(0, PUBREL);
  assertEquals(effects.poll(), undefined);
  uplink.broadcast({ type: "SEARCHGW", radius: 3 });
  const gwAdd = new Uint8Array();
  uplink.broadcast({ type: "GWINFO", gwId: 1, gwAdd });
  const radii = [effects.poll(), effects.poll()].map((effect) =>
    effect?.type === "broadcast" ? effect.radius : undefined
  );
  assertEquals(radii, [3, 0]);
});

// Through the device

Deno.test("A device waits longer for each answer, by 1.5 unless told", () => {
  const timesOf = (options: { backoff?: number }) => {
    const random = () => 0;
    const device = new Device({
      gateway: GATEWAY,
      clientId: "lamp",
      random,
      ...options,
    });
    device.connect(0);
    const times: Millis[] = [];
    for (let at; (at = device.nextTimeout()) !== undefined;) {
      device.handleTimeout(at);
      times.push(at);
    }
    return times;
  };
  assertEquals(timesOf({}), [10_000, 25_000, 47_500, 81_250, 131_875]);
  const times = [10_000, 20_000, 30_000, 40_000, 50_000];
  assertEquals(timesOf({ backoff: 1 }), times);
});

Deno.test("The wait of a request does not outlast the request", () => {
  const bench = Bench.active({ backoff: 3, retries: 2 });
  const publish = () =>
    bench.tell((device, now) =>
      device.publish(now, { short: "ab" }, text("1"), { qos: 1 })
    );
  publish();
  assertEquals(bench.run(40_000).length, 2);
  bench.take("07 0d 61 62 00 01 00");
  publish();
  const [line] = bench.run(RETRY_MS);
  assertEquals(line?.split(" ")[0], "50000");
});

Deno.test("Each awakening has its retries, with the same waits", () => {
  const bench = Bench.active({ backoff: 2 });
  bench.sleep(20);
  const times = bench.run(20_000 + 70_000 + 20_000 + 30_000).map((line) =>
    Number(line.split(" ")[0])
  );
  assertEquals(times, [18_000, 28_000, 48_000, 106_000, 116_000, 136_000]);
});

Deno.test("Prompts for a will begin the waits of CONNECT anew", () => {
  const will = { topicName: "w", payload: text("x") };
  const bench = new Bench({ backoff: 2, retries: 2, will });
  bench.tell((device, now) => device.connect(now));
  bench.run(10_000);
  bench.take("02 06");
  const times = bench.run(70_000).map((line) => Number(line.split(" ")[0]));
  assertEquals(times, [20_000, 40_000]);
  assertEquals(bench.ends, ["silence 1"]);
  bench.take(CONNACK);
  assertEquals(bench.device.state, "lost");
});

Deno.test("A device with a patience that is none is not made", () => {
  for (
    const options of [
      { backoff: 0.9 },
      { backoff: NaN },
      { retryMs: 0 },
      { retries: -1 },
      { giveUpMs: 0 },
      { waitMs: -1 },
      { maxPauseMs: 0 },
    ]
  ) {
    assertThrows(
      () => new Bench(options),
      RangeError,
      Object.keys(options)[0]!,
    );
  }
});
