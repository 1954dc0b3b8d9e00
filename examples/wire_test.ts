/**
 * Tests of what a device says on the wire, by the broker's journal: a door sensor
 * that has to publish once for each opening, keep its topic's id, and repeat itself
 * when it is not answered.
 *
 * Run them with `deno test -A examples/wire_test.ts`.
 *
 * @module
 */

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ExpectationError } from "../entries/testing.ts";
import { Broker, Client, type ClientOptions } from "../mod.ts";

/** The code under test: tells of each opening, at QoS 1. */
async function runDoor(
  openings: number,
  options: ClientOptions,
): Promise<void> {
  await using door = await Client.connect({ ...options, clientId: "door-3" });
  for (let i = 1; i <= openings; i++) {
    await door.publish("house/door/opened", String(i), { qos: 1 });
  }
}

Deno.test("the door publishes once for each opening", async () => {
  await using broker = await Broker.listen({ port: 0 });
  const { journal } = broker;

  await runDoor(3, { port: broker.port });

  const published = await journal.received("house/+/opened", { exactly: 3 });
  assertEquals(
    published.map(({ payload }) => new TextDecoder().decode(payload)),
    ["1", "2", "3"],
  );
  await journal.sent({ type: "PUBACK", to: "door-3", count: 3 });
});

Deno.test("the door asks for its topic's id but once, and says goodbye", async () => {
  await using broker = await Broker.listen({ port: 0 });
  const { journal } = broker;

  await runDoor(2, { port: broker.port });

  await journal.received({ type: "REGISTER", from: "door-3", exactly: 1 });
  await journal.received({
    type: "DISCONNECT",
    from: "door-3",
    with: { duration: undefined }, // it does not fall asleep
    within: 2_000,
  });
  await journal.sent({ type: "PUBACK", with: { returnCode: 2 }, never: true });
});

Deno.test("what is not so is shown as a table", async () => {
  await using broker = await Broker.listen({ port: 0 });

  await runDoor(1, { port: broker.port });

  const expected = broker.journal.received("house/+/opened", {
    count: 2,
    within: 50,
  });
  const { message } = await assertRejects(() => expected, ExpectationError);
  assertStringIncludes(
    message,
    'Expected to receive 2 × publish on "house/+/opened" within 50 ms, but there was 1',
  );
  assertStringIncludes(message, "door-3  PUBLISH");
});
