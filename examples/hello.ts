// deno-lint-ignore-file no-console -- an example prints
/**
 * Publish and subscribe, all in one program: the shortest that does something.
 *
 * Run it with `deno run -A examples/hello.ts`.
 *
 * @module
 */

import { Broker, Client } from "../mod.ts";

await using broker = await Broker.listen({ port: 0 });
await using client = await Client.connect({ port: broker.port });

const messages = await client.subscribe("weather/+", { qos: 1 });
await client.publish("weather/roof", "21.5 °C", { qos: 1 });
await client.publish("weather/cellar", "14.0 °C", { qos: 1 });

for await (const message of messages) {
  console.log(`${message.topicName}: ${message.text()}`);
  if (message.topicName === "weather/cellar") break;
}
