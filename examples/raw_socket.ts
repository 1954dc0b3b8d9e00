// deno-lint-ignore-file no-console -- an example prints
/**
 * The classic protocol by hand: what a device without this library has to send
 * and to read, three JSON datagrams and their answers.
 *
 * Run it with `deno run -A examples/raw_socket.ts`.
 *
 * @module
 */

import { Broker } from "../mod.ts";

await using broker = await Broker.listen({ port: 0 });
const address = {
  transport: "udp",
  hostname: broker.hostname,
  port: broker.port,
} as const;
const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: 0,
});

async function ask(request: unknown): Promise<string> {
  await socket.send(new TextEncoder().encode(JSON.stringify(request)), address);
  const [bytes] = await socket.receive(new Uint8Array(65_536));
  return new TextDecoder().decode(bytes);
}

console.log(await ask({ type: "publish", topic: "door", data: "open" }));
console.log(await ask({ type: "subscribe", topic: "door" }));
console.log(await ask({ type: "publish", topic: "door" }));
socket.close();
