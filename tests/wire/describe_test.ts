import { assertEquals } from "@std/assert";
import { describeDatagram } from "../../wire/describe.ts";
import { VECTORS } from "../support/vectors.ts";

const CASES: Record<string, string> = {
  "0a 04 00 01 02 58 6c 61 6d 70":
    'CONNECT protocolId=1 duration=600 clientId="lamp"',
  "06 07 30 61 2f 77": 'WILLTOPIC qos=1 retain topicName="a/w"',
  "02 07": "WILLTOPIC",
  "08 0c 62 61 62 00 00 78":
    'PUBLISH qos=-1 topicIdType=short topicName="ab" msgId=0 data="x"',
  "07 12 21 00 04 00 05":
    "SUBSCRIBE qos=1 msgId=4 topicIdType=predefined topicId=5",
  "09 14 00 00 03 74 65 73 74": 'UNSUBSCRIBE msgId=3 topicName="test"',
  "09 0c 00 00 01 00 00 ff fe": "PUBLISH qos=0 topicId=1 msgId=0 data=fffe",
  "05 fe 00 01 02 02 16": 'node 0102: PINGREQ clientId=""',
  "7b 7d": '"{}"',
  "ff": "ff",
};

for (const [hex, text] of Object.entries(CASES)) {
  Deno.test(`describeDatagram() shows ${hex} as ${text}`, () => {
    const bytes = Uint8Array.fromHex(hex.replaceAll(" ", ""));
    assertEquals(describeDatagram(bytes), text);
  });
}

Deno.test("describeDatagram() shows every message by its type, in a short line", () => {
  for (const { hex, packet } of VECTORS) {
    const bytes = Uint8Array.fromHex(hex.replaceAll(" ", ""));
    const text = describeDatagram(bytes);
    if (packet.type !== "ENCAPSULATED") {
      assertEquals(text.split(" ")[0], packet.type);
    }
    assertEquals([text.includes("\n"), text.length < 900], [false, true], text);
  }
});
