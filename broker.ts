/**
 * The broker: a router (`router.ts`) at work on a UDP socket, and the program
 * that runs one.
 *
 * ```sh
 * deno run -A broker.ts --help
 * ```
 *
 * @module
 */

import { type Flags, portFromEnvironment, type Program, run } from "./cli.ts";
import { CLASSIC_REPLY, type ClassicRefusal } from "./classic.ts";
import {
  type Refusal,
  REFUSALS,
  type RefuseEvent,
  type RouterEvent,
} from "./events.ts";
import { DEFAULT_PORT, isLoopback } from "./message.ts";
import { Router, type RouterOptions } from "./router.ts";
import type { RouterStats } from "./system.ts";
import {
  type Interruption,
  Template,
  type TemplateOptions,
} from "./template.ts";
import { EXIT, print } from "./terminal.ts";
import {
  type Transport,
  type TransportStats,
  UdpTransport,
} from "./transport.ts";

/** Where a broker listens, what it logs, and its limits. */
export interface BrokerOptions extends TemplateOptions, RouterOptions {
  /** Address or name of an interface of this machine. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** UDP port, 0 to 65535; 0 lets the system choose. Default 12003. */
  readonly port?: number;
  /** Carries the datagrams. Default: a UDP socket at `hostname` and `port`. */
  readonly transport?: Transport;
}

/** What a broker counted since its start. */
export interface BrokerStats extends RouterStats {
  /** What its transport counted. */
  readonly transport: TransportStats;
  /** Times that the broker failed: a fault of ours, each in the log. */
  readonly failures: number;
}

/**
 * A broker.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "./broker.ts";
 * import { Publisher } from "./publisher.ts";
 * import { Subscriber } from "./subscriber.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using publisher = await Publisher.connect({ port: broker.port });
 * await using subscriber = await Subscriber.connect({ port: broker.port });
 *
 * await publisher.publish("weather", "21.5");
 * assertEquals(await subscriber.subscribe("weather"), "21.5");
 * assertEquals(broker.stats().published, 1);
 * ```
 */
export class Broker extends Template<RouterEvent> {
  readonly #router: Router;

  private constructor(
    router: Router,
    transport: Transport,
    options: BrokerOptions,
  ) {
    super(router, transport, options);
    this.#router = router;
    this.log.debug(() => `Listening at ${this.address.key}`);
    if (!isLoopback(this.address)) {
      this.log.warn(
        `Whoever reaches ${this.address.key} can publish and subscribe: the protocol knows no passwords`,
      );
    }
  }

  /**
   * Starts a broker.
   *
   * @throws {RangeError} when the port or a limit is out of range
   * @throws {Deno.errors.AddrInUse} when the port is taken
   * @throws {Error} when the host's name is unknown, or when this Deno was
   * started without `--unstable-net`
   */
  static async listen(options: BrokerOptions = {}): Promise<Broker> {
    const { hostname = "127.0.0.1", port = DEFAULT_PORT } = options;
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new RangeError(
        `Cannot take "${port}" as the port: it is a number from 0 to 65535`,
      );
    }
    const router = new Router(options);
    const transport = options.transport ??
      await UdpTransport.bind({ hostname, port });
    return new Broker(router, transport, options);
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): BrokerStats {
    return {
      ...this.#router.stats(),
      transport: this.transport.stats(),
      failures: this.failures,
    };
  }

  /** Logs what happened. */
  protected override handleEvent(event: RouterEvent): void {
    switch (event.type) {
      case "publish":
        return this.log.debug(() =>
          `${event.peer.key} published ${event.octets} octets to "${event.topicName}"`
        );
      case "subscribe":
        return this.log.debug(() =>
          `${event.peer.key} subscribed to "${event.topicName}"`
        );
      case "deliver":
        return this.log.debug(() =>
          `Sent ${event.octets} octets of "${event.topicName}" to ${event.peer.key}`
        );
      case "hold":
        return this.log.debug(() =>
          `Held back "${event.topicName}" for ${event.peer.key}: its allowance is spent`
        );
      case "refuse":
        return this.log.debug(() =>
          `Refused ${event.peer.key}: ${refusalText(event)}`
        );
      case "drop":
        return this.log.debug(() =>
          `Dropped a datagram from ${event.peer.key}: ${event.detail}`
        );
      case "forget":
        return this.log.debug(() =>
          `Forgot ${event.count} of "${event.topicName}": ${event.reason}`
        );
      case "unsubscribe":
        return this.log.debug(() =>
          `${event.peer.key} unsubscribed from "${event.topicName}"`
        );
      case "register":
        return this.log.debug(() =>
          `${event.peer.key} registered "${event.topicName}" as ${event.topicId}`
        );
      case "connect":
        return this.log.debug(() =>
          `"${event.clientId}" connected from ${event.peer.key}, keep alive ${event.duration} s${
            event.cleanSession ? ", clean session" : ""
          }`
        );
      case "state":
        return this.log.debug(() =>
          `"${event.clientId}" is ${event.state}: ${event.event}`
        );
      case "move":
        return this.log.debug(() =>
          `"${event.clientId}" goes on from ${event.peer.key}, no longer ${event.from.key}`
        );
      case "will":
        return this.log.debug(() =>
          `Published the will of "${event.clientId}" to "${event.topicName}"`
        );
      case "lose":
        return this.log.debug(() =>
          `"${event.clientId}" does not get a message of "${event.topicName}": ${event.reason}`
        );
      default:
        event satisfies never;
    }
  }
}

/** Why a request was refused, for a person. */
function refusalText({ reason }: RefuseEvent): string {
  return reason in CLASSIC_REPLY
    ? CLASSIC_REPLY[reason as ClassicRefusal]
    : REFUSALS[reason as Refusal][1];
}

const PROGRAM: Program = {
  name: "broker",
  summary: "Passes what publishers publish on to subscribers, over UDP.",
  examples: [
    ["broker", "listen at 127.0.0.1:12003"],
    ["broker --port 0", "listen at a free port, and print which"],
    ["broker --host 0.0.0.0", "listen to other machines too"],
  ],
  flags: [
    {
      name: "host",
      short: "h",
      value: "ADDRESS",
      usual: "127.0.0.1",
      help: "interface to listen at; 0.0.0.0 and :: are all of them",
    },
    {
      name: "port",
      short: "p",
      value: "N",
      usual: "12003, or the variable PORT",
      help: "UDP port; 0 picks a free one and prints it",
    },
    {
      name: "history",
      value: "N",
      usual: "1000",
      help: "data kept for each topic",
    },
    {
      name: "log-level",
      value: "LEVEL",
      usual: "info",
      help: "debug (each datagram), info, warn, error or none",
    },
    { name: "log-json", help: "log a JSON object a line" },
  ],
};

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  const history = flags.integer("history", 1, 1_000_000);
  await using broker = await Broker.listen({
    hostname: flags.text("host") ?? "127.0.0.1",
    port: flags.integer("port", 0, 65_535) ?? portFromEnvironment(0),
    log: flags.log("info"),
    ...history === undefined ? {} : { history },
  }).catch((error) => {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new Error(`${error.message}; choose one with --port N`);
  });
  print(`Broker started at ${broker.address.key}\n`);
  await Promise.race([interruption.wait(), broker.closed]);
  if (!interruption.signal.aborted) return EXIT.failed;
  broker.log.info(`Ended by ${interruption.cause}`);
  return interruption.cause === "SIGTERM" ? EXIT.done : EXIT.interrupted;
}

if (import.meta.main) await run(PROGRAM, main);
