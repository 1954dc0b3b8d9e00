/**
 * Datagrams as a capture file that Wireshark and tcpdump read (pcap, link type RAW):
 * the headers of IPv4, IPv6 and UDP as they could have been, as a program never sees
 * the real ones.
 *
 * Times are microseconds since 1970, checksums are right, and a datagram is never
 * fragmented, whatever the network would have done to it.
 *
 * @module
 */

/** An address, as octets, and a UDP port. */
export interface PcapEnd {
  /** 4 octets of IPv4 or 16 of IPv6. */
  readonly address: Uint8Array;
  /** The UDP port. */
  readonly port: number;
}

/** LINKTYPE_RAW: a packet begins with its IP header, of version 4 or 6. */
const RAW = 101;

/** The longest packet: a datagram of 65,535 octets and its headers will fit. */
const SNAPLEN = 262_144;

const UDP = 17;
const TTL = 64;
const UDP_HEADER = 8;
const RECORD_HEADER = 16;

/**
 * Who sends or is sent to. An interface does not belong to an address, and what is
 * no address is one of zeros.
 *
 * @param hostname an IPv4 or IPv6 address
 * @param port the UDP port
 */
export function pcapEnd(hostname: string, port: number): PcapEnd {
  return { address: addressOf(hostname), port };
}

/** The octets with which a capture file begins. */
export function pcapHeader(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xa1b2c3d4); // microseconds, the higher octet first
  view.setUint16(4, 2); // version 2.4
  view.setUint16(6, 4);
  view.setUint32(16, SNAPLEN);
  view.setUint32(20, RAW);
  return bytes;
}

/**
 * A datagram as a capture file has it: its record, headers included.
 *
 * @param atMs when it was, in milliseconds since 1970
 * @param from who sent it
 * @param to whom it was sent to; if only one is of IPv6, both are made so
 * @param datagram its octets, at most 65,507
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { pcapEnd, pcapRecord } from "./pcap.ts";
 *
 * const lamp = pcapEnd("10.0.0.7", 4711);
 * const broker = pcapEnd("10.0.0.1", 12003);
 * const record = pcapRecord(1_500.25, lamp, broker, new Uint8Array(2));
 * assertEquals(record.length, 16 + 20 + 8 + 2);
 * ```
 */
export function pcapRecord(
  atMs: number,
  from: PcapEnd,
  to: PcapEnd,
  datagram: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const isV6 = from.address.length === 16 || to.address.length === 16;
  const source = isV6 ? mapped(from.address) : from.address;
  const target = isV6 ? mapped(to.address) : to.address;
  const ipLength = isV6 ? 40 : 20;
  const udpLength = UDP_HEADER + datagram.length;
  const length = ipLength + udpLength;
  const bytes = new Uint8Array(RECORD_HEADER + length);
  const view = new DataView(bytes.buffer);
  const micros = Math.round(atMs * 1_000);
  view.setUint32(0, Math.floor(micros / 1e6));
  view.setUint32(4, micros % 1e6);
  view.setUint32(8, length);
  view.setUint32(12, length);

  const ip = RECORD_HEADER;
  if (isV6) {
    view.setUint32(ip, 0x6000_0000);
    // What is too long for the field would be a jumbogram; UDP allows it not.
    view.setUint16(ip + 4, udpLength);
    view.setUint8(ip + 6, UDP);
    view.setUint8(ip + 7, TTL);
    bytes.set(source, ip + 8);
    bytes.set(target, ip + 24);
  } else {
    view.setUint16(ip, 0x4500);
    view.setUint16(ip + 2, length);
    view.setUint8(ip + 8, TTL);
    view.setUint8(ip + 9, UDP);
    bytes.set(source, ip + 12);
    bytes.set(target, ip + 16);
    view.setUint16(
      ip + 10,
      complement(checksumOf(bytes.subarray(ip, ip + 20))),
    );
  }

  const udp = ip + ipLength;
  view.setUint16(udp, from.port);
  view.setUint16(udp + 2, to.port);
  view.setUint16(udp + 4, udpLength);
  bytes.set(datagram, udp + UDP_HEADER);
  // The checksum is also of addresses, length and protocol (RFC 768, RFC 8200).
  const sum = checksumOf(source) + checksumOf(target) + udpLength + UDP +
    checksumOf(bytes.subarray(udp));
  // One that would be 0 is sent as FFFF: 0 says that there is none.
  view.setUint16(udp + 6, complement(sum) || 0xffff);
  return bytes;
}

/** The sum of 16-bit words; an odd octet is the higher half of the last. */
function checksumOf(bytes: Uint8Array): number {
  let sum = 0;
  const even = bytes.length & ~1;
  for (let i = 0; i < even; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (even < bytes.length) sum += bytes[even]! << 8;
  return sum;
}

/** What makes a sum 0 in ones' complement (RFC 1071). */
function complement(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) {
    folded = (folded & 0xffff) + Math.floor(folded / 65_536);
  }
  return ~folded & 0xffff;
}

/** An address as IPv6 has it. */
function mapped(address: Uint8Array): Uint8Array {
  if (address.length === 16) return address;
  const octets = new Uint8Array(16);
  octets.fill(0xff, 10, 12); // ::ffff:a.b.c.d
  octets.set(address, 12);
  return octets;
}

/** An address's octets. */
function addressOf(hostname: string): Uint8Array {
  if (!hostname.includes(":")) return v4Of(hostname) ?? new Uint8Array(4);
  const octets = new Uint8Array(16);
  // The interface does not belong to the address; groups stand around a "::".
  const [address = ""] = hostname.split("%");
  const [head = "", tail] = address.split("::");
  const last = tail === undefined ? [] : groupsOf(tail);
  octets.set(groupsOf(head).slice(0, 16));
  octets.set(last.slice(-16), 16 - Math.min(last.length, 16));
  return octets;
}

/** The octets of groups between colons, of which the last may be IPv4. */
function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    const v4 = v4Of(group);
    if (v4 !== undefined) return [...v4];
    const value = parseInt(group, 16) || 0;
    return [(value >> 8) & 255, value & 255];
  });
}

function v4Of(hostname: string): Uint8Array | undefined {
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(hostname)) return undefined;
  return Uint8Array.from(hostname.split("."), Number);
}
