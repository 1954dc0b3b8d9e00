/**
 * Tests of a fleet's ledger.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { Ledger, numberIn, numberPayload } from "../../fleet/ledger.ts";

Deno.test("Ledger counts what is expected, what comes, and what comes twice", () => {
  const ledger = new Ledger();
  const reading = ledger.publish(1_000, "readings", 7, 1, 2);
  const command = ledger.publish(1_500, "commands", 9, 2, 1);
  assertEquals(ledger.expected, 3);
  assertEquals(ledger.arrive(1_200, reading, 0), 200);
  assertEquals(ledger.arrive(1_250, reading, 1), 250);
  assertEquals(ledger.arrive(1_300, reading, 0), undefined);
  assertEquals(ledger.arrive(2_000, command, 0), 500);
  assertEquals(ledger.arrived, 3);
  const { readings: [zero, one], commands: [, , two] } = ledger.accounts;
  assertEquals([zero.published, one.published, two.published], [0, 1, 1]);
  assertEquals([one.expected, one.arrived, one.duplicates], [2, 2, 1]);
  assertEquals(one.latency.percentile(100), 250);
  assertEquals([two.arrived, two.duplicates], [1, 0]);
});

Deno.test("Ledger finds a message by its payload, however many there are", () => {
  const ledger = new Ledger();
  const payload = new Uint8Array(9);
  for (let count = 0; count < 70_000; count++) {
    ledger.publish(
      count,
      count % 2 === 0 ? "readings" : "commands",
      count,
      0,
      1,
    );
  }
  for (const number of [0, 1, 65_535, 65_536, 69_999]) {
    numberPayload(payload, number);
    assertEquals(ledger.find(payload), {
      number,
      client: number,
      flow: number % 2 === 0 ? "readings" : "commands",
    });
  }
  assertEquals(ledger.spoiled, 0);
  numberPayload(payload, 70_000);
  assertEquals(ledger.find(payload), undefined);
  assertEquals(ledger.spoiled, 1);
});

Deno.test("numberIn() knows a payload of which one bit is another", () => {
  for (const [number, length] of [[0, 6], [123_456_789, 40]] as const) {
    const payload = new Uint8Array(length);
    numberPayload(payload, number);
    assertEquals(numberIn(payload), number);
    for (let bit = 0; bit < 8 * length; bit++) {
      payload[bit >> 3]! ^= 1 << (bit & 7);
      assertEquals(numberIn(payload), undefined, `bit ${bit}`);
      payload[bit >> 3]! ^= 1 << (bit & 7);
    }
  }
  assertEquals(numberIn(new Uint8Array(5)), undefined);
});
