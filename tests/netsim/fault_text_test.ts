import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseFaults } from "../../netsim/fault_text.ts";

const drop = { do: "drop" };

Deno.test("parseFaults() takes a list, or an object that has one and says what it is about", () => {
  const rule = { type: "PUBACK", ...drop };
  assertEquals(parseFaults([rule]), parseFaults({ faults: [rule] }));
  assertEquals(parseFaults({ about: "it", faults: [] }), []);
});

Deno.test("parseFaults() takes all that a rule can say", () => {
  assertEquals(
    parseFaults([{
      name: "it",
      type: ["PUBLISH", "PUBREL"],
      from: "client",
      client: "lamp-*",
      topic: "room/+",
      qos: 2,
      state: "awake",
      where: { dup: true, data: "on" },
      since: { type: "PINGREQ" },
      every: 3,
      perClient: true,
      chance: "25%",
      do: { answer: { type: "PUBREC", msgId: 7 }, after: "1.5s" },
    }]),
    [{
      name: "it",
      match: {
        types: ["PUBLISH", "PUBREL"],
        from: "client",
        client: "lamp-*",
        // deno-lint-ignore no-explicit-any -- only its parser makes a filter
        topic: "room/+" as any,
        qos: 2,
        state: "awake",
        where: { dup: true, data: "on" },
      },
      since: { types: ["PINGREQ"] },
      perClient: true,
      turn: { type: "every", count: 3 },
      chance: 0.25,
      act: {
        type: "answer",
        answer: { type: "PUBREC", fields: { msgId: 7 } },
        afterMs: 1_500,
      },
    }],
  );
});

const ACTS: readonly (readonly [unknown, unknown])[] = [
  ["drop", { type: "drop" }],
  ["duplicate", { type: "duplicate", times: 2, afterMs: 0 }],
  [{ delay: "2s" }, { type: "delay", ms: 2_000 }],
  [
    { duplicate: 3, after: "5ms" },
    { type: "duplicate", times: 3, afterMs: 5 },
  ],
  [{ corrupt: "msgId" }, { type: "corrupt", field: "msgId", value: undefined }],
  [
    { corrupt: { msgId: 0 } },
    { type: "corrupt", field: "msgId", value: 0 },
  ],
  [{ answer: "congestion" }, { type: "answer", answer: 1, afterMs: 0 }],
  [{ answer: 9 }, { type: "answer", answer: 9, afterMs: 0 }],
  [
    { insert: { type: "PINGRESP" } },
    {
      type: "insert",
      packet: { type: "PINGRESP", fields: {} },
      to: "client",
      afterMs: 0,
    },
  ],
  [{ replay: 4 }, { type: "replay", count: 4, afterMs: 0 }],
  [{ forget: "session" }, { type: "forget", what: "session" }],
];

for (const [json, act] of ACTS) {
  Deno.test(`parseFaults() takes ${JSON.stringify(json)} as what to do`, () => {
    const [rule] = parseFaults([{ type: "PUBLISH", do: json }]);
    assertEquals<unknown>(rule!.act, act);
  });
}

/** What is wrong; the place that is named; what may stand there. */
const WRONG: readonly (readonly [unknown, string, string])[] = [
  [null, "the faults null", '{"faults": [...]}'],
  ["drop", 'the faults "drop"', '{"faults": [...]}'],
  [{}, "faults nothing", "a list of rules"],
  [{ fautls: [] }, '"fautls" in the file', "about, faults"],
  [[7], "faults[0] 7", '{"type": "PUBACK"'],
  [[drop, { tpye: "PUBACK" }], '"tpye" in faults[1]', "type, from"],
  [[{ type: "PUBACK" }], "faults[0].do nothing", '"drop"'],
  [[{ type: "puback", ...drop }], 'faults[0].type "puback"', '"PUBACK"'],
  [[{ type: "ENCAPSULATED", ...drop }], "faults[0].type", '"PUBACK"'],
  [[{ type: [], ...drop }], "faults[0].type []", '"PUBACK"'],
  [[{ type: ["PUBACK", 3], ...drop }], "faults[0].type[1] 3", '"PUBACK"'],
  [[{ from: "me", ...drop }], 'faults[0].from "me"', '"client", "broker"'],
  [[{ client: "", ...drop }], 'faults[0].client ""', "a text"],
  [[{ topic: "a#", ...drop }], 'faults[0].topic "a#"', "room/+/light"],
  [[{ qos: 3, ...drop }], "faults[0].qos 3", "-1, 0, 1, 2"],
  [[{ state: "up", ...drop }], 'faults[0].state "up"', '"asleep"'],
  [[{ where: { rc: 1 }, ...drop }], '"rc" in faults[0].where', "returnCode"],
  [
    [{ where: { returnCode: 256 }, ...drop }],
    "faults[0].where.returnCode 256",
    "a whole number from 0 to 255",
  ],
  [[{ where: { dup: 1 }, ...drop }], "faults[0].where.dup 1", "true or false"],
  [[{ where: { qos: 3 }, ...drop }], "faults[0].where.qos 3", "-1, 0, 1, 2"],
  [
    [{ where: { topicIdType: "long" }, ...drop }],
    'faults[0].where.topicIdType "long"',
    '"normal", "predefined"',
  ],
  [[{ where: { data: 1 }, ...drop }], "faults[0].where.data 1", "a text"],
  [[{ since: "x", ...drop }], 'faults[0].since "x"', "PINGREQ"],
  [[{ since: { nth: 1 }, ...drop }], '"nth" in faults[0].since', "type"],
  [[{ nth: 0, ...drop }], "faults[0].nth 0", "from 1"],
  [[{ nth: 1, every: 2, ...drop }], '"nth" and "every"', "one of"],
  [[{ chance: 0.5, ...drop }], "faults[0].chance 0.5", '"10%"'],
  [[{ perClient: 1, ...drop }], "faults[0].perClient 1", "true or false"],
  [[{ do: "explode" }], 'faults[0].do "explode"', '"drop"'],
  [[{ do: { delay: 2 } }], "faults[0].do.delay 2", '"200ms"'],
  [[{ do: { delay: "2s", after: "1s" } }], '"after" in faults[0].do', "delay"],
  [[{ do: { delay: "2s", drop: 1 } }], '"drop" in faults[0].do', "delay"],
  [[{ do: { corrupt: "msgid" } }], 'faults[0].do.corrupt "msgid"', '"msgId"'],
  [[{ do: { corrupt: {} } }], "faults[0].do.corrupt {}", '"msgId"'],
  [
    [{ type: "CONNECT", do: { answer: "congested" } }],
    'faults[0].do.answer "congested"',
    '"congestion"',
  ],
  [
    [{ type: "PUBACK", do: { answer: "congestion" } }],
    'faults[0].do.answer "congestion"',
    "CONNECT, REGISTER",
  ],
  [[{ do: { answer: 1 } }], "faults[0].do.answer 1", '"type"'],
  [
    [{ do: { answer: { type: "PINGRESPONSE" } } }],
    'faults[0].do.answer.type "PINGRESPONSE"',
    '"PINGRESP"',
  ],
  [
    [{ do: { insert: { type: "PUBACK", rc: 1 } } }],
    '"rc" in faults[0].do.insert',
    "returnCode",
  ],
  [[{ do: { replay: 17 } }], "faults[0].do.replay 17", "from 1 to 16"],
  [[{ do: { forget: "me" } }], 'faults[0].do.forget "me"', '"session"'],
];

for (const [json, place, form] of WRONG) {
  Deno.test(`parseFaults() refuses ${JSON.stringify(json)} in a line that helps`, () => {
    const { message } = assertThrows(() => parseFaults(json), TypeError);
    assert(!message.includes("\n"));
    assert(message.startsWith("Cannot take "), message);
    assert(message.includes(place), message);
    assert(message.includes(form), message);
  });
}

Deno.test("parseFaults() takes what docs/bad-network.md shows", async () => {
  const readme = await Deno.readTextFile(
    new URL("../../docs/bad-network.md", import.meta.url),
  );
  const [block] = /(?<=```json\n)\[[^]*?\n\](?=\n```)/.exec(readme)!;
  assertEquals(parseFaults(JSON.parse(block)).length, 3);
  const acts = readme.matchAll(/^\| `("\w+"|\{.*?\})`(?:, `(\{.*?\})`)? /gm);
  const shown = [...acts].flatMap(([, one, other]) => [one, other])
    .filter((text) => text !== undefined);
  assertEquals(shown.length, 13);
  for (const text of shown) {
    parseFaults([{ type: "CONNECT", do: JSON.parse(text) }]);
  }
});
