import { assert } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { type Random, seededRandom } from "../clock.ts";
import { type Peer, peerOf } from "../message.ts";
import { encodePacket, isFramed } from "../mqttsn.ts";
import { Router } from "../router.ts";
import { VECTORS } from "./vectors.ts";

// More, or one again: deno test -A tests/fuzz_test.ts -- --datagrams 10000000
const flags = parseArgs(Deno.args, { string: ["seed", "datagrams"] });
const DATAGRAMS = Number(flags.datagrams ?? 1_000_000);
const SEED = Number(flags.seed ?? 1);
const PARTS = 10;

/** Small, so that each is reached again and again. */
const LIMITS = {
  history: 3,
  maxTopics: 20,
  maxWaiting: 50,
  maxWaitingPerPeer: 9,
  maxMemory: 1_000_000,
  maxClients: 30,
  maxQueue: 10,
  maxSubscriptions: 3,
  maxTopicIds: 12,
  maxRetained: 15,
  maxUnreleased: 4,
  maxRate: 40,
  retryMs: 200,
  retries: 2,
  advertise: 60,
  predefined: new Map([[5, "a/b"], [7, "p/one"]]),
} as const;

const text = new TextEncoder();
const SEEDS: readonly Uint8Array[] = [
  ...VECTORS.map(({ hex }) => Uint8Array.fromHex(hex.replaceAll(" ", ""))),
  ...[
    '{"type":"publish","topic":"a","data":"x"}',
    '{"type":"subscribe","topic":"a"}',
    '{"type":"publish","topic":"$SYS/a","data":5}',
  ].map((json) => text.encode(json)),
];

const CLIENT_IDS = ["a", "b", "c", "lamp", "clientId", ""];
const NAMES = ["a", "a/b", "a/+", "#", "$SYS/#", "p/one", "x/y/z", "ab", "+/b"];

/** A datagram that a peer may send: sensible, mutated, or anything. */
function datagram(random: Random): Uint8Array {
  const below = (n: number) => Math.floor(random() * n);
  const dice = below(10);
  if (dice < 6) return sensible(below);
  if (dice === 9) {
    return Uint8Array.from({ length: below(40) }, () => below(256));
  }
  const bytes = SEEDS[below(SEEDS.length)]!.slice();
  const flips = below(4);
  for (let i = 0; i < flips; i++) bytes[below(bytes.length)] = below(256);
  return below(5) > 0 ? bytes : bytes.subarray(0, below(bytes.length + 1));
}

/** What a client in its right mind might send at some moment or other. */
function sensible(below: (n: number) => number): Uint8Array {
  const pick = <T>(list: readonly T[]) => list[below(list.length)]!;
  const qos = (below(4) - 1) as -1 | 0 | 1 | 2;
  const msgId = below(6);
  const topicId = below(9);
  const returnCode = below(3) > 0 ? 0 : below(5);
  const clientId = pick(CLIENT_IDS);
  const topicName = pick(NAMES);
  const data = new Uint8Array(below(20) > 0 ? below(30) : below(3_000));
  const flag = below(2) === 0;
  const will = flag ? undefined : { qos, retain: flag, topicName };
  switch (below(21)) {
    case 0:
    case 1:
      return encodePacket({
        type: "CONNECT",
        will: below(3) === 0,
        cleanSession: flag,
        protocolId: below(9) > 0 ? 1 : below(256),
        duration: below(3),
        clientId,
      });
    case 2:
      return encodePacket({ type: "WILLTOPIC", will });
    case 3:
      return encodePacket({ type: "WILLMSG", data });
    case 4:
      return encodePacket({ type: "REGISTER", topicId: 0, msgId, topicName });
    case 5:
    case 6:
      return encodePacket({
        type: "SUBSCRIBE",
        dup: flag,
        qos,
        msgId,
        topic: below(3) > 0
          ? { topicIdType: "normal", topicName }
          : { topicIdType: pick(["predefined", "short"]), topicId },
      });
    case 7:
      return encodePacket({
        type: "UNSUBSCRIBE",
        msgId,
        topic: { topicIdType: "normal", topicName },
      });
    case 8:
    case 9:
    case 10:
    case 11:
      return encodePacket({
        type: "PUBLISH",
        dup: flag,
        qos,
        retain: below(4) === 0,
        topicIdType: pick(["normal", "normal", "predefined", "short"]),
        topicId: below(5) > 0 ? topicId : 0x6162,
        msgId,
        data,
      });
    case 12:
    case 13:
      return encodePacket({ type: "PUBACK", topicId, msgId, returnCode });
    case 14:
      return encodePacket({ type: "REGACK", topicId, msgId, returnCode });
    case 15:
      return encodePacket({ type: pick(["PUBREC", "PUBREL"]), msgId });
    case 16:
      return encodePacket({ type: "PUBCOMP", msgId });
    case 17:
      return encodePacket({ type: "PINGREQ", clientId: flag ? "" : clientId });
    case 18:
      return encodePacket({
        type: "DISCONNECT",
        duration: flag ? undefined : below(3),
      });
    case 19:
      return encodePacket({ type: "WILLTOPICUPD", will });
    default:
      return encodePacket({ type: "WILLMSGUPD", data });
  }
}

const PEERS: readonly Peer[] = [
  ...Array.from({ length: 12 }, (_, i) => peerOf("127.0.0.1", 1_000 + i)),
  ...Array.from({ length: 4 }, (_, i) => peerOf(`192.0.2.${i}`, 4_711)),
];

/** Answers some of what the router sends, as a client would. */
function answer(bytes: Uint8Array, random: Random): Uint8Array | undefined {
  if (random() < 0.3 || bytes.length < 4) return undefined;
  switch (bytes[1]) {
    case 0x0a: // REGISTER
      return Uint8Array.of(
        7,
        0x0b,
        bytes[2]!,
        bytes[3]!,
        bytes[4]!,
        bytes[5]!,
        random() < 0.9 ? 0 : 3,
      );
    case 0x0c: { // PUBLISH
      const qos = bytes[2]! >> 5 & 3;
      const [topicHigh, topicLow, high, low] = bytes.subarray(3, 7);
      if (qos === 2) return Uint8Array.of(4, 0x0f, high!, low!);
      const returnCode = random() < 0.9 ? 0 : 1 + Math.floor(random() * 3);
      return qos === 1
        ? Uint8Array.of(7, 0x0d, topicHigh!, topicLow!, high!, low!, returnCode)
        : undefined;
    }
    case 0x10: // PUBREL
      return Uint8Array.of(4, 0x0e, bytes[2]!, bytes[3]!);
    default:
      return undefined;
  }
}

for (let part = 0; part < PARTS; part++) {
  const count = Math.ceil(DATAGRAMS / PARTS);
  const seed = SEED + part;
  Deno.test(`Router never throws, and its tables stay bounded, in ${count.toLocaleString("en")} datagrams by seed ${seed}`, () => {
    const random = seededRandom(seed);
    const below = (n: number) => Math.floor(random() * n);
    const router = new Router({
      ...LIMITS,
      strict: part % 5 === 1,
      overflow: part % 3 === 1 ? "refuse" : "drop",
      namedQosMinusOne: part % 4 === 1,
      ignoreTail: part % 4 === 2,
      allowEmptyClientId: part % 4 === 3,
      registerPredefined: part % 2 === 1,
      connectWakesOnly: part % 5 === 2,
    });
    let now = 0;
    let round = 0;
    const take = (peer: Peer, bytes: Uint8Array): [Peer, Uint8Array][] => {
      // The router may read the octets during the call and no longer.
      const lent = bytes.slice();
      router.handleDatagram(now, peer, lent);
      lent.fill(0xee);
      const answers: [Peer, Uint8Array][] = [];
      for (let effect; (effect = router.pollEffect()) !== undefined;) {
        if (effect.type !== "send") continue;
        const { bytes } = effect;
        assert(bytes.length > 0 && bytes.length <= 65_507);
        const reply = isFramed(bytes) ? answer(bytes, random) : undefined;
        if (reply !== undefined) answers.push([effect.peer, reply]);
      }
      return answers;
    };
    try {
      for (; round < count; round++) {
        const peer = PEERS[below(PEERS.length)]!;
        let bytes = datagram(random);
        if (below(20) === 0 && bytes.length > 1) {
          const wirelessNodeId = Uint8Array.of(below(3));
          bytes = Uint8Array.of(4, 0xfe, 0, ...wirelessNodeId, ...bytes);
        }
        let answers = take(peer, bytes);
        // A client's answers, and what they lead to, for a while.
        for (let turn = 0; turn < 5 && answers.length > 0; turn++) {
          answers = answers.flatMap(([to, reply]) =>
            "wirelessNodeId" in to ? [] : take(to, reply)
          );
        }
        if (below(20) === 0) {
          now += below(400);
          router.handleTimeout(now);
          while (router.pollEffect() !== undefined);
          const at = router.nextTimeout();
          assert(at === undefined || at > now, `due at ${at}, now ${now}`);
        }
        if (round % 1_000 === 0) assertBounded(router);
      }
    } catch (cause) {
      const again = `deno test -A tests/fuzz_test.ts -- --seed ${seed}`;
      throw new Error(`${again} # datagram ${round}`, { cause });
    }
    assertBounded(router);
    assertBusy(router);
  });
}

function assertBounded(router: Router): void {
  const { classic, mqttsn } = router.stats();
  const told = JSON.stringify({ classic, mqttsn });
  assert(mqttsn.clients.total <= LIMITS.maxClients, told);
  assert(mqttsn.prompts <= LIMITS.maxClients, told);
  assert(mqttsn.queued <= LIMITS.maxClients * (LIMITS.maxQueue + 1), told);
  assert(
    mqttsn.subscriptions <= LIMITS.maxClients * LIMITS.maxSubscriptions,
    told,
  );
  assert(mqttsn.retained <= LIMITS.maxRetained, told);
  for (
    const memory of [
      mqttsn.queueMemory,
      mqttsn.retainedMemory,
      mqttsn.nameMemory,
    ]
  ) assert(memory >= 0 && memory <= LIMITS.maxMemory, told);
  assert(classic.topics <= LIMITS.maxTopics, told);
  assert(classic.memory <= 3 * LIMITS.maxMemory, told);
}

/** It did all that it can do, or the bounds have shown nothing. */
function assertBusy(router: Router): void {
  const { mqttsn, dropped, published } = router.stats();
  const { clients, connected, takenOver, moved, delivered, retried } = mqttsn;
  const counts = {
    maximum: clients.maximum,
    connected,
    takenOver,
    moved,
    delivered,
    retried,
    wills: mqttsn.wills,
    repeated: mqttsn.repeated,
    qosMinusOne: mqttsn.qosMinusOne,
    promptsExpired: mqttsn.promptsExpired,
    published,
    overflow: mqttsn.lost.overflow,
    silence: mqttsn.lostBy.silence,
    lateAck: dropped.lateAck,
    direction: dropped.direction,
    malformed: dropped.malformed,
    subscriptionsFull: mqttsn.refused.subscriptions,
    topicId: mqttsn.refused.topicId,
  };
  const idle = Object.entries(counts).filter(([, count]) => count === 0);
  assert(DATAGRAMS < 100_000 || idle.length === 0, `never: ${idle}`);
}
