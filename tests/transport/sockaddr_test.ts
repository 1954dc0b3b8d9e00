import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import {
  PeerTable,
  SOCKADDR_WORDS,
  USER_WORD,
} from "../../transport/sockaddr.ts";

/** The octets of a peer's `sockaddr`, as the system has them. */
function octetsOf(table: PeerTable, peer: Peer): string {
  const at = table.slotOf(peer) * SOCKADDR_WORDS;
  const { words, sockaddrLength } = table;
  const octets = new Uint8Array(words.buffer, at * 4, sockaddrLength);
  return octets.toHex();
}

const SOCKADDRS: readonly [boolean, string, number, string][] = [
  [false, "127.0.0.1", 12003, "0200 2ee3 7f000001 0000000000000000"],
  [false, "255.254.253.252", 65535, "0200 ffff fffefdfc 0000000000000000"],
  [false, "0.0.0.0", 1, "0200 0001 00000000 0000000000000000"],
  [true, "::1", 12003, `0a00 2ee3 00000000 ${"00".repeat(15)}01 00000000`],
  [
    true,
    "10.0.0.7",
    258,
    `0a00 0102 00000000 ${"00".repeat(10)}ffff0a000007 00000000`,
  ],
  [
    true,
    "2001:db8::8a2e:370:7334",
    9,
    "0a00 0009 00000000 20010db8000000000000 8a2e03707334 00000000",
  ],
  [
    true,
    "1:2:3:4:5:6:7:8",
    9,
    "0a00 0009 00000000 00010002000300040005000600070008 00000000",
  ],
  [true, "::", 9, `0a00 0009 00000000 ${"00".repeat(16)} 00000000`],
];

for (const [isIpv6, hostname, port, octets] of SOCKADDRS) {
  const socket = isIpv6 ? "an IPv6 socket" : "an IPv4 socket";
  Deno.test(`PeerTable writes ${hostname} for ${socket} as the system does, and reads it back`, () => {
    const table = new PeerTable({ isIpv6 });
    const peer = peerOf(hostname, port);
    assertEquals(octetsOf(table, peer), octets.replaceAll(" ", ""));
    const at = table.slotOf(peer) * SOCKADDR_WORDS;
    const { hostname: read, port: portRead, key } = table.find(table.words, at);
    assertEquals([read, portRead, key], [hostname, port, peer.key]);
  });
}

Deno.test("PeerTable keeps the scope of a link-local address that was met", () => {
  const table = new PeerTable({ isIpv6: true });
  const words = new Int32Array(SOCKADDR_WORDS);
  const at = table.slotOf(peerOf("fe80::1", 5)) * SOCKADDR_WORDS;
  words.set(table.words.subarray(at, at + 7));
  words[6] = 3;
  const met = table.find(words, 0);
  assertEquals(met.hostname, "fe80::1");
  assertEquals(table.words[table.slotOf(met) * SOCKADDR_WORDS + 6], 3);
});

Deno.test("PeerTable.find() gives the same peer again, among many, however they came", () => {
  const seed = 4;
  const random = seededRandom(seed);
  const table = new PeerTable({ isIpv6: false });
  const peers = new Map<string, Peer>();
  for (let i = 0; i < 5_000; i++) {
    const octets = [10, 0, 1, 2].map((octet) =>
      octet + Math.floor(random() * 3)
    );
    const port = 1 + Math.floor(random() * 300);
    const named = peerOf(octets.join("."), port);
    const met = table.meet(named);
    assertEquals(met.key, named.key, `seed ${seed}`);
    const known = peers.get(met.key);
    if (known !== undefined) assertStrictEquals(met, known, `seed ${seed}`);
    peers.set(met.key, met);
    const at = table.slotOf(met) * SOCKADDR_WORDS;
    assertStrictEquals(table.find(table.words, at), met);
  }
  assertEquals(table.size, peers.size);
  assert(table.size > 1_000);
});

Deno.test("PeerTable forgets all when there are too many, and those who are left come back", () => {
  const table = new PeerTable({ isIpv6: false, maxPeers: 3 });
  const met = [1, 2, 3].map((port) => table.meet(peerOf("10.0.0.1", port)));
  table.words[table.slotOf(met[1]!) * SOCKADDR_WORDS + USER_WORD] = 7;
  assertEquals([table.size, table.generation], [3, 0]);
  table.meet(peerOf("10.0.0.1", 4));
  assertEquals([table.size, table.generation], [1, 1]);
  const slot = table.slotOf(met[1]!);
  assertEquals(table.find(table.words, slot * SOCKADDR_WORDS).key, met[1]!.key);
  assertEquals(table.words[slot * SOCKADDR_WORDS + USER_WORD], 0);
});

Deno.test("PeerTable.slotOf() knows a peer by its key, whoever made it", () => {
  const table = new PeerTable({ isIpv6: false });
  const node = { ...peerOf("10.0.0.1", 5), key: "10.0.0.1:5/0102" };
  const slot = table.slotOf(node);
  assertEquals(table.slotOf(peerOf("10.0.0.1", 5)), slot);
  assertEquals([table.slotOf({ ...node }), table.size], [slot, 1]);
});
