/**
 * The subscriber: a client that subscribes, and the program that runs one.
 *
 * ```sh
 * deno run -A subscriber.ts --help
 * ```
 *
 * @module
 */

import {
  BROKER_FLAGS,
  clientOptionsFrom,
  type Flags,
  type Program,
  run,
  startHint,
  UsageError,
} from "./cli.ts";
import {
  Client,
  type ClientOptions,
  NoAnswerError,
  RefusedError,
  type RequestOptions,
} from "./client.ts";
import { LocalProtocolError } from "./message.ts";
import type { Interruption } from "./template.ts";
import {
  ask,
  EXIT,
  inputLines,
  isInteractive,
  pause,
  print,
  printData,
  tellWhile,
} from "./terminal.ts";

/**
 * A client that subscribes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "./broker.ts";
 * import { Publisher } from "./publisher.ts";
 * import { Subscriber } from "./subscriber.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using subscriber = await Subscriber.connect({ port: broker.port });
 * const history = subscriber.subscribe("weather");
 *
 * await using publisher = await Publisher.connect({ port: broker.port });
 * await publisher.publish("weather", "21.5");
 * assertEquals(await history, "21.5");
 * ```
 */
export class Subscriber extends Client {
  /**
   * Makes a subscriber. Nothing is sent yet.
   *
   * @throws {RangeError} when the port or the timeout is out of range
   * @throws {Error} when the name is unknown or no socket can be opened
   */
  static override async connect(
    options: ClientOptions = {},
  ): Promise<Subscriber> {
    return new Subscriber(await Client.setUp(options));
  }

  /**
   * Asks for a topic's history, once. Waits for as long as it takes: for the
   * first publish, where there was none yet.
   *
   * @param topic which; white space around it does not count
   * @returns all data that the broker keeps of the topic, the oldest first,
   * joined by line ends
   * @throws {RefusedError} when the broker refuses: topic blank
   * @throws {LocalProtocolError} when the topic does not fit a datagram
   */
  subscribe(topic: string, options: RequestOptions = {}): Promise<string> {
    return this.request(
      (device, now) => device.subscribe(now, topic),
      options,
    );
  }
}

const PROGRAM: Program = {
  name: "subscriber",
  summary:
    "Prints what is published to a topic, or asks which when none is given.",
  examples: [
    ["subscriber", "ask for a topic; from a pipe, read topics as lines"],
    ["subscriber -t weather", "print the topic's history, or wait for it"],
    [
      "subscriber -t a -t b -v",
      "print two topics as they come, with their names",
    ],
  ],
  flags: [
    ...BROKER_FLAGS,
    {
      name: "topic",
      short: "t",
      value: "TOPIC",
      many: true,
      help: "what to subscribe to",
    },
    {
      short: "C",
      name: "count",
      value: "N",
      usual: "one for each topic",
      help: "end after N histories",
    },
    {
      short: "W",
      name: "wait",
      value: "S",
      help: "give up after S seconds, with exit code 27",
    },
    {
      name: "verbose",
      short: "v",
      help: "print the topic before each line",
    },
    {
      name: "no-newline",
      short: "N",
      help: "print no line end behind a history",
    },
  ],
};

const TOPIC_PROMPT = "Enter topic to subscribe or exit_ to terminate";
const EXIT_TOPIC = "exit_";

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  const topics = flags.texts("topic");
  const count = flags.integer("count", 1, 1_000_000_000) ?? topics.length;
  const waitMs = flags.secondsAsMs("wait", 0.001);
  if (count > topics.length && topics.length > 0) {
    throw new UsageError(
      `Flag "--count" takes at most one history for each topic, not "${count}"`,
    );
  }
  for (const name of ["count", "wait", "verbose", "no-newline"]) {
    if (topics.length > 0 || !flags.isGiven(name)) continue;
    throw new UsageError(`Flag "--${name}" needs a topic: -t TOPIC`);
  }
  const options = clientOptionsFrom(flags);
  const { signal } = interruption;
  try {
    if (topics.length === 0) {
      await using subscriber = await Subscriber.connect(options);
      return isInteractive()
        ? await askAndSubscribe(subscriber, interruption)
        : await readAndSubscribe(subscriber, options, signal);
    }
    return await subscribeToAll(topics, {
      options,
      count,
      waitMs,
      flags,
      signal,
    });
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    throw new Error(startHint(error), { cause: error });
  }
}

interface Wanted {
  readonly options: ClientOptions;
  readonly count: number;
  readonly waitMs: number | undefined;
  readonly flags: Flags;
  readonly signal: AbortSignal;
}

/** With topics given: prints each topic's history as it comes. */
async function subscribeToAll(
  topics: readonly string[],
  { options, count, waitMs, flags, signal }: Wanted,
): Promise<number> {
  const enough = new AbortController();
  const timeout = waitMs === undefined ? [] : [AbortSignal.timeout(waitMs)];
  const over = AbortSignal.any([signal, enough.signal, ...timeout]);
  const isVerbose = flags.has("verbose");
  const end = flags.has("no-newline") ? "" : "\n";
  let printed = 0;

  // One subscriber each: a reply does not say which topic it is of.
  const results = await Promise.allSettled(topics.map(async (topic) => {
    try {
      await using subscriber = await Subscriber.connect(options);
      const history = await subscribeIfThere(subscriber, topic, options, over);
      if (printed === count) return;
      const lines = history.split("\n");
      printData(
        (isVerbose ? lines.map((line) => `${topic} ${line}`) : lines)
          .join("\n") + end,
      );
      printed++;
    } catch (error) {
      // Something asked for cannot be had: to wait for the rest would hide it.
      enough.abort();
      throw error;
    }
    if (printed === count) enough.abort();
  }));

  if (printed === count) return EXIT.done;
  if (signal.aborted) return EXIT.interrupted;
  if (timeout[0]?.aborted) return EXIT.timedOut;
  const failed = results.find((result) =>
    result.status === "rejected" && result.reason !== enough.signal.reason
  );
  throw (failed as PromiseRejectedResult).reason;
}

/** At a terminal: asks for one topic after the other. */
async function askAndSubscribe(
  subscriber: Subscriber,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  const isThere = await tellWhile(
    `Looking for a broker at ${subscriber.broker.key}`,
    subscriber.ping({ signal }),
  );
  if (!isThere) throw subscriber.noAnswer();
  const used = new Set<string>();
  while (true) {
    const topic = await ask(TOPIC_PROMPT, interruption, {
      suggestions: [...used].reverse(),
    });
    if (topic === undefined || topic.trim() === EXIT_TOPIC) break;
    used.delete(topic.trim());
    if (topic.trim() !== "") used.add(topic.trim());
    const history = await tellWhile(
      `Waiting for the first publish to "${topic}"; Ctrl-C ends`,
      historyOrRefusal(subscriber.subscribe(topic, { signal })),
    );
    printData(`${history}\n`);
  }
  return signal.aborted ? EXIT.interrupted : EXIT.done;
}

/** From a pipe: reads a topic a line, as the first program did. */
async function readAndSubscribe(
  subscriber: Subscriber,
  options: ClientOptions,
  signal: AbortSignal,
): Promise<number> {
  const lines = inputLines();
  while (true) {
    print(`${TOPIC_PROMPT} : `);
    const { value: topic } = await lines.next();
    if (topic === undefined || topic === EXIT_TOPIC) return EXIT.done;
    const history = subscribeIfThere(subscriber, topic, options, signal);
    print(`${await historyOrRefusal(history)}\n`);
  }
}

/** How long a subscriber waits before it looks whether there is a broker. */
const LOOK_AFTER_MS = 500;

/**
 * Subscribes, and waits only as long as there is a broker to wait for: looks
 * for one from a port of its own, as the answers could not be told apart.
 */
async function subscribeIfThere(
  subscriber: Subscriber,
  topic: string,
  options: ClientOptions,
  signal: AbortSignal,
): Promise<string> {
  const over = new AbortController();
  const history = subscriber.subscribe(topic, {
    signal: AbortSignal.any([signal, over.signal]),
  });
  const look = async () => {
    // Most answers come at once: then there is nothing to look for.
    await pause(LOOK_AFTER_MS, over.signal);
    if (over.signal.aborted) return;
    await using scout = await Client.connect(options);
    if (!await scout.ping({ signal: over.signal })) {
      over.abort(scout.noAnswer());
    }
  };
  const looked = look().catch(() => {});
  try {
    return await history;
  } finally {
    over.abort();
    await looked;
  }
}

/** A history, or the refusal's text in its place. */
async function historyOrRefusal(history: Promise<string>): Promise<string> {
  try {
    return await history;
  } catch (error) {
    if (error instanceof RefusedError || error instanceof LocalProtocolError) {
      return error.message;
    }
    throw error;
  }
}

if (import.meta.main) await run(PROGRAM, main);
