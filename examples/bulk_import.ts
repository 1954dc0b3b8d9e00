// deno-lint-ignore-file no-console -- an example prints
/**
 * Publishes the rows of a CSV file, each to its own topic, at QoS 1, and says
 * which of them failed and why. Nothing waits before it publishes the next: the
 * client sends one after the other by itself, in the file's order.
 *
 * All rows of the file wait in memory. Where there are millions, `for await` its
 * lines and `await` each publish, or give them to `Publisher.publishAll()`.
 *
 * Run it with `deno run -A examples/bulk_import.ts`.
 *
 * @module
 */

import { Broker, Client } from "../mod.ts";

const file = new URL("readings.csv", import.meta.url);
const [, ...rows] = (await Deno.readTextFile(file)).trim().split("\n");

await using broker = await Broker.listen({ port: 0 });
await using client = await Client.connect({ port: broker.port });
const messages = await client.subscribe("#", { qos: 1 });

const ends = await Promise.allSettled(rows.map((row) => {
  const [topicName = "", reading] = row.split(",");
  return client.publish(topicName, reading, { qos: 1 });
}));

for (const [i, end] of ends.entries()) {
  if (end.status === "fulfilled") continue;
  console.log(`line ${i + 2}: ${rows[i]}\n  ${end.reason.message}`);
}
const published = ends.filter(({ status }) => status === "fulfilled").length;
console.log(`${published} of ${rows.length} rows published:`);

const counts = new Map<string, number>();
for (let i = 0; i < published; i++) {
  const { topicName } = await messages.take();
  counts.set(topicName, (counts.get(topicName) ?? 0) + 1);
}
for (const [topicName, count] of [...counts].sort()) {
  console.log(`${String(count).padStart(3)} ${topicName}`);
}
