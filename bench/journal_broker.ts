/**
 * A broker for `journal.ts`, in a process of its own: prints its port, and when its
 * standard input ends what became of its recording, each as a line of JSON.
 *
 * `deno run -A bench/journal_broker.ts KIND DIRECTORY`
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program: the console is its output

import { Broker, type BrokerOptions } from "../broker.ts";

const [kind = "", directory] = Deno.args;
const record = `${directory}/mqtt.jsonl`;
const pcap = `${directory}/mqtt.pcap`;
const KINDS: Readonly<Record<string, BrokerOptions>> = {
  off: { journal: false },
  journal: {},
  record: { record },
  pcap: { pcap },
  both: { record, pcap },
};
const broker = await Broker.listen({ port: 0, ...KINDS[kind] });
console.log(JSON.stringify(broker.port));
for await (const _ of Deno.stdin.readable);
await broker.close();
const { published, recording } = broker.stats();
console.log(JSON.stringify({ published, ...recording }));
