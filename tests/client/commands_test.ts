/**
 * What a client can be told, and whether MQTT-SN can say it.
 *
 * @module
 */

import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import {
  type DeviceTopic,
  isName,
  QUEUE_OF,
  referenceOf,
  requireFilter,
  requireName,
  requirePublishable,
  requireTopic,
  requireWill,
  topicIdOf,
  topicIdTypeOf,
  topicKeyOf,
} from "../../client/commands.ts";
import { LocalProtocolError } from "../../base/errors.ts";
import { MAX_DATAGRAM } from "../../base/peer.ts";

const NOTHING = new Uint8Array();

function refuses(call: () => void): void {
  assertThrows(call, LocalProtocolError, undefined, `${call}`);
}

/** A payload that just fits behind so many octets of a long datagram. */
const fitting = (header: number) => new Uint8Array(MAX_DATAGRAM - header);

Deno.test("requireName() takes names without wildcards, as long as they fit", () => {
  requireName("a");
  requireName("/a//b/");
  requireName("é");
  requireName("$SYS/x");
  requireName("x".repeat(MAX_DATAGRAM - 8));
  for (
    const name of ["", "#", "a/+", "a\u0000b", "x".repeat(MAX_DATAGRAM - 7)]
  ) {
    refuses(() => requireName(name));
  }
});

Deno.test("requireTopic() takes short names without wildcards, and ids", () => {
  requireTopic({ short: "ab" });
  requireTopic({ predefined: 1 });
  for (const predefined of [0, 1.5, 0xffff, 70_000]) {
    refuses(() => requireTopic({ predefined }));
  }
  for (const short of ["+a", "a#", ""]) {
    refuses(() => requireTopic({ short }));
  }
  refuses(() => requireTopic("a/+"));
});

Deno.test("requireFilter() takes filters, and short names without wildcards", () => {
  requireFilter("a/+/#");
  requireFilter("#");
  requireFilter({ short: "ab" });
  requireFilter({ short: "é" }); // two octets
  requireFilter({ predefined: 65_534 });
  for (
    const topic of [
      "",
      "a#",
      "a/#/b",
      { short: "a" },
      { short: "abc" },
      { short: "éa" },
      { short: "/#" },
      { short: "+/" },
      { predefined: -1 },
      { predefined: 65_536 },
      { predefined: 1.5 },
    ]
  ) refuses(() => requireFilter(topic));
});

Deno.test("requirePublishable() takes what fits a datagram", () => {
  requirePublishable("a", fitting(9), 2);
  requirePublishable({ short: "ab" }, NOTHING, -1);
  requirePublishable({ predefined: 1 }, NOTHING, -1);
  refuses(() => requirePublishable("a", fitting(8), 0));
  refuses(() => requirePublishable("a", NOTHING, -1));
  refuses(() => requirePublishable({ short: "abc" }, NOTHING, 0));
});

Deno.test("requireWill() takes a topic's name and what fits a datagram", () => {
  requireWill({ topicName: "a", payload: fitting(4) });
  refuses(() => requireWill({ topicName: "a", payload: fitting(3) }));
  refuses(() => requireWill({ topicName: "+", payload: NOTHING }));
});

Deno.test("isName() tells names from filters and numbers", () => {
  assert(isName("a/b"));
  assertFalse(isName("a/+"));
  assertFalse(isName({ short: "ab" }));
  assertFalse(isName({ predefined: 1 }));
});

Deno.test("topicIdOf() is the number that stands on the wire", () => {
  assertEquals(topicIdOf({ predefined: 7 }), 7);
  assertEquals(topicIdOf({ short: "ab" }), 0x6162);
  refuses(() => topicIdOf({ short: "abc" }));
});

Deno.test("topicIdTypeOf() and referenceOf() name a topic's kind", () => {
  assertEquals(topicIdTypeOf("a"), "normal");
  assertEquals(topicIdTypeOf({ predefined: 1 }), "predefined");
  assertEquals(topicIdTypeOf({ short: "ab" }), "short");
  assertEquals(referenceOf("a/#"), { topicIdType: "normal", topicName: "a/#" });
  assertEquals(referenceOf({ short: "ab" }), {
    topicIdType: "short",
    topicId: 0x6162,
  });
  assertEquals(referenceOf({ predefined: 3 }), {
    topicIdType: "predefined",
    topicId: 3,
  });
});

Deno.test("topicKeyOf() differs for topics that are not the same", () => {
  const topics: DeviceTopic[] = [
    "1",
    "#1",
    "~ab",
    "ab",
    { predefined: 1 },
    { predefined: 11 },
    { short: "11" },
  ];
  assertEquals(new Set(topics.map(topicKeyOf)).size, topics.length);
  assertEquals(topicKeyOf({ short: "ab" }), topicKeyOf("ab"));
  assertEquals(topicKeyOf({ predefined: 1 }), topicKeyOf({ predefined: 1 }));
});

Deno.test("QUEUE_OF has requests of which one may be out at a time together", () => {
  assertEquals(QUEUE_OF.subscribe, QUEUE_OF.unsubscribe);
  assertEquals(QUEUE_OF.willTopic, QUEUE_OF.willMsg);
  const queues = new Set(Object.values(QUEUE_OF));
  assertEquals(queues.size, 5);
  for (const type of ["connect", "disconnect", "sleep", "wake"] as const) {
    assertEquals(QUEUE_OF[type], "connection");
  }
});
