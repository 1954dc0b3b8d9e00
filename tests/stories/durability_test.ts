/**
 * That nothing a durable router promised to keep changes without being told:
 * whatever clients do, what its sessions are is what the store says.
 */

import { assert, assertEquals } from "@std/assert";
import { type Random, seededRandom } from "../../base/clock.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { RouterOptions } from "../../broker/options.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import type { StoreChange, StoreRecord } from "../../broker/records.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { answerAll, answerOf, GatewayBench } from "../support/gateway.ts";
import { drainSends, linesOf, packetIn, Witness } from "../support/kept.ts";

/** Runs of each kind. */
const SEEDS = 60;
const STEPS = 250;

const PEERS = [1, 2, 3, 4].map((port) => peerOf("127.0.0.1", port));
const CLIENT_IDS = ["a", "b", "c", "d"];
const NAMES = ["a", "a/b", "p/one", "ab", "x/y", "b", "c/d/e"];
const FILTERS = [...NAMES, "a/+", "#", "+/b", "x/#"];

/** What a client may send, whether it makes sense or not. */
function packetOf(random: Random): MqttSnPacket {
  const below = (n: number) => Math.floor(random() * n);
  const pick = <T>(list: readonly T[]) => list[below(list.length)]!;
  const qos = pick([0, 1, 1, 2, 2]) as 0 | 1 | 2;
  const msgId = 1 + below(4);
  const clientId = pick(CLIENT_IDS);
  const topicName = pick(NAMES);
  const data = Uint8Array.of(below(3));
  switch (below(20)) {
    case 0:
    case 1:
      return {
        type: "CONNECT",
        will: below(3) === 0,
        cleanSession: below(4) === 0,
        protocolId: 1,
        duration: below(3) * 20,
        clientId,
      };
    case 2:
      return {
        type: "WILLTOPIC",
        will: { qos, retain: below(2) === 0, topicName },
      };
    case 3:
      return { type: "WILLMSG", data };
    case 4:
      return { type: "REGISTER", topicId: 0, msgId, topicName };
    case 5:
    case 6:
    case 7: {
      const topicName = pick(FILTERS);
      const topic = pick(
        [
          { topicIdType: "normal", topicName },
          { topicIdType: "normal", topicName },
          { topicIdType: "predefined", topicId: 5 },
          { topicIdType: "short", topicId: 0x6162 },
        ] as const,
      );
      return { type: "SUBSCRIBE", dup: false, qos, msgId, topic };
    }
    case 8: {
      const topicName = pick(FILTERS);
      const topic = pick(
        [
          { topicIdType: "normal", topicName },
          { topicIdType: "predefined", topicId: 5 },
          { topicIdType: "short", topicId: 0x6162 },
        ] as const,
      );
      return { type: "UNSUBSCRIBE", msgId, topic };
    }
    case 9:
      return { type: "PUBREL", msgId };
    case 10:
      return {
        type: "DISCONNECT",
        duration: pick([undefined, undefined, 20, 40, 60]),
      };
    case 11:
      return { type: "PINGREQ", clientId: pick(["", clientId]) };
    case 12:
      return {
        type: "WILLTOPICUPD",
        will: pick([undefined, { qos, retain: false, topicName }]),
      };
    case 13:
      return { type: "WILLMSGUPD", data };
    default: {
      const topic = pick(
        [
          { topicIdType: "normal", topicId: 1 + below(4) },
          { topicIdType: "normal", topicId: 1 + below(4) },
          { topicIdType: "predefined", topicId: 5 },
          { topicIdType: "short", topicId: 0x6162 },
        ] as const,
      );
      return {
        type: "PUBLISH",
        dup: below(4) === 0,
        qos,
        retain: below(4) === 0,
        msgId: qos === 0 ? 0 : msgId,
        ...topic,
        data: below(6) === 0 ? new Uint8Array() : data,
      };
    }
  }
}

/** Clients at a durable router, by chance; all that it told is kept. */
function play(
  random: Random,
  bench: GatewayBench,
  { hasFailures }: { readonly hasFailures: boolean },
): void {
  const below = (n: number) => Math.floor(random() * n);
  const { router, clock } = bench;
  const unanswered: [Peer, MqttSnPacket][] = [];
  /** Sends what there is to send; or the commit before that fails. */
  const settle = (isFailing: boolean) => {
    const sends = drainSends(bench);
    if (isFailing) router.handleStore("refusing");
    for (const { peer, bytes, isPromise } of sends) {
      if (isPromise && isFailing) {
        router.handleUncommitted(clock.now(), peer, bytes);
        continue;
      }
      const answer = answerOf(packetIn(bytes));
      if (answer !== undefined) unanswered.push([peer, answer]);
    }
    if (isFailing) drainSends(bench);
    bench.commit(); // sooner or later it succeeds
  };
  for (let step = 0; step < STEPS; step++) {
    const dice = below(10);
    const last = unanswered.length > 0 && dice < 3
      ? unanswered.splice(below(unanswered.length), 1)[0]
      : undefined;
    if (last !== undefined) {
      const [peer, answer] = last;
      const returnCode = below(8) > 0 ? 0 : 1 + below(3);
      const bytes = encodePacket(
        "returnCode" in answer ? { ...answer, returnCode } : answer,
      );
      router.handleDatagram(clock.now(), peer, bytes);
    } else if (dice === 3) {
      clock.advance(below(below(4) === 0 ? 60_000 : 6_000));
      router.handleTimeout(clock.now());
    } else if (dice === 4 && hasFailures) {
      const states = ["ready", "busy", "refusing"] as const;
      router.handleStore(states[below(states.length)]!);
    } else {
      const peer = PEERS[below(PEERS.length)]!;
      const bytes = encodePacket(packetOf(random));
      router.handleDatagram(clock.now(), peer, bytes);
    }
    const { store } = router.stats();
    settle(hasFailures && store !== "refusing" && below(12) === 0);
  }
  router.handleStore("ready");
  settle(false);
}

/** What is retained, as somebody new hears it. */
function retainedBy(bench: GatewayBench): string[] {
  const peer = peerOf("127.0.0.1", 9);
  bench.connect(peer, "reader", { cleanSession: true });
  const topics = new Map<number, string>();
  const sent = bench.subscribe(peer, "#", 2);
  const lines: string[] = [];
  for (const packet of answerAll(bench, peer, sent)) {
    if (packet.type === "REGISTER") {
      topics.set(packet.topicId, packet.topicName);
    }
    if (packet.type !== "PUBLISH") continue;
    const { topicId, qos, data, retain } = packet;
    lines.push(`${topics.get(topicId)} ${qos} ${retain} ${data.toHex()}`);
  }
  return lines.sort();
}

/** What somebody new hears by the classic protocol. */
function historiesOf(bench: GatewayBench): string[] {
  return NAMES.map((topic) => {
    const request = encodeUtf8(JSON.stringify({ type: "subscribe", topic }));
    bench.router.handleDatagram(bench.clock.now(), PEERS[0]!, request);
    const [send] = drainSends(bench);
    return `${topic} ${send?.bytes.toHex()}`;
  });
}

const SMALL = {
  maxQueue: 4,
  maxTopicIds: 3,
  maxSubscriptions: 3,
  maxUnreleased: 2,
  maxRetained: 3,
  maxClients: 5,
  history: 3,
} as const satisfies RouterOptions;

const KINDS: Readonly<Record<string, RouterOptions>> = {
  "with the usual limits": {},
  "with small limits": SMALL,
  "that lets expire": { sessionExpiry: 60, messageExpiry: 30 },
  "that refuses when a queue is full": { ...SMALL, overflow: "refuse" },
  "that a CONNECT only wakes": { connectWakesOnly: true },
  "whose store fails": {},
  "with small limits whose store fails": { ...SMALL, messageExpiry: 20 },
};

for (const [kind, options] of Object.entries(KINDS)) {
  Deno.test(`Router tells of all that it keeps, one ${kind}`, () => {
    const hasFailures = kind.endsWith("fails");
    // Nobody was promised a message at QoS 0, and it may have been left out.
    const leavesOut = (record: StoreChange) =>
      hasFailures && record.type === "queued" && record.qos === 0;
    let records = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const told = `seed ${seed}`;
      const bench = new GatewayBench({
        isDurable: true,
        predefined: new Map([[5, "p/one"]]),
        retryMs: 5_000,
        retries: 2,
        ...options,
      });
      let kept: StoreRecord[];
      {
        using witness = new Witness();
        play(seededRandom(seed), bench, { hasFailures });
        kept = bench.store.load();
        records += kept.length;
        assertEquals(witness.forgotten, [], told);
        const is = linesOf(witness.dump(), leavesOut);
        assertEquals(linesOf(kept, leavesOut), is, told);
      }
      // And whoever begins with it is the same, and tells of that as well.
      const before = [retainedBy(bench), historiesOf(bench)];
      bench.changes.length = 0;
      using witness = new Witness();
      bench.restart();
      const is = linesOf(witness.dump());
      assertEquals(linesOf(bench.store.load()), is, told);
      const after = [retainedBy(bench), historiesOf(bench)];
      if (!hasFailures) assertEquals(after, before, told);
      else assertEquals(after[0], before[0], told);
    }
    assert(records > SEEDS * 5, String(records));
  });
}
