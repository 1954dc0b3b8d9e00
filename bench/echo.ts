// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * The limit that a broker of one thread can come near: it makes the same calls
 * on its socket and does nothing else. Each datagram is received into one
 * buffer and answered with as many octets as an acknowledgement has.
 *
 * @module
 */

import { CLASSIC_REPLY, encodeReply } from "../wire/classic.ts";

const ACCEPTED = encodeReply(CLASSIC_REPLY.accepted);

const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: 0,
});
const { hostname, port } = socket.addr as Deno.NetAddr;
console.log(`Echo started at ${hostname}:${port}`);

const buffer = new Uint8Array(65_536);
while (true) {
  // Errors are somebody's who has gone; the next datagram is another's.
  const arrival = await socket.receive(buffer).catch(() => undefined);
  if (arrival !== undefined) {
    socket.send(ACCEPTED, arrival[1]).catch(() => {});
  }
}
