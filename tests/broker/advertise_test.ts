/**
 * How clients find the gateway (§6.1): the announcements by themselves, and
 * through the router.
 */

import { assertEquals } from "@std/assert";
import { Advertiser } from "../../broker/advertise.ts";
import type { Advertise } from "../../wire/packets.ts";
import { EVERYBODY, GatewayBench } from "../support/gateway.ts";
import { ANN, BOB, FAR } from "../support/router.ts";

function advertise(gwId: number, duration: number): Advertise {
  return { type: "ADVERTISE", gwId, duration };
}

/** The effects of a router as they are, broadcasts with their radius. */
function effectsOf(bench: GatewayBench): string[] {
  const effects: string[] = [];
  for (let effect; (effect = bench.router.pollEffect()) !== undefined;) {
    if (effect.type === "trace" || effect.type === "persist") continue;
    const to = effect.type === "send"
      ? effect.peer.key
      : `${EVERYBODY} ${effect.radius}`;
    effects.push(`${to}: ${effect.bytes.toHex()}`);
  }
  return effects;
}

// ADVERTISE

Deno.test("Advertiser advertises at once, and then each interval", () => {
  const discovery = new Advertiser({ gwId: 7, advertise: 900, standby: false });
  assertEquals(discovery.handleTimeout(50), advertise(7, 900));
  assertEquals(discovery.nextTimeout(), 900_050);
  assertEquals(discovery.handleTimeout(900_049), undefined);
  assertEquals(discovery.handleTimeout(900_050), advertise(7, 900));
  assertEquals(discovery.handleTimeout(900_050), undefined);
  assertEquals(discovery.nextTimeout(), 1_800_050);
});

Deno.test("Advertiser that was not asked to does not advertise", () => {
  const discovery = new Advertiser({ gwId: 1, advertise: 0, standby: false });
  assertEquals(discovery.nextTimeout(), undefined);
  assertEquals(discovery.handleTimeout(1e9), undefined);
});

Deno.test("§6.1 ADVERTISE is broadcast every T_ADV, with T_ADV in it", () => {
  const bench = new GatewayBench({ advertise: 900 });
  const expected = [EVERYBODY, advertise(1, 900)] as const;
  assertEquals(bench.advance(0), [expected]);
  assertEquals(bench.wire, ["0500010384"]);
  for (let i = 1; i <= 3; i++) {
    assertEquals(bench.run(899_999), []);
    assertEquals(bench.run(1), [expected]);
    assertEquals(bench.stats.sentByType.ADVERTISE, 1 + i);
  }
});

Deno.test("§6.1 ADVERTISE goes by the usual radius", () => {
  const bench = new GatewayBench({ advertise: 900, gwId: 255 });
  bench.router.handleTimeout(0);
  assertEquals(effectsOf(bench), [`${EVERYBODY} 0: 0500ff0384`]);
});

Deno.test("§6.1 no ADVERTISE unless it is asked for", () => {
  const bench = new GatewayBench();
  assertEquals(bench.router.nextTimeout(), undefined);
  assertEquals(bench.run(1e9), []);
});

Deno.test("§6.1 the longest interval is that of its field", () => {
  const bench = new GatewayBench({ advertise: 65_535 });
  bench.advance(0);
  assertEquals(bench.wire, ["050001ffff"]);
  assertEquals(bench.run(65_534_999), []);
  assertEquals(bench.run(1).length, 1);
});

Deno.test("§6.1 a gateway that is not standby advertises whoever else does", () => {
  const bench = new GatewayBench({ advertise: 900 });
  bench.advance(0);
  bench.run(800_000);
  assertEquals(bench.take(FAR, advertise(2, 900)), []);
  assertEquals(bench.run(100_000), [[EVERYBODY, advertise(1, 900)]]);
});

Deno.test("§6.1 a broadcast is counted among what was sent", () => {
  const bench = new GatewayBench({ advertise: 900 });
  bench.advance(0);
  const { sent, sentOctets } = bench.router.stats();
  assertEquals([sent, sentOctets], [1, 5]);
});

// SEARCHGW

for (const radius of [0, 1, 255]) {
  Deno.test(`§12 SEARCHGW with radius ${radius} is answered by unicast and by broadcast`, () => {
    const bench = new GatewayBench({ gwId: 9 });
    const search = Uint8Array.of(3, 1, radius);
    bench.router.handleDatagram(0, FAR, search);
    assertEquals(effectsOf(bench), [
      `${FAR.key}: 030209`,
      `${EVERYBODY} ${radius}: 030209`,
    ]);
    assertEquals(bench.stats.sentByType.GWINFO, 2);
  });
}

Deno.test("§12 SEARCHGW makes nobody a client, and a client stays one", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "03 01 00");
  bench.take(FAR, "03 01 00");
  assertEquals(bench.stats.clients.total, 1);
  assertEquals(bench.router.nextTimeout(), undefined);
});

Deno.test("§12 GWINFO and ADVERTISE of others are not answered", () => {
  const bench = new GatewayBench();
  assertEquals(bench.take(FAR, "03 02 05"), []);
  assertEquals(bench.take(FAR, "08 02 01 04 7F 00 00 01"), []);
  assertEquals(bench.take(FAR, "05 00 05 03 84"), []);
});

// Standby

Deno.test("§6.1 a standby gateway begins when N_ADV announcements have been missed", () => {
  const bench = new GatewayBench({ gwId: 1, advertise: 10, standby: true });
  assertEquals(bench.take(FAR, advertise(2, 100)), []);
  assertEquals(bench.run(50_000), []);
  assertEquals(bench.take(FAR, advertise(2, 100)), []);
  assertEquals(bench.run(299_999), [], "its interval counts, not ours");
  assertEquals(bench.run(1), [[EVERYBODY, advertise(1, 10)]]);
  assertEquals(bench.run(9_999), []);
  assertEquals(bench.run(1), [[EVERYBODY, advertise(1, 10)]]);
});

Deno.test("§6.1 a standby gateway falls silent again when the primary is back", () => {
  const bench = new GatewayBench({ gwId: 1, advertise: 10, standby: true });
  bench.take(FAR, advertise(2, 100));
  assertEquals(bench.run(310_000).length, 2);
  assertEquals(bench.take(FAR, advertise(2, 100)), []);
  assertEquals(bench.run(299_999), []);
  assertEquals(bench.run(1).length, 1, "and begins again");
});

Deno.test("§6.1 a standby gateway stays silent while the primary advertises in time", () => {
  const bench = new GatewayBench({ gwId: 1, advertise: 10, standby: true });
  for (let i = 0; i < 20; i++) {
    assertEquals(bench.take(FAR, advertise(2, 100)), []);
    assertEquals(bench.run(i % 2 === 0 ? 100_000 : 299_999), []);
  }
  assertEquals(bench.stats.sentByType.ADVERTISE, 0);
});

Deno.test("§6.1 a standby gateway that hears nobody listens first, then begins", () => {
  const bench = new GatewayBench({ gwId: 1, advertise: 10, standby: true });
  assertEquals(bench.advance(0), []);
  assertEquals(bench.run(29_999), []);
  assertEquals(bench.run(1), [[EVERYBODY, advertise(1, 10)]]);
});

Deno.test("§6.1 a standby gateway ignores its own gwId", () => {
  const bench = new GatewayBench({ gwId: 1, advertise: 10, standby: true });
  bench.advance(0);
  bench.run(20_000);
  assertEquals(bench.take(FAR, advertise(1, 1_000)), [], "our own, come back");
  assertEquals(bench.run(9_999), []);
  assertEquals(bench.run(1), [[EVERYBODY, advertise(1, 10)]]);
});

Deno.test("§6.1 a standby gateway takes an interval of 0 for the least", () => {
  const bench = new GatewayBench({ gwId: 1, advertise: 10, standby: true });
  bench.take(FAR, advertise(2, 0));
  assertEquals(bench.run(2_999), []);
  assertEquals(bench.run(1).length, 1);
});

Deno.test("§6.1 a standby gateway that does not advertise is silent for ever", () => {
  const bench = new GatewayBench({ gwId: 1, standby: true });
  bench.take(FAR, advertise(2, 1));
  assertEquals(bench.router.nextTimeout(), undefined);
  assertEquals(bench.run(1e9), []);
});

Deno.test("§12 a standby gateway serves clients, and answers SEARCHGW", () => {
  const bench = new GatewayBench({ gwId: 1, advertise: 10, standby: true });
  bench.take(FAR, advertise(2, 100));
  assertEquals(bench.connect(BOB, "bob").length, 1);
  assertEquals(bench.take(ANN, "03 01 00").length, 2);
});
