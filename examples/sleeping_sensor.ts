// deno-lint-ignore-file no-console -- an example prints
/**
 * A sensor that sleeps most of the time. What is sent to it meanwhile waits at
 * the broker; it wakes by itself to fetch that, connects to publish a reading,
 * and sleeps on. A real one sleeps for minutes: write `sleep(600)`.
 *
 * Run it with `deno run -A examples/sleeping_sensor.ts`; it takes two seconds.
 *
 * @module
 */

import { Broker, Client } from "../mod.ts";

await using broker = await Broker.listen({ port: 0 });
const { port } = broker;

await using office = await Client.connect({ port, clientId: "office" });
const readings = await office.subscribe("celsius/7", { qos: 1 });

await using sensor = await Client.connect({
  port,
  clientId: "sensor-7",
  cleanSession: false, // else to connect would forget what waits for it
  onState: (state) => console.log(`sensor  is ${state}`),
});
const commands = await sensor.subscribe("command/7", { qos: 1 });
await sensor.sleep(1); // from now on it wakes each second

for (const celsius of ["21.5", "21.7"]) {
  await office.publish("command/7", "light on", { qos: 1 });
  await office.publish("command/7", "report", { qos: 1 });
  const { asleep } = broker.stats().mqttsn.clients;
  console.log(`office  has sent two commands, ${asleep} client is asleep`);

  for (let command = ""; command !== "report";) {
    command = (await commands.take()).text();
    console.log(`sensor  fetches "${command}"`);
  }

  await sensor.publish("celsius/7", celsius, { qos: 1 });
  await sensor.sleep(1); // it would by itself; this waits until it does
  console.log(`office  reads ${(await readings.take()).text()} °C`);
}
