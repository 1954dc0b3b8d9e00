/**
 * The load generator of `durable.ts`, in a process of its own: clients that publish
 * at QoS 1, each the next message when the last was acknowledged. By hand, so that
 * it costs little: it knows the octets of six messages.
 *
 * `deno run -A bench/durable_load.ts PORT CLIENTS MS QUEUE`, where QUEUE is `none`
 * for a topic without subscribers, or `away` for one whose subscriber has a kept
 * session and is away, so that each message is queued. Prints the messages
 * acknowledged a second.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program: the console is its output

const [port, clients, ms, queue] = Deno.args;
const BROKER = {
  transport: "udp",
  hostname: "127.0.0.1",
  port: Number(port),
} as const;

/** Octets published in each message. */
const PAYLOAD = 64;

const encoder = new TextEncoder();

/** A message of MQTT-SN: its length and the rest. */
function message(...octets: number[]): Uint8Array {
  return Uint8Array.of(octets.length + 1, ...octets);
}

/** A client's socket, with one datagram under way at a time. */
class Line {
  readonly #socket = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  readonly #buffer = new Uint8Array(2_048);

  async ask(bytes: Uint8Array): Promise<Uint8Array> {
    await this.#socket.send(bytes, BROKER);
    return (await this.#socket.receive(this.#buffer))[0];
  }

  /** Connects; with CleanSession unless its session is to be kept. */
  connect(clientId: string, isKept = false): Promise<Uint8Array> {
    const flags = isKept ? 0 : 4;
    return this.ask(
      message(0x04, flags, 0x01, 0, 0, ...encoder.encode(clientId)),
    );
  }

  close(): void {
    this.#socket.close();
  }
}

if (queue === "away") {
  const away = new Line();
  await away.connect("away", true);
  await away.ask(message(0x12, 0x20, 0, 1, ...encoder.encode("bench/#")));
  await away.ask(message(0x18));
  away.close();
}

let acknowledged = 0;
let isOver = false;

async function publish(number: number): Promise<void> {
  const line = new Line();
  await line.connect(`bench-${number}`);
  const topic = encoder.encode(`bench/${number}`);
  const regack = await line.ask(message(0x0a, 0, 0, 0, 1, ...topic));
  const bytes = message(
    ...[0x0c, 0x20, regack[2]!, regack[3]!, 0, 1],
    ...new Uint8Array(PAYLOAD).fill(0x61),
  );
  for (let msgId = 1; !isOver; msgId = msgId % 0xffff + 1) {
    bytes[5] = msgId >> 8;
    bytes[6] = msgId & 255;
    const puback = await line.ask(bytes);
    if (puback[1] !== 0x0d || puback[6] !== 0) {
      throw new Error(`Refused: ${puback.toHex()}`);
    }
    acknowledged++;
  }
  line.close();
}

const work = Array.from({ length: Number(clients) }, (_, i) => publish(i));
// First it warms up.
await new Promise((go) => setTimeout(go, Number(ms) / 2));
const before = acknowledged;
const startedAt = performance.now();
await new Promise((go) => setTimeout(go, Number(ms)));
const seconds = (performance.now() - startedAt) / 1_000;
console.log((acknowledged - before) / seconds);
isOver = true;
await Promise.all(work);
