// deno-lint-ignore-file no-console -- an example prints
/**
 * Two protocols in one conversation: Ann speaks MQTT-SN, Bob sends JSON. Both
 * talk to the same port of one broker, which passes on what either publishes.
 *
 * Run it with `deno run -A examples/two_protocols.ts`.
 *
 * @module
 */

import { Broker, ClassicClient, Client } from "../mod.ts";

await using broker = await Broker.listen({ port: 0 });
const { port } = broker;
await using ann = await Client.connect({ port, clientId: "ann" });
await using bob = await ClassicClient.connect({ port });

const toAnn = await ann.subscribe("to/ann");

// Bob's subscription is one question, which waits for its one answer.
const question = bob.subscribe("to/bob");
await ann.publish("to/bob", "How warm is it?", { qos: 1 });
console.log(`ann asks      ${await question}`);

await bob.publish("to/ann", "21.5 °C");
console.log(`bob answers   ${(await toAnn.take()).text()}`);

// The broker keeps a history for Bob's kind, a retained message for Ann's.
await ann.publish("to/bob", "Thank you", { qos: 1, retain: true });
const history = await bob.subscribe("to/bob");
console.log(`bob reads     ${history.split("\n").join(" / ")}`);
const retained = await ann.subscribe("to/bob");
console.log(`ann reads     ${(await retained.take()).text()}`);
