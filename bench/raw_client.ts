/**
 * What the clients are compared with: the same datagrams by hand, on the same
 * calls of the system, without a library. Prints a figure a line.
 *
 * - `start PORT`: connects, publishes once at QoS 1, disconnects
 * - `flood PORT COUNT`: publishes at QoS 0 without a pause; lines a second
 * - `pace PORT COUNT`: publishes at QoS 1, one at a time; acknowledged a second
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program: the console is its output

const [what, port, count = "1"] = Deno.args;
const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: 0,
});
const broker = {
  transport: "udp",
  hostname: "127.0.0.1",
  port: Number(port),
} as const;
const buffer = new Uint8Array(2_048);
const encoder = new TextEncoder();

async function ask(...octets: number[]): Promise<Uint8Array> {
  await socket.send(Uint8Array.of(octets.length + 1, ...octets), broker);
  return (await socket.receive(buffer))[0];
}

/** A PUBLISH of the lines that `publisher -l` is given, `line number 12345`. */
function publishOf(id: number, qos: number, number: number): Uint8Array {
  const text = encoder.encode(`line number ${number}`);
  const bytes = new Uint8Array(7 + text.length);
  const msgId = qos === 0 ? 0 : number % 0xffff + 1;
  bytes.set([bytes.length, 0x0c, qos << 5, id >> 8, id & 255]);
  bytes.set([msgId >> 8, msgId & 255], 5);
  bytes.set(text, 7);
  return bytes;
}

await ask(0x04, 0x04, 0x01, 0, 60, ...encoder.encode(`raw${Deno.pid}`));
const regack = await ask(0x0a, 0, 0, 0, 1, ...encoder.encode("bench/line"));
const id = regack[2]! << 8 | regack[3]!;
const startedAt = performance.now();
if (what === "flood") {
  let unsent = 0;
  let wake: (() => void) | undefined;
  for (let i = 0; i < Number(count); i++) {
    unsent++;
    socket.send(publishOf(id, 0, i), broker).then(() => {
      if (--unsent === 0) wake?.();
    });
    if (unsent >= 256) await new Promise<void>((resolve) => wake = resolve);
  }
} else {
  for (let i = 0; i < Number(count); i++) {
    await socket.send(publishOf(id, 1, i), broker);
    await socket.receive(buffer);
  }
}
const seconds = (performance.now() - startedAt) / 1_000;
// A flood may have left no room for this, and nobody sends it again.
if (what !== "flood") await ask(0x18);
socket.close();
console.log(Number(count) / seconds);
