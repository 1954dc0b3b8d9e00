/**
 * The program `publisher`: its flags, its prompts, and what it publishes.
 *
 * @module
 */

import { type Flags, type Program, run, UsageError } from "./program.ts";
import type { ClientOptions, PublishOptions } from "../client.ts";
import { RefusedError } from "../client/errors.ts";
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
import type { DeviceTopic } from "../client/commands.ts";
import { printable } from "../base/log.ts";
import {
  LocalProtocolError,
  messageOf,
  NoAnswerError,
} from "../base/errors.ts";
import type { Qos } from "../wire/packets.ts";
import type { Interruption } from "../base/interruption.ts";
import {
  ask,
  type AskOptions,
  EXIT,
  EXIT_ANSWER,
  inputLines,
  isInteractive,
  linesOf,
  openFile,
  pause,
  print,
  printError,
  Progress,
  readFile,
  styles,
  tellWhile,
} from "./terminal.ts";
import { parseTopicName } from "../wire/topics.ts";

import { Publisher } from "../publisher.ts";

const PROGRAM: Program = {
  name: "publisher",
  summary: "Publishes to a topic, or asks what and where when none is given.",
  examples: [
    ["publisher", "ask what and where; from a pipe, read it as lines"],
    ["publisher -t weather -m 21.5", "publish once"],
    ["publisher -t lamp -m on -q 1 -r", "and be sure of it, and retain it"],
    ["sensor | publisher -t weather -l", "publish each line as it comes"],
    ["publisher -q -1 -T 7 -m on", "publish without a connection"],
  ],
  flags: [
    ...BROKER_FLAGS,
    { name: "topic", short: "t", value: "TOPIC", help: "where to publish" },
    {
      name: "topic-id",
      short: "T",
      value: "ID",
      help: "the same by a pre-defined topic id",
    },
    { name: "message", short: "m", value: "TEXT", help: "what to publish" },
    {
      name: "file",
      short: "f",
      value: "FILE",
      help: "publish what a file holds, as one message; its lines with -l",
    },
    {
      name: "stdin-line",
      short: "l",
      help: "publish each line of standard input that is not empty",
    },
    {
      name: "stdin-file",
      short: "s",
      help: "publish all of standard input, as one message",
    },
    {
      name: "null-message",
      short: "n",
      help: "publish an empty message; with -r it ends what is retained",
    },
    {
      name: "qos",
      short: "q",
      value: "N",
      usual: "0",
      help: "-1 without a connection, 0, 1 or 2",
    },
    { name: "retain", short: "r", help: "have the broker retain it" },
    {
      name: "repeat",
      value: "N",
      usual: "1",
      help: "publish the message or file N times",
    },
    {
      name: "repeat-delay",
      value: "S",
      usual: "0",
      help: "seconds between the times",
    },
    ...IDENTITY_FLAGS,
  ],
};

const SOURCES = [
  "message",
  "file",
  "stdin-line",
  "stdin-file",
  "null-message",
] as const;

async function publish(
  flags: Flags,
  interruption: Interruption,
): Promise<number> {
  if (protocolFrom(flags) === "classic") {
    const own = ["topic-id", "null-message", "qos", "retain"];
    requireClassic(flags, [...own, ...IDENTITY_FLAGS.map(({ name }) => name)]);
    // Only here: a program loads no protocol but the one that it speaks.
    const { publishClassic } = await import("./classic_publisher.ts");
    return await publishClassic(flags, interruption);
  }
  const { signal } = interruption;
  const clientOptions = await clientOptionsFrom(flags, "pub");
  const topic = topicOf(flags, clientOptions.predefined);
  const qos = qosOf(flags, topic);
  const payloads = topic === undefined ? undefined : await payloadsOf(flags);
  const options = { qos, retain: flags.has("retain"), signal };
  try {
    // §6.8: QoS −1 needs no connection, and so makes none.
    await using publisher = await Publisher.open(clientOptions);
    if (qos !== -1) await connect(publisher, signal);
    if (topic === undefined) {
      return isInteractive()
        ? await askAndPublish(publisher, interruption)
        : await readAndPublish(publisher, flags, options);
    }
    using progress = payloads!.areTyped
      ? undefined
      : new Progress("published", payloads!.total);
    await publisher.publishAll(topic, payloads!.all(signal), {
      ...options,
      onPublished: () => progress?.tick(),
    });
    return await closeAndTell(publisher);
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    throw new Error(startHint(error), { cause: error });
  }
}

async function connect(
  publisher: Publisher,
  signal: AbortSignal,
): Promise<void> {
  const connected = publisher.connect({ signal });
  if (!isInteractive()) return await connected;
  await tellWhile(lookingFor(publisher.broker), connected);
}

function topicOf(
  flags: Flags,
  predefined: ClientOptions["predefined"],
): DeviceTopic | undefined {
  const name = flags.text("topic");
  const id = flags.text("topic-id");
  const given = [...SOURCES, "repeat", "repeat-delay"].find((flag) =>
    flags.isGiven(flag)
  );
  if (name !== undefined && id !== undefined) {
    throw new UsageError('Flags "--topic" and "--topic-id" exclude each other');
  }
  if (name !== undefined) {
    const known = [...predefined ?? []].find(([, it]) => it === name);
    if (known !== undefined) return { predefined: known[0] };
    return flags.text("qos") === "-1" && !flags.has("short-topic")
      ? shortOrNone(name)
      : topicFrom(flags, name);
  }
  if (id !== undefined) return topicIdFrom(id);
  if (given === undefined) return undefined;
  throw new UsageError(`Flag "--${given}" needs a topic: -t TOPIC`);
}

/** §6.8: nobody can register a name without a connection. */
function shortOrNone(name: string): DeviceTopic {
  if (new TextEncoder().encode(name).length === 2) return { short: name };
  throw new UsageError(
    `QoS -1 takes a pre-defined topic (-T ID) or one of two octets, not "${name}"`,
  );
}

function qosOf(flags: Flags, topic: DeviceTopic | undefined): Qos {
  const qos = flags.choice("qos", ["-1", "0", "1", "2"]) ?? "0";
  if (qos === "-1" && topic === undefined) {
    throw new UsageError("QoS -1 needs a topic: -T ID, or -t with two octets");
  }
  return Number(qos) as Qos;
}

/** What is to be published, and how often if that is known. */
interface Payloads {
  readonly total: number | undefined;
  /** Whether a person types them, and so knows how far it is. */
  readonly areTyped: boolean;
  all(signal: AbortSignal): AsyncIterable<string | Uint8Array>;
}

async function payloadsOf(flags: Flags): Promise<Payloads> {
  const isLines = flags.has("stdin-line");
  const given = SOURCES.filter((source) => flags.isGiven(source));
  const file = flags.text("file");
  const isFileOfLines = isLines && file !== undefined && given.length === 2;
  if (given.length > 1 && !isFileOfLines) {
    throw new UsageError(
      `Flags "--${given[0]}" and "--${given[1]}" exclude each other`,
    );
  }
  if (given.length === 0) {
    throw new UsageError(
      "Nothing to publish: give -m TEXT, -f FILE, -l, -s or -n",
    );
  }
  const repeat = flags.integer("repeat", 1, 1_000_000_000) ?? 1;
  const delayMs = flags.secondsAsMs("repeat-delay", 0) ?? 0;
  if (isLines) {
    for (const name of ["repeat", "repeat-delay"]) {
      if (!flags.isGiven(name)) continue;
      throw new UsageError(`Flags "--${name}" and "-l" exclude each other`);
    }
    const stream = file === undefined ? Deno.stdin.readable : openFile(file);
    const what = file === undefined ? "standard input" : `"${file}"`;
    const areTyped = file === undefined && Deno.stdin.isTerminal();
    return {
      total: undefined,
      areTyped,
      all: (signal) => fullLinesOf(stream, what, signal),
    };
  }
  const payload = await payloadOf(flags);
  return {
    total: repeat,
    areTyped: false,
    async *all(signal) {
      for (let i = 0; i < repeat; i++) {
        if (i > 0 && delayMs > 0) await pause(delayMs, signal);
        yield payload;
      }
    },
  };
}

/** As the manual page of mosquitto_pub has it: what is empty is no message. */
async function* fullLinesOf(
  stream: ReadableStream<Uint8Array>,
  what: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for await (const lines of linesOf(stream, what, signal)) {
    for (const line of lines) if (line.length > 0) yield line;
  }
}

async function payloadOf(flags: Flags): Promise<string | Uint8Array> {
  const file = flags.text("file");
  if (file !== undefined) return await readFile(file);
  if (!flags.has("stdin-file")) return flags.text("message") ?? "";
  return new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer());
}

/** At a terminal: asks for one message after the other. */
async function askAndPublish(
  publisher: Publisher,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  const used = new Set<string>();
  let usualQos = "0";
  while (true) {
    const message = await askForMessage(used, usualQos, interruption);
    if (message === undefined) break;
    const { topic, payload, qos, retain } = message;
    usualQos = qos;
    const startedAt = performance.now();
    try {
      await tellWhile(
        "Waiting for the broker; Ctrl-C ends",
        publisher.publish(topic, payload, {
          qos: Number(qos) as Qos,
          retain,
          signal,
        }),
      );
      const took = (performance.now() - startedAt).toFixed(1);
      print(qos === "0" ? "Sent\n" : `Acknowledged after ${took} ms\n`);
      // Taken out and put in again, it is the latest.
      used.delete(topic);
      used.add(topic);
    } catch (error) {
      // A broker that is gone may come back.
      if (!isOwnFault(error) && !(error instanceof NoAnswerError)) throw error;
      print(`${styles().yellow(printable(messageOf(error)))}\n`);
    }
  }
  return signal.aborted ? EXIT.interrupted : EXIT.done;
}

/** What a person wants to publish. */
interface TypedMessage {
  readonly topic: string;
  readonly payload: string;
  readonly qos: string;
  readonly retain: boolean;
}

/** Asks for a message, `undefined` when there is to be none. */
async function askForMessage(
  used: Iterable<string>,
  usualQos: string,
  interruption: Interruption,
): Promise<TypedMessage | undefined> {
  const askUnlessExit = async (question: string, options: AskOptions = {}) => {
    const isExit = (answer?: string) => answer?.trim() === EXIT_ANSWER;
    const answer = await ask(question, interruption, {
      ...options,
      check: (answer) => isExit(answer) ? undefined : options.check?.(answer),
    });
    return isExit(answer) ? undefined : answer;
  };
  const topic = await askUnlessExit("Topic, or exit_ to end", {
    suggestions: [...used].reverse(),
    check: (answer) =>
      parseTopicName(answer) === undefined
        ? "No topic: it is empty, too long, or has + or # in it"
        : undefined,
  });
  if (topic === undefined) return undefined;
  const payload = await askUnlessExit("Payload");
  if (payload === undefined) return undefined;
  const qos = await askUnlessExit("QoS 0, 1 or 2", {
    usual: usualQos,
    check: (answer) =>
      /^[012]$/.test(answer.trim()) ? undefined : "Type 0, 1 or 2",
  });
  if (qos === undefined) return undefined;
  const retain = await askUnlessExit("Retain, y or n", {
    usual: "n",
    check: (answer) =>
      /^(y|yes|n|no)$/i.test(answer.trim()) ? undefined : "Type y or n",
  });
  if (retain === undefined) return undefined;
  return {
    topic,
    payload,
    qos: qos.trim(),
    retain: /^y/i.test(retain.trim()),
  };
}

/** From a pipe: reads a topic and a payload by turns, until `exit_`. */
async function readAndPublish(
  publisher: Publisher,
  flags: Flags,
  options: PublishOptions,
): Promise<number> {
  const lines = inputLines(options.signal);
  let code: number = EXIT.done;
  for (let topic; (topic = (await lines.next()).value) !== undefined;) {
    if (topic === EXIT_ANSWER) break;
    const { value: payload } = await lines.next();
    if (payload === undefined) break;
    try {
      await publisher.publish(
        flags.has("short-topic") ? { short: topic } : topic,
        payload,
        options,
      );
    } catch (error) {
      if (!isOwnFault(error)) throw error;
      code = EXIT.failed; // but the others may do
      printError(`publisher: ${messageOf(error)}\n`);
    }
  }
  return code === EXIT.done ? await closeAndTell(publisher) : code;
}

/** At QoS 0 a refusal comes behind, but before the answer to DISCONNECT. */
async function closeAndTell(publisher: Publisher): Promise<number> {
  await publisher.close();
  return publisher.stats().rejected > 0 ? EXIT.failed : EXIT.done;
}

/** What is wrong with one message, and not with the next. */
function isOwnFault(error: unknown): boolean {
  return error instanceof RefusedError || error instanceof LocalProtocolError;
}

/** Runs the program to its end. */
export async function main(): Promise<never> {
  return await run(PROGRAM, publish);
}
