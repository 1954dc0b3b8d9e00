/**
 * An independent reader of what our codec writes: tshark's dissector of MQTT-SN
 * names the same message and fields for every vector.
 *
 * Where the dissector of tshark 4.0 is wrong: it takes the empty WILLTOPIC and
 * WILLTOPICUPD for malformed, shows no flags of SUBSCRIBE, SUBACK and CONNECT
 * but the topic id's type, and reads topic names as ASCII.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { encodePacket } from "../../wire/mqttsn.ts";
import { type MqttSnPacket, MSG_TYPE } from "../../wire/packets.ts";
import { VECTORS } from "../support/vectors.ts";

const PORT = 1884;

/** What the dissector calls our fields. */
const FIELDS = {
  type: "mqttsn.msg.type",
  length: "mqttsn.msg.len",
  topicId: "mqttsn.topic.id",
  topicIdType: "mqttsn.topic.id.type",
  msgId: "mqttsn.msg.id",
  qos: "mqttsn.qos",
  dup: "mqttsn.dup",
  retain: "mqttsn.retain",
  returnCode: "mqttsn.return.code",
  clientId: "mqttsn.client.id",
  registered: "mqttsn.topic",
  subscribed: "mqttsn.topic.name.or.id",
  willTopic: "mqttsn.will.topic",
  willMsg: "mqttsn.will.msg",
  keepAlive: "mqttsn.keep.alive",
  sleep: "mqttsn.sleep.timer",
  advertised: "mqttsn.adv.interv",
  gwId: "mqttsn.gw.id",
  radius: "mqttsn.radius",
  data: "mqttsn.pub.msg",
  control: "mqttsn.control.info",
  wirelessNodeId: "mqttsn.wireless.node.id",
  malformed: "_ws.malformed",
} as const;

type Fields = Partial<Record<keyof typeof FIELDS, string>>;

const hasTshark = await (async () => {
  try {
    await new Deno.Command("tshark", { args: ["--version"] }).output();
    return true;
  } catch {
    return false;
  }
})();

Deno.test({
  name: `encodePacket() writes what tshark reads${
    hasTshark ? "" : " (skipped: no tshark here)"
  }`,
  ignore: !hasTshark,
  async fn() {
    const vectors = VECTORS.filter(({ packet }) =>
      packet.type !== "ENCAPSULATED" && !isMisread(packet) &&
      (packet.type !== "PUBLISH" || packet.data.length < 1_000)
    );
    const datagrams = vectors.map(({ packet, longForm = false }) =>
      encodePacket(packet, { longForm })
    );
    const read = await dissect(datagrams);
    assertEquals(read.length, vectors.length);
    for (const [i, { name, packet }] of vectors.entries()) {
      const expected = {
        type: `0x${MSG_TYPE[packet.type].toString(16).padStart(2, "0")}`,
        length: String(datagrams[i]!.length),
        ...fieldsOf(packet),
      };
      const shown = Object.keys(expected) as (keyof Fields)[];
      const actual = Object.fromEntries(
        shown.map((field) => [field, read[i]![field]]),
      );
      assertEquals(actual, expected, name);
      assertEquals(read[i]!.malformed, "", name);
    }
  },
});

Deno.test({
  name: `encodePacket() wraps what tshark unwraps${
    hasTshark ? "" : " (skipped: no tshark here)"
  }`,
  ignore: !hasTshark,
  async fn() {
    const vectors = VECTORS.filter(({ packet }) =>
      packet.type !== "ENCAPSULATED" && !isMisread(packet) &&
      (packet.type !== "PUBLISH" || packet.data.length < 1_000)
    );
    const messages = vectors.map(({ packet, longForm = false }) =>
      encodePacket(packet, { longForm })
    );
    const read = await dissect(messages.map((message, i) =>
      encodePacket({
        type: "ENCAPSULATED",
        radius: i & 3,
        wirelessNodeId: Uint8Array.of(1, 2), // it takes them for 16 bits
        message,
      })
    ));
    assertEquals(read.length, vectors.length);
    for (const [i, { name, packet }] of vectors.entries()) {
      const inner = MSG_TYPE[packet.type].toString(16).padStart(2, "0");
      const { type, length, control, wirelessNodeId, malformed } = read[i]!;
      assertEquals(
        { type, length, control, wirelessNodeId, malformed },
        {
          type: `0xfe,0x${inner}`,
          length: `5,${messages[i]!.length}`,
          control: `0x0${i & 3}`,
          wirelessNodeId: "258",
          malformed: "",
        },
        name,
      );
    }
  },
});

function isMisread(packet: MqttSnPacket): boolean {
  return "will" in packet && packet.will === undefined ||
    "topicName" in packet && /[^\x20-\x7e]/.test(packet.topicName);
}

/** What the dissector has to show of a packet, besides type and length. */
function fieldsOf(packet: MqttSnPacket): Fields {
  switch (packet.type) {
    case "PUBLISH":
      return {
        topicId: String(packet.topicId),
        topicIdType: typeCode(packet.topicIdType),
        msgId: String(packet.msgId),
        qos: `0x0${packet.qos & 3}`,
        dup: packet.dup ? "1" : "0",
        retain: packet.retain ? "1" : "0",
        data: new TextDecoder().decode(packet.data),
      };
    case "PUBACK":
    case "REGACK":
    case "SUBACK":
      return {
        topicId: String(packet.topicId),
        msgId: String(packet.msgId),
        returnCode: `0x0${packet.returnCode}`,
      };
    case "PUBREC":
    case "PUBREL":
    case "PUBCOMP":
    case "UNSUBACK":
      return { msgId: String(packet.msgId) };
    case "REGISTER":
      return {
        topicId: String(packet.topicId),
        msgId: String(packet.msgId),
        registered: packet.topicName,
      };
    case "SUBSCRIBE":
    case "UNSUBSCRIBE":
      return {
        msgId: String(packet.msgId),
        topicIdType: typeCode(packet.topic.topicIdType),
        ...packet.topic.topicIdType === "normal"
          ? { subscribed: packet.topic.topicName }
          : {},
      };
    case "CONNECT":
      return {
        clientId: packet.clientId,
        keepAlive: String(packet.duration),
      };
    case "CONNACK":
    case "WILLTOPICRESP":
    case "WILLMSGRESP":
      return { returnCode: `0x0${packet.returnCode}` };
    case "WILLTOPIC":
    case "WILLTOPICUPD":
      return { willTopic: packet.will!.topicName };
    case "WILLMSG":
    case "WILLMSGUPD":
      return { willMsg: new TextDecoder().decode(packet.data) };
    case "PINGREQ":
      return { clientId: packet.clientId };
    case "DISCONNECT":
      return {
        sleep: packet.duration === undefined ? "" : `${packet.duration}`,
      };
    case "ADVERTISE":
      return { gwId: String(packet.gwId), advertised: String(packet.duration) };
    case "SEARCHGW":
      return { radius: String(packet.radius) };
    case "GWINFO":
      return { gwId: String(packet.gwId) };
    default:
      return {};
  }
}

function typeCode(topicIdType: string): string {
  return `0x0${["normal", "predefined", "short"].indexOf(topicIdType)}`;
}

async function dissect(datagrams: readonly Uint8Array[]): Promise<Fields[]> {
  const file = await Deno.makeTempFile({ suffix: ".pcap" });
  try {
    await Deno.writeFile(file, pcapOf(datagrams));
    const { code, stdout, stderr } = await new Deno.Command("tshark", {
      args: [
        ...["-r", file, "-d", `udp.port==${PORT},mqttsn`, "-T", "fields"],
        ...["-E", "separator=\t"],
        ...Object.values(FIELDS).flatMap((field) => ["-e", field]),
      ],
    }).output();
    const decoder = new TextDecoder();
    assertEquals(code, 0, decoder.decode(stderr));
    return decoder.decode(stdout).trimEnd().split("\n").map((line) => {
      const values = line.split("\t");
      return Object.fromEntries(
        Object.keys(FIELDS).map((field, i) => [field, values[i] ?? ""]),
      );
    });
  } finally {
    await Deno.remove(file);
  }
}

/** A capture file of raw IPv4 packets, each with one datagram in UDP. */
function pcapOf(datagrams: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const u16 = (n: number) => [n >> 8, n & 255];
  const u32 = (n: number) => [...u16(n >>> 16), ...u16(n & 0xffff)];
  const RAW_IPV4 = 228;
  const file = [
    ...[...u32(0xa1b2c3d4), ...u16(2), ...u16(4)],
    ...[...u32(0), ...u32(0), ...u32(65_535), ...u32(RAW_IPV4)],
  ];
  for (const datagram of datagrams) {
    const udp = [...u16(40_000), ...u16(PORT), ...u16(8 + datagram.length)];
    const udpPacket = [...udp, 0, 0, ...datagram];
    const length = 20 + udpPacket.length;
    const ip = [0x45, 0, ...u16(length), 0, 0, 0, 0, 64, 17, 0, 0];
    const packet = [...ip, 127, 0, 0, 1, 127, 0, 0, 1, ...udpPacket];
    file.push(...u32(0), ...u32(0), ...u32(length), ...u32(length), ...packet);
  }
  return Uint8Array.from(file);
}
