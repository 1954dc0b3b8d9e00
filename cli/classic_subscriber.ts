/**
 * What the subscriber does for the classic protocol: prints the histories of the
 * topics that its flags name, or that it is told at a terminal or through a pipe.
 *
 * @module
 */

import {
  ClassicClient,
  type ClassicClientOptions,
  ClassicRefusedError,
} from "../classic_client.ts";
import { type Flags, UsageError } from "./program.ts";
import { connectOptionsFrom, lookingFor, startHint } from "./client_flags.ts";
import { LocalProtocolError, NoAnswerError } from "../base/errors.ts";
import type { Interruption } from "../base/interruption.ts";
import {
  ask,
  EXIT,
  EXIT_ANSWER,
  inputLines,
  isInteractive,
  pause,
  print,
  printData,
  tellWhile,
} from "./terminal.ts";

const TOPIC_PROMPT = "Enter topic to subscribe or exit_ to terminate";
/**
 * Prints what is published to the topics that the flags name, or asks which when
 * they name none.
 *
 * @param flags the program's, as `subscriber.ts` has them
 * @param interruption ends it early
 * @returns the program's exit code
 * @throws {UsageError} when the flags do not go together
 * @throws {Error} when no broker answers, or when it refuses
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "../broker.ts";
 * import { subscribeClassic } from "./classic_subscriber.ts";
 * import { Flags } from "./program.ts";
 * import { BROKER_FLAGS } from "./client_flags.ts";
 * import { Interruption } from "../base/interruption.ts";
 *
 * const program = {
 *   name: "subscriber",
 *   summary: "",
 *   examples: [],
 *   flags: [
 *     ...BROKER_FLAGS,
 *     { name: "topic", value: "TOPIC", many: true, help: "which" },
 *     { name: "count", value: "N", help: "how many histories" },
 *     { name: "wait", value: "S", help: "how long" },
 *   ],
 * };
 * await using broker = await Broker.listen({ port: 0 });
 * using interruption = new Interruption();
 * const args = [`--port=${broker.port}`, "--topic=weather", "--wait=0.01"];
 * const flags = await Flags.parse(program, args);
 * // Nothing is published in time.
 * assertEquals(await subscribeClassic(flags, interruption), 27);
 * ```
 */
export async function subscribeClassic(
  flags: Flags,
  interruption: Interruption,
): Promise<number> {
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
  const options = await connectOptionsFrom(flags);
  const { signal } = interruption;
  try {
    if (topics.length === 0) {
      await using subscriber = await ClassicClient.connect(options);
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
  readonly options: ClassicClientOptions;
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
      await using subscriber = await ClassicClient.connect(options);
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
  subscriber: ClassicClient,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  const isThere = await tellWhile(
    lookingFor(subscriber.broker),
    subscriber.ping({ signal }),
  );
  if (!isThere) throw subscriber.noAnswer();
  const used = new Set<string>();
  while (true) {
    const topic = await ask(TOPIC_PROMPT, interruption, {
      suggestions: [...used].reverse(),
    });
    if (topic === undefined || topic.trim() === EXIT_ANSWER) break;
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
  subscriber: ClassicClient,
  options: ClassicClientOptions,
  signal: AbortSignal,
): Promise<number> {
  const lines = inputLines();
  while (true) {
    print(`${TOPIC_PROMPT} : `);
    const { value: topic } = await lines.next();
    if (topic === undefined || topic === EXIT_ANSWER) return EXIT.done;
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
  subscriber: ClassicClient,
  topic: string,
  options: ClassicClientOptions,
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
    await using scout = await ClassicClient.connect(options);
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
    if (
      error instanceof ClassicRefusedError ||
      error instanceof LocalProtocolError
    ) {
      return error.message;
    }
    throw error;
  }
}
