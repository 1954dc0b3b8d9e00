import { assertEquals, assertThrows } from "@std/assert";
import {
  decodeUtf8,
  encodeUtf8,
  utf8Length,
  writeUtf8,
} from "../../base/utf8.ts";

const TEXTS = [
  "",
  "a",
  "é",
  "€",
  "😀",
  "\ufeffa",
  "\ufffd",
  "a\0b",
  "\ud83d",
  "\ude00x",
  "\ud83d\ud83d\ude00",
];

Deno.test("decodeUtf8() reads what encodeUtf8() writes, to the letter", () => {
  for (const text of TEXTS) {
    assertEquals(decodeUtf8(encodeUtf8(text)), text.toWellFormed());
  }
});

Deno.test("decodeUtf8() throws TypeError for what is no UTF-8", () => {
  for (
    const octets of [[0x80], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf8], [
      0x61,
      0xff,
    ]]
  ) {
    assertThrows(() => decodeUtf8(Uint8Array.from(octets)), TypeError);
  }
});

Deno.test("utf8Length() counts the octets that encodeUtf8() writes", () => {
  for (const text of TEXTS) {
    assertEquals(utf8Length(text), encodeUtf8(text).length);
  }
});

Deno.test("writeUtf8() writes what encodeUtf8() does, where it is told, and nothing else", () => {
  for (const text of [...TEXTS, "x".repeat(65), "é".repeat(65)]) {
    const octets = encodeUtf8(text);
    const into = new Uint8Array(octets.length + 4).fill(7);
    writeUtf8(text, octets.length, into, 2);
    assertEquals(into, Uint8Array.from([7, 7, ...octets, 7, 7]));
  }
});
