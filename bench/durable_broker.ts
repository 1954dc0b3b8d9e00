/**
 * A broker for `durable.ts`, in a process of its own: prints its port, and when its
 * standard input ends what it counted, each as a line of JSON.
 *
 * `deno run -A bench/durable_broker.ts [FILE DURABILITY]`
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program: the console is its output

import { cpuUsage } from "node:process";
import { Broker } from "../broker.ts";
import type { Durability } from "../store/file.ts";

const [db, durability] = Deno.args;
await using broker = await Broker.listen({
  port: 0,
  maxClients: 100_000,
  ...(db === undefined ? {} : { db, durability: durability as Durability }),
});
console.log(JSON.stringify(broker.port));
const before = cpuUsage();
for await (const _ of Deno.stdin.readable);
const { published, commits } = broker.stats();
const { user, system } = cpuUsage(before);
console.log(JSON.stringify({ published, cpuUs: user + system, ...commits }));
