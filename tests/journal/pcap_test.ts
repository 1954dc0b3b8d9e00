/**
 * What we write as a capture file, as tshark reads it: headers, checksums, times,
 * and MQTT-SN in it.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import {
  type PcapEnd,
  pcapEnd,
  pcapHeader,
  pcapRecord,
} from "../../journal/pcap.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import { testWithTshark, tshark } from "../support/tshark.ts";
import { VECTORS } from "../support/vectors.ts";

const LAMP = pcapEnd("10.0.0.7", 4_711);
const BROKER = pcapEnd("10.0.0.1", 12_003);

Deno.test("pcapRecord() writes FFFF for a UDP checksum of 0, which would say that there is none", () => {
  const checksums = new Set<number>();
  for (let word = 0; word < 65_536; word++) {
    const datagram = Uint8Array.of(word >> 8, word & 255);
    const record = pcapRecord(0, LAMP, BROKER, datagram);
    checksums.add(new DataView(record.buffer).getUint16(16 + 20 + 6));
  }
  assertEquals([checksums.has(0), checksums.has(0xffff)], [false, true]);
});

Deno.test("pcapRecord() writes headers as RFC 791 and RFC 768 have them", () => {
  const record = pcapRecord(1.5, LAMP, BROKER, Uint8Array.of(0x02, 0x16));
  assertEquals(
    record.toHex(),
    "00000000" + "000005dc" + "0000001e" + "0000001e" +
      // Checked by hand: the words and the checksum add up to FFFF.
      "4500001e" + "00000000" + "401166c8" + "0a000007" + "0a000001" +
      "12672ee3" + "000aa872" + "0216",
  );
  assertEquals(
    pcapHeader().toHex(),
    "a1b2c3d4" + "00020004" + "00000000" + "00000000" + "00040000" + "00000065",
  );
});

/** Where datagrams come from and go to, as tshark is to show it. */
const WAYS: readonly [PcapEnd, PcapEnd, string, string][] = [
  [LAMP, BROKER, "10.0.0.7", "10.0.0.1"],
  [BROKER, LAMP, "10.0.0.1", "10.0.0.7"],
  [
    pcapEnd("fe80::1%eth0", 4_711),
    pcapEnd("2001:db8::a:0:2", 12_003),
    "fe80::1",
    "2001:db8::a:0:2",
  ],
  [
    pcapEnd("::1", 12_003),
    pcapEnd("1:2:3:4:5:6:7:8", 1),
    "::1",
    "1:2:3:4:5:6:7:8",
  ],
  // Not as it should be, and read all the same.
  [
    pcapEnd("::", 12_003),
    pcapEnd("10.0.0.7", 4_711),
    "::",
    "::ffff:10.0.0.7",
  ],
  [
    pcapEnd("::ffff:10.0.0.7", 1),
    pcapEnd("::2", 2),
    "::ffff:10.0.0.7",
    "::2",
  ],
];

const CHECKED = [
  "-o",
  "ip.check_checksum:TRUE",
  "-o",
  "udp.check_checksum:TRUE",
];

testWithTshark(
  "pcapRecord() writes what tshark reads: addresses, ports, times, checksums",
  async () => {
    const lengths = [0, 1, 2, 3, 1_000, 65_507];
    const start = Date.UTC(2026, 4, 4, 6, 55, 15);
    const datagrams = WAYS.flatMap(([from, to, source, target]) =>
      lengths.map((length, i) => ({
        from,
        to,
        source,
        target,
        at: start + i * 0.001,
        bytes: new Uint8Array(length).map((_, at) => (at * 7 + length) & 255),
      }))
    );
    const file = [
      pcapHeader(),
      ...datagrams.map(({ at, from, to, bytes }) =>
        pcapRecord(at, from, to, bytes)
      ),
    ];
    const fields = [
      ...["frame.time_epoch", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst"],
      ...["udp.srcport", "udp.dstport", "udp.length"],
      ...["ip.checksum.status", "udp.checksum.status", "_ws.malformed"],
    ];
    // As plain data: whatever else it may look like.
    const ports = new Set(
      WAYS.flat().flatMap((end) => typeof end === "string" ? [] : [end.port]),
    );
    const asData = [...ports].flatMap((
      port,
    ) => ["-d", `udp.port==${port},data`]);
    const read = await tshark(file, fields, [...CHECKED, ...asData]);
    assertEquals(read.length, datagrams.length);
    for (const [i, row] of read.entries()) {
      const { at, from, to, source, target, bytes } = datagrams[i]!;
      const isV6 = source.includes(":");
      assertEquals(row, {
        "frame.time_epoch": `${Math.floor(at / 1_000)}.${
          String(Math.round(at * 1_000) % 1e6).padStart(6, "0")
        }000`,
        "ip.src": isV6 ? "" : source,
        "ipv6.src": isV6 ? source : "",
        "ip.dst": isV6 ? "" : target,
        "ipv6.dst": isV6 ? target : "",
        "udp.srcport": String(from.port),
        "udp.dstport": String(to.port),
        "udp.length": String(8 + bytes.length),
        "ip.checksum.status": isV6 ? "" : "1", // good
        "udp.checksum.status": "1",
        "_ws.malformed": "",
      });
    }
  },
);

testWithTshark(
  "pcapRecord() writes MQTT-SN that tshark dissects as such",
  async () => {
    const vectors = VECTORS.filter(({ packet }) =>
      !("will" in packet && packet.will === undefined) // it is wrong about those
    );
    const file = [
      pcapHeader(),
      ...vectors.map(({ packet, longForm = false }) =>
        pcapRecord(0, LAMP, BROKER, encodePacket(packet, { longForm }))
      ),
    ];
    const read = await tshark(file, ["_ws.col.Protocol"], [
      ...CHECKED,
      ...["-d", `udp.port==${BROKER.port},mqttsn`],
    ]);
    assertEquals(
      read.map((row) => row["_ws.col.Protocol"]),
      vectors.map(() => "MQTT-SN"),
    );
  },
);
