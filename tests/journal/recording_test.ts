import { assertEquals, assertThrows } from "@std/assert";
import { peerOf } from "../../base/peer.ts";
import {
  headerLine,
  parseRecording,
  RecordingError,
  type RecordingHeader,
  RecordingLines,
} from "../../journal/recording.ts";
import { DatagramBuffer } from "../../journal/buffer.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { VECTORS } from "../support/vectors.ts";
import { encodePacket } from "../../wire/mqttsn.ts";

const HEADER: RecordingHeader = {
  broker: peerOf("::1", 12003),
  startedAt: Date.UTC(2026, 4, 4, 6, 55, 15, 120),
  predefined: new Map([[1, "a/b"]]),
};

const FIRST =
  '{"mockMqttRecording":1,"broker":"[::1]:12003","startedAt":"2026-05-04T06:55:15.120Z","predefined":{"1":"a/b"}}\n';

Deno.test("RecordingLines.write() writes what parseRecording() reads", () => {
  const buffer = new DatagramBuffer();
  const peers = [peerOf("10.0.0.7", 1), peerOf("fe80::1%eth0", 65_535)];
  const datagrams = [
    ...VECTORS.map(({ packet, longForm = false }) =>
      encodePacket(packet, { longForm })
    ),
    new Uint8Array(0),
    Uint8Array.of(0, 255, 10),
    encodeUtf8('{"type":"publish","topic":"ä\\n","data":"\\u0000"}'),
  ];
  for (const [i, bytes] of datagrams.entries()) {
    const way = i % 3 === 0 ? "sent" : "received";
    buffer.add(1_000 + i / 7, way, peers[i % 2], bytes);
    if (i % 10 === 0) {
      buffer.add(1_000 + i / 7, "note", undefined, encodeUtf8("here\n"));
    }
  }
  const lines = new RecordingLines(HEADER, 1_000);
  const text = headerLine(HEADER) +
    lines.write(buffer.slice(0, 50, 2 ** 20)) + lines.lost(3) +
    lines.write(buffer.slice(50, 1_000, 2 ** 20)) + lines.lost(4);
  const { lost, datagrams: read, ...header } = parseRecording(text);
  assertEquals(header, HEADER);
  assertEquals(lost, 7);
  assertEquals(
    read.map(({ ms, way, peer, bytes }) => ({ ms, way, peer, bytes })),
    datagrams.map((bytes, i) => ({
      ms: Math.round(i / 7 * 1_000) / 1_000,
      way: i % 3 === 0 ? "sent" : "received",
      peer: peers[i % 2]!,
      bytes,
    })),
  );
  assertEquals(
    text.split("\n")[read[9]!.line - 1]!.includes('"ms":1.286'),
    true,
  );
});

Deno.test("RecordingLines.write() writes lines that a person can read", () => {
  const buffer = new DatagramBuffer();
  const lamp = peerOf("10.0.0.7", 4711);
  const connect = "0c040401003c6c616d702d37"; // "lamp-7"
  buffer.add(50, "received", lamp, Uint8Array.fromHex(connect));
  buffer.add(52.0625, "sent", lamp, Uint8Array.of(3, 5, 0));
  buffer.add(1_000_000, "note", lamp, encodeUtf8("down"));
  const lines = new RecordingLines(HEADER, 50);
  assertEquals(
    headerLine(HEADER) + lines.write(buffer.slice(0, 9, 999)),
    FIRST +
      `{"ms":0,"time":"2026-05-04T06:55:15.120000Z","way":"received","peer":"10.0.0.7:4711","octets":"${connect}","type":"CONNECT","client":"lamp-7","text":"cleanSession protocolId=1 duration=60 clientId=\\"lamp-7\\""}\n` +
      '{"ms":2.063,"time":"2026-05-04T06:55:15.122063Z","way":"sent","peer":"10.0.0.7:4711","octets":"030500","type":"CONNACK","client":"lamp-7","text":"returnCode=0"}\n' +
      '{"ms":999950,"time":"2026-05-04T07:11:55.070000Z","way":"note","peer":"10.0.0.7:4711","text":"down"}\n',
  );
});

Deno.test("parseRecording() names the line that makes no sense", () => {
  const good =
    '{"ms":5,"way":"received","peer":"10.0.0.7:1","octets":"0216"}\n';
  const cases: readonly (readonly [string, number, string])[] = [
    ["", 1, "it is not JSON"],
    ["\n", 1, "it is not JSON"],
    [
      "{}\n",
      1,
      'it is not the first of a recording: {"mockMqttRecording":1,…}',
    ],
    [good, 1, 'it is not the first of a recording: {"mockMqttRecording":1,…}'],
    [
      FIRST.replace("2026-", "20x6-"),
      1,
      '"startedAt" is "20x6-05-04T06:55:15.120Z", not a time',
    ],
    [
      FIRST.replace('"1"', '"0"'),
      1,
      'Cannot predefine a topic by the id "0"',
    ],
    [
      FIRST.replace("[::1]:12003", "here"),
      1,
      '"here" is no address such as "127.0.0.1:4711"',
    ],
    [`${FIRST}${good}nonsense\n`, 3, "it is not JSON"],
    [`${FIRST}[1]\n`, 2, "it is not an object in JSON"],
    [`${FIRST}${good}\n`, 3, "it is not JSON"],
    [`${FIRST}${good.replace("5", '"5"')}`, 2, '"ms" is "5", not a time'],
    [
      `${FIRST}${good}${good.replace("5", "4")}`,
      3,
      '"ms" goes back from 5 to 4',
    ],
    [
      `${FIRST}${good.replace("received", "in")}`,
      2,
      '"way" is "in", not received, sent or note',
    ],
    [
      `${FIRST}${good.replace(":1", ":70000")}`,
      2,
      '"10.0.0.7:70000" is no address such as "127.0.0.1:4711"',
    ],
    [
      `${FIRST}${good.replace(',"peer":"10.0.0.7:1"', "")}`,
      2,
      'missing is no address such as "127.0.0.1:4711"',
    ],
    [
      `${FIRST}${good.replace("0216", "021")}`,
      2,
      '"octets" is "021", not hexadecimal',
    ],
    [`${FIRST}{"lost":0}\n`, 2, '"lost" is 0, not a number'],
  ];
  for (const [text, line, why] of cases) {
    const error = assertThrows(() => parseRecording(text), RecordingError);
    assertEquals(
      [error.line, error.message],
      [line, `Cannot read line ${line} of the recording: ${why}`],
    );
  }
  // A last line that is cut off, as when the disk was full, is one that is missing.
  const cut = parseRecording(FIRST + good + good.slice(0, 20));
  assertEquals([cut.datagrams.length, cut.lost], [1, 1]);
});
