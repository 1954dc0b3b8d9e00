import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseFormat, type PrintedMessage } from "../../cli/message_format.ts";
import { encodeUtf8 } from "../../base/utf8.ts";

/** A moment in a zone of its own, whatever the machine's is. */
class Moment extends Date {
  readonly #east: number;
  readonly #local: Date;

  constructor(iso: string) {
    super(iso);
    const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)$/.exec(iso) ??
      ["", "+", "0", "0"];
    this.#east = Number(`${sign}1`) * (Number(hours) * 60 + Number(minutes));
    this.#local = new Date(this.getTime() + this.#east * 60_000);
  }

  override getTimezoneOffset = () => -this.#east;
  override getFullYear = () => this.#local.getUTCFullYear();
  override getMonth = () => this.#local.getUTCMonth();
  override getDate = () => this.#local.getUTCDate();
  override getDay = () => this.#local.getUTCDay();
  override getHours = () => this.#local.getUTCHours();
  override getMinutes = () => this.#local.getUTCMinutes();
  override getSeconds = () => this.#local.getUTCSeconds();
}

const AT = new Moment("2016-08-10T09:47:38.043+01:00");

/** A message, unless told `on` from `home/lamp` at QoS 0. */
function messageOf(
  payload: string | readonly number[] = "on",
  about: Partial<PrintedMessage> = {},
): PrintedMessage {
  const octets = typeof payload === "string"
    ? encodeUtf8(payload)
    : Uint8Array.from(payload);
  return {
    topicName: "home/lamp",
    payload: octets,
    qos: 0,
    retain: false,
    msgId: 0,
    ...about,
  };
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function print(format: string, message = messageOf(), at: Date = AT): string {
  return decoder.decode(parseFormat(format, { newline: false })(message, at));
}

const RETAINED = messageOf("on", { qos: 2, retain: true, msgId: 513 });

/** A format, what it prints, of which message. */
const FORMATS: readonly (readonly [string, string, PrintedMessage?])[] = [
  ["", ""],
  ["text, 100 °C 😀", "text, 100 °C 😀"],
  ["%p", "on"],
  ["%t %p", "home/lamp on"],
  ["%%|@@|\\\\", "%|@|\\"],
  ["%%t@@H\\\\n", "%t@H\\n"],
  ["%q%r%l%m", "0020"],
  ["%q %r %l %m", "2 1 2 513", RETAINED],
  ["%x|%X", "c3bf0a|C3BF0A", messageOf("ÿ\n")],
  ["%t", "Wetter/℃\x1b", messageOf("", { topicName: "Wetter/℃\x1b" })],
  ["\\0\\a\\e\\n\\r\\t\\v", "\0\x07\x1b\n\r\t\v"],
  ["\\0%p\\0%t\\0", "\0on\0home/lamp\0"],
  // What is empty.
  ["%p", "", messageOf("")],
  ["[%t %p]", "[home/lamp ]", messageOf("")],
  ["[%l%x%X]", "[0]", messageOf("")],
  ["[%3p|%03x|%-3X]", "[   |000|   ]", messageOf("")],
  // Widths.
  [
    "%11t|%-11t|%011t|%-011t",
    "  home/lamp|home/lamp  |  home/lamp|home/lamp  ",
  ],
  ["%1t|%0t|%-t", "home/lamp|home/lamp|home/lamp"],
  ["%.4t|%6.4t|%-6.4t", "home|  home|home  "],
  ["%.0t|%.t|%2.t|%.99t", "||  |home/lamp"],
  ["%4t|%-4t|%.2t", "  ℃😀|℃😀  |℃😀", messageOf("", { topicName: "℃😀" })],
  ["%.1t|%2.1t", "℃| ℃", messageOf("", { topicName: "℃😀" })],
  ["%4l|%04l|%-4l|%-04l|%0-4l|%.1l", "   2|0002|2   |2   |2   |2"],
  ["%5m|%05m|%-5m", "  513|00513|513  ", RETAINED],
  ["%4p|%-4p|%04p|%1p|%.1p|%4.1p", "  on|on  |  on|on|on|  on"],
  ["%6x|%06X|%-6x|%2x|%.2x", "  6f6e|006F6E|6f6e  |6f6e|6f6e"],
  [
    "%26I|%.10I|%-12.10I|",
    "  2016-08-10T09:47:38+0100|2016-08-10|2016-08-10  |",
  ],
  ["%00004l|%0000l", "0002|2"],
  // Where a width says nothing.
  ["%5q|%-5r|%05%|%9.2U", "0|0|%|1470818858.043000000"],
  // Moments.
  ["%I", "2016-08-10T09:47:38+0100"],
  ["%U", "1470818858.043000000"],
  ["@s @N", "1470818858 043000000"],
  ["@Y-@m-@d @H:@M:@S @z", "2016-08-10 09:47:38 +0100"],
  ["@F|@T|@R|@D|@x|@X", "2016-08-10|09:47:38|09:47|08/10/16|08/10/16|09:47:38"],
  ["@a @A @b @B @h", "Wed Wednesday Aug August Aug"],
  ["@c|@r", "Wed Aug 10 09:47:38 2016|09:47:38 AM"],
  ["@C @y @j @u @w", "20 16 223 3 3"],
  ["@e|@k|@l|@I|@p|@P", "10| 9| 9|09|AM|am"],
  ["@n|@t|@%", "\n|\t|%"],
  ["@Home", "09ome"],
];

for (const [format, printed, message] of FORMATS) {
  const name = JSON.stringify(format);
  Deno.test(`parseFormat() prints as asked when the format is ${name}`, () => {
    assertEquals(print(format, message), printed);
  });
}

Deno.test("parseFormat() ends each message with a line feed when not told otherwise", () => {
  for (const [format, printed, message = messageOf()] of FORMATS) {
    for (const options of [undefined, {}, { newline: true }]) {
      const octets = parseFormat(format, options)(message, AT);
      assertEquals(decoder.decode(octets), `${printed}\n`);
    }
  }
});

Deno.test("parseFormat() passes every octet on when it prints the payload", () => {
  const payload = Uint8Array.from({ length: 512 }, (_, i) => i * 7);
  const message = messageOf([...payload]);
  const topic = [...encodeUtf8("home/lamp")];
  const bare = { newline: false };
  assertEquals(parseFormat("%p", bare)(message, AT), payload);
  const octets = [...payload];
  const formats: readonly (readonly [string, number[]])[] = [
    ["%p", [...octets, 10]],
    ["%t %p", [...topic, 32, ...octets, 10]],
    ["%514p", [32, 32, ...octets, 10]],
    ["%-513p\\0", [...octets, 32, 0, 10]],
    ["%p%p", [...octets, ...octets, 10]],
  ];
  for (const [format, printed] of formats) {
    assertEquals([...parseFormat(format)(message, AT)], printed, format);
  }
});

Deno.test("parseFormat() prints what stays when the payload is a view of what changes", () => {
  const datagram = Uint8Array.of(1, 2, 3, 4);
  const message = { ...messageOf(), payload: datagram.subarray(1, 3) };
  const printed = parseFormat("%p", { newline: false })(message, AT);
  datagram.fill(9);
  assertEquals([...printed], [2, 3]);
});

Deno.test("parseFormat() shows local time when zones differ", () => {
  const zones: readonly (readonly [string, string])[] = [
    ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00+0000 Thu 001 12 AM"],
    ["2026-01-01T05:29:59+05:30", "2026-01-01T05:29:59+0530 Thu 001 05 AM"],
    ["2025-12-31T23:59:59-03:30", "2025-12-31T23:59:59-0330 Wed 365 11 PM"],
    ["2024-12-31T12:00:00-12:00", "2024-12-31T12:00:00-1200 Tue 366 12 PM"],
    ["2024-03-01T13:05:09+14:00", "2024-03-01T13:05:09+1400 Fri 061 01 PM"],
    ["2026-11-22T00:30:00-00:30", "2026-11-22T00:30:00-0030 Sun 326 12 AM"],
  ];
  for (const [iso, printed] of zones) {
    const at = new Moment(iso);
    assertEquals(print("%I @a @j @I @p", messageOf(), at), printed);
    assertEquals(
      print("%U", messageOf(), at),
      `${Date.parse(iso) / 1_000}.000000000`,
    );
  }
  assertEquals(
    print("@u @w", messageOf(), new Moment("2026-11-22T00:30:00Z")),
    "7 0",
  );
});

Deno.test("parseFormat() takes the machine's zone when a moment is a plain Date", () => {
  const at = new Date(2026, 6, 4, 5, 6, 7, 89);
  assertEquals(
    print("@Y-@m-@d @H:@M:@S.@N", messageOf(), at),
    "2026-07-04 05:06:07.089000000",
  );
  const iso = print("%I", messageOf(), at);
  assertEquals(Date.parse(iso.replace(/..$/, ":$&")), at.getTime() - 89);
});

const HEAD = '{"tst":"2016-08-10T09:47:38.043000+0100","topic":"home/lamp",';

Deno.test("parseFormat() prints an object on one line when asked for %j", () => {
  assertEquals(
    print("%j"),
    `${HEAD}"qos":0,"retain":0,"payloadlen":2,"payload":"on"}`,
  );
  assertEquals(
    print("%j", RETAINED),
    `${HEAD}"qos":2,"retain":1,"payloadlen":2,"mid":513,"payload":"on"}`,
  );
  const text = '\ufeff{"a":\r\n\t1}\0\x1b\\"/\u2028℃😀';
  const topicName = 'a"\\\n\x07℃';
  for (const format of ["%j", "%J"]) {
    const printed = print(format, messageOf(text, { topicName }));
    assert(!printed.includes("\n"));
    const { topic, payload, payloadlen } = JSON.parse(printed);
    assertEquals([topic, payload, payloadlen], [
      topicName,
      text,
      encodeUtf8(text).length,
    ]);
  }
});

Deno.test("parseFormat() adds payloadHex to JSON when the payload is no UTF-8", () => {
  for (const format of ["%j", "%J"]) {
    const message = messageOf([0x31, 0xff, 0x00, 0xc3, 0x0a]);
    const printed = print(format, message);
    assert(!printed.includes("\n"));
    const { payload, payloadHex, payloadlen } = JSON.parse(printed);
    assertEquals(
      [payload, payloadHex, payloadlen],
      ["1\ufffd\0\ufffd\n", "31ff00c30a", 5],
    );
    // U+FFFD that was sent is text.
    assert(!print(format, messageOf("\ufffd")).includes("payloadHex"));
  }
});

Deno.test("parseFormat() prints JSON as it is but on one line when asked for %J", () => {
  const payloads: readonly (readonly [string, string])[] = [
    ["{}", "{}"],
    [' "x  y" ', '"x  y"'],
    ["\t27.0\r\n", "27.0"],
    [
      '{"a": 1,\n "a" : [ 1e400, 12345678901234567890, -0 ] }',
      '{"a":1,"a":[1e400,12345678901234567890,-0]}',
    ],
    [
      String.raw`[ "\" \\" , "\u00e9 \ud800", "]\n" ]`,
      String.raw`["\" \\","\u00e9 \ud800","]\n"]`,
    ],
    [" [ true , false , null ] ", "[true,false,null]"],
    [
      "[".repeat(30_000) + "\n" + "]".repeat(30_000),
      "[".repeat(30_000) + "]".repeat(30_000),
    ],
    [
      JSON.stringify("x\n".repeat(500_000)),
      JSON.stringify("x\n".repeat(500_000)),
    ],
    // No JSON.
    ["", '""'],
    ["on", '"on"'],
    ["01", '"01"'],
    ["NaN", '"NaN"'],
    ["{} x", '"{} x"'],
    ['{"a":\n', String.raw`"{\"a\":\n"`],
    ["\u00a01", '"\u00a01"'],
  ];
  for (const [payload, printed] of payloads) {
    const all = print("%J", messageOf(payload));
    const start = all.indexOf('"payload":') + '"payload":'.length;
    assert(all.slice(start) === `${printed}}`, payload.slice(0, 80));
  }
});

const CONVERSIONS = "%% %I %J %U %X %j %l %m %p %q %r %t %x";
const TIMES = "@% @@ @A @B @C @D @F @H @I @M @N @P @R @S @T @X @Y " +
  "@a @b @c @d @e @h @j @k @l @m @n @p @r @s @t @u @w @x @y @z";
const ESCAPES = String.raw`\0 \\ \a \e \n \r \t \v`;

/** A format that is none, and what is said of it. */
const ERRORS: readonly (readonly [string, string])[] = [
  ["%k", `There is no "%k" in a format, but ${CONVERSIONS}`],
  ["%t %é", `There is no "%é" in a format, but ${CONVERSIONS}`],
  ["%-05.3😀", `There is no "%-05.3😀" in a format, but ${CONVERSIONS}`],
  ["%+5l", `There is no "%+" in a format, but ${CONVERSIONS}`],
  ["%5-l", `There is no "%5-" in a format, but ${CONVERSIONS}`],
  ["% t", `There is no "% " in a format, but ${CONVERSIONS}`],
  ["%\n", String.raw`There is no "%\u000a" in a format, but ${CONVERSIONS}`],
  [
    "%\x1b[2J",
    String.raw`There is no "%\u001b" in a format, but ${CONVERSIONS}`,
  ],
  ["@Z", `There is no "@Z" in a format, but ${TIMES}`],
  ["@E", `There is no "@E" in a format, but ${TIMES}`],
  ["@5H", `There is no "@5" in a format, but ${TIMES}`],
  ["%p\\q", String.raw`There is no "\q" in a format, but ${ESCAPES}`],
  ["\\x1b", String.raw`There is no "\x" in a format, but ${ESCAPES}`],
  ["100%", 'The format ends within "%", for "%" itself write "%%"'],
  ["%-08.2", 'The format ends within "%-08.2", for "%" itself write "%%"'],
  ["%%%", 'The format ends within "%", for "%" itself write "%%"'],
  ["a@", 'The format ends within "@", for "@" itself write "@@"'],
  ["\\n\\", String.raw`The format ends within "\", for "\" itself write "\\"`],
  ["%10001p", '"%10001p" is wider than 10000'],
  ["%99999999999999999999q", '"%99999999999999999999q" is wider than 10000'],
  ...[..."ACDEFPRS"].map((letter) =>
    [
      `%5${letter}`,
      `"%5${letter}" is about MQTT 5, MQTT-SN has no such thing`,
    ] as const
  ),
];

Deno.test("parseFormat() throws RangeError and says what there is when a sequence is none", () => {
  for (const [format, message] of ERRORS) {
    const error = assertThrows(() => parseFormat(format), RangeError);
    assertEquals(error.message, message);
  }
});

Deno.test("parseFormat() throws nothing but RangeError when formats are noise", () => {
  const characters = [..."%%%@\\-0059.tplxIUJjqrm%nHé😀 \n\0"];
  let state = 1;
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  let read = 0;
  for (let i = 0; i < 20_000; i++) {
    const length = next(9);
    let format = "";
    while (format.length < length) {
      format += characters[next(characters.length)];
    }
    try {
      parseFormat(format)(messageOf([0xff]), AT);
      read++;
    } catch (error) {
      assert(error instanceof RangeError, format);
      assert(!error.message.includes("\n"), format);
    }
  }
  assert(read > 1_000, String(read));
});

const THERE = runs("mosquitto_sub");
const SKIPPED = THERE ? "" : " (skipped: there is no mosquitto_sub)";

function runs(command: string): boolean {
  try {
    new Deno.Command(command, { args: ["--help"] }).outputSync();
    return true;
  } catch {
    return false;
  }
}

/** A packet of MQTT 3.1.1 with less than 128 octets after its second. */
function packetOf(first: number, ...rest: readonly number[]): Uint8Array {
  return Uint8Array.of(first, rest.length, ...rest);
}

function publishOf(message: PrintedMessage): Uint8Array {
  const { topicName, payload, qos, retain, msgId } = message;
  const topic = encodeUtf8(topicName);
  const id = qos === 0 ? [] : [msgId >> 8, msgId & 0xff];
  const first = 0x30 | qos << 1 | Number(retain);
  return packetOf(first, 0, topic.length, ...topic, ...id, ...payload);
}

/** What a client of MQTT 3.1.1 has to be told to get the messages. */
async function serve(
  connection: Deno.TcpConn,
  messages: readonly PrintedMessage[],
): Promise<void> {
  const answers: Record<number, (id: readonly number[]) => Uint8Array[]> = {
    1: () => [packetOf(0x20, 0, 0)],
    5: (id) => [packetOf(0x62, ...id)],
    8: (id) => [packetOf(0x90, ...id, 2), ...messages.map(publishOf)],
  };
  let rest: number[] = [];
  try {
    for await (const octets of connection.readable) {
      rest.push(...octets);
      while (rest.length >= 2 && rest.length >= 2 + rest[1]!) {
        const [first, length] = rest as [number, number];
        for (const answer of answers[first >> 4]?.(rest.slice(2, 4)) ?? []) {
          for (let n = 0; n < answer.length;) {
            n += await connection.write(answer.subarray(n));
          }
        }
        rest = rest.slice(2 + length);
      }
    }
  } catch {
    // It has what it wanted and is gone.
  }
}

/** What `mosquitto_sub` prints of messages. */
async function printedThere(
  messages: readonly PrintedMessage[],
  ...args: readonly string[]
): Promise<Uint8Array> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const child = new Deno.Command("mosquitto_sub", {
    args: [
      ...["-h", "127.0.0.1", "-p", `${port}`, "-V", "311", "-q", "2"],
      ...["-t", "#", "-C", `${messages.length}`, "-W", "10", ...args],
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const served = listener.accept().then((client) => serve(client, messages));
  const { code, stdout, stderr } = await child;
  assertEquals([code, decoder.decode(stderr)], [0, ""], args.join(" "));
  await served;
  return stdout;
}

/** What we print of them. */
function printedHere(
  messages: readonly PrintedMessage[],
  format: string,
  options?: { newline: boolean },
  at: Date = AT,
): Uint8Array {
  const print = parseFormat(format, options);
  return Uint8Array.from(messages.flatMap((it) => [...print(it, at)]));
}

/** Messages in the order in which they arrive: those at QoS 2 come last. */
const MESSAGES: readonly PrintedMessage[] = [
  messageOf("on"),
  messageOf('tab\t quote" \\ / \x01\x1f\x7f ℃😀\r\n', { retain: true }),
  messageOf("12abc", { topicName: "Wetter/München/℃ 😀", qos: 1, msgId: 1 }),
  messageOf("x", { topicName: "/", qos: 1, msgId: 65_535, retain: true }),
  messageOf("{}", { qos: 2, msgId: 513 }),
];
const BINARY = [
  messageOf([0xff, 0, 0x0a, 0xc3, 0x28, 0x80]),
  messageOf([0], { qos: 1, msgId: 7 }),
];

Deno.test({
  name:
    `parseFormat() prints what mosquitto_sub does when it is asked the same${SKIPPED}`,
  ignore: !THERE,
  async fn() {
    const all = [...BINARY, ...MESSAGES];
    const ascii = all.filter(({ topicName }) => /^[ -~]+$/.test(topicName));
    const cases: readonly (readonly [readonly PrintedMessage[], string])[] = [
      [all, "%t %p %q%r%l %m %x %X %% @@ @% \\\\ \\0\\a\\e\\n\\r\\t\\v"],
      [all, "%5q|%-5r|%05%|%08l|%8l|%-8l|%.3l|%7m|%07m|%-7m|%50p|%-50p|%.1x"],
      [ascii, "%12t|%-12t|%012t|%1t|%.4t|%6.4t|%-6.4t|%.0t|%2.t|%0t|%-t"],
      [[messageOf("")], "[%t|%p|%5p|%-5p|%x|%04x|%4X|%l]"],
    ];
    await Promise.all(cases.map(async ([messages, format]) => {
      const there = await printedThere(messages, "-F", format);
      assertEquals([...printedHere(messages, format)], [...there], format);
    }));
    const bare = { newline: false };
    const ways: readonly (readonly [string[], string, typeof bare?])[] = [
      [[], "%p"],
      [["-N"], "%p", bare],
      [["-v"], "%t %p"],
      [["-v", "-N"], "%t %p", bare],
      [["-N", "-F", "%p%t"], "%p%t", bare],
    ];
    await Promise.all(ways.map(async ([args, format, options]) => {
      const there = await printedThere(all, ...args);
      const here = printedHere(all, format, options);
      assertEquals([...here], [...there], args.join(" "));
    }));
  },
});

Deno.test({
  name:
    `parseFormat() prints JSON as mosquitto_sub does when asked for %j and %J${SKIPPED}`,
  ignore: !THERE,
  async fn() {
    // Their moment, which some versions give two zones.
    const timeless = (octets: Uint8Array) =>
      decoder.decode(octets).replace(/"tst":"[^"]+"/g, '"tst":""');
    const json = ['{"a":\n[ 1, true , null]}', ' "x y"', "-27.5", "[]"];
    const cases: readonly (readonly [readonly PrintedMessage[], string])[] = [
      [MESSAGES, "%j"],
      [
        json.map((payload) => messageOf(payload, { qos: 1, msgId: 9 })),
        "a %J b",
      ],
    ];
    for (const [messages, format] of cases) {
      const there = await printedThere(messages, "-F", format);
      assertEquals(timeless(printedHere(messages, format)), timeless(there));
    }
  },
});

Deno.test({
  name:
    `parseFormat() shows moments as mosquitto_sub does when it is the same second${SKIPPED}`,
  ignore: !THERE,
  async fn() {
    const format = TIMES.replaceAll(/ ?@N/g, "").replaceAll(" ", "|") +
      "|%I|%26I|%-26I|%.10I|%12.4I";
    for (let start = "", end; start !== end;) {
      const there = decoder.decode(
        await printedThere([messageOf()], "-F", `@s~${format}~%U~@s`, "-N"),
      );
      const [first, shown, time, last] = there.split("~");
      [start, end] = [first!, last!];
      const at = new Date(Math.floor(Number(time)) * 1_000);
      if (start === end) assertEquals(print(format, messageOf(), at), shown);
    }
  },
});
