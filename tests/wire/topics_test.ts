import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  hasWildcard,
  isReserved,
  LevelNode,
  matchesFilter,
  MAX_LEVELS,
  MAX_TOPIC_OCTETS,
  ownLevel,
  parsePredefined,
  parseTopicFilter,
  parseTopicName,
} from "../../wire/topics.ts";

const levels = (count: number) => Array(count).fill("a").join("/");

/** What may be a name and, as it has no wildcard, a filter. */
const NAMES: readonly string[] = [
  "a",
  "a/b",
  "/",
  "//",
  "/finance",
  "a//b",
  "a/",
  " ",
  "Accounts payable",
  "$SYS/uptime",
  "sport/tennis/player1",
  "Wetter/München/℃/😀",
  "\ufeffa",
  "a\nb\u0001",
  "x".repeat(65_535),
  "é".repeat(32_767) + "x",
  "😀".repeat(16_383) + "xyz",
  levels(200),
  "/".repeat(199),
];

/** What may be neither. */
const NEITHER: readonly string[] = [
  "",
  "\0",
  "a/b\0",
  "\ud83d",
  "a/\ude00",
  "\ude00\ud83d",
  "x".repeat(65_536),
  "é".repeat(32_768),
  "😀".repeat(16_384),
  levels(201),
  "/".repeat(200),
];

/** What may be a filter alone. */
const FILTERS: readonly string[] = [
  "#",
  "+",
  "/#",
  "/+",
  "+/",
  "+/+",
  "+/#",
  "a/#",
  "a//#",
  "+/tennis/#",
  "sport/+/player1",
  "$SYS/#",
  "$SYS/+/x",
  "+".padEnd(399, "/+"),
];

/** What has wildcards where they may not be. */
const MISPLACED: readonly string[] = [
  "sport/tennis#",
  "sport/tennis/#/ranking",
  "sport+",
  "+sport",
  "a/b+/c",
  "a/+b/c",
  "++",
  "+#",
  "##",
  "#/",
  "#/#",
  "#a",
  "/#/",
  "a/\n#",
  "#\n",
  "+\n",
  `+/${"x".repeat(65_534)}`,
  `${levels(200)}/#`,
];

Deno.test("parseTopicName() takes names to the letter and nothing else", () => {
  for (const text of NAMES) {
    assertEquals<string | undefined>(parseTopicName(text), text);
  }
  for (const text of [...NEITHER, ...FILTERS, ...MISPLACED]) {
    assertEquals(parseTopicName(text), undefined, show(text));
  }
});

Deno.test("parseTopicFilter() takes names, and wildcards that are whole levels", () => {
  for (const text of [...NAMES, ...FILTERS]) {
    assertEquals<string | undefined>(parseTopicFilter(text), text);
  }
  for (const text of [...NEITHER, ...MISPLACED]) {
    assertEquals(parseTopicFilter(text), undefined, show(text));
  }
});

Deno.test("the limits of names are those that are exported", () => {
  assertEquals([MAX_LEVELS, MAX_TOPIC_OCTETS], [200, 65_535]);
});

Deno.test("hasWildcard() tells filters from names", () => {
  for (const text of NAMES) assert(!hasWildcard(parseTopicFilter(text)!));
  for (const text of FILTERS) assert(hasWildcard(parseTopicFilter(text)!));
});

Deno.test("isReserved() is for names that begin with $", () => {
  for (const text of ["$SYS", "$", "$/a", "$x/$y"]) assert(isReserved(text));
  for (const text of ["SYS", "/$SYS", "a/$", " $"]) assert(!isReserved(text));
});

/** A filter, the names that it matches, names that it does not. */
const MATCHES: readonly (readonly [string, string[], string[]])[] = [
  // MQTT 3.1.1 §4.7.1.2
  ["sport/tennis/player1/#", [
    "sport/tennis/player1",
    "sport/tennis/player1/ranking",
    "sport/tennis/player1/score/wimbledon",
  ], ["sport/tennis/player10", "sport/tennis", "sport/tennis/player2"]],
  ["sport/#", ["sport", "sport/", "sport/tennis"], [
    "sports",
    "/sport",
    "Sport",
  ]],
  ["#", ["sport", "/", "/finance", "a/b/c"], ["$SYS", "$SYS/uptime"]],
  ["sport/tennis/#", ["sport/tennis"], ["sport"]],
  // §4.7.1.3
  ["sport/tennis/+", ["sport/tennis/player1", "sport/tennis/player2"], [
    "sport/tennis/player1/ranking",
    "sport/tennis",
  ]],
  ["sport/+", ["sport/", "sport/tennis"], ["sport", "sport/tennis/x"]],
  ["+", ["sport", "finance"], ["/finance", "a/b", "$SYS"]],
  ["+/tennis/#", ["sport/tennis", "/tennis/x"], ["sport/x/tennis"]],
  ["sport/+/player1", ["sport/tennis/player1", "sport//player1"], [
    "sport/player1",
    "sport/a/b/player1",
  ]],
  ["+/+", ["/finance", "/", "a/b"], ["a", "//", "$SYS/x"]],
  ["/+", ["/finance", "/"], ["finance", "//", "x/finance"]],
  // §4.7.2
  ["+/monitor/Clients", ["x/monitor/Clients"], ["$SYS/monitor/Clients"]],
  ["$SYS/#", ["$SYS", "$SYS/", "$SYS/monitor/Clients"], ["SYS", "$SYSTEM"]],
  ["$SYS/monitor/+", ["$SYS/monitor/Clients"], ["$SYS/monitor"]],
  ["+/#", ["a", "a/b", "/$x"], ["$SYS", "$SYS/a"]],
  ["/+/#", ["/$x", "/a/b"], ["$x/a"]],
  ["a/+", ["a/$x"], ["$a/x"]],
  // §4.7.3
  ["ACCOUNTS", ["ACCOUNTS"], ["Accounts", "ACCOUNTS/", "/ACCOUNTS"]],
  ["Accounts payable", ["Accounts payable"], ["Accounts  payable"]],
  // What counts levels.
  ["//", ["//"], ["/", "///", "a//"]],
  ["+/+/+", ["//", "a//b"], ["/", "///"]],
  ["a//#", ["a/", "a//", "a//b"], ["a", "a/b"]],
  ["/#", ["/", "/a", "//"], ["a", "a/b"]],
  ["+/", ["a/", "/"], ["a", "a/b", "$a/"]],
  ["a/+/#", ["a/b", "a/", "a/b/c"], ["a"]],
  ["München/+", ["München/℃", "München/😀"], ["Mu\u0308nchen/x"]],
];

Deno.test("matchesFilter() is as in MQTT 3.1.1 §4.7", () => {
  for (const [filter, same, others] of MATCHES) {
    for (const name of [...same, ...others]) {
      assertEquals(
        matchesFilter(parseTopicFilter(filter)!, parseTopicName(name)!),
        same.includes(name),
        `"${filter}" and "${name}"`,
      );
    }
  }
});

Deno.test("parsePredefined() reads ids and names, a name under two ids too", () => {
  const json = { "65534": "a/b", "1": "a/b", "20": "$SYS/x" };
  const topics = parsePredefined(json);
  assertEquals<[number, string][]>([...topics], [
    [1, "a/b"],
    [20, "$SYS/x"],
    [65_534, "a/b"],
  ]);
  assertEquals(parsePredefined({}).size, 0);
});

Deno.test("parsePredefined() throws TypeError for anything else, on one line", () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [undefined, 'Cannot predefine topics by "undefined"'],
    [null, 'Cannot predefine topics by "null"'],
    [7, 'Cannot predefine topics by "7"'],
    ["{}", 'Cannot predefine topics by "{}"'],
    [["a"], 'Cannot predefine topics by "[…]"'],
    [{ "0": "a" }, 'Cannot predefine a topic by the id "0"'],
    [{ "01": "a" }, 'Cannot predefine a topic by the id "01"'],
    [{ "65535": "a" }, 'Cannot predefine a topic by the id "65535"'],
    [{ "100000": "a" }, 'Cannot predefine a topic by the id "100000"'],
    [{ "-1": "a" }, 'Cannot predefine a topic by the id "-1"'],
    [{ "1.0": "a" }, 'Cannot predefine a topic by the id "1.0"'],
    [{ "1\n": "a" }, 'Cannot predefine a topic by the id "1\\n"'],
    [{ "": "a" }, 'Cannot predefine a topic by the id ""'],
    [{ "1": "a\n+" }, 'Cannot predefine the topic "a\\n+" by the id "1"'],
    [{ "1": "" }, 'Cannot predefine the topic "" by the id "1"'],
    [{ "1": 5 }, 'Cannot predefine the topic "5" by the id "1"'],
    [{ "1": null }, 'Cannot predefine the topic "null" by the id "1"'],
    [{ "1": ["a"] }, 'Cannot predefine the topic "[…]" by the id "1"'],
    [{ "1": {} }, 'Cannot predefine the topic "{…}" by the id "1"'],
  ];
  for (const [json, message] of cases) {
    const error = assertThrows(() => parsePredefined(json), TypeError);
    assertEquals(error.message, message);
  }
});

class Node extends LevelNode<Node> {}

Deno.test("LevelNode keeps its children in order, however many there are", () => {
  const root = new Node("");
  const nodes = ["b", "", "a", "a much longer level"].map((x) => new Node(x));
  for (const [i, node] of nodes.entries()) {
    assertEquals(root.child(node.level), undefined);
    assertEquals(root.adopt(node), node);
    assertEquals([...root.children], nodes.slice(0, i + 1));
    for (const one of nodes.slice(0, i + 1)) {
      assertEquals(root.child(one.level), one);
      const name = `x/${one.level}/y`;
      assertEquals(root.childAt(name, 2, name.length - 2), one);
    }
  }
  assertEquals(root.childAt("ab", 0, 2), undefined);
  while (nodes.length > 0) {
    assertEquals(root.isLeaf, false);
    root.drop(nodes.shift()!);
    assertEquals([...root.children], nodes);
  }
  assertEquals(root.isLeaf, true);
});

Deno.test("LevelNode.childAt() does not take a level's beginning for the level", () => {
  const root = new Node("");
  root.adopt(new Node("ab"));
  assertEquals(root.childAt("abc/x", 0, 3), undefined);
  assertEquals(root.childAt("a/x", 0, 1), undefined);
});

Deno.test("ownLevel() copies to the letter", () => {
  for (
    const level of ["", "a", "\ufeff a level that is long", "😀".repeat(9)]
  ) {
    assertEquals(ownLevel(`${level}/x`.slice(0, level.length)), level);
  }
});

function show(text: string): string {
  return JSON.stringify(text.slice(0, 40));
}
