/**
 * A broker in the test's own process, which tells what reached it.
 *
 * @module
 */

import { Broker, type BrokerOptions } from "../../broker.ts";
import { ClassicClient } from "../../classic_client.ts";
import { Log } from "../../base/log.ts";
import { Transcript } from "./transcript.ts";

/** How long a history may take, in milliseconds, before it counts as missing. */
const PATIENCE_MS = 30_000;

/** A datagram that came. */
interface DuplicateFilter {
  readonly peer: string;
  readonly text: string;
}

/** A broker at a free port. */
export class LoggedBroker implements AsyncDisposable {
  /** The broker. */
  readonly broker: Broker;
  /** Its log, down to each datagram. */
  readonly log: Transcript;
  readonly #datagrams: readonly DuplicateFilter[];

  private constructor(
    broker: Broker,
    log: Transcript,
    datagrams: readonly DuplicateFilter[],
  ) {
    this.broker = broker;
    this.log = log;
    this.#datagrams = datagrams;
  }

  /** Starts one. */
  static async listen(options: BrokerOptions = {}): Promise<LoggedBroker> {
    const transcript = new Transcript();
    const datagrams: DuplicateFilter[] = [];
    const write = (line: string) => {
      const [, peer, text] = /^\S+ debug (\S+) > (.*)$/.exec(line) ?? [];
      if (peer !== undefined) datagrams.push({ peer, text: text! });
      transcript.add(line + "\n");
    };
    const log = new Log({ level: "debug", write });
    const broker = await Broker.listen({ ...options, port: 0, log });
    return new LoggedBroker(broker, transcript, datagrams);
  }

  /** Its UDP port. */
  get port(): number {
    return this.broker.port;
  }

  /** The flags that lead a client to it. */
  get flags(): readonly string[] {
    return ["-p", String(this.port)];
  }

  /** The flags that lead a client of the classic protocol to it. */
  get classicFlags(): readonly string[] {
    return ["--protocol", "classic", ...this.flags];
  }

  /**
   * What a client of MQTT-SN has sent so far, a line for each datagram, without
   * their msgIds, which are chance.
   */
  sentBy(clientId: string): string[] {
    const name = `clientId=${JSON.stringify(clientId)}`;
    const peers = this.#datagrams.filter(({ text }) =>
      text.startsWith("CONNECT ") && text.endsWith(name)
    ).map(({ peer }) => peer);
    return this.#datagrams.filter(({ peer }) => peers.includes(peer))
      .map(({ text }) => text.replace(/ msgId=\d+/, ""));
  }

  /** Waits until somebody has subscribed to a topic since this was last asked. */
  async subscribed(topic: string): Promise<void> {
    await this.log.until(` subscribed to "${topic}"\n`);
  }

  /** Waits until something was published to a topic since this was last asked. */
  async published(topic: string): Promise<void> {
    await this.log.until(` octets to "${topic}"\n`);
  }

  /** What a topic's subscribers get. */
  async history(topic: string): Promise<string> {
    await using subscriber = await ClassicClient.connect(this.broker);
    const missing = new AbortController();
    const timer = setTimeout(
      () => missing.abort(new Error(`Nothing was published to "${topic}"`)),
      PATIENCE_MS,
    );
    try {
      return await subscriber.subscribe(topic, missing);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker.close();
  }
}
