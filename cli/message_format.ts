/**
 * How a message is printed: the formats of `mosquitto_sub`, as the
 * section "Output format" of its manual page has them. What peers have sent goes
 * through as it is: to escape it is for the edge, which knows whether a terminal
 * reads.
 *
 * Theory of operation. A format is read once, into pieces. Each adds octets to
 * those of a message, and all are joined at the end; so a payload is copied once
 * and decoded only for JSON. Three tables hold what may follow a `%`, a `@` and
 * a `\`. Local time is what the given moment takes for it.
 *
 * Where that program departs from its manual page, or loses something, this does
 * not: a width cuts no payload short, nor does a NUL or what is no UTF-8 in JSON,
 * and where JSON was expected and there is none, there is text.
 *
 * @module
 */

import {
  decodeUtf8,
  decodeUtf8Loosely,
  encodeUtf8,
  octetsOf,
} from "../base/utf8.ts";

/**
 * What is printed of a message.
 *
 * @example
 * ```ts
 * import type { PrintedMessage } from "./message_format.ts";
 *
 * const about = { qos: 0, retain: false, msgId: 0 } as const;
 * const payload = new TextEncoder().encode("on");
 * const message: PrintedMessage = { topicName: "lamp", payload, ...about };
 * ```
 */
export interface PrintedMessage {
  /** Where it was published to. */
  readonly topicName: string;
  /** What was published; may be empty, may be a view. */
  readonly payload: Uint8Array;
  /** How sure its delivery was. */
  readonly qos: 0 | 1 | 2;
  /** Whether its topic had retained it. */
  readonly retain: boolean;
  /** The id of its PUBLISH, 0 to 65535: 0 at QoS 0. */
  readonly msgId: number;
}

/**
 * Turns a message, and the moment when it came, into what is printed for it:
 * octets of their own, whatever becomes of the payload.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { type Format, parseFormat } from "./message_format.ts";
 *
 * const format: Format = parseFormat("%l octets");
 * const payload = Uint8Array.of(0xff, 0xfe);
 * const about = { qos: 0, retain: false, msgId: 0 } as const;
 * const printed = format({ topicName: "a", payload, ...about }, new Date());
 * assertEquals(new TextDecoder().decode(printed), "2 octets\n");
 * ```
 */
export type Format = (
  message: PrintedMessage,
  at: Date,
) => Uint8Array<ArrayBuffer>;

/** The widest that a field can be asked to be. */
const MAX_WIDTH = 10_000;

/** What a conversion prints, and what may stand between `%` and its letter. */
interface Conversion {
  readonly of: (message: PrintedMessage, at: Date) => string | Uint8Array;
  /**
   * A width, a width that zeros may fill, or a width and a maximum. What may
   * not stand there says nothing.
   */
  readonly field?: "width" | "zeros" | "maximum";
}

/** Adds to what is printed. */
type Piece = (into: Uint8Array[], message: PrintedMessage, at: Date) => void;

const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday"
  .split(" ");
const MONTHS = ("January February March April May June July August " +
  "September October November December").split(" ");
const DAY_MS = 86_400_000;

const padded = (value: number, width = 2, fill = "0") =>
  String(value).padStart(width, fill);

const secondsOf = (at: Date) => Math.floor(at.getTime() / 1_000);
const millisOf = (at: Date) => padded(at.getTime() - secondsOf(at) * 1_000, 3);
const hourOf12 = (at: Date) => at.getHours() % 12 || 12;
const isMorning = (at: Date) => at.getHours() < 12;

function dayOfYear(at: Date): number {
  const year = at.getFullYear();
  const midnight = Date.UTC(year, at.getMonth(), at.getDate());
  return (midnight - Date.UTC(year, 0)) / DAY_MS + 1;
}

function zoneOf(at: Date): string {
  const east = -at.getTimezoneOffset();
  const minutes = Math.abs(east);
  const sign = east < 0 ? "-" : "+";
  return sign + padded(Math.floor(minutes / 60)) + padded(minutes % 60);
}

/** What shows a moment as some of {@linkcode TIMES}. */
const timeAs = (format: string) => (at: Date) =>
  format.replace(/@(.)/g, (_, letter: string) => TIMES[letter]!(at));

/** What may follow a `@`: that of strftime(3) in the C locale, and `@N`. */
const TIMES: Readonly<Record<string, (at: Date) => string>> = {
  "%": () => "%",
  "@": () => "@",
  A: (at) => DAYS[at.getDay()]!,
  B: (at) => MONTHS[at.getMonth()]!,
  C: (at) => padded(Math.floor(at.getFullYear() / 100)),
  D: timeAs("@m/@d/@y"),
  F: timeAs("@Y-@m-@d"),
  H: (at) => padded(at.getHours()),
  I: (at) => padded(hourOf12(at)),
  M: (at) => padded(at.getMinutes()),
  N: (at) => millisOf(at) + "000000",
  P: (at) => isMorning(at) ? "am" : "pm",
  R: timeAs("@H:@M"),
  S: (at) => padded(at.getSeconds()),
  T: timeAs("@H:@M:@S"),
  X: timeAs("@T"),
  Y: (at) => String(at.getFullYear()),
  a: (at) => DAYS[at.getDay()]!.slice(0, 3),
  b: (at) => MONTHS[at.getMonth()]!.slice(0, 3),
  c: timeAs("@a @b @e @T @Y"),
  d: (at) => padded(at.getDate()),
  e: (at) => padded(at.getDate(), 2, " "),
  h: timeAs("@b"),
  j: (at) => padded(dayOfYear(at), 3),
  k: (at) => padded(at.getHours(), 2, " "),
  l: (at) => padded(hourOf12(at), 2, " "),
  m: (at) => padded(at.getMonth() + 1),
  n: () => "\n",
  p: (at) => isMorning(at) ? "AM" : "PM",
  r: timeAs("@I:@M:@S @p"),
  s: (at) => String(secondsOf(at)),
  t: () => "\t",
  u: (at) => String(at.getDay() || 7),
  w: (at) => String(at.getDay()),
  x: timeAs("@D"),
  y: (at) => padded(at.getFullYear() % 100),
  z: zoneOf,
};

const isoOf = timeAs("@FT@T@z");
const unixOf = timeAs("@s.@N");
const localOf = timeAs("@FT@T");

/** What may follow a `%`. */
const CONVERSIONS: Readonly<Record<string, Conversion>> = {
  "%": { of: () => "%" },
  I: { of: (_, at) => isoOf(at), field: "maximum" },
  J: { of: (message, at) => jsonOf(message, at, bareJson) },
  U: { of: (_, at) => unixOf(at) },
  X: { of: ({ payload }) => payload.toHex().toUpperCase(), field: "zeros" },
  j: { of: (message, at) => jsonOf(message, at, JSON.stringify) },
  l: { of: ({ payload }) => String(payload.length), field: "zeros" },
  m: { of: ({ msgId }) => String(msgId), field: "zeros" },
  p: { of: ({ payload }) => payload, field: "width" },
  q: { of: ({ qos }) => String(qos) },
  r: { of: ({ retain }) => retain ? "1" : "0" },
  t: { of: ({ topicName }) => topicName, field: "maximum" },
  x: { of: ({ payload }) => payload.toHex(), field: "zeros" },
};

/** What follows a `%` where messages are of MQTT 5. */
const PROPERTIES = new Set("ACDEFPRS");

/** What may follow a `\`. */
const ESCAPES: Readonly<Record<string, string>> = {
  "0": "\0",
  "\\": "\\",
  a: "\x07",
  e: "\x1b",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** A message as a JSON object, its payload as `show` shows text. */
function jsonOf(
  { topicName, payload, qos, retain, msgId }: PrintedMessage,
  at: Date,
  show: (text: string) => string,
): string {
  const head = JSON.stringify({
    tst: `${localOf(at)}.${millisOf(at)}000${zoneOf(at)}`,
    topic: topicName,
    qos,
    retain: retain ? 1 : 0,
    payloadlen: payload.length,
    ...(qos === 0 ? {} : { mid: msgId }),
  }).slice(0, -1);
  let text: string;
  try {
    text = decodeUtf8(payload);
  } catch {
    const near = JSON.stringify(decodeUtf8Loosely(payload));
    return `${head},"payload":${near},"payloadHex":"${payload.toHex()}"}`;
  }
  return `${head},"payload":${show(text)}}`;
}

/** JSON on one line, to the digit; what is none as a string. */
function bareJson(text: string): string {
  try {
    JSON.parse(text);
  } catch {
    return JSON.stringify(text);
  }
  // Between strings, blanks and the ends of lines say nothing.
  return text.replace(/("(?:[^"\\]|\\.)*")|[ \t\n\r]+/g, "$1");
}

/** What a format is made of, from end to end. */
const SEQUENCES =
  /%([-0]*)(\d*)(?:\.(\d*))?(?<conversion>.?)|@(?<time>.?)|\\(?<escape>.?)|[^%@\\]+/gsu;

/**
 * Reads a format: text in which these are replaced.
 *
 * - `%t` topic name, `%p` payload, `%q` QoS, `%r` 1 if retained, else 0
 * - `%l` length of the payload in octets, `%m` message id (0 at QoS 0)
 * - `%x` `%X` payload in hexadecimal: `6f6e` `6F6E`
 * - `%I` date and time: `2016-08-10T09:47:38+0100`
 * - `%U` seconds since 1970: `1470818858.123000000`
 * - `%j` JSON on one line: `tst`, `topic`, `qos`, `retain` (0 or 1),
 *   `payloadlen`, `mid` above QoS 0, and `payload` as a string
 * - `%J` the same, but a payload that is JSON as it is
 * - `@` and a letter: date and time by strftime(3); `@N` nanoseconds
 * - `\0` `\a` `\e` `\n` `\r` `\t` `\v`: control characters
 * - `%%` `@@` `\\`: the characters themselves
 *
 * With `I`, `l`, `m`, `p`, `t`, `x` and `X` a number after `%` is the least
 * width, in characters, of `p` in octets. Blanks fill it from the left; after
 * `-`, from the right; with `l`, `m`, `x` and `X` after `0`, zeros from the left.
 * With `I` and `t` a dot and a number are the greatest width: `%-10.10t`.
 *
 * JSON of a payload that is no UTF-8 has U+FFFD in `payload`, and the octets in
 * `payloadHex`. A payload that is no JSON is a string in `%J` too, as one that
 * is a JSON string is: `payloadlen` tells them apart.
 *
 * `%p` is what is printed unless told, `%t %p` what `-v` asks for.
 *
 * @param format the text
 * @param options `newline`: whether a line feed follows each message
 * @throws {RangeError} for what is none of these, incomplete, about MQTT 5
 * alone, or wider than 10,000
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { parseFormat } from "./message_format.ts";
 *
 * const print = (format: string) => {
 *   const payload = new TextEncoder().encode('{"on": 1}');
 *   const about = { qos: 0, retain: true, msgId: 0 } as const;
 *   const message = { topicName: "lamp", payload, ...about };
 *   return new TextDecoder().decode(parseFormat(format)(message, new Date()));
 * };
 * assertEquals(print("%t %p"), 'lamp {"on": 1}\n');
 * assertEquals(print("%6t|%-6t|%04l"), "  lamp|lamp  |0009\n");
 * assertEquals(JSON.parse(print("%J")).payload, { on: 1 });
 * assertThrows(() => print("%k"), RangeError, 'There is no "%k"');
 * ```
 */
export function parseFormat(
  format: string,
  { newline = true }: { readonly newline?: boolean } = {},
): Format {
  const pieces: Piece[] = [];
  let text = "";
  const add = (piece?: Piece) => {
    const octets = encodeUtf8(text);
    if (text !== "") pieces.push((into) => into.push(octets));
    text = "";
    if (piece !== undefined) pieces.push(piece);
  };
  for (const match of format.matchAll(SEQUENCES)) {
    const [sequence, flags, width, max] = match;
    const { conversion, time, escape } = match.groups!;
    if (conversion !== undefined) {
      if (PROPERTIES.has(conversion)) {
        throw new RangeError(
          `${quote(sequence)} is about MQTT 5, MQTT-SN has no such thing`,
        );
      }
      const found = lookUp(sequence, conversion, "%", CONVERSIONS);
      add(fieldOf(sequence, found, flags!, Number(width), max));
    } else if (time !== undefined) {
      const show = lookUp(sequence, time, "@", TIMES);
      add((into, _, at) => into.push(encodeUtf8(show(at))));
    } else if (escape !== undefined) {
      text += lookUp(sequence, escape, "\\", ESCAPES);
    } else {
      text += sequence;
    }
  }
  if (newline) text += "\n";
  add();

  return (message, at) => {
    const parts: Uint8Array[] = [];
    for (const piece of pieces) piece(parts, message, at);
    return join(parts);
  };
}

/** A conversion, with what stands between `%` and its letter. */
function fieldOf(
  sequence: string,
  { of, field }: Conversion,
  flags: string,
  width: number,
  max: string | undefined,
): Piece {
  if (width > MAX_WIDTH) {
    throw new RangeError(`${quote(sequence)} is wider than ${MAX_WIDTH}`);
  }
  const most = field === "maximum" && max !== undefined
    ? Number(max)
    : Infinity;
  if (field === undefined || (width === 0 && most === Infinity)) {
    return (into, message, at) => into.push(octetsOf(of(message, at)));
  }
  const isLeft = flags.includes("-");
  const fill = field === "zeros" && flags.includes("0") && !isLeft ? "0" : " ";
  return (into, message, at) => {
    let value = of(message, at);
    let length = value.length;
    if (typeof value === "string") {
      const characters = [...value].slice(0, most);
      value = characters.join("");
      length = characters.length;
    }
    const padding = encodeUtf8(fill.repeat(Math.max(0, width - length)));
    if (!isLeft) into.push(padding);
    into.push(octetsOf(value));
    if (isLeft) into.push(padding);
  };
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let end = 0;
  for (const part of parts) {
    whole.set(part, end);
    end += part.length;
  }
  return whole;
}

/** @throws {RangeError} when the table has nothing by that letter */
function lookUp<Value>(
  sequence: string,
  letter: string,
  sign: string,
  table: Readonly<Record<string, Value>>,
): Value {
  const found = table[letter];
  if (found !== undefined) return found;
  if (letter === "") {
    throw new RangeError(
      `The format ends within ${
        quote(sequence)
      }, for "${sign}" itself write "${sign}${sign}"`,
    );
  }
  const all = Object.keys(table).sort().map((name) => sign + name).join(" ");
  throw new RangeError(
    `There is no ${quote(sequence)} in a format, but ${all}`,
  );
}

/** A sequence on one line. */
function quote(sequence: string): string {
  const shown = sequence.replace(
    /\p{Cc}/gu,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return `"${shown}"`;
}
