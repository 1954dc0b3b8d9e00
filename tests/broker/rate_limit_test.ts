import { assert, assertEquals, assertFalse } from "@std/assert";
import { RateLimiter } from "../../broker/rate_limit.ts";
import { peerOf } from "../../base/peer.ts";

const LIMITS = { burst: 1_000, rate: 100, maxSources: 3 };
const peer = (n: number, port = 1) => peerOf(`192.0.2.${n}`, port);

Deno.test("RateLimiter.spend() lets a source have its allowance and no more", () => {
  const limiter = new RateLimiter(LIMITS);
  assert(limiter.spend(0, peer(1), 999));
  assert(limiter.spend(0, peer(1), 1));
  assertFalse(limiter.spend(0, peer(1), 1));
});

Deno.test("RateLimiter.spend() counts all ports of an address as one source", () => {
  const limiter = new RateLimiter(LIMITS);
  assert(limiter.spend(0, peer(1, 1), 1_000));
  assertFalse(limiter.spend(0, peer(1, 2), 1));
  assert(limiter.spend(0, peer(2, 1), 1));
});

Deno.test("RateLimiter.spend() charges neither this machine nor short answers", () => {
  const limiter = new RateLimiter(LIMITS);
  for (let i = 0; i < 100; i++) {
    assert(limiter.spend(0, peerOf("127.0.0.1", 1), 65_507));
    assert(limiter.spend(0, peerOf("::1", 1), 65_507));
    assert(limiter.spend(0, peer(1), 0));
    assert(limiter.spend(0, peer(1), -40));
  }
  assert(limiter.spend(0, peer(1), 1_000));
});

Deno.test("RateLimiter.readyAt() is when an overdrawn allowance is above zero again", () => {
  const limiter = new RateLimiter(LIMITS);
  assert(limiter.spend(0, peer(1), 65_507));
  const readyAt = limiter.readyAt(peer(1))!;
  assertEquals(readyAt, (65_507 - 1_000 + 1) * 10);
  assertFalse(limiter.spend(readyAt - 11, peer(1), 1));
  assert(limiter.spend(readyAt, peer(1), 1));
});

Deno.test("RateLimiter.spend() lets an allowance grow back to what it was, not beyond", () => {
  const limiter = new RateLimiter(LIMITS);
  assert(limiter.spend(0, peer(1), 1_000));
  assert(limiter.spend(1_000_000, peer(1), 1_000));
  assertFalse(limiter.spend(1_000_000, peer(1), 1));
});

Deno.test("RateLimiter.spend() forgets only sources whose allowance is whole", () => {
  const limiter = new RateLimiter(LIMITS);
  for (const n of [1, 2, 3]) assert(limiter.spend(0, peer(n), 500));
  assertFalse(limiter.spend(0, peer(4), 1));
  assertEquals(limiter.readyAt(peer(4)), undefined);
  // Whoever forges addresses to be forgotten finds its allowance still spent.
  for (let n = 4; n < 200; n++) assertFalse(limiter.spend(0, peer(n), 1));
  assert(limiter.spend(0, peer(1), 500));
  assertFalse(limiter.spend(0, peer(1), 1));

  assert(limiter.spend(5_000, peer(4), 1));
});
