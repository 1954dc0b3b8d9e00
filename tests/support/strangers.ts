/**
 * What anybody may send to a broker, and limits so small that it reaches them:
 * datagrams that are sensible, mutated, or of any octets, and the answers of who
 * plays along for a while.
 *
 * @module
 */

import type { Random } from "../../base/clock.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { Router } from "../../broker/router.ts";
import { VECTORS } from "./vectors.ts";
import { fail } from "./stories.ts";

/** Small, so that each is reached again and again. */
export const LIMITS = {
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
export function datagram(random: Random): Uint8Array {
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

/** Answers some of what the router sends, as a client would. */
export function answer(
  bytes: Uint8Array,
  random: Random,
): Uint8Array | undefined {
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

/** Every table is within its limit. */
export function assertBounded(router: Router): void {
  const { classic, mqttsn } = router.stats();
  const { maxClients, maxMemory } = LIMITS;
  const bounds: readonly (readonly [size: number, most: number])[] = [
    [mqttsn.clients.total, maxClients],
    [mqttsn.prompts, maxClients],
    [mqttsn.queued, maxClients * (LIMITS.maxQueue + 1)],
    [mqttsn.subscriptions, maxClients * LIMITS.maxSubscriptions],
    [mqttsn.retained, LIMITS.maxRetained],
    [mqttsn.queueMemory, maxMemory],
    [mqttsn.retainedMemory, maxMemory],
    [mqttsn.nameMemory, maxMemory],
    [classic.topics, LIMITS.maxTopics],
    [classic.memory, 3 * maxMemory],
  ];
  const isBounded = bounds.every(([size, most]) => size >= 0 && size <= most);
  if (!isBounded) fail(JSON.stringify({ classic, mqttsn }));
}
