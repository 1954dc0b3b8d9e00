/**
 * How a broker uses its socket while tests run: by a preload and what stands behind
 * `--`, for the whole suite to be run again in each way. Threads get datagrams as
 * soon as there are any, so that they have a part in everything.
 *
 * ```sh
 * deno test -A --preload tests/support/sockets.ts tests/broker_test.ts -- --io batched --workers 2
 * ```
 *
 * @module
 */

import { Broker, type BrokerOptions } from "../../broker.ts";
import { bindSocket, type Io } from "../../transport/batched.ts";
import { BatchesError, openLibc } from "../../transport/libc.ts";
import { DEFAULT_PORT } from "../../base/peer.ts";
import { SenderThreads } from "../../transport/sender_threads.ts";
import { UdpTransport } from "../../transport/udp.ts";

// Once, and before any test: none is to be blamed for what is never closed.
try {
  openLibc();
} catch (error) {
  if (!(error instanceof BatchesError)) throw error;
}

/** What stands behind a flag of the test's own, `undefined` without it. */
function given(flag: string): string | undefined {
  const at = Deno.args.indexOf(flag);
  return at < 0 ? undefined : Deno.args[at + 1];
}

/** The flags that a program of the broker's is given for it. */
export function socketFlags(): readonly string[] {
  const [io, workers] = [given("--io"), given("--workers")];
  return [
    ...io === undefined ? [] : ["--io", io],
    ...workers === undefined ? [] : ["--workers", workers],
  ];
}

/** How many datagrams threads have sent, of all brokers that were started so. */
export function sentByThreads(): number {
  return pools.reduce((sum, pool) => sum + pool.stats().sent, 0);
}

const pools: SenderThreads[] = [];
const io = given("--io") as Io | undefined;
const workers = Number(given("--workers") ?? 0);

if (io !== undefined) {
  const listen = Broker.listen.bind(Broker);
  Broker.listen = async (options: BrokerOptions = {}) => {
    const { hostname = "127.0.0.1", port = DEFAULT_PORT } = options;
    const chosen = options.workers === "auto" ? undefined : options.workers;
    // What is wrong with the options is to be said by the broker itself.
    const isTheirs = options.transport !== undefined ||
      options.io !== undefined || ![undefined, 0, 1].includes(chosen);
    if (isTheirs || workers === 0 || !(port >= 0 && port <= 65_535)) {
      // A portable socket says that it has no use for threads; their files have.
      const isFew = io === "portable" && options.workers === 1;
      return await listen({ io, ...options, ...isFew && { workers: "auto" } });
    }
    const senders = new SenderThreads(workers, { from: 0 });
    const transport = await bindSocket({ hostname, port, senders }, io, fail);
    pools.push(senders);
    try {
      return await listen({ ...options, transport });
    } catch (error) {
      if (transport instanceof UdpTransport) transport.close();
      throw error;
    }
  };
}

function fail(reason: string): never {
  throw new Error(`Cannot test --io ${io}: ${reason}`);
}
