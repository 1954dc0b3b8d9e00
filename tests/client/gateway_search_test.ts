/**
 * How a client finds gateways, keeps a list of them, and goes over to another.
 * C1 to C3 and C7 are the duties of a client as the checklist numbers them.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Millis, seededRandom } from "../../base/clock.ts";
import { Device } from "../../client/device.ts";
import {
  GatewaySearch,
  type SearchOptions,
} from "../../client/gateway_search.ts";
import { LocalProtocolError } from "../../base/errors.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import {
  Bench,
  CONNACK,
  CONNECT,
  GATEWAY,
  OTHER,
  PATIENCE_MS,
  suback,
  text,
} from "../support/device.ts";
import { GOODBYE, publishOf } from "../support/gateway.ts";

/** T_SEARCHGW and T_GWINFO unless told. */
const SEARCH_MS = 5_000;

/** The longest pause between two searches. */
const MAX_GAP_MS = 300_000;

const NEIGHBOUR = peerOf("127.0.0.9", 5_000);

function advertise(gwId = 1, duration = 900) {
  return { type: "ADVERTISE", gwId, duration } as const;
}

function gwInfo(gwId = 1, gwAdd: readonly number[] = []) {
  return { type: "GWINFO", gwId, gwAdd: Uint8Array.from(gwAdd) } as const;
}

function searchGw(radius = 0) {
  return { type: "SEARCHGW", radius } as const;
}

/** What a list broadcasts by a moment, and when, from deadline to deadline. */
function run(gateways: GatewaySearch, until: Millis): [Millis, MqttSnPacket][] {
  const sent: [Millis, MqttSnPacket][] = [];
  for (let turn = 0; turn < 1_000; turn++) {
    const at = gateways.nextTimeout();
    if (at === undefined || at > until) return sent;
    const packet = gateways.handleTimeout(at);
    if (packet !== undefined) sent.push([at, packet]);
  }
  throw new Error("Always due");
}

const keysOf = (gateways: GatewaySearch) =>
  gateways.known.map(({ peer }) => peer.key);

/** One that draws the longest wait, nearly. */
const ALMOST = () => 1 - 2 ** -32;

// C1: the list

Deno.test("C1: ADVERTISE and GWINFO make a list of gateways", () => {
  const gateways = new GatewaySearch({}, () => 0);
  assertEquals(gateways.known, []);
  gateways.handleAdvertise(0, GATEWAY, advertise(7));
  gateways.handleGwInfo(0, OTHER, gwInfo(8));
  assertEquals(gateways.known, [
    { peer: GATEWAY, gwId: 7 },
    { peer: OTHER, gwId: 8 },
  ]);
  // Heard again, it is the same one, under its latest id.
  gateways.handleAdvertise(0, GATEWAY, advertise(9));
  assertEquals(gateways.known.map(({ gwId }) => gwId), [9, 8]);
});

Deno.test("C1: a gateway goes that misses three announcements of its own", () => {
  const gateways = new GatewaySearch({}, () => 0);
  gateways.handleAdvertise(0, GATEWAY, advertise(1, 10));
  gateways.handleAdvertise(0, OTHER, advertise(2, 100));
  assertEquals(gateways.nextTimeout(), 30_000);
  gateways.handleTimeout(29_999);
  assertEquals(gateways.known.length, 2);
  gateways.handleAdvertise(29_999, GATEWAY, advertise(1, 10));
  gateways.handleTimeout(59_998);
  assertEquals(gateways.known.length, 2);
  gateways.handleTimeout(59_999);
  assertEquals(keysOf(gateways), [OTHER.key]);
  assertEquals(gateways.nextTimeout(), 300_000);
});

Deno.test("C1: GWINFO does not make up for announcements that are missed", () => {
  const gateways = new GatewaySearch({}, () => 0);
  gateways.handleAdvertise(0, GATEWAY, advertise(1, 10));
  gateways.handleGwInfo(20_000, GATEWAY, gwInfo());
  assertEquals(gateways.nextTimeout(), 30_000);
  gateways.handleTimeout(30_000);
  assertEquals(gateways.known, []);
});

Deno.test("C1: who answers and announces nothing stays", () => {
  const gateways = new GatewaySearch({}, () => 0);
  gateways.handleGwInfo(0, GATEWAY, gwInfo());
  assertEquals(gateways.nextTimeout(), undefined);
  gateways.handleTimeout(1e9);
  assertEquals(gateways.known.length, 1);
});

Deno.test("C1: an announcement every 0 s is not over at once", () => {
  const gateways = new GatewaySearch({}, () => 0);
  gateways.handleAdvertise(0, GATEWAY, advertise(1, 0));
  gateways.handleTimeout(2_999);
  assertEquals(gateways.known.length, 1);
});

Deno.test("C1: the list has 32 gateways, the one known for longest goes", () => {
  const gateways = new GatewaySearch({}, () => 0);
  const peers = Array.from({ length: 33 }, (_, at) => peerOf("10.0.0.1", at));
  for (const peer of peers.slice(0, 32)) {
    gateways.handleAdvertise(0, peer, advertise());
  }
  assertEquals(gateways.known.length, 32);
  gateways.handleAdvertise(1, peers[5]!, advertise()); // no new one
  assertEquals(gateways.known.length, 32);
  gateways.handleGwInfo(2, peers[32]!, gwInfo());
  assertEquals(keysOf(gateways), peers.slice(1).map(({ key }) => key));
});

Deno.test("C1: a device tells the list, and has one gateway at a time", () => {
  const bench = new Bench({ search: {} });
  assertEquals(bench.device.gateways, []);
  bench.take(advertise(1));
  bench.take(advertise(2), OTHER);
  assertEquals(bench.device.gateways.length, 2);
  assertEquals(bench.device.gateway, undefined);
  assertEquals(bench.tell((device, now) => device.connect(now)), [CONNECT]);
  assertEquals(bench.device.gateway, GATEWAY);
  bench.take(CONNACK, OTHER);
  assertEquals(bench.strays, ["from somebody else than the gateway"]);
  bench.take(CONNACK);
  assertEquals(bench.device.state, "active");
  // A gateway that stops announcing itself is kept for as long as it answers.
  bench.run(2_700_000);
  assertEquals(bench.device.gateways, []);
  assertEquals(bench.device.state, "active");
  assertEquals(bench.device.gateway, GATEWAY);
});

Deno.test("C1: who does not search keeps no list", () => {
  const bench = new Bench();
  bench.take(advertise());
  bench.take(gwInfo(2), OTHER);
  assertEquals(bench.device.gateways, []);
  assertEquals(bench.device.nextTimeout(), undefined);
});

// C2: SEARCHGW

Deno.test("C2: SEARCHGW goes out after a random time, 0 to T_SEARCHGW", () => {
  const waitOf = (random: () => number, options: SearchOptions = {}) => {
    const gateways = new GatewaySearch(options, random);
    gateways.search(1_000);
    const at = gateways.nextTimeout()!;
    assertEquals(gateways.handleTimeout(at - 0.001), undefined);
    assertEquals(gateways.handleTimeout(at), searchGw(options.radius));
    return at - 1_000;
  };
  assertEquals(waitOf(() => 0), 0);
  assertEquals(waitOf(() => 0.5), 2_500);
  assertEquals(Math.round(waitOf(ALMOST)), SEARCH_MS);
  assertEquals(waitOf(() => 0.5, { searchMs: 200, radius: 3 }), 100);
  const waits = new Set<number>();
  for (let seed = 1; seed <= 50; seed++) {
    const wait = waitOf(seededRandom(seed));
    assert(wait >= 0 && wait < SEARCH_MS, `seed ${seed}`);
    waits.add(wait);
  }
  assertEquals(waits.size, 50);
});

Deno.test("C2: SEARCHGW is repeated after gaps that double, up to 300 s", () => {
  const gateways = new GatewaySearch({}, () => 0.5);
  gateways.search(0);
  const times = run(gateways, 2_000_000).map(([at]) => at);
  assertEquals(times[0], 2_500);
  const gaps = times.slice(1).map((at, index) => at - times[index]!);
  assertEquals(gaps.slice(0, 8), [
    5_000,
    10_000,
    20_000,
    40_000,
    80_000,
    160_000,
    MAX_GAP_MS,
    MAX_GAP_MS,
  ]);
  // Looking already, it does not begin anew.
  gateways.search(2_000_000);
  assertEquals(gateways.nextTimeout(), times.at(-1)! + MAX_GAP_MS);
  gateways.rest();
  assertEquals(gateways.nextTimeout(), undefined);
  gateways.search(3_000_000);
  assertEquals(run(gateways, 3_020_000).map(([at]) => at), [
    3_002_500,
    3_007_500,
    3_017_500,
  ]);
});

Deno.test("C2: an identical SEARCHGW heard before counts as its own", () => {
  const gateways = new GatewaySearch({ radius: 2 }, () => 0.5);
  gateways.search(0);
  gateways.handleSearchGw(1_000, searchGw(2));
  assertEquals(run(gateways, 30_000).map(([at]) => at), [6_000, 16_000]);
});

Deno.test("C2: an identical SEARCHGW counts in each search anew", () => {
  const gateways = new GatewaySearch({}, () => 0.5);
  gateways.search(0);
  gateways.handleTimeout(2_500);
  gateways.rest();
  gateways.search(10_000);
  gateways.handleSearchGw(11_000, searchGw());
  assertEquals(gateways.nextTimeout(), 16_000);
});

Deno.test("C2: SEARCHGW of another radius is another question", () => {
  const gateways = new GatewaySearch({ radius: 2 }, () => 0.5);
  gateways.search(0);
  gateways.handleSearchGw(1_000, searchGw(1));
  assertEquals(gateways.nextTimeout(), 2_500);
});

Deno.test("C2: its own echo does not disturb", () => {
  const gateways = new GatewaySearch({}, () => 0.5);
  gateways.search(0);
  for (const at of [2_500, 7_500, 17_500]) {
    assertEquals(gateways.nextTimeout(), at);
    assertEquals(gateways.handleTimeout(at), searchGw());
    gateways.handleSearchGw(at + 1, searchGw());
  }
  assertEquals(gateways.nextTimeout(), 37_500);
});

Deno.test("C2: who looks for another one does not answer its own echo", () => {
  const gateways = new GatewaySearch({}, () => 0.5);
  gateways.handleAdvertise(0, GATEWAY, advertise(1, 60_000)); // silent by now
  gateways.search(0);
  assertEquals(gateways.handleTimeout(2_500), searchGw());
  gateways.handleSearchGw(2_501, searchGw());
  assertEquals(gateways.nextTimeout(), 7_500);
  assertEquals(run(gateways, 20_000).map(([, { type }]) => type), [
    "SEARCHGW",
    "SEARCHGW",
  ]);
});

Deno.test("C2: who looks for another one lets an identical question count", () => {
  const gateways = new GatewaySearch({}, () => 0.5);
  gateways.handleAdvertise(0, GATEWAY, advertise(1, 60_000));
  gateways.search(0);
  gateways.handleSearchGw(1_000, searchGw());
  assertEquals(gateways.nextTimeout(), 6_000);
});

Deno.test("C2: a device searches when it is told to connect, and only then", () => {
  const bench = new Bench({ random: () => 0.5, search: {} });
  assertEquals(bench.device.nextTimeout(), undefined);
  assertEquals(bench.tell((device, now) => device.connect(now)), []);
  assertEquals(bench.device.state, "searching");
  assertEquals(bench.run(10_000), [
    "2500 SEARCHGW radius=0 to everybody",
    "7500 SEARCHGW radius=0 to everybody",
  ]);
  assertEquals(bench.take(gwInfo()), [CONNECT]);
  assertEquals(bench.gateways, [GATEWAY.key]);
  bench.take(CONNACK);
  assertEquals(bench.states, ["searching", "connecting", "active"]);
  assertEquals(bench.ends, ["done 1"]);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("C2: an announcement ends the search before it was asked", () => {
  const bench = new Bench({ random: () => 0.5, search: {} });
  bench.tell((device, now) => device.connect(now));
  assertEquals(bench.take(advertise(1, 65_535)), [CONNECT]);
  bench.take(CONNACK);
  assertEquals(bench.run(100_000), []);
});

Deno.test("C2: the radius of SEARCHGW is how far it is broadcast", () => {
  const bench = new Bench({ search: { radius: 4 } });
  bench.device.connect(0);
  bench.device.handleTimeout(0);
  const radii: number[] = [];
  for (let effect; (effect = bench.device.pollEffect()) !== undefined;) {
    if (effect.type === "broadcast") radii.push(effect.radius);
  }
  assertEquals(radii, [4]);
});

Deno.test("C2: a search that is not one is not made", () => {
  for (
    const options of [
      { radius: -1 },
      { radius: 256 },
      { radius: 1.5 },
      { searchMs: 0 }, // it would ask without pause
      { searchMs: NaN },
      { infoMs: -1 },
      { infoMs: NaN },
    ]
  ) assertThrows(() => new GatewaySearch(options, () => 0), RangeError);
  // Nothing to go to, and no way to find it.
  assertThrows(
    () => new Device({ clientId: "lamp", random: () => 0 }),
    LocalProtocolError,
  );
});

Deno.test("QoS −1 waits until a gateway is found, and takes no connection", () => {
  const bench = new Bench({ search: {} });
  assertEquals(
    bench.tell((device, now) => {
      device.publish(now, { short: "ab" }, text("1"), { qos: -1 });
      device.publish(now, { short: "ab" }, text("2"), { qos: -1 });
    }),
    [],
  );
  assertEquals(bench.device.pending, 2);
  assertEquals(bench.run(0), ["0 SEARCHGW radius=0 to everybody"]);
  assertEquals(bench.take(gwInfo()).length, 2);
  assertEquals(bench.ends, ["done 1", "done 2"]);
  assertEquals(bench.device.pending, 0);
  assertEquals(bench.device.state, "disconnected");
  assertEquals(bench.device.nextTimeout(), undefined); // it looks no longer
  assertEquals(
    bench.tell((device, now) =>
      device.publish(now, { short: "ab" }, text("3"), { qos: -1 })
    ).length,
    1,
  );
});

Deno.test("QoS −1 ends with silence when no gateway is found in time", () => {
  const bench = new Bench({ search: {}, giveUpMs: 30_000 });
  const publish = () =>
    bench.tell((device, now) =>
      device.publish(now, { short: "ab" }, text("1"), { qos: -1 })
    );
  publish();
  bench.run(10_000);
  publish();
  assertEquals(bench.device.nextTimeout(), 15_000); // it is searched for
  bench.run(19_999);
  assertEquals(bench.device.nextTimeout(), 30_000);
  assertEquals(bench.ends, []);
  bench.run(1);
  assertEquals(bench.ends, ["silence 1"]);
  bench.run(10_000);
  assertEquals(bench.ends, ["silence 1", "silence 2"]);
  assertEquals(bench.device.pending, 0);
  assertEquals(bench.device.nextTimeout(), undefined); // it looks no longer
  assertEquals(bench.take(gwInfo()), []);
});

Deno.test("QoS −1 is still searched for after disconnect()", () => {
  const bench = new Bench({ search: {} });
  bench.tell((device, now) => {
    device.publish(now, { short: "ab" }, text("1"), { qos: -1 });
    device.connect(now);
    device.cancel(now, 2);
    device.disconnect(now);
  });
  assertEquals(bench.run(0), ["0 SEARCHGW radius=0 to everybody"]);
  assertEquals(bench.take(gwInfo()).length, 1);
  assertEquals(bench.ends, ["done 3", "done 1"]);
});

Deno.test("cancel() takes a message at QoS −1 back that waits for a gateway", () => {
  const bench = new Bench({ search: {} });
  bench.tell((device, now) => {
    const payload = text("1");
    const token = device.publish(now, { short: "ab" }, payload, { qos: -1 });
    device.cancel(now, token);
  });
  assertEquals(bench.device.pending, 0);
  assertEquals(bench.device.nextTimeout(), undefined);
  assertEquals(bench.take(gwInfo()), []);
  assertEquals(bench.ends, []);
});

Deno.test("cancel() of connect() ends the search for a gateway", () => {
  const bench = new Bench({ search: {} });
  bench.tell((device, now) => device.cancel(now, device.connect(now)));
  assertEquals(bench.device.state, "disconnected");
  assertEquals(bench.take(gwInfo()), []);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("The search ends when what needs a connection is given up", () => {
  const bench = new Bench({ search: {}, giveUpMs: 60_000 });
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  assertEquals(bench.device.state, "searching");
  assertEquals(bench.run(60_000).length, 4);
  assertEquals(bench.ends, ["silence 1"]);
  assertEquals(bench.device.state, "disconnected");
  assertEquals(bench.device.nextTimeout(), undefined);
});

Deno.test("A lost gateway is not asked for ever for what is given up", () => {
  const bench = new Bench({ search: {}, gateway: GATEWAY, giveUpMs: 60_000 });
  bench.tell((device, now) => device.publish(now, "a", text("1")));
  bench.run(60_000);
  assertEquals(bench.ends, ["silence 1"]);
  bench.run(PATIENCE_MS);
  assertEquals(bench.device.state, "lost");
  assertEquals(bench.device.nextTimeout(), undefined);
});

// C3: to answer others

Deno.test("C3: who knows a gateway answers SEARCHGW with its address", () => {
  const gateways = new GatewaySearch({}, () => 0.5);
  gateways.handleSearchGw(0, searchGw());
  assertEquals(gateways.nextTimeout(), undefined); // it knows none
  gateways.handleGwInfo(0, peerOf("192.0.2.7", 4_711), gwInfo(9));
  gateways.handleSearchGw(1_000, searchGw(3));
  gateways.handleSearchGw(2_000, searchGw()); // one answer is for both
  assertEquals(run(gateways, 1e9), [
    [3_500, gwInfo(9, [6, 192, 0, 2, 7, 0x12, 0x67])],
  ]);
});

Deno.test("C3: the answer comes after a random time, 0 to T_GWINFO", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const gateways = new GatewaySearch({ infoMs: 300 }, seededRandom(seed));
    gateways.handleGwInfo(0, GATEWAY, gwInfo());
    gateways.handleSearchGw(1_000, searchGw());
    const at = gateways.nextTimeout()!;
    assert(at >= 1_000 && at < 1_300, `seed ${seed}: ${at}`);
    assertEquals(at === 1_000, false, `seed ${seed}`);
  }
});

Deno.test("C3: another's GWINFO takes the answer's place", () => {
  const gateways = new GatewaySearch({}, () => 0.5);
  gateways.handleGwInfo(0, GATEWAY, gwInfo());
  gateways.handleSearchGw(1_000, searchGw());
  gateways.handleGwInfo(2_000, OTHER, gwInfo(2));
  assertEquals(gateways.nextTimeout(), undefined);
  gateways.handleSearchGw(3_000, searchGw());
  assertEquals(gateways.nextTimeout(), 5_500); // the next question is another
});

Deno.test("C3: GWINFO with an address is about another than its sender", () => {
  const gateways = new GatewaySearch({}, () => 0);
  gateways.handleGwInfo(0, NEIGHBOUR, gwInfo(3, [6, 10, 1, 2, 3, 0x2e, 0xe3]));
  assertEquals(gateways.known, [{
    peer: peerOf("10.1.2.3", 12_003),
    gwId: 3,
  }]);
});

Deno.test("C3: a malformed address is ignored", () => {
  const gateways = new GatewaySearch({}, () => 0);
  for (
    const gwAdd of [
      [6],
      [4, 127, 0, 0, 1],
      [6, 127, 0, 0, 1, 0, 0], // no port
      [6, 127, 0, 0, 1, 1],
      [6, 127, 0, 0, 1, 1, 1, 1],
      [5, 127, 0, 0, 1, 1, 1],
    ]
  ) {
    gateways.handleGwInfo(0, NEIGHBOUR, gwInfo(1, gwAdd));
    assertEquals(gateways.known, [], `${gwAdd}`);
  }
});

Deno.test("C3: a gateway at an IPv6 address is others' to tell", () => {
  const gateways = new GatewaySearch({}, () => 0);
  gateways.handleGwInfo(0, peerOf("2001:db8::1", 12_003), gwInfo(1));
  gateways.handleSearchGw(0, searchGw());
  assertEquals(run(gateways, 1e9), []);
  gateways.handleGwInfo(0, GATEWAY, gwInfo(2));
  gateways.handleSearchGw(0, searchGw());
  assertEquals(run(gateways, 1e9), [
    [0, gwInfo(2, [6, 127, 0, 0, 1, 0x2e, 0xe3])],
  ]);
});

Deno.test("C3: what one device tells another one finds", () => {
  const one = new Bench({ search: {} });
  const two = new Bench({ search: {} });
  one.take(advertise(1));
  two.tell((device, now) => device.connect(now));
  assertEquals(two.run(0).length, 1);
  one.take(two.wire[0] ?? "03 01 00", NEIGHBOUR);
  assertEquals(one.run(0).length, 1);
  one.take(searchGw(), NEIGHBOUR);
  one.runOnce();
  assertEquals(two.take(one.wire[0]!, NEIGHBOUR), [CONNECT]);
  assertEquals(two.device.gateway?.key, GATEWAY.key);
});

// C7: another gateway

/** One that is connected to a gateway, and knows another. */
function connected(retries = 2): Bench {
  const bench = new Bench({ search: {}, retries });
  bench.take(advertise(1, 65_535));
  bench.take(advertise(2, 65_535), OTHER);
  bench.tell((device, now) => device.connect(now));
  bench.take(CONNACK);
  bench.events.length = 0;
  return bench;
}

const TO_OTHER = `${CONNECT} to ${OTHER.key}`;

Deno.test("C7: a gateway that is silent is left for another, and back again", () => {
  const bench = connected();
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  assertEquals(bench.run(PATIENCE_MS).length, 2);
  assertEquals(bench.gateways, [OTHER.key]);
  assertEquals(bench.run(5_000 + 2 * PATIENCE_MS), [
    `35000 ${TO_OTHER}`,
    `45000 ${TO_OTHER}`,
    `55000 ${TO_OTHER}`,
    `65000 ${CONNECT}`, // at once, to the first
    `75000 ${CONNECT}`,
    `85000 ${CONNECT}`,
    "95000 SEARCHGW radius=0 to everybody",
  ]);
  assertEquals(bench.device.state, "lost");
  // None of those that are known: a pause, longer than the last.
  assertEquals(bench.run(10_000).at(-1), `105000 ${TO_OTHER}`);
  assertEquals(bench.take(CONNACK, OTHER), [
    `SUBSCRIBE qos=1 msgId=2 topicName="a" to ${OTHER.key}`,
  ]);
  bench.take(suback(1, 2), OTHER);
  assertEquals(bench.ends, ["done 2"]);
  assertEquals(bench.gateways, [OTHER.key, GATEWAY.key, OTHER.key]);
  assertEquals(bench.run(1_000_000), []);
});

Deno.test("C7: another gateway is one that knows nothing", () => {
  const bench = connected();
  bench.tell((device, now) => device.subscribe(now, "a", 1));
  bench.take(suback(1, 1));
  bench.tell((device, now) => device.register(now, "b"));
  bench.run(PATIENCE_MS + 5_000);
  assertEquals(bench.take(CONNACK, OTHER), [
    `REGISTER topicId=0 msgId=3 topicName="b" to ${OTHER.key}`,
    `SUBSCRIBE qos=1 msgId=4 topicName="a" to ${OTHER.key}`,
  ]);
  bench.take(publishOf(1, "x")); // from the first: a stray
  assertEquals(bench.messages, []);
});

Deno.test("C7: who did not answer once is tried again the next time", () => {
  const bench = new Bench({ search: {}, retries: 0 });
  const third = peerOf("127.0.0.3", 12_003);
  bench.take(advertise(1, 65_535));
  bench.take(advertise(2, 65_535), OTHER);
  bench.take(advertise(3, 65_535), third);
  bench.tell((device, now) => device.connect(now));
  bench.run(10_000);
  bench.take(CONNACK, OTHER);
  bench.tell((device, now) => device.register(now, "a"));
  // The second falls silent, the third is, and the first comes at once.
  assertEquals(bench.run(25_000), [
    `25000 ${CONNECT} to ${third.key}`,
    `35000 ${CONNECT}`,
  ]);
});

Deno.test("C7: a gateway that says good-bye is not silent: the same again", () => {
  const bench = connected();
  bench.take(GOODBYE);
  assertEquals(bench.run(5_000), [`5000 ${CONNECT}`]);
  assertEquals(bench.gateways, []);
});

Deno.test("C7: connect() ends with silence when each gateway was tried, and others searched for", () => {
  const bench = new Bench({ search: {}, retries: 0 });
  bench.take(advertise(1, 65_535));
  bench.take(advertise(2, 65_535), OTHER);
  bench.tell((device, now) => device.connect(now));
  const SEARCH = "SEARCHGW radius=0 to everybody";
  assertEquals(bench.run(1_000_000), [
    `10000 ${TO_OTHER}`,
    `20000 ${SEARCH}`,
    `25000 ${SEARCH}`,
    `25000 ${CONNECT}`,
    `35000 ${SEARCH}`,
    `35000 ${TO_OTHER}`,
  ]);
  assertEquals(bench.ends, ["silence 1"]);
  assertEquals(bench.device.state, "lost");
  // And the next time all are tried again.
  bench.tell((device, now) => device.connect(now));
  bench.run(1_000_000);
  assertEquals(bench.ends, ["silence 1", "silence 2"]);
  assertEquals(bench.gateways.slice(0, 4), [
    GATEWAY.key,
    OTHER.key,
    GATEWAY.key,
    OTHER.key,
  ]);
});

Deno.test("C7: the gateway that it was told of is one of them", () => {
  const bench = new Bench({ search: {}, gateway: GATEWAY, retries: 0 });
  bench.take(advertise(2, 65_535), OTHER);
  assertEquals(bench.tell((device, now) => device.connect(now)), [CONNECT]);
  bench.run(10_000);
  bench.take(CONNACK, OTHER);
  bench.tell((device, now) => device.register(now, "a"));
  bench.run(10_000);
  assertEquals(bench.gateways, [OTHER.key, GATEWAY.key]);
});

Deno.test("C7: a gateway that is found while it pauses is tried in turn", () => {
  const bench = new Bench({ search: {}, gateway: GATEWAY, retries: 0 });
  bench.tell((device, now) => device.publish(now, { short: "ab" }, text("1")));
  assertEquals(bench.run(10_000), [
    "10000 SEARCHGW radius=0 to everybody",
  ]);
  bench.take(gwInfo(2), OTHER);
  bench.run(15_000);
  assertEquals(bench.gateways, [OTHER.key]);
  assertEquals(bench.take(CONNACK, OTHER).length, 1);
  assertEquals(bench.ends, ["done 1"]);
  assertEquals(bench.run(1_000_000), []); // and nothing is searched for
});

Deno.test("C7: gateways are tried in turn, whoever leaves the list", () => {
  const third = peerOf("127.0.0.3", 12_003);
  const gateways = new GatewaySearch({}, () => 0);
  const next = (last: Peer | undefined) => gateways.after(last)?.key;
  assertEquals(next(undefined), undefined);
  assertEquals(next(GATEWAY), undefined);
  gateways.handleAdvertise(0, GATEWAY, advertise(1));
  gateways.handleAdvertise(0, OTHER, advertise(2));
  gateways.handleAdvertise(0, third, advertise(3));
  assertEquals(next(undefined), GATEWAY.key);
  assertEquals(next(GATEWAY), OTHER.key);
  assertEquals(next(OTHER), third.key);
  assertEquals(next(third), GATEWAY.key);
  assertEquals(next(NEIGHBOUR), GATEWAY.key);
});
