// deno-lint-ignore-file no-console -- an example prints
/**
 * Requests and their answers over topics. Each request tells its number and the
 * topic where its sender waits; the server publishes there. An `AbortSignal`
 * ends a wait that takes too long, and an answer that comes after that is known
 * by its number.
 *
 * Run it with `deno run -A examples/request_response.ts`; it takes a second.
 *
 * @module
 */

import { Broker, Client, type Subscription } from "../mod.ts";

await using broker = await Broker.listen({ port: 0 });
const { port } = broker;

/** The server: tells degrees Fahrenheit, but nothing below absolute zero. */
async function serve(requests: Subscription, server: Client): Promise<void> {
  for await (const request of requests) {
    const { id, replyTo, celsius } = JSON.parse(request.text());
    if (celsius < -273.15) continue; // and the client that asked waits
    const answer = JSON.stringify({ id, fahrenheit: celsius * 9 / 5 + 32 });
    await server.publish(replyTo, answer, { qos: 1 });
  }
}

await using server = await Client.connect({ port, clientId: "server" });
const serving = serve(await server.subscribe("convert", { qos: 1 }), server);

await using client = await Client.connect({ port, clientId: "ann" });
const replyTo = `reply/${client.clientId}`;
const replies = await client.subscribe(replyTo, { qos: 1 });
let lastId = 0;

/** Asks, one at a time. */
async function ask(celsius: number, signal: AbortSignal): Promise<number> {
  const id = ++lastId;
  const request = JSON.stringify({ id, replyTo, celsius });
  await client.publish("convert", request, { qos: 1, signal });
  while (true) {
    const reply = JSON.parse((await replies.take({ signal })).text());
    if (reply.id === id) return reply.fahrenheit; // else it is too late
  }
}

for (const celsius of [37, -300, 100]) {
  try {
    const fahrenheit = await ask(celsius, AbortSignal.timeout(1_000));
    console.log(`${celsius} °C is ${fahrenheit} °F`);
  } catch (error) {
    console.log(`${celsius} °C: ${(error as Error).name}`);
  }
}
await server.close(); // which ends its subscription, and so its loop
await serving;
