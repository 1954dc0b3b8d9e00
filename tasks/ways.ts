// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * `deno task test:ways` runs every test in which a broker has a socket once for
 * each way to use one: portable, batched, and with 1, 2 and 4 threads that send.
 * What a broker does is the same in all of them. Ends with the sum of what passed
 * and failed.
 *
 * @module
 */

import { ROOT } from "./house.ts";

const PRELOAD = "tests/support/sockets.ts";

/** Those of the broker in which it has a socket, but for what tells ways apart itself. */
const TESTS = [
  "broker",
  "broker_db",
  "broker_sockets",
  "classic_client",
  "client_connect",
  "client_publish",
  "client_search",
  "client_sleep",
  "client_subscribe",
  "peers/foreign",
  "peers/real_clients",
  "protocol/interop",
  "protocol/regressions",
  "transport/multicast",
].map((name) => `tests/${name}_test.ts`);

const WAYS: readonly (readonly [io: string, workers: number])[] = [
  ["portable", 0],
  ["batched", 0],
  ["batched", 1],
  ["batched", 2],
  ["batched", 4],
];

let [passed, failed] = [0, 0];
for (const [io, workers] of WAYS) {
  const way = ["--io", io, "--workers", String(workers)];
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "-A", "--parallel", "--quiet", "--no-check"],
      ...["--preload", PRELOAD, ...TESTS, "--", ...way],
    ],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const [text, errors] = [stdout, stderr].map((octets) =>
    new TextDecoder().decode(octets)
  );
  const [, ok = 0, bad = 0] = /(\d+) passed.*?(\d+) failed/.exec(text!) ?? [];
  passed += Number(ok);
  failed += Number(bad) + (success || Number(bad) > 0 ? 0 : 1);
  console.log(`${way.join(" ")}: ${ok} passed, ${bad} failed`);
  if (!success) console.log(text, errors);
}
console.log(`${passed} passed, ${failed} failed`);
if (failed > 0) Deno.exit(1);
