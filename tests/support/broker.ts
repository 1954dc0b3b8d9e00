/**
 * A broker in the test's own process, which tells what reached it.
 *
 * @module
 */

import { Broker, type BrokerOptions } from "../../broker.ts";
import { ClassicClient } from "../../classic_client.ts";
import { Log } from "../../log.ts";
import { Transcript } from "./transcript.ts";

/** How long a history may take, in milliseconds, before it counts as missing. */
const PATIENCE_MS = 30_000;

/** A broker at a free port. */
export class LoggedBroker implements AsyncDisposable {
  /** The broker. */
  readonly broker: Broker;
  /** Its log, down to each datagram. */
  readonly log: Transcript;

  private constructor(broker: Broker, log: Transcript) {
    this.broker = broker;
    this.log = log;
  }

  /** Starts one. */
  static async listen(options: BrokerOptions = {}): Promise<LoggedBroker> {
    const transcript = new Transcript();
    const write = (line: string) => transcript.add(line + "\n");
    const log = new Log({ level: "debug", write });
    const broker = await Broker.listen({ ...options, port: 0, log });
    return new LoggedBroker(broker, transcript);
  }

  /** The flags that lead a client to it. */
  get flags(): readonly string[] {
    return ["-p", String(this.broker.port)];
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
