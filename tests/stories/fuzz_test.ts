import { assert } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { seededRandom } from "../../base/clock.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { isFramed } from "../../wire/mqttsn.ts";
import { Router } from "../../broker/router.ts";
import {
  answer,
  assertBounded,
  datagram,
  LIMITS,
} from "../support/strangers.ts";

// More, or one again: deno test -A tests/stories/fuzz_test.ts -- --datagrams 10000000
const flags = parseArgs(Deno.args, { string: ["seed", "datagrams"] });
const DATAGRAMS = Number(flags.datagrams ?? 1_000_000);
const SEED = Number(flags.seed ?? 1);
const PARTS = 10;

const PEERS: readonly Peer[] = [
  ...Array.from({ length: 12 }, (_, i) => peerOf("127.0.0.1", 1_000 + i)),
  ...Array.from({ length: 4 }, (_, i) => peerOf(`192.0.2.${i}`, 4_711)),
];

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
      const again = `deno test -A tests/stories/fuzz_test.ts -- --seed ${seed}`;
      throw new Error(`${again} # datagram ${round}`, { cause });
    }
    assertBounded(router);
    assertBusy(router);
  });
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
