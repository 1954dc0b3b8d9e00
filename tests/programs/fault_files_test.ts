/**
 * The files in `examples/faults/`: a real broker makes each mistake, and a real
 * client lives with it, as far as a client can.
 */

import { assertEquals } from "@std/assert";
import { Broker } from "../../broker.ts";
import { Client } from "../../client.ts";
import type { FaultEvent } from "../../netsim/faults.ts";
import type { Subscription } from "../../client/subscription.ts";
import { MemoryNetwork } from "../../transport/memory.ts";

const DIRECTORY = new URL("../../examples/faults/", import.meta.url);

async function faultsOf(file: string) {
  const text = await Deno.readTextFile(new URL(file, DIRECTORY));
  return JSON.parse(text) as { about: string; faults: unknown[] };
}

/**
 * How soon each side sends again what has no answer, and the lamp connects again, in
 * milliseconds. Default: later than any answer comes, so that what is counted is the
 * same on a busy machine.
 */
interface Retry {
  readonly lamp?: number;
  readonly broker?: number;
}

const LATE_MS = 20_000;

/**
 * A broker with faults; a lamp that has subscribed to `room/+` and sleeps, and Ann,
 * who publishes. Ann's first message waits for the lamp.
 */
async function begin(file: string, retry: Retry = {}) {
  const network = new MemoryNetwork();
  const struck: FaultEvent[] = [];
  const broker = await Broker.listen({
    transport: network.bind({ port: 12_003 }),
    retryMs: retry.broker ?? LATE_MS,
    ...await faultsOf(file),
    seed: 1,
    onFault: (event) => struck.push(event),
  });
  const connect = (clientId: string, cleanSession: boolean) =>
    Client.connect({
      transport: network.bind(),
      retryMs: retry.lamp ?? LATE_MS,
      clientId,
      cleanSession,
    });
  const lamp = await connect("lamp", false);
  const messages = await lamp.subscribe("room/+", { qos: 1 });
  await lamp.sleep(3_600);
  const ann = await connect("ann", true);
  await ann.publish("room/1", "one", { qos: 1 });
  assertEquals(struck, [], "Nothing strikes before the lamp wakes");
  return {
    broker,
    lamp,
    ann,
    messages,
    struck,
    /** What has struck, without saying it again and again. */
    strikes: () => [...new Set(struck.map(({ what }) => what))],
    async [Symbol.asyncDispose]() {
      await ann.close();
      await lamp.close();
      await broker.close();
    },
  };
}

async function take(messages: Subscription, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) texts.push((await messages.take()).text());
  return texts;
}

/** What a person sees of a device that sleeps again: it fetches what comes next. */
async function assertSleepsWell(
  { lamp, ann, messages }: Awaited<ReturnType<typeof begin>>,
): Promise<void> {
  await ann.publish("room/2", "last", { qos: 1 });
  await lamp.wake();
  for (;;) {
    const text = (await messages.take()).text();
    if (text === "last") break;
    assertEquals(text, "one"); // again
  }
  assertEquals(lamp.state, "asleep");
}

const TESTS: Readonly<Record<string, () => Promise<void>>> = {
  async "01_no_final_pingresp.json"() {
    await using scene = await begin("01_no_final_pingresp.json", { lamp: 50 });
    await scene.lamp.wake();
    assertEquals(await take(scene.messages, 1), ["one"]);
    assertEquals(scene.strikes(), ["dropped"]);
    assertEquals(scene.lamp.state, "asleep");
    await assertSleepsWell(scene);
  },

  async "02_pingresp_too_early.json"() {
    await using scene = await begin("02_pingresp_too_early.json", {
      broker: 50,
    });
    await scene.lamp.wake();
    assertEquals(scene.strikes(), ["PINGRESP sent to the client"]);
    // It sleeps as it was told, and answers nothing: the broker tries in vain.
    assertEquals([scene.lamp.state, scene.lamp.stats().received], [
      "asleep",
      0,
    ]);
    await scene.lamp.wake();
    assertEquals(await take(scene.messages, 1), ["one"]);
    await assertSleepsWell(scene);
  },

  async "03_everything_again.json"() {
    await using scene = await begin("03_everything_again.json");
    await scene.lamp.wake();
    assertEquals(scene.strikes(), []); // there is nothing old yet
    await scene.lamp.wake();
    await scene.lamp.wake();
    assertEquals(scene.struck.length, 2);
    // QoS 1 is at least once: a device has to bear with it.
    assertEquals(await take(scene.messages, 3), ["one", "one", "one"]);
    await assertSleepsWell(scene);
  },

  async "04_pushed_while_asleep.json"() {
    await using scene = await begin("04_pushed_while_asleep.json");
    await scene.lamp.wake();
    assertEquals(scene.strikes(), ["1 sent again"]);
    assertEquals(await take(scene.messages, 1), ["one"]);
    while (scene.broker.stats().net!.underWay > 0) await turn();
    // It has not listened, as one whose radio is off would not.
    assertEquals([scene.lamp.state, scene.lamp.stats().received], [
      "asleep",
      1,
    ]);
    await assertSleepsWell(scene);
  },

  async "05_keep_alive_while_asleep.json"() {
    await using scene = await begin("05_keep_alive_while_asleep.json", {
      lamp: 50,
    });
    await scene.lamp.wake();
    assertEquals(scene.strikes(), ["session forgotten"]);
    // What has waited went with the session; but it connects and subscribes anew.
    await scene.lamp.sleep(3_600);
    assertEquals(scene.lamp.stats().received, 0);
    await assertSleepsWell(scene);
    assertEquals(scene.broker.stats().mqttsn.clients.asleep, 1);
  },

  async "06_lost_on_connect.json"() {
    await using scene = await begin("06_lost_on_connect.json");
    await scene.lamp.connect();
    await scene.ann.publish("room/1", "two", { qos: 1 });
    while (scene.struck.length < 2) await turn();
    assertEquals(scene.strikes(), ["answered with PUBACK"]);
    // The broker believes that both have arrived. No device can know better.
    assertEquals(scene.lamp.stats().received, 0);
    assertEquals(scene.lamp.state, "active");
  },

  async "07_register_without_publish.json"() {
    await using scene = await begin("07_register_without_publish.json");
    await scene.lamp.wake();
    assertEquals(scene.strikes(), ["answered with PUBACK"]);
    assertEquals(scene.lamp.stats().received, 0);
    assertEquals(scene.lamp.state, "asleep");
    // It has kept the id that was registered, and so the next needs none.
    await scene.ann.publish("room/1", "two", { qos: 1 });
    await scene.lamp.wake();
    assertEquals(await take(scene.messages, 1), ["two"]);
  },

  async "08_topic_ids_forgotten.json"() {
    await using scene = await begin("08_topic_ids_forgotten.json");
    // It comes to know an id, and so does the broker that it knows it.
    await scene.lamp.connect();
    assertEquals(await take(scene.messages, 1), ["one"]);
    await scene.lamp.sleep(3_600);
    await scene.ann.publish("room/1", "two", { qos: 1 });
    await scene.lamp.wake();
    assertEquals(scene.strikes(), [
      "topic ids forgotten: 1",
      "answered that it knows no such topic id",
    ]);
    // It was told the id again, and then the message.
    assertEquals(await take(scene.messages, 1), ["two"]);
    assertEquals(scene.broker.stats().mqttsn.receivedByType.REGACK, 2);
    await scene.ann.publish("room/1", "three", { qos: 1 });
    await scene.lamp.wake();
    assertEquals(await take(scene.messages, 1), ["three"]);
    assertEquals(scene.struck.length, 2);
  },

  async "09_id_never_accepted.json"() {
    await using scene = await begin("09_id_never_accepted.json");
    await scene.lamp.wake();
    assertEquals(scene.strikes(), ["answered with REGACK"]);
    // It refused the id, and was told it then.
    assertEquals(await take(scene.messages, 1), ["one"]);
    assertEquals(scene.lamp.stats().received, 1);
    await assertSleepsWell(scene);
  },

  async "10_pingreq_not_recognised.json"() {
    await using scene = await begin("10_pingreq_not_recognised.json", {
      lamp: 50,
    });
    await scene.lamp.wake();
    assertEquals(scene.strikes(), ["answered with DISCONNECT"]);
    assertEquals(await take(scene.messages, 1), ["one"]);
    await scene.lamp.sleep(3_600);
    await assertSleepsWell(scene);
  },
};

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

Deno.test("examples/faults/ has a test for each of its files", async () => {
  const files: string[] = [];
  for await (const { name } of Deno.readDir(DIRECTORY)) files.push(name);
  assertEquals(files.sort(), Object.keys(TESTS));
});

for (const [file, test] of Object.entries(TESTS)) {
  Deno.test(
    `examples/faults/${file} strikes, and a client lives with it`,
    test,
  );
}
