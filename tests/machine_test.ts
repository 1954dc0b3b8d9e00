import { assertEquals, assertStrictEquals } from "@std/assert";
import { EffectQueue } from "../machine.ts";
import { peerOf } from "../message.ts";

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
