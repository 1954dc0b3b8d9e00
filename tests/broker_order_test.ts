import { assert, assertEquals } from "@std/assert";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import type { Io } from "../transport/batched.ts";
import { BatchesError, openLibc } from "../transport/libc.ts";
import { decodeUtf8 } from "../base/utf8.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

const hasBatches = (() => {
  try {
    return openLibc() !== undefined;
  } catch (error) {
    if (error instanceof BatchesError) return false;
    throw error;
  }
})();

const WAYS: readonly [Io, number][] = [
  ["portable", 0],
  ["batched", 0],
  ["batched", 1],
  ["batched", 2],
  ["batched", 4],
];

const PUBLISHERS = 3;
const TOPICS = 2;
const MESSAGES = 40;
/** More than the datagrams from which on threads are used. */
const SUBSCRIBERS = 70;

/**
 * What a subscriber got, by QoS, publisher and topic: the numbers, in order.
 */
type Got = Map<string, number[]>;

for (const [io, workers] of WAYS) {
  Deno.test({
    name:
      `Each subscriber gets what a publisher publishes to a topic in order: ${io}, ${workers} senders${
        io === "batched" && !hasBatches ? " (skipped: no batches here)" : ""
      }`,
    ignore: io === "batched" && !hasBatches,
    async fn() {
      await using broker = await Broker.listen({ port: 0, io, workers });
      await using clients = new AsyncDisposableStack();
      const connect = async () =>
        clients.use(await Client.connect({ port: broker.port }));

      const all = PUBLISHERS * TOPICS * MESSAGES * 2; // at QoS 1 and 2
      const subscribed = Array.from({ length: SUBSCRIBERS }, async () => {
        const client = await connect();
        const messages = await client.subscribe("order/#", { qos: 2 });
        const read = async () => {
          const got: Got = new Map();
          let left = all;
          for await (const { qos, topicName, payload } of messages) {
            const key = `${qos} ${topicName}`;
            const [publisher, number] = decodeUtf8(payload).split(" ");
            const line = `${key} ${publisher}`;
            got.set(line, [...got.get(line) ?? [], Number(number)]);
            if (qos > 0 && --left === 0) return got;
          }
          return got;
        };
        return read;
      });
      const reads = (await Promise.all(subscribed)).map((read) => read());

      await Promise.all(
        Array.from({ length: PUBLISHERS }, async (_, publisher) => {
          const client = await connect();
          for (let number = 0; number < MESSAGES; number++) {
            for (let topic = 0; topic < TOPICS; topic++) {
              for (const qos of [0, 1, 2] as const) {
                const text = `${publisher} ${number}`;
                await client.publish(`order/${topic}`, text, { qos });
              }
            }
          }
        }),
      );

      const numbers = Array.from({ length: MESSAGES }, (_, i) => i);
      for (const read of reads) {
        const got = await read;
        for (const [line, seen] of got) {
          // At QoS 0 some may be missing; at QoS 1 one may come again.
          const isInOrder = seen.every((number, i) =>
            i === 0 || number >= seen[i - 1]!
          );
          assert(isInOrder, `${line}: ${seen}`);
          const isCertain = !line.startsWith("0");
          if (isCertain) assertEquals([...new Set(seen)], numbers, line);
          if (!line.startsWith("1")) {
            assertEquals(new Set(seen).size, seen.length, line);
          }
        }
        assert(got.size >= PUBLISHERS * TOPICS * 2, `${got.size} lines`);
      }
      const { sendErrors, senders } = broker.stats().transport;
      assertEquals([sendErrors, senders?.lost ?? 0], [0, 0]);
      if (workers > 0) {
        assert(senders!.sent > 0, "threads had no part in it");
        assertEquals(senders!.senders, workers);
      }
    },
  });
}
