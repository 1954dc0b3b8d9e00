/**
 * What it costs to find the subscribers of a topic and the retained messages of
 * a filter. Each iteration is 1,000 matches: read µs as ns a match.
 *
 * ```sh
 * deno bench bench/topics_bench.ts
 * ```
 *
 * The subscribed topics have one shape, `client/123456/sensor/7`; what is
 * published is drawn from them. A kept name is the same string each time, as a
 * registered topic's is; a fresh one has just been read from a datagram, and
 * that reading is measured too.
 *
 * @module
 */

import { seededRandom } from "../base/clock.ts";
import { Message, type TopicName } from "../wire/message.ts";
import { RetainedMessages } from "../broker/retained.ts";
import { parseTopicFilter, parseTopicName } from "../wire/topics.ts";
import { SubscriptionTrie } from "../wire/topic_trie.ts";
import { decodeUtf8, encodeUtf8 } from "../base/utf8.ts";

const MATCHES = 1_000;
/** As many names as are drawn from: more than a processor's cache holds. */
const NAMES = 100_000;
const SENSORS = 10;
const RETAINED = 100_000;

type Trie = SubscriptionTrie<object, number>;

const random = seededRandom(1);
let visited = 0;
const visit = () => {
  visited++;
};

const topic = (i: number) =>
  `client/${100_000 + Math.floor(i / SENSORS)}/sensor/${i % SENSORS}`;

/** The filters: where they are mixed, each tenth has a wildcard. */
const FILTERS = {
  exact: topic,
  mixed: (i: number) =>
    i % 10 > 0
      ? topic(i)
      : topic(i).replace(i % 20 > 0 ? /sensor/ : /sensor.*/, (part) =>
        part === "sensor" ? "+" : "#"),
};

for (const size of [10, 10_000, 1_000_000]) {
  for (const kind of ["exact", "mixed"] as const) {
    const group = `match, ${kind} filters`;
    const label = `${size.toLocaleString("en")} ${kind} filters`;
    const prepared = once(() => prepare(size, kind));
    let next = 0;

    Deno.bench(`match() of kept names among ${label}`, { group }, () => {
      const { trie, names } = prepared();
      for (let i = 0; i < MATCHES; i++) {
        trie.match(names[next++ % names.length]!, visit);
      }
    });

    Deno.bench(`match() of 1,000 busy names among ${label}`, { group }, () => {
      const { trie, names } = prepared();
      for (let i = 0; i < MATCHES; i++) {
        trie.match(names[i % Math.min(names.length, 1_000)]!, visit);
      }
    });

    Deno.bench(`match() of fresh names among ${label}`, { group }, () => {
      const { trie, octets } = prepared();
      for (let i = 0; i < MATCHES; i++) {
        trie.match(read(octets[next++ % octets.length]!), visit);
      }
    });
  }
}

{
  const retained = once(retainedMessages);
  const group = "retained";
  const filters = {
    "an exact filter": (i: number) => topic(i % RETAINED),
    "a filter with + that matches 10": (i: number) =>
      topic(i % RETAINED).replace(/\d$/, "+"),
    "a filter with # that matches 10": (i: number) =>
      topic(i % RETAINED).replace(/sensor.*/, "#"),
    "a filter with # that matches nothing": () => "client/7/#",
  };
  for (const [label, filterOf] of Object.entries(filters)) {
    const wanted = Array.from(
      { length: MATCHES },
      () => parseTopicFilter(filterOf(Math.floor(random() * RETAINED)))!,
    );

    Deno.bench(`RetainedMessages.match() of ${label}`, { group }, () => {
      const messages = retained();
      for (const filter of wanted) visitAll(messages.match(filter));
    });
  }

  // One look at each of 10,000 clients: one match an iteration, not 1,000.
  const everywhere = parseTopicFilter("client/+/rare")!;
  Deno.bench("RetainedMessages.match() of a + in 10,000 places, once", {
    group: "retained, once",
  }, () => {
    visitAll(retained().match(everywhere));
  });
}

function visitAll(messages: Iterator<Message>): void {
  while (!messages.next().done) visited++;
}

function prepare(size: number, kind: keyof typeof FILTERS) {
  const trie: Trie = new SubscriptionTrie();
  const subscriber = {};
  for (let i = 0; i < size; i++) {
    trie.set(parseTopicFilter(fresh(FILTERS[kind](i)))!, subscriber, 1);
  }
  const octets = Array.from(
    { length: Math.min(size, NAMES) },
    () => encodeUtf8(topic(Math.floor(random() * size))),
  );
  return { trie, octets, names: octets.map(read) };
}

function retainedMessages(): RetainedMessages {
  const retained = new RetainedMessages({
    maxRetained: RETAINED,
    maxMemory: 1e9,
  });
  for (let i = 0; i < RETAINED; i++) {
    retained.set(
      new Message(
        parseTopicName(fresh(topic(i)))!,
        new Uint8Array(20),
        0,
        true,
      ),
    );
  }
  return retained;
}

/** A name as it comes: a string that nobody has seen before. */
function read(octets: Uint8Array): TopicName {
  return parseTopicName(decodeUtf8(octets))!;
}

function fresh(text: string): string {
  return decodeUtf8(encodeUtf8(text));
}

/** Makes something the first time that it is asked for, and keeps it. */
function once<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => made ??= make();
}
