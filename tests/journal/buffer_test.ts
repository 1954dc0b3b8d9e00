import { assertEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { peerOf } from "../../base/peer.ts";
import { DatagramBuffer, WAYS } from "../../journal/buffer.ts";

Deno.test("DatagramBuffer keeps what was added last, whatever its lengths", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const maxEntries = 1 + Math.floor(random() * 700);
    const maxOctets = 65_536 + Math.floor(random() * 200_000);
    const tape = new DatagramBuffer({ maxEntries, maxOctets });
    const all: { way: number; port: number; bytes: Uint8Array }[] = [];
    const forgotten: number[] = [];
    tape.onForget = (entry) => {
      forgotten.push(entry);
      assertEquals(tape.bytesOf(entry), all[entry]!.bytes, `seed ${seed}`);
    };
    const longest = random() < 0.3 ? 65_507 : random() < 0.5 ? 3_000 : 60;
    for (let i = 0; i < 2_000; i++) {
      const length = random() < 0.1 ? 0 : Math.floor(random() * longest);
      const bytes = new Uint8Array(length).fill(i & 255);
      if (length > 0) bytes[length - 1] = i >> 8;
      const way = Math.floor(random() * 3);
      const port = Math.floor(random() * 9);
      const peer = port === 0 ? undefined : peerOf("::1", port);
      tape.add(i / 8, WAYS[way]!, peer, bytes);
      all.push({ way, port, bytes: bytes.slice() });
      bytes.fill(255); // the sender's buffer is used again
    }
    const said = `seed ${seed}`;
    assertEquals(tape.next, 2_000, said);
    assertEquals(forgotten, all.slice(0, tape.first).map((_, i) => i), said);
    let octets = 0;
    for (let i = tape.first; i < tape.next; i++) {
      const { way, port, bytes } = all[i]!;
      octets += bytes.length;
      assertEquals(
        [tape.atOf(i), tape.wayOf(i), tape.peerOf(i)?.port ?? 0],
        [i / 8, WAYS[way]!, port],
        said,
      );
      assertEquals(tape.bytesOf(i), bytes, said);
    }
    assertEquals(tape.octets, octets, said);
    // It goes only as far as it has to.
    const kept = tape.next - tape.first;
    assertEquals(kept <= maxEntries && octets <= maxOctets, true, said);
    assertEquals(
      kept === maxEntries || octets + 2 * longest >= maxOctets,
      true,
      said,
    );
  }
});

Deno.test("DatagramBuffer.reel() copies what follows, octets in one piece", () => {
  const random = seededRandom(7);
  const tape = new DatagramBuffer({ maxEntries: 500, maxOctets: 65_536 });
  const sums: number[] = [];
  const check = (from: number) => {
    const reel = tape.reel(from, 100, 20_000);
    const count = reel.times.length;
    assertEquals(reel.first, from);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const bytes = reel.octets.subarray(at, at += reel.lengths[i]!);
      assertEquals(bytes, tape.bytesOf(from + i).slice());
      assertEquals(reel.times[i], tape.atOf(from + i));
      assertEquals(WAYS[reel.ways[i]!], tape.wayOf(from + i));
      assertEquals(reel.peers[reel.owners[i]! - 1], tape.peerOf(from + i));
    }
    assertEquals(at, reel.octets.length);
    sums.push(count);
  };
  for (let i = 0; i < 3_000; i++) {
    const peer = i % 5 === 0 ? undefined : peerOf("10.0.0.1", 1 + i % 7);
    const bytes = new Uint8Array(Math.floor(random() * 600)).fill(i & 255);
    tape.add(i, peer === undefined ? "note" : "sent", peer, bytes);
    if (i % 97 === 0) check(tape.first);
  }
  assertEquals(Math.max(...sums) <= 100, true);
  assertEquals(tape.reel(tape.next, 10, 10).times.length, 0);
  // A single one that has more octets than are asked for comes all the same.
  tape.add(1, "sent", undefined, new Uint8Array(5_000));
  assertEquals(tape.reel(tape.next - 1, 10, 10).octets.length, 5_000);
});

Deno.test("DatagramBuffer forgets whose entries have gone", () => {
  const tape = new DatagramBuffer({ maxEntries: 3 });
  for (let port = 1; port <= 10_000; port++) {
    tape.add(0, "received", peerOf("10.0.0.1", port), new Uint8Array(1));
  }
  // What it can still tell is whose the last three were, and no more is kept.
  assertEquals(
    tape.reel(tape.first, 10, 10).peers.map(({ port }) => port),
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
