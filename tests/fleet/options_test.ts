/**
 * Tests of the words in which a fleet is described.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import {
  DEFAULT_FLEET,
  parseQosMix,
  parseRate,
  parseShare,
  parseSizes,
  parseTime,
  placeOf,
  requireFleetOptions,
  TopicTree,
} from "../../fleet/options.ts";

Deno.test("the words of a fleet mean what they say", () => {
  assertEquals(parseRate("0"), 0);
  assertEquals(parseRate("2.5"), 2.5);
  assertEquals(parseRate("3/60"), 0.05);
  assertEquals(parseShare("80%"), 0.8);
  assertEquals(parseTime("90s"), 90_000);
  assertEquals(parseTime("1.5h"), 5_400_000);
  assertEquals(parseSizes("24"), [24, 24]);
  assertEquals(parseSizes("6-8192"), [6, 8_192]);
  assertEquals(parseQosMix("1"), [0, 1, 0]);
  assertEquals(parseQosMix("0:1,2:1,0:2"), [0.75, 0, 0.25]);
});

Deno.test("a word that is none is named, with what may stand there", () => {
  const cases: [
    parse: (text: string) => unknown,
    text: string,
    says: string,
  ][] = [
    [parseRate, "1/0", 'Cannot take "1/0" as a rate: it is times a second'],
    [parseRate, "-1", 'Cannot take "-1" as a rate'],
    [parseRate, "1001", 'Cannot take "1001" as a rate'],
    [parseShare, "0.8", 'Cannot take "0.8" as a part of the clients'],
    [parseShare, "101%", 'Cannot take "101%" as a part'],
    [parseTime, "15", 'Cannot take "15" as a time'],
    [parseTime, "2 days", 'Cannot take "2 days" as a time'],
    [parseSizes, "5", 'Cannot take "5" as payload sizes'],
    [parseSizes, "64-16", 'Cannot take "64-16" as payload sizes'],
    [parseQosMix, "0:50,3:50", 'Cannot take "3:50" of "0:50,3:50" as a QoS'],
    [parseQosMix, "", 'Cannot take "" of "" as a QoS'],
    [parseQosMix, "0:0", 'Cannot take "0:0" as shares'],
    [TopicTree.parse, "site/{x}", 'Cannot take "{x}" of "site/{x}"'],
    [TopicTree.parse, "site/+/a", 'Cannot take "+" of "site/+/a"'],
    [TopicTree.parse, "site/{0}", 'Cannot take "{0}" of "site/{0}"'],
    [TopicTree.parse, "$SYS/{client}", 'Cannot take "$SYS/{client}"'],
    [TopicTree.parse, "", 'Cannot take "" as a topic tree'],
  ];
  for (const [parse, text, says] of cases) {
    assertThrows(() => parse(text), RangeError, says);
  }
});

Deno.test("requireFleetOptions() refuses what is out of range", () => {
  requireFleetOptions(DEFAULT_FLEET);
  for (
    const [wrong, says] of [
      [
        { clients: 0 },
        'Cannot take "0" as clients: it is a number from 1 to 1000000',
      ],
      [{ sleepers: 1.5 }, 'Cannot take "1.5" as sleepers'],
      [{ rate: NaN }, 'Cannot take "NaN" as rate'],
      [{ sleep: 65_536 }, 'Cannot take "65536" as sleep'],
    ] as const
  ) {
    assertThrows(
      () => requireFleetOptions({ ...DEFAULT_FLEET, ...wrong }),
      RangeError,
      says,
    );
  }
});

Deno.test("TopicTree gives each client its place, and each branch its listeners", () => {
  const tree = TopicTree.parse("a/{3}/b/{2}/{client}");
  assertEquals(
    [0, 1, 5, 6].map((client) => tree.topicOf(client)),
    ["a/0/b/0/c0", "a/1/b/0/c1", "a/2/b/1/c5", "a/0/b/0/c6"],
  );
  assertEquals(tree.filtersOf(1, 2, 1), ["a/1/b/+/+"]);
  assertEquals(tree.filtersOf(1, 2, 2).length, 3);
  assertEquals(TopicTree.parse("{client}").filtersOf(0, 1, 1), ["+"]);
  assertEquals(TopicTree.parse("a/b").filtersOf(0, 1, 1), ["a/b"]);
  // Each branch has so many listeners as a message is for, all of them others.
  for (let branch = 0; branch < 7; branch++) {
    const places = Array.from({ length: 4 }, (_, at) => placeOf(branch, at, 4));
    assertEquals(places.toSorted(), [0, 1, 2, 3]);
  }
});
