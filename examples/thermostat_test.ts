/**
 * A test of a device's code against a broker in the same process: a thermostat
 * that reads a temperature and publishes what the heating has to do.
 *
 * Run it with `deno test -A examples/thermostat_test.ts`.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { Broker, ClassicClient, NoAnswerError } from "../mod.ts";

/** The code under test: switches the heating on below 19 °C. */
async function thermostat(port: number, timeoutMs = 5_000): Promise<void> {
  await using sensor = await ClassicClient.connect({ port });
  await using heating = await ClassicClient.connect({ port, timeoutMs });
  if (!await heating.ping()) throw heating.noAnswer();
  const history = await sensor.subscribe("room/temperature");
  const celsius = Number(history.split("\n").at(-1));
  await heating.publish("room/heating", celsius < 19 ? "on" : "off");
}

for (const [celsius, heating] of [["18.5", "on"], ["19", "off"]] as const) {
  Deno.test(`the thermostat switches ${heating} at ${celsius} °C`, async () => {
    await using broker = await Broker.listen({ port: 0 });
    await using sensor = await ClassicClient.connect({ port: broker.port });
    await using boiler = await ClassicClient.connect({ port: broker.port });
    await sensor.publish("room/temperature", "20");
    await sensor.publish("room/temperature", celsius);

    await thermostat(broker.port);

    assertEquals(await boiler.subscribe("room/heating"), heating);
    assertEquals(broker.stats().published, 3);
  });
}

Deno.test("the thermostat says that there is no broker", async () => {
  const broker = await Broker.listen({ port: 0 });
  await broker.close();
  await assertRejects(() => thermostat(broker.port, 50), NoAnswerError);
});
