/**
 * Tests of a device's code against a broker in the same process: a thermostat
 * that gets its set point from the broker and tells the heating what to do.
 *
 * Run them with `deno test -A examples/thermostat_test.ts`.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import {
  Broker,
  Client,
  type ClientOptions,
  NoAnswerError,
  UdpTransport,
} from "../mod.ts";

/** The code under test: heats while it is colder than the set point. */
async function runThermostat(
  sensor: Iterable<number>,
  options: ClientOptions,
): Promise<void> {
  await using thermostat = await Client.connect({
    ...options,
    clientId: "thermostat",
    will: { topicName: "thermostat/state", payload: "lost", retain: true },
  });
  const setPoints = await thermostat.subscribe("set-point", { qos: 1 });
  const setPoint = Number((await setPoints.take()).text());
  for (const celsius of sensor) {
    const heating = celsius < setPoint ? "on" : "off";
    await thermostat.publish("heating", heating, { qos: 1 });
  }
}

Deno.test("the thermostat heats below the set point", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using room = await Client.connect({ port: broker.port });
  await room.publish("set-point", "19", { qos: 1, retain: true });
  const heating = await room.subscribe("heating", { qos: 1 });

  await runThermostat([18.5, 19], { port: broker.port });

  assertEquals((await heating.take()).text(), "on");
  assertEquals((await heating.take()).text(), "off");
  assertEquals(broker.stats().published, 3);
});

Deno.test("the broker tells who asks that the thermostat is lost", async () => {
  // What is not acknowledged is sent again once: a third of a second in all.
  const haste = { retryMs: 100, retries: 1 };
  await using broker = await Broker.listen({ port: 0, ...haste });
  await using room = await Client.connect({ port: broker.port });
  await room.publish("set-point", "19", { qos: 1, retain: true });
  const transport = await UdpTransport.towards(broker.address);
  function* sensor() {
    yield 18.5;
    transport.close(); // somebody pulls the plug
  }

  await runThermostat(sensor(), { transport, port: broker.port, ...haste });
  await room.publish("set-point", "20", { qos: 1, retain: true });

  const states = await room.subscribe("thermostat/state", { qos: 1 });
  assertEquals((await states.take()).text(), "lost");
});

Deno.test("the thermostat says that there is no broker", async () => {
  const broker = await Broker.listen({ port: 0 });
  await broker.close();
  const options = { port: broker.port, timeoutMs: 50 };
  await assertRejects(() => runThermostat([20], options), NoAnswerError);
});
