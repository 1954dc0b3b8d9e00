import {
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  CLASSIC_REPLY,
  type ClassicRequest,
  decodeReply,
  decodeRequest,
  encodePublish,
  encodeReply,
  encodeSubscribe,
  parseClassicTopic,
  refusalOf,
} from "../../wire/classic.ts";
import { seededRandom } from "../../base/clock.ts";
import { LocalProtocolError, MalformedPacketError } from "../../base/errors.ts";
import { MAX_DATAGRAM } from "../../base/peer.ts";
import { decodeUtf8, encodeUtf8 } from "../../base/utf8.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("parseClassicTopic() makes U+FFFD of half a surrogate pair, as octets would", () => {
  for (const text of ["room/\ud800", "\udc00room/\ufffd", "\ud83d\ude80"]) {
    const [is, was] = [parseClassicTopic(text), decodeUtf8(encodeUtf8(text))];
    assertEquals(is as string, was);
  }
});

const topic = (name: string) => parseClassicTopic(name)!;
const publish = (name: string, data: string): ClassicRequest => ({
  type: "publish",
  topicName: topic(name),
  data,
});
const subscribe = (name: string): ClassicRequest => ({
  type: "subscribe",
  topicName: topic(name),
});
const invalid = (
  refusal: "invalidRequest" | "invalidTopic" | "invalidData",
): ClassicRequest => ({ type: "invalid", refusal });

/** Each request as it is on the wire, and what it means. */
export const REQUESTS: readonly (readonly [string, ClassicRequest])[] = [
  // As the first clients write them, and without white space.
  [
    '{"type": "publish", "topic": "weather", "data": "21.5"}',
    publish("weather", "21.5"),
  ],
  [
    '{"type":"publish","topic":"weather","data":"21.5"}',
    publish("weather", "21.5"),
  ],
  ['{"type": "subscribe", "topic": "weather"}', subscribe("weather")],
  [
    ' \n{ "topic" : "weather",\t"type":"subscribe" } \r\n',
    subscribe("weather"),
  ],
  ['{"type":"subscribe","topic":"a","data":1,"more":[]}', subscribe("a")],
  // The topic is trimmed, the data is not.
  ['{"type":"subscribe","topic":" \\t weather\\n"}', subscribe("weather")],
  ['{"type":"publish","topic":" a ","data":" x\\n "}', publish("a", " x\n ")],
  // No wildcard means anything.
  ['{"type":"subscribe","topic":"a/+/#"}', subscribe("a/+/#")],
  ['{"type":"publish","topic":"#","data":"x"}', publish("#", "x")],
  // Text of every kind.
  [
    '{"type":"publish","topic":"\\u00e9\\ud83d\\ude00","data":"é😀"}',
    publish("é😀", "é😀"),
  ],
  [
    '{"type":"publish","topic":"__proto__","data":"x"}',
    publish("__proto__", "x"),
  ],
  // What is no string is taken as its JSON, each number as it was written.
  ['{"type":"publish","topic":"a","data":21.50}', publish("a", "21.50")],
  [
    '{"type":"publish","topic":"a","data":12345678901234567890}',
    publish("a", "12345678901234567890"),
  ],
  ['{"type":"publish","topic":"a","data":0}', publish("a", "0")],
  ['{"type":"publish","topic":"a","data":false}', publish("a", "false")],
  ['{"type":"publish","topic":"a","data":null}', publish("a", "null")],
  ['{"type":"publish","topic":"a","data":[]}', publish("a", "[]")],
  [
    '{"type":"publish","topic":"a","data":{"x": [1.0, "y"]}}',
    publish("a", '{"x": [1.0, "y"]}'),
  ],
  [
    '{ "more": {"data": 1, "a": [",}"]}, "d\\u0061ta" : [ "\\"}]", -0 ] ,"type":"publish","topic":"a"}',
    publish("a", '[ "\\"}]", -0 ]'),
  ],
  [
    '{"data":1,"type":"publish","topic":"a","data":2.50 }',
    publish("a", "2.50"),
  ],
  [
    '{"":9,"type":"publish","topic":"a","data":{"data":3}}',
    publish("a", '{"data":3}'),
  ],
  ['{"type":"subscribe","topic":7.0}', subscribe("7.0")],
  ['{"type":"subscribe","topic":null}', subscribe("null")],
  // The last of two counts.
  ['{"type":"subscribe","topic":"a","topic":"b"}', subscribe("b")],
  // Not an object, an empty one, or a member missing.
  ["{}", invalid("invalidRequest")],
  ["[]", invalid("invalidRequest")],
  ['["type","topic"]', invalid("invalidRequest")],
  ["5", invalid("invalidRequest")],
  ["0", invalid("invalidRequest")],
  ["-1e5", invalid("invalidRequest")],
  ["null", invalid("invalidRequest")],
  ["true", invalid("invalidRequest")],
  ['""', invalid("invalidRequest")],
  ['"type topic"', invalid("invalidRequest")],
  ['{"topic":"a"}', invalid("invalidRequest")],
  ['{"type":"publish"}', invalid("invalidRequest")],
  ['{"type":"subscribe","data":"x"}', invalid("invalidRequest")],
  [
    '{"__proto__":{"type":"publish","topic":"a","data":"x"}}',
    invalid("invalidRequest"),
  ],
  // A blank topic, whatever the type.
  ['{"type":"publish","topic":"","data":"x"}', invalid("invalidTopic")],
  ['{"type":"subscribe","topic":" \\t\\n "}', invalid("invalidTopic")],
  ['{"type":"publish","topic":" "}', invalid("invalidTopic")],
  ['{"type":"nothing","topic":" "}', invalid("invalidTopic")],
  // A publish without data, or with blank data.
  ['{"type":"publish","topic":"a"}', invalid("invalidData")],
  ['{"type":"publish","topic":"a","data":""}', invalid("invalidData")],
  ['{"type":"publish","topic":"a","data":" \\n\\t"}', invalid("invalidData")],
  // A type that nobody knows.
  ['{"type":"unsubscribe","topic":"a"}', { type: "unknown" }],
  ['{"type":"PUBLISH","topic":"a","data":"x"}', { type: "unknown" }],
  ['{"type":" publish","topic":"a","data":"x"}', { type: "unknown" }],
  ['{"type":1,"topic":"a","data":"x"}', { type: "unknown" }],
  ['{"type":null,"topic":"a"}', { type: "unknown" }],
  ['{"type":["publish"],"topic":"a","data":"x"}', { type: "unknown" }],
];

for (const [json, expected] of REQUESTS) {
  Deno.test(`decodeRequest() reads ${JSON.stringify(json)}`, () => {
    assertEquals(decodeRequest(bytes(json)), expected);
  });
}

const MALFORMED: readonly (readonly [string, Uint8Array])[] = [
  ["nothing", new Uint8Array(0)],
  ["blanks", bytes("  ")],
  ["words", bytes("hello")],
  ["cut JSON", bytes('{"type":"publish","topic":"a","da')],
  ["JSON with a tail", bytes('{"type":"subscribe","topic":"a"}x')],
  ["two objects", bytes("{}{}")],
  ["single quotes", bytes("{'type':'subscribe','topic':'a'}")],
  ["NaN", bytes("NaN")],
  ["an MQTT-SN CONNECT", Uint8Array.of(8, 4, 4, 1, 0, 60, 0x63, 0x31)],
  [
    "UTF-8 cut in a character",
    bytes('{"type":"subscribe","topic":"é').slice(0, -1),
  ],
  ["a lone continuation octet", Uint8Array.of(0x22, 0x80, 0x22)],
  ["UTF-16", Uint8Array.of(0xff, 0xfe, 0x7b, 0, 0x7d, 0)],
  ["open brackets", bytes("[".repeat(MAX_DATAGRAM))],
];

for (const [name, datagram] of MALFORMED) {
  Deno.test(`decodeRequest() throws MalformedPacketError for ${name}`, () => {
    assertThrows(
      () => decodeRequest(datagram),
      MalformedPacketError,
      "Cannot read",
    );
  });
}

Deno.test("decodeRequest() takes data nested deeper than the stack", () => {
  const depth = 32_000;
  const nested = "[".repeat(depth) + "]".repeat(depth);
  const json = `{"type":"publish","topic":"a","data":${nested}}`;
  assertEquals(decodeRequest(bytes(json)), publish("a", nested));
  const other = `{"type":"publish","topic":"a","data":"x","more":${nested}}`;
  assertEquals(decodeRequest(bytes(other)), publish("a", "x"));
});

Deno.test("decodeRequest() gives a request or MalformedPacketError for every prefix", () => {
  for (const [json, expected] of REQUESTS) {
    const whole = bytes(json);
    for (let length = 0; length <= whole.length; length++) {
      try {
        const request = decodeRequest(whole.subarray(0, length));
        if (length === whole.length) assertEquals(request, expected);
      } catch (error) {
        assertInstanceOf(error, MalformedPacketError);
      }
    }
  }
});

Deno.test("decodeRequest() gives a request or MalformedPacketError for any octets", () => {
  const seed = 20_261_123;
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const whole = REQUESTS.map(([json]) => bytes(json));
  for (let round = 0; round < 50_000; round++) {
    // A request with a few octets changed, cut, or some noise behind.
    const datagram = new Uint8Array([
      ...whole[below(whole.length)]!,
      ...Array.from({ length: below(4) }, () => below(256)),
    ]);
    for (let i = below(4); i > 0; i--) {
      datagram[below(datagram.length)] = below(256);
    }
    try {
      decodeRequest(datagram.subarray(0, below(datagram.length + 1)));
    } catch (error) {
      assertInstanceOf(
        error,
        MalformedPacketError,
        `seed ${seed} round ${round}`,
      );
    }
  }
});

Deno.test("encodePublish() and encodeSubscribe() write what decodeRequest() reads", () => {
  for (
    const [name, data] of [["weather", "21.5"], ["é😀", ' "\\\n '], ["a", "\0"]]
  ) {
    assertEquals(
      decodeRequest(encodePublish(name!, data!)),
      publish(name!, data!),
    );
    assertEquals(decodeRequest(encodeSubscribe(name!)), subscribe(name!));
  }
});

Deno.test("encodePublish() begins with an octet pair that MQTT-SN cannot", () => {
  assertEquals([...encodePublish("a", "b").subarray(0, 2)], [0x7b, 0x22]);
  assertEquals([...encodeSubscribe("a").subarray(0, 2)], [0x7b, 0x22]);
});

Deno.test("encodePublish() throws LocalProtocolError beyond a datagram, and not before", () => {
  const around = encodePublish("a", "").length;
  const most = "x".repeat(MAX_DATAGRAM - around);
  assertEquals(encodePublish("a", most).length, MAX_DATAGRAM);
  assertThrows(
    () => encodePublish("a", most + "x"),
    LocalProtocolError,
    "65508 octets do not fit a datagram of 65507",
  );
  assertThrows(() => encodeSubscribe("é".repeat(40_000)), LocalProtocolError);
});

Deno.test("CLASSIC_REPLY holds the texts that clients match on", () => {
  assertEquals(CLASSIC_REPLY, {
    accepted: "Broker has recieved message",
    invalidRequest: "Invalid request provided",
    invalidTopic: "Invalid topic provided",
    invalidData: "Invalid data provided",
    failed: "Broker has got an error",
  });
});

Deno.test("encodeReply() writes plain text, decodeReply() reads it", () => {
  assertEquals(text(encodeReply("a\né")), "a\né");
  assertEquals(decodeReply(encodeReply("a\né")), "a\né");
  assertThrows(
    () => decodeReply(Uint8Array.of(0xff)),
    MalformedPacketError,
    "not UTF-8",
  );
});

Deno.test("refusalOf() tells refusals from data and from the acknowledgement", () => {
  for (const [name, reply] of Object.entries(CLASSIC_REPLY)) {
    assertEquals(refusalOf(reply), name === "accepted" ? undefined : name);
  }
  assertEquals(refusalOf("Invalid data provided\n"), undefined);
});

Deno.test("MalformedPacketError keeps its cause", () => {
  const error = assertThrows(() => decodeRequest(bytes("{")));
  assertInstanceOf(error, MalformedPacketError);
  assertInstanceOf(error.cause, SyntaxError);
  assertStringIncludes(error.message, "not JSON");
});
