import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { EffectQueue } from "../../base/machine.ts";
import { peerOf } from "../../base/peer.ts";

const PEER = peerOf("127.0.0.1", 1);

Deno.test("EffectQueue.poll() hands effects out in order, each once", () => {
  const effects = new EffectQueue<string>();
  const bytes = new Uint8Array([1]);
  effects.trace("a");
  effects.send(PEER, bytes);
  assertEquals(effects.poll(), { type: "trace", event: "a" });
  effects.trace("b");
  const sent = effects.poll();
  assertEquals(sent, { type: "send", peer: PEER, bytes, isPromise: false });
  assertStrictEquals(sent?.type === "send" && sent.bytes, bytes);
  assertEquals(effects.poll(), { type: "trace", event: "b" });
  assertEquals(effects.poll(), undefined);
  effects.trace("c");
  assertEquals(effects.poll(), { type: "trace", event: "c" });
  assertEquals(effects.poll(), undefined);
});

Deno.test("EffectQueue.poll() hands out what is to be persisted before all else, in order", () => {
  const effects = new EffectQueue<string, number>();
  const bytes = new Uint8Array([1]);
  effects.trace("a");
  effects.persist(1);
  effects.send(PEER, bytes, true);
  effects.persist(2);
  assertEquals(effects.poll(), { type: "persist", change: 1 });
  assertEquals(effects.poll(), { type: "persist", change: 2 });
  assertEquals(effects.poll(), { type: "trace", event: "a" });
  effects.persist(3);
  assertEquals(effects.poll(), { type: "persist", change: 3 });
  const sent = effects.poll();
  assertEquals(sent, { type: "send", peer: PEER, bytes, isPromise: true });
  assertEquals(effects.poll(), undefined);
  effects.persist(4);
  assertEquals(effects.poll(), { type: "persist", change: 4 });
  assertEquals(effects.poll(), undefined);
});

Deno.test("EffectQueue hands all out in order, however many, again and again", () => {
  const effects = new EffectQueue<number>();
  for (const most of [1, 3, 1_023, 5_000, 2, 1_025, 1]) {
    let [added, polled] = [0, 0];
    const add = () => {
      if (added % 3 === 0) effects.trace(added);
      else effects.send(PEER, Uint8Array.of(added), added % 2 === 0);
      added++;
    };
    const poll = () => {
      const effect = effects.poll();
      if (effect?.type === "trace") assertEquals(effect.event, polled);
      else {
        assert(effect?.type === "send");
        assertEquals(effect.bytes, Uint8Array.of(polled));
        assertEquals(effect.isPromise, polled % 2 === 0);
      }
      polled++;
    };
    while (added < most) {
      add();
      // Some are polled while more are added.
      if (added % 4 === 0) poll();
    }
    while (polled < added) poll();
    assertEquals(effects.poll(), undefined);
    assertEquals(effects.poll(), undefined);
  }
});
