/**
 * `deno task replay FILE` plays the clients' side of a recording at a broker and says
 * where the answers differ: exit code 0 when they are alike, 1 when they are not.
 *
 * @module
 */

import { type Flags, type Program, run, UsageError } from "./program.ts";
import { printable } from "../base/log.ts";
import { DEFAULT_PORT } from "../base/peer.ts";
import { parseRecording, RecordingError } from "../journal/recording.ts";
import { describeReplay, replay } from "../journal/replay.ts";
import type { Interruption } from "../base/interruption.ts";
import { EXIT, print, printError, Progress, readFile } from "./terminal.ts";
import { findBroker } from "../transport/resolve.ts";

const PROGRAM: Program = {
  name: "replay",
  summary:
    "Plays the clients' side of a recording (broker --record FILE) at a broker, and says where its answers differ.",
  examples: [
    ["replay mqtt.jsonl", "as fast as the answers come"],
    ["replay mqtt.jsonl --speed 10", "ten times as fast as it was"],
    ["replay mqtt.jsonl -h 10.0.0.1 -p 1884", "at another broker"],
  ],
  flags: [
    {
      name: "file",
      value: "FILE",
      help: "the recording; without the flag it is what comes first",
    },
    {
      name: "host",
      short: "h",
      value: "HOST",
      usual: "127.0.0.1",
      help: "where the broker is",
    },
    {
      name: "port",
      short: "p",
      value: "N",
      usual: String(DEFAULT_PORT),
      help: "its UDP port",
    },
    {
      name: "speed",
      value: "X",
      usual: "0",
      help:
        "times as fast as it was; 0 as fast as the answers come. The broker's own timers are not faster",
    },
    {
      name: "patience",
      value: "MS",
      usual: "2000",
      help: "milliseconds that an answer is waited for",
    },
  ],
};

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  const file = flags.text("file");
  if (!file) throw new UsageError("Give the recording to play: replay FILE");
  const speed = flags.number("speed", 0, 1e6) ?? 0;
  const patienceMs = flags.number("patience", 1, 3_600_000) ?? 2_000;
  const recording = await readRecording(file);
  const broker = await findBroker(
    flags.text("host") ?? "127.0.0.1",
    flags.integer("port", 1, 65_535) ?? DEFAULT_PORT,
  );
  if (recording.lost > 0) {
    const what = recording.lost === 1 ? "datagram" : "datagrams";
    printError(
      `replay: The recording lacks ${recording.lost} ${what}, so that answers may differ\n`,
    );
  }
  const total = recording.datagrams.filter(({ way }) => way === "received");
  using progress = new Progress("datagrams played", total.length);
  const report = await replay(recording, {
    ...{ broker, speed, patienceMs },
    signal: interruption.signal,
    onProgress: () => progress.tick(1),
  });
  progress[Symbol.dispose]();
  if (report.live === 0 && report.recorded > 0) {
    throw new Error(`No broker answered at ${broker.key}`);
  }
  print(`${describeReplay(report)}\n`);
  return report.isAlike ? EXIT.done : EXIT.failed;
}

async function readRecording(file: string) {
  const octets = await readFile(file);
  try {
    return parseRecording(new TextDecoder().decode(octets));
  } catch (error) {
    if (!(error instanceof RecordingError)) throw error;
    const message = error.message.replace("the recording", `"${file}"`);
    throw new Error(printable(message), { cause: error });
  }
}

if (import.meta.main) {
  const [first] = Deno.args;
  const isFile = first !== undefined && !first.startsWith("-");
  await run(PROGRAM, main, isFile ? ["--file", ...Deno.args] : Deno.args);
}
