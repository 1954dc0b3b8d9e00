/**
 * The program `subscriber`: its flags, its prompts, and how it prints messages.
 *
 * @module
 */

import { type Flags, type Program, run, UsageError } from "./program.ts";
import {
  BROKER_FLAGS,
  clientOptionsFrom,
  IDENTITY_FLAGS,
  lookingFor,
  protocolFrom,
  requireClassic,
  startHint,
  topicFrom,
  topicIdFrom,
} from "./client_flags.ts";
import type { ClientStats } from "../client.ts";
import type { DeviceTopic } from "../client/commands.ts";
import type { DeviceState, ReceivedMessage } from "../client/events.ts";
import { type Format, parseFormat } from "./message_format.ts";
import { printable } from "../base/log.ts";
import type { DeliveryQos } from "../wire/message.ts";
import { NoAnswerError } from "../base/errors.ts";
import type { Subscription } from "../client/subscription.ts";
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
  printError,
  printOctets,
  styles,
  swallowKeys,
  tellWhile,
} from "./terminal.ts";
import { parseTopicFilter } from "../wire/topics.ts";
import { decodeUtf8 } from "../base/utf8.ts";

import { Subscriber } from "../subscriber.ts";

const PROGRAM: Program = {
  name: "subscriber",
  summary:
    "Prints what is published to a topic, or asks which when none is given.",
  examples: [
    ["subscriber", "ask for a filter; from a pipe, read filters as lines"],
    ["subscriber -t 'room/+/light' -v", "print what comes, with its topic"],
    ["subscriber -t weather -C 1 -W 10", "print one, or give up after 10 s"],
    ["subscriber -t '#' -F %j", "print each message as JSON"],
    ["subscriber -t door -q 1 -i box -c --sleep 60", "sleep, and wake for it"],
  ],
  flags: [
    ...BROKER_FLAGS,
    {
      name: "topic",
      short: "t",
      value: "FILTER",
      many: true,
      help: "what to subscribe to",
    },
    {
      name: "topic-id",
      short: "T",
      value: "ID",
      many: true,
      help: "the same by a pre-defined topic id",
    },
    {
      name: "qos",
      short: "q",
      value: "N",
      usual: "0",
      help: "0, 1 or 2, at most",
    },
    {
      name: "count",
      short: "C",
      value: "N",
      usual: "until Ctrl-C",
      help: "end after N messages",
    },
    {
      name: "wait",
      short: "W",
      value: "S",
      help: "give up after S seconds, with exit code 27",
    },
    {
      name: "exit-subscribed",
      short: "E",
      help: "end once subscribed; with -i and -c the broker keeps what comes",
    },
    {
      name: "no-retained",
      short: "R",
      help: "leave out what was retained",
    },
    {
      name: "verbose",
      short: "v",
      help: "print the topic before each message",
    },
    {
      name: "no-newline",
      short: "N",
      help: "print no line end behind a message",
    },
    {
      name: "format",
      short: "F",
      value: "FORMAT",
      help:
        "print it so: %t topic, %p payload, %x %X in hex, %l length, %q QoS, %r retained, %m MsgId, %j %J JSON, %I %U time, @ strftime",
    },
    {
      name: "sleep",
      value: "S",
      help:
        "sleep, and wake within each S seconds to fetch what has come; best with -c -i",
    },
    ...IDENTITY_FLAGS,
  ],
};

const CLASSIC_ALONE = [
  "topic-id",
  "qos",
  "exit-subscribed",
  "no-retained",
  "format",
  "sleep",
];

async function subscribe(
  flags: Flags,
  interruption: Interruption,
): Promise<number> {
  if (protocolFrom(flags) === "classic") {
    const identity = IDENTITY_FLAGS.map(({ name }) => name);
    requireClassic(flags, [...CLASSIC_ALONE, ...identity]);
    // Only here: a program loads no protocol but the one that it speaks.
    const { subscribeClassic } = await import("./classic_subscriber.ts");
    return await subscribeClassic(flags, interruption);
  }
  const topics = [
    ...flags.texts("topic").map((text) => topicFrom(flags, text)),
    ...flags.texts("topic-id").map(topicIdFrom),
  ];
  const task = taskFrom(flags, interruption);
  const watch = new Watch();
  const { onState } = watch;
  const options = { ...await clientOptionsFrom(flags, "sub"), onState };
  const subscriber = await Subscriber.open(options);
  try {
    if (topics.length > 0) return await printAll(subscriber, topics, task);
    return isInteractive()
      ? await askAndPrint(subscriber, { interruption, task, watch })
      : await readAndPrint(subscriber, flags, task);
  } catch (error) {
    if (task.timeout?.aborted && error === task.timeout.reason) {
      return EXIT.timedOut;
    }
    if (!(error instanceof NoAnswerError)) throw error;
    throw new Error(startHint(error), { cause: error });
  } finally {
    const closing = subscriber.close();
    // Whose time is over waits no longer for a broker that may be gone.
    const isLate = task.timeout?.aborted === true;
    await (isLate ? Promise.race([closing, pause(GRACE_MS)]) : closing);
  }
}

/** How long a subscriber whose time is over takes to disconnect, at most. */
const GRACE_MS = 500;

/** What is to be done with the messages. */
interface SubscriberTask {
  readonly qos: DeliveryQos;
  readonly count: number;
  readonly skipsRetained: boolean;
  readonly endsSubscribed: boolean;
  readonly sleepS: number | undefined;
  readonly format: Format;
  /** Whether a flag asks for that format. */
  readonly isFormatted: boolean;
  readonly isVerbatim: boolean;
  readonly timeout: AbortSignal | undefined;
  /** Ctrl-C, or the end of the time. */
  readonly signal: AbortSignal;
}

function taskFrom(flags: Flags, { signal }: Interruption): SubscriberTask {
  const waitMs = flags.secondsAsMs("wait", 0.001);
  const timeout = waitMs === undefined
    ? undefined
    : AbortSignal.timeout(waitMs);
  return {
    qos: (flags.integer("qos", 0, 2) ?? 0) as DeliveryQos,
    count: flags.integer("count", 1, 1_000_000_000) ?? Infinity,
    skipsRetained: flags.has("no-retained"),
    endsSubscribed: flags.has("exit-subscribed"),
    sleepS: flags.integer("sleep", 1, 65_535),
    format: formatFrom(flags),
    isFormatted: ["format", "verbose", "no-newline"].some((name) =>
      flags.isGiven(name)
    ),
    isVerbatim: !Deno.stdout.isTerminal(),
    timeout,
    signal: timeout === undefined ? signal : AbortSignal.any([signal, timeout]),
  };
}

function formatFrom(flags: Flags): Format {
  const format = flags.text("format");
  if (format !== undefined && flags.has("verbose")) {
    throw new UsageError('Flags "--format" and "--verbose" exclude each other');
  }
  try {
    return parseFormat(format ?? (flags.has("verbose") ? "%t %p" : "%p"), {
      newline: !flags.has("no-newline"),
    });
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message);
    throw error;
  }
}

/** Prints what comes, until there was enough of it. */
async function printAll(
  subscriber: Subscriber,
  topics: readonly DeviceTopic[],
  task: SubscriberTask,
): Promise<number> {
  const { qos, signal, sleepS, endsSubscribed, count } = task;
  // What is acknowledged and not printed a kept session would lose.
  const admit = endsSubscribed ? 0 : count;
  await subscriber.connect({ signal });
  const messages = await subscriber.subscribe(topics, { qos, signal, admit });
  if (endsSubscribed) return EXIT.done;
  if (sleepS !== undefined) await subscriber.sleep(sleepS, { signal });
  return await printMessages(subscriber, messages, task, printMessage);
}

/** @param show prints one; false when nobody reads it any more */
async function printMessages(
  subscriber: Subscriber,
  messages: Subscription,
  task: SubscriberTask,
  show: (message: ReceivedMessage, task: SubscriberTask) => boolean,
): Promise<number> {
  const { count, skipsRetained, signal, timeout } = task;
  // One listener for all of them: it would cost as much as the rest for each.
  const stop = () => messages.end(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  let printed = 0;
  try {
    for await (const message of messages) {
      if (skipsRetained && message.retain) {
        messages.admit(messages.admitted + 1); // it does not count
        continue;
      }
      if (!show(message, task)) return EXIT.done;
      if (++printed === count) return EXIT.done;
    }
    return EXIT.done;
  } catch (error) {
    if (!signal.aborted) throw error;
    return timeout?.aborted ? EXIT.timedOut : EXIT.interrupted;
  } finally {
    signal.removeEventListener("abort", stop);
    const counting = subscriber.overflowed();
    // At once, and waited for elsewhere: what comes now is not printed any more.
    void subscriber.close();
    if (printed < count) tellLosses(subscriber.stats(), await counting);
  }
}

/** False when nobody reads it any more. */
function printMessage(message: ReceivedMessage, task: SubscriberTask): boolean {
  const octets = task.format(message, new Date());
  if (task.isVerbatim) return printOctets(octets);
  printData(new TextDecoder().decode(octets));
  return true;
}

/** What was lost on the last of its way is told; what was before, nobody knows. */
function tellLosses({ dropped }: ClientStats, overflowed: number): void {
  if (dropped > 0) {
    printError(`subscriber: ${dropped} messages came too fast to be kept\n`);
  }
  if (overflowed > 0) {
    printError(
      `subscriber: ${overflowed} datagrams came too fast to be received\n`,
    );
  }
}

/** At a terminal: asks for a filter, then shows what comes. */
async function askAndPrint(
  subscriber: Subscriber,
  { interruption, task, watch }: {
    readonly interruption: Interruption;
    readonly task: SubscriberTask;
    readonly watch: Watch;
  },
): Promise<number> {
  const { qos, sleepS, endsSubscribed, signal, count } = task;
  const connected = subscriber.connect({ signal });
  await tellWhile(lookingFor(subscriber.broker), connected);
  const filter = await ask("Topic filter, or exit_ to end", interruption, {
    check: (answer) =>
      parseTopicFilter(answer) === undefined
        ? "No filter: it is empty, or + is not a whole level or # not the last"
        : undefined,
  });
  if (filter === undefined || filter.trim() === EXIT_ANSWER) {
    return interruption.signal.aborted ? EXIT.interrupted : EXIT.done;
  }
  swallowKeys(interruption);
  const admit = endsSubscribed ? 0 : count;
  const messages = await subscriber.subscribe(filter, { qos, signal, admit });
  if (endsSubscribed) return EXIT.done;
  if (sleepS !== undefined) await subscriber.sleep(sleepS, { signal });
  print(styles().dim(`Subscribed at QoS ${messages.qos}; Ctrl-C ends`) + "\n");
  watch.isTold = true;
  const show = task.isFormatted ? printMessage : showMessage;
  return await printMessages(subscriber, messages, task, show);
}

/** Tells a person who waits for messages whether the broker is there. */
class Watch {
  /** Whether anybody waits for messages. */
  isTold = false;
  #isLost = false;

  /** Takes note of the connection's state. */
  readonly onState = (state: DeviceState): void => {
    if (state === "lost") {
      this.#tell("The broker does not answer; looking for it");
      this.#isLost = true;
    } else if (state === "active" && this.#isLost) {
      this.#tell("The broker is back");
      this.#isLost = false;
    }
  };

  #tell(text: string): void {
    if (this.isTold) print(`${styles().yellow(text)}\n`);
  }
}

/** Shows a message as it comes, to a person. */
function showMessage({ topicName, payload, qos, retain }: ReceivedMessage) {
  const { dim, cyan, yellow } = styles();
  const time = new Date().toLocaleTimeString("en-GB");
  const marks = `QoS ${qos}${retain ? " retained" : ""}`;
  print(
    `${dim(time)} ${yellow(marks)} ${cyan(printable(topicName))} ${
      readable(payload)
    }\n`,
  );
  return true;
}

function readable(payload: Uint8Array): string {
  const { dim } = styles();
  if (payload.length === 0) return dim("(empty)");
  let text: string;
  try {
    text = decodeUtf8(payload);
  } catch {
    return `${dim("hex")} ${payload.toHex()}`;
  }
  // Its further lines begin behind the time, where no message does.
  return printable(text.replace(/\n$/, ""), "\n\t")
    .replaceAll("\n", "\n" + " ".repeat("00:00:00 ".length));
}

/** From a pipe: reads filters, a line each, up to `exit_` or the end. */
async function readAndPrint(
  subscriber: Subscriber,
  flags: Flags,
  task: SubscriberTask,
): Promise<number> {
  const topics: DeviceTopic[] = [];
  for await (const line of inputLines(task.signal)) {
    if (line === EXIT_ANSWER) break;
    if (line !== "") topics.push(topicFrom(flags, line));
  }
  if (topics.length > 0) return await printAll(subscriber, topics, task);
  throw new UsageError("Nothing to subscribe to: give -t FILTER");
}

/** Runs the program to its end. */
export async function main(): Promise<never> {
  return await run(PROGRAM, subscribe);
}
