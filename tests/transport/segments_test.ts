/**
 * Tests of which datagrams share a message (`transport/segments.ts`).
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { Segments } from "../../transport/segments.ts";
import { SOCKADDR_WORDS } from "../../transport/sockaddr.ts";

/** Datagrams to peers, each with a length, as a batch has them. */
function batchOf(
  datagrams: readonly (readonly [peer: number, length: number])[],
) {
  const names = new Int32Array(datagrams.length * SOCKADDR_WORDS);
  datagrams.forEach(([peer], i) => {
    // Of IPv6 the last word but one, so that the whole address counts.
    names[i * SOCKADDR_WORDS + 1] = peer;
    names[i * SOCKADDR_WORDS + 5] = peer;
    names[i * SOCKADDR_WORDS + 7] = i; // what is behind it does not
  });
  return [names, Int32Array.from(datagrams, ([, length]) => length)] as const;
}

/** The datagrams of each message. */
function messagesOf(segments: Segments): number[][] {
  let at = 0;
  return Array.from({ length: segments.count }, (_, message) => {
    const from = at;
    at += segments.sizes[message]!;
    const datagrams = [...segments.order.subarray(from, at)];
    assertEquals(datagrams[0], segments.firsts[message]);
    return datagrams;
  });
}

function gathered(
  datagrams: readonly (readonly [peer: number, length: number])[],
  isIpv6 = false,
): number[][] {
  const segments = new Segments(Math.max(2, datagrams.length), isIpv6);
  const [names, lengths] = batchOf(datagrams);
  segments.gather(names, 0, lengths, datagrams.length);
  return messagesOf(segments);
}

for (const isIpv6 of [false, true]) {
  const name = isIpv6 ? "IPv6" : "IPv4";
  Deno.test(`Segments.gather() joins what goes to one peer and is as long: ${name}`, () => {
    assertEquals(
      gathered([[1, 9], [2, 9], [1, 9], [3, 8], [2, 9], [1, 9]], isIpv6),
      [[0, 2, 5], [1, 4], [3]],
    );
  });
}

Deno.test("Segments.gather() begins another message at another length, and never goes back", () => {
  assertEquals(gathered([[1, 9], [1, 8], [1, 9], [1, 9]]), [[0], [1], [2, 3]]);
});

Deno.test("Segments.gather() leaves alone what is empty, and what a packet might not hold", () => {
  assertEquals(gathered([[1, 0], [1, 0]]), [[0], [1]]);
  assertEquals(gathered([[1, 1_200], [1, 1_200]]), [[0, 1]]);
  assertEquals(gathered([[1, 1_201], [1, 1_201]]), [[0], [1]]);
});

Deno.test("Segments.gather() bounds a message, in datagrams and octets", () => {
  const many = gathered(Array.from({ length: 200 }, () => [1, 9] as const));
  assertEquals(many.map(({ length }) => length), [64, 64, 64, 8]);
  const long = gathered(Array.from({ length: 64 }, () => [1, 1_100] as const));
  assertEquals(long.map(({ length }) => length), [59, 5]);
});

Deno.test("Segments.split() makes a message of each that is left, in the order of messages", () => {
  const segments = new Segments(8, false);
  const [names, lengths] = batchOf([[1, 9], [2, 9], [1, 9], [2, 9], [3, 9]]);
  segments.gather(names, 0, lengths, 5);
  segments.split(1);
  assertEquals(messagesOf(segments), [[1], [3], [4]]);
  segments.separate(2);
  assertEquals(messagesOf(segments), [[0], [1]]);
});

Deno.test("Segments keeps each peer's order, and each datagram once, however they come", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const peers = 1 + Math.floor(random() * 40);
    const datagrams = Array.from(
      { length: 2 + Math.floor(random() * 300) },
      () =>
        [
          Math.floor(random() * peers),
          Math.floor(random() * 3) * 600,
        ] as const,
    );
    const segments = new Segments(datagrams.length, seed % 2 === 0);
    const [names, lengths] = batchOf(datagrams);
    segments.gather(names, 0, lengths, datagrams.length);
    const messages = messagesOf(segments);
    const where = `seed ${seed}`;
    for (const message of messages) {
      const alike = new Set(message.map((i) => datagrams[i]!.join()));
      assertEquals(alike.size, 1, where);
    }
    const latest = new Map<number, number>();
    const order = messages.flat();
    for (const i of order) {
      const [peer] = datagrams[i]!;
      assert(i > (latest.get(peer) ?? -1), where);
      latest.set(peer, i);
    }
    assertEquals(new Set(order).size, datagrams.length, where);
  }
});
