// deno-lint-ignore-file no-console -- a failure has to tell its seed
/**
 * A broker with a file that is killed, again and again, with SIGKILL and at moments
 * that nobody chose, while clients publish, subscribe and sleep. What was
 * acknowledged is written down here, outside of it; in the end all of it must have
 * arrived: at QoS 1 at least once, at QoS 2 exactly once, in order. So has what was
 * retained for somebody who subscribed before the first kill: at QoS 2 once as well.
 *
 * `deno test -A tests/stories/crash_test.ts -- --kills 500` kills more often, and
 * `-- --seed N` draws the moments anew.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { ClassicClient } from "../../classic_client.ts";
import { Client, type ClientOptions } from "../../client.ts";
import { RefusedError } from "../../client/errors.ts";
import { seededRandom } from "../../base/clock.ts";
import type { DeliveryQos } from "../../wire/message.ts";
import { NoAnswerError } from "../../base/errors.ts";
import { unsoughtPort } from "../support/ports.ts";
import { portOf, type Running, start } from "../support/programs.ts";

const flags = parseArgs(Deno.args, { string: ["kills", "seed"] });

/** How often the broker is killed. */
const KILLS = Number(flags.kills ?? 50);

const SEED = Number(flags.seed ?? 5);

/** The longest that it lives once it works, in milliseconds. */
const LIFE_MS = 150;

/** In turn: what they differ in is what a machine loses that loses its power. */
const DURABILITIES = ["full", "normal", "off"] as const;

/** One kill in so many comes while it is still starting, or has just begun. */
const EARLY = 5;

/** What is retained for one subscription: more than is delivered in some lives. */
const STATES = 200;

/** Those come so soon, in milliseconds. */
const START_MS = 400;

/**
 * How long whatever was acknowledged may take to arrive in the end: a client that
 * found nobody for long makes a pause of a minute, on a machine with much to do.
 */
const PATIENCE_MS = 120_000;

/** It asks often, so that a broker that is back is found at once. */
const IMPATIENT = { retryMs: 40, backoff: 1, waitMs: 50 } as const;

/** Goes on where it was, however long the broker is away. */
const PATIENT: ClientOptions = { ...IMPATIENT, retries: 2_000 };

/** Is lost soon, and connects anew, after pauses that grow while it is in vain. */
const HASTY: ClientOptions = { ...IMPATIENT, retryMs: 100, retries: 1 };

/**
 * Asks again what a broker refuses as it is still loading its file; and who has
 * little patience, whom it does not answer in time on a machine with much to do.
 */
async function insist<T>(ask: () => Promise<T>): Promise<T> {
  while (true) {
    try {
      return await ask();
    } catch (error) {
      const isToBeAsked = error instanceof RefusedError ||
        error instanceof NoAnswerError;
      if (!isToBeAsked) throw error;
    }
    await new Promise((go) => setTimeout(go, 10));
  }
}

/** The broker, its file, and its lives. */
class Victim implements AsyncDisposable {
  readonly #dir: string;
  readonly #ended = Promise.withResolvers<never>();
  #broker: Running | undefined;
  #lives = 0;
  /** The UDP port, the same in each life. */
  readonly port: number = unsoughtPort();

  private constructor(dir: string) {
    this.#dir = dir;
    this.ended.catch(() => {});
  }

  static async begin(): Promise<Victim> {
    const victim = new Victim(await Deno.makeTempDir());
    victim.start();
    await portOf(victim.#broker!);
    return victim;
  }

  /** Rejects when it ends by itself. */
  get ended(): Promise<never> {
    return this.#ended.promise;
  }

  start(): void {
    const durability = DURABILITIES[this.#lives++ % DURABILITIES.length]!;
    const broker = this.#broker = start("broker", [
      "--durability",
      durability,
      "--port",
      String(this.port),
      "--db",
      `${this.#dir}/broker.db`,
      "--max-queue",
      "100000",
      "--max-memory",
      "1000",
      "--history",
      "100000",
      "--retry-ms",
      "100",
      "--retries",
      "100",
    ], { patienceMs: 2 * PATIENCE_MS });
    broker.outcome().then(({ code, stderr }) => {
      if (this.#broker !== broker) return;
      this.#ended.reject(new Error(`The broker has ended: ${code} ${stderr}`));
    });
  }

  async kill(): Promise<void> {
    const broker = this.#broker!;
    this.#broker = undefined;
    broker.kill("SIGKILL");
    await broker.outcome();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#broker?.[Symbol.asyncDispose]();
    await Deno.remove(this.#dir, { recursive: true });
  }
}

/** Somebody who publishes, one message after the other, and what came of it. */
interface Publisher {
  readonly topicName: string;
  readonly qos: DeliveryQos;
  /** How many were begun, the first of them number 1. */
  begun: number;
  /** How many were acknowledged: all up to here, as each waits for the last. */
  acknowledged: number;
}

/** Somebody who subscribes to everything, and what came. */
interface Subscriber {
  readonly name: string;
  readonly qos: DeliveryQos;
  /** The numbers that came, by topic. */
  readonly received: Map<string, number[]>;
}

Deno.test(`Broker.listen() with a file loses nothing that it acknowledged: ${KILLS} times SIGKILL`, async () => {
  console.log(`  seed ${SEED}`);
  const random = seededRandom(SEED);
  await using victim = await Victim.begin();
  await using stack = new AsyncDisposableStack();
  const isOver = new AbortController();
  const { port } = victim;

  const open = async (clientId: string, options: ClientOptions) => {
    const client = await insist(() =>
      Client.connect({ ...options, port, clientId, cleanSession: false })
    );
    stack.defer(async () => {
      // When the test has failed there may be nobody who answers.
      const soon = isOver.signal.aborted ? PATIENCE_MS : 0;
      const closing = client.close();
      let timer;
      const out = new Promise((go) => timer = setTimeout(go, soon));
      await Promise.race([closing, out]);
      clearTimeout(timer);
    });
    return client;
  };

  // Before anything is published: all of it is theirs.
  const subscribers: Subscriber[] = [];
  const follow = async (
    name: string,
    qos: DeliveryQos,
    options: ClientOptions,
  ): Promise<Client> => {
    const client = await open(name, options);
    const messages = await client.subscribe("load/+", {
      qos,
      maxQueue: 1_000_000,
    });
    const received = new Map<string, number[]>();
    subscribers.push({ name, qos, received });
    (async () => {
      for await (const message of messages) {
        // The state of a topic, for whoever subscribes anew: a sleeper does that who
        // is awake when a second answer to its DISCONNECT comes, and takes it for
        // the broker's own.
        if (message.retain) continue;
        const numbers = received.get(message.topicName);
        const number = Number(message.text());
        if (numbers === undefined) received.set(message.topicName, [number]);
        else numbers.push(number);
      }
    })();
    return client;
  };
  await follow("patient-1", 1, PATIENT);
  await follow("patient-2", 2, PATIENT);
  await follow("hasty-2", 2, HASTY);
  const sleepers = [
    await follow("sleeper-1", 1, PATIENT),
    await follow("sleeper-2", 2, PATIENT),
  ];

  let progress = Promise.withResolvers<void>();
  const work: Promise<void>[] = [];
  /** Rejects when any of it fails, which nobody else would be told before the end. */
  const trouble = Promise.withResolvers<never>();
  trouble.promise.catch(() => {});
  const begin = (toil: () => Promise<void>) => {
    const task = toil();
    task.catch(trouble.reject);
    work.push(task);
  };
  for (const sleeper of sleepers) {
    begin(async () => {
      await sleeper.sleep(60);
      while (!isOver.signal.aborted) {
        await insist(() => sleeper.wake());
        // Who does not sleep just now need not be woken, and is not waited for.
        await new Promise((go) => setTimeout(go, 1));
      }
    });
  }

  const publishers: Publisher[] = [];
  const publish = async (
    name: string,
    qos: DeliveryQos,
    options: ClientOptions,
  ) => {
    const client = await open(name, options);
    const publisher = {
      topicName: `load/${name}`,
      qos,
      begun: 0,
      acknowledged: 0,
    };
    publishers.push(publisher);
    begin(async () => {
      while (!isOver.signal.aborted) {
        const number = ++publisher.begun;
        await insist(() =>
          client.publish(publisher.topicName, String(number), {
            qos,
            retain: number % 2 === 0,
          })
        );
        publisher.acknowledged = number;
        progress.resolve();
      }
    });
  };
  await publish("p1-patient", 1, PATIENT);
  await publish("p1-hasty", 1, HASTY);
  await publish("p2-patient", 2, PATIENT);
  await publish("p2-hasty", 2, HASTY);

  let data = 0;
  const logged: number[] = [];
  begin(async () => {
    await using classic = await ClassicClient.connect({ port, timeoutMs: 100 });
    while (!isOver.signal.aborted) {
      // Without an answer it may be there or not: then the next one is another.
      const isDone = await classic.publish("log", String(++data))
        .then(() => true, () => false);
      if (isDone) logged.push(data);
    }
  });

  const setter = await open("setter", PATIENT);
  for (let number = 1; number <= STATES; number++) {
    const options = { qos: 2, retain: true } as const;
    await insist(() =>
      setter.publish(`state/${number}`, String(number), options)
    );
  }
  const states: number[] = [];
  const watcher = await open("watcher", PATIENT);
  const watched = await watcher.subscribe("state/+", { qos: 2 });
  (async () => {
    for await (const message of watched) states.push(Number(message.text()));
  })();

  for (let kills = 0; kills < KILLS; kills++) {
    const isEarly = kills % EARLY === EARLY - 1;
    // It works again, unless it is to be killed before that.
    if (!isEarly) {
      await Promise.race([progress.promise, trouble.promise, victim.ended]);
    }
    const most = isEarly ? START_MS : LIFE_MS;
    await new Promise((go) => setTimeout(go, random() * most));
    await victim.kill();
    progress = Promise.withResolvers();
    victim.start();
  }
  await Promise.race([progress.promise, trouble.promise, victim.ended]);
  isOver.abort();
  await Promise.race([Promise.all(work), victim.ended]);
  for (const sleeper of sleepers) await sleeper.connect();

  const isComplete = () =>
    states.length >= STATES &&
    subscribers.every(({ received }) =>
      publishers.every(({ topicName, acknowledged }) =>
        received.get(topicName)?.includes(acknowledged)
      )
    );
  const until = performance.now() + PATIENCE_MS;
  while (!isComplete() && performance.now() < until) {
    await new Promise((go) => setTimeout(go, 20));
  }
  for (const { name, qos, received } of subscribers) {
    for (const publisher of publishers) {
      const numbers = received.get(publisher.topicName) ?? [];
      const what = `${name}, ${publisher.topicName}, seed ${SEED}`;
      const expected = Array.from(
        { length: publisher.acknowledged },
        (_, i) => i + 1,
      );
      if (Math.min(qos, publisher.qos) === 2) {
        assertEquals(numbers, expected, what);
        continue;
      }
      // Each came at least once, and for the first time in order.
      assertEquals([...new Set(numbers)], expected, what);
    }
  }

  assertEquals(
    states.toSorted((one, other) => one - other),
    Array.from({ length: STATES }, (_, i) => i + 1),
    `what was retained, seed ${SEED}`,
  );

  await using late = await Client.connect({ port });
  for (const { topicName, acknowledged } of publishers) {
    const last = acknowledged - acknowledged % 2;
    const messages = await late.subscribe(topicName);
    assertEquals((await messages.take()).text(), String(last), topicName);
  }
  await using classic = await ClassicClient.connect({ port });
  const history = (await classic.subscribe("log")).split("\n").map(Number);
  const kept = new Set(history);
  const first = history[0]!;
  assert(logged.length > 0);
  assertEquals(
    logged.filter((number) => number >= first && !kept.has(number)),
    [],
  );
  assertEquals(history, history.toSorted((one, other) => one - other));
  const total = publishers.reduce((sum, { begun }) => sum + begun, 0);
  console.log(
    `  ${total} messages and ${logged.length} data acknowledged`,
  );
});
