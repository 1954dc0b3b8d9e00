/**
 * Text as octets in UTF-8.
 *
 * @module
 */

const loose = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/**
 * Reads a text, to the letter: a byte order mark is a character as any other.
 *
 * @throws {TypeError} when the octets are no UTF-8
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { decodeUtf8, encodeUtf8 } from "./utf8.ts";
 *
 * assertEquals(decodeUtf8(encodeUtf8("21.5 °C")), "21.5 °C");
 * assertThrows(() => decodeUtf8(Uint8Array.of(0xc3)), TypeError);
 * ```
 */
export function decodeUtf8(bytes: Uint8Array): string {
  // A strict decoder takes twice as long: it is only for what may be wrong.
  const text = loose.decode(bytes);
  return text.includes("\ufffd") ? strict.decode(bytes) : text;
}

/** Reads a text, whatever the octets: what is no UTF-8 becomes U+FFFD. */
export function decodeUtf8Loosely(bytes: Uint8Array): string {
  return loose.decode(bytes);
}

/** So long a text is sooner written here than by the system, if it is ASCII. */
const SHORT = 64;

/** Writes a text; half a surrogate pair becomes U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  if (text.length > SHORT) return encoder.encode(text);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) return encoder.encode(text);
    bytes[i] = unit;
  }
  return bytes;
}

/** A payload as octets: text as UTF-8. */
export function octetsOf(payload: string | Uint8Array): Uint8Array {
  return typeof payload === "string" ? encodeUtf8(payload) : payload;
}

/**
 * Writes a text among other octets.
 *
 * @param octets how many it takes; as many have to follow `at`
 */
export function writeUtf8(
  text: string,
  octets: number,
  into: Uint8Array,
  at: number,
): void {
  if (octets > text.length || octets > SHORT) {
    into.set(encoder.encode(text), at);
    return;
  }
  for (let i = 0; i < octets; i++) into[at + i] = text.charCodeAt(i);
}

/**
 * The octets that a text takes, without writing it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { utf8Length } from "./utf8.ts";
 *
 * assertEquals(utf8Length("21.5 °C"), 8);
 * ```
 */
export function utf8Length(text: string): number {
  let octets = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    octets += unit < 0x800 ? 1 : 2;
    // The second half of a pair adds nothing: the two units are four octets.
    if (isHighSurrogate(unit) && isLowSurrogate(text.charCodeAt(i + 1))) i++;
  }
  return octets;
}

const isHighSurrogate = (unit: number) => unit >= 0xd800 && unit < 0xdc00;
const isLowSurrogate = (unit: number) => unit >= 0xdc00 && unit < 0xe000;
