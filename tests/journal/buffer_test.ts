import { assertEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { peerOf } from "../../base/peer.ts";
import { DatagramBuffer, WAYS } from "../../journal/buffer.ts";

Deno.test("DatagramBuffer keeps what was added last, whatever its lengths", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const maxEntries = 1 + Math.floor(random() * 700);
    const maxOctets = 65_536 + Math.floor(random() * 200_000);
    const buffer = new DatagramBuffer({ maxEntries, maxOctets });
    const all: { way: number; port: number; bytes: Uint8Array }[] = [];
    const forgotten: number[] = [];
    buffer.onForget = (entry) => {
      forgotten.push(entry);
      assertEquals(buffer.bytesOf(entry), all[entry]!.bytes, `seed ${seed}`);
    };
    const longest = random() < 0.3 ? 65_507 : random() < 0.5 ? 3_000 : 60;
    for (let i = 0; i < 2_000; i++) {
      const length = random() < 0.1 ? 0 : Math.floor(random() * longest);
      const bytes = new Uint8Array(length).fill(i & 255);
      if (length > 0) bytes[length - 1] = i >> 8;
      const way = Math.floor(random() * 3);
      const port = Math.floor(random() * 9);
      const peer = port === 0 ? undefined : peerOf("::1", port);
      buffer.add(i / 8, WAYS[way]!, peer, bytes);
      all.push({ way, port, bytes: bytes.slice() });
      bytes.fill(255); // the sender's buffer is used again
    }
    const said = `seed ${seed}`;
    assertEquals(buffer.next, 2_000, said);
    assertEquals(forgotten, all.slice(0, buffer.first).map((_, i) => i), said);
    let octets = 0;
    for (let i = buffer.first; i < buffer.next; i++) {
      const { way, port, bytes } = all[i]!;
      octets += bytes.length;
      assertEquals(
        [buffer.atOf(i), buffer.wayOf(i), buffer.peerOf(i)?.port ?? 0],
        [i / 8, WAYS[way]!, port],
        said,
      );
      assertEquals(buffer.bytesOf(i), bytes, said);
    }
    assertEquals(buffer.octets, octets, said);
    // It goes only as far as it has to.
    const kept = buffer.next - buffer.first;
    assertEquals(kept <= maxEntries && octets <= maxOctets, true, said);
    assertEquals(
      kept === maxEntries || octets + 2 * longest >= maxOctets,
      true,
      said,
    );
  }
});

Deno.test("DatagramBuffer.slice() copies what follows, octets in one piece", () => {
  const random = seededRandom(7);
  const buffer = new DatagramBuffer({ maxEntries: 500, maxOctets: 65_536 });
  const sums: number[] = [];
  const check = (from: number) => {
    const slice = buffer.slice(from, 100, 20_000);
    const count = slice.times.length;
    assertEquals(slice.first, from);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const bytes = slice.octets.subarray(at, at += slice.lengths[i]!);
      assertEquals(bytes, buffer.bytesOf(from + i).slice());
      assertEquals(slice.times[i], buffer.atOf(from + i));
      assertEquals(WAYS[slice.ways[i]!], buffer.wayOf(from + i));
      assertEquals(slice.peers[slice.owners[i]! - 1], buffer.peerOf(from + i));
    }
    assertEquals(at, slice.octets.length);
    sums.push(count);
  };
  for (let i = 0; i < 3_000; i++) {
    const peer = i % 5 === 0 ? undefined : peerOf("10.0.0.1", 1 + i % 7);
    const bytes = new Uint8Array(Math.floor(random() * 600)).fill(i & 255);
    buffer.add(i, peer === undefined ? "note" : "sent", peer, bytes);
    if (i % 97 === 0) check(buffer.first);
  }
  assertEquals(Math.max(...sums) <= 100, true);
  assertEquals(buffer.slice(buffer.next, 10, 10).times.length, 0);
  // A single one that has more octets than are asked for comes all the same.
  buffer.add(1, "sent", undefined, new Uint8Array(5_000));
  assertEquals(buffer.slice(buffer.next - 1, 10, 10).octets.length, 5_000);
});

Deno.test("DatagramBuffer forgets whose entries have gone", () => {
  const buffer = new DatagramBuffer({ maxEntries: 3 });
  for (let port = 1; port <= 10_000; port++) {
    buffer.add(0, "received", peerOf("10.0.0.1", port), new Uint8Array(1));
  }
  // What it can still tell is whose the last three were, and no more is kept.
  assertEquals(
    buffer.slice(buffer.first, 10, 10).peers.map(({ port }) => port),
    [9_998, 9_999, 10_000],
  );
});

Deno.test("DatagramBuffer refuses limits that are none", () => {
  assertThrows(
    () => new DatagramBuffer({ maxEntries: 0 }),
    RangeError,
    'Cannot take "0" as maxEntries: it is a whole number from 1 to 10000000',
  );
  assertThrows(
    () => new DatagramBuffer({ maxOctets: 1_000 }),
    RangeError,
    'Cannot take "1000" as maxOctets',
  );
  assertThrows(
    () =>
      new DatagramBuffer().add(0, "sent", undefined, new Uint8Array(65_537)),
    RangeError,
    "Cannot keep 65537 octets",
  );
});
