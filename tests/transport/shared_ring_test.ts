import { assert, assertEquals, assertFalse } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import {
  SharedRingReader,
  SharedRingWriter,
} from "../../transport/shared_ring.ts";

const NAME = Int32Array.of(1, 2, 3, 4, 5, 6, 7, 99);
const SMALL = 128 * 1024;

/** What a reader takes, as first octet and length. */
function take(reader: SharedRingReader, most = Infinity): [number, number][] {
  const taken: [number, number][] = [];
  reader.take((_words, _at, bytes) => {
    if (taken.length >= most) return false;
    taken.push([bytes[0] ?? -1, bytes.length]);
    return true;
  });
  return taken;
}

const octets = (first: number, length: number) =>
  new Uint8Array(length).fill(first, 0, 1);

Deno.test("SharedRingReader.take() gives datagrams of every length in order, with their receivers", () => {
  const writer = new SharedRingWriter();
  const reader = new SharedRingReader(writer.memory);
  const lengths = [0, 1, 31, 32, 33, 1_472, 65_507, 65_535];
  lengths.forEach((length, i) => {
    const words = NAME.map((word) => word + i);
    assert(writer.write(words, 0, octets(i, length)));
  });
  assertEquals([take(reader), writer.pending], [[], lengths.length]);
  writer.publish();
  const names: number[][] = [];
  const read: number[] = [];
  reader.take((words, at, bytes) => {
    names.push([...words.subarray(at, at + 7)]);
    return read.push(bytes.length) > 0;
  });
  assertEquals(read, lengths);
  assertEquals(
    names,
    lengths.map((_, i) => [1, 2, 3, 4, 5, 6, 7].map((w) => w + i)),
  );
  reader.release();
  assertEquals(writer.pending, 0);
});

Deno.test("SharedRingWriter.write() has the octets of a fan-out once, and the reader gives one object", () => {
  const writer = new SharedRingWriter(SMALL);
  const reader = new SharedRingReader(writer.memory);
  const shared = octets(7, 60_000);
  let count = 0;
  while (writer.write(NAME, 0, shared)) count++;
  assertEquals(count, (SMALL - 60_000) / 32 | 0);
  writer.publish();
  const seen = new Set<Uint8Array>();
  reader.take((_words, _at, bytes) => seen.add(bytes).size > 0);
  assertEquals([...seen].map(({ length }) => length), [60_000]);
});

Deno.test("SharedRingWriter.write() says when there is no room, until what was read is released", () => {
  const writer = new SharedRingWriter(SMALL);
  const reader = new SharedRingReader(writer.memory);
  assert(writer.write(NAME, 0, octets(1, 65_000)));
  assert(writer.write(NAME, 0, octets(3, 65_000)));
  assertFalse(writer.write(NAME, 0, octets(2, 1_000)));
  writer.publish();
  assertEquals(take(reader), [[1, 65_000], [3, 65_000]]);
  assertFalse(writer.write(NAME, 0, octets(4, 65_000)));
  reader.release();
  assert(writer.write(NAME, 0, octets(4, 65_000)));
  writer.publish();
  assertEquals(take(reader), [[4, 65_000]]);
});

Deno.test("A ring loses, doubles and reorders nothing, whatever the lengths and the pace", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const writer = new SharedRingWriter(SMALL);
    const reader = new SharedRingReader(writer.memory);
    const [written, read]: [string[], string[]] = [[], []];
    let last = octets(0, 1);
    for (let i = 0; i < 2_000; i++) {
      if (below(3) > 0) {
        if (below(2) === 0) {
          last = octets(i & 255, 1 + below(below(9) === 0 ? 40_000 : 100));
        }
        if (writer.write(NAME, 0, last)) {
          written.push(`${last[0]} ${last.length}`);
        }
      }
      if (below(4) === 0) writer.publish();
      if (below(4) > 0) continue;
      read.push(...take(reader, below(10)).map((one) => one.join(" ")));
      if (below(2) === 0) reader.release();
    }
    writer.publish();
    reader.release();
    read.push(...take(reader).map((one) => one.join(" ")));
    reader.release();
    assertEquals(read, written, `seed ${seed}`);
    assertEquals(writer.pending, 0, `seed ${seed}`);
  }
});

Deno.test("SharedRingReader goes on behind what the last reader may have sent, and counts that", () => {
  const writer = new SharedRingWriter(SMALL);
  const first = new SharedRingReader(writer.memory);
  const shared = octets(9, 50);
  for (const bytes of [octets(1, 10), octets(2, 10), shared, shared, shared]) {
    writer.write(NAME, 0, bytes);
  }
  writer.publish();
  assertEquals(take(first, 1).length, 1);
  first.claim();
  first.release();
  assertEquals(take(first, 2).length, 2);
  first.claim(); // and now it fails
  const next = new SharedRingReader(writer.memory);
  assertEquals([writer.counted("lost"), writer.pending], [2, 2]);
  assertEquals(take(next), [[9, 50], [9, 50]], "the octets are still known");
  next.release();
  assertEquals(writer.pending, 0);
});

Deno.test("SharedRingReader gives the octets that belong to each, however far the last reader had read", () => {
  const writer = new SharedRingWriter(SMALL);
  const first = new SharedRingReader(writer.memory);
  const shared = octets(7, 50);
  writer.write(NAME, 0, shared);
  writer.publish();
  assertEquals(take(first), [[7, 50]]);
  first.release();
  for (const bytes of [shared, octets(8, 20), octets(9, 30)]) {
    writer.write(NAME, 0, bytes);
  }
  writer.publish();
  assertEquals(take(first, 2), [[7, 50], [8, 20]]); // and now it fails
  const next = new SharedRingReader(writer.memory);
  assertEquals(take(next), [[7, 50], [8, 20], [9, 30]]);
});

Deno.test("SharedRingReader sends what the last reader had taken and not claimed", () => {
  const writer = new SharedRingWriter(SMALL);
  writer.write(NAME, 0, octets(1, 10));
  writer.publish();
  take(new SharedRingReader(writer.memory));
  assertEquals(take(new SharedRingReader(writer.memory)), [[1, 10]]);
  assertEquals(writer.counted("lost"), 0);
});

Deno.test("SharedRingReader.abandon() leaves nothing that anybody waits for", () => {
  const writer = new SharedRingWriter(SMALL);
  for (let i = 0; i < 3; i++) writer.write(NAME, 0, octets(i, 10));
  writer.publish();
  new SharedRingReader(writer.memory).abandon();
  assertEquals([writer.pending, writer.counted("lost")], [0, 3]);
  assertEquals(take(new SharedRingReader(writer.memory)), []);
});

Deno.test("SharedRingReader.wait() ends at once when there is something, or the end", () => {
  const writer = new SharedRingWriter(SMALL);
  const reader = new SharedRingReader(writer.memory);
  writer.write(NAME, 0, octets(1, 10));
  writer.publish();
  reader.wait();
  assertEquals(take(reader).length, 1);
  reader.release();
  assertFalse(reader.isStopped);
  writer.stop();
  reader.wait();
  assert(reader.isStopped);
});

Deno.test("A ring's positions wrap", () => {
  const writer = new SharedRingWriter(SMALL, 2 ** 31 - 5);
  const reader = new SharedRingReader(writer.memory);
  for (let i = 0; i < 20; i++) {
    assert(writer.write(NAME, 0, octets(i, 10)));
    writer.publish();
    assertEquals(take(reader), [[i, 10]]);
    reader.release();
    assertEquals(writer.pending, 0);
  }
});
