import { assert, assertEquals, assertThrows } from "@std/assert";
import { Broker } from "../../broker.ts";
import { Log } from "../../base/log.ts";
import { peerOf } from "../../base/peer.ts";
import { groupFrom, Multicast } from "../../transport/multicast.ts";
import { UdpTransport } from "../../transport/udp.ts";
import { GROUP, HAS_MULTICAST } from "../support/multicast.ts";

const ignore = !HAS_MULTICAST;

/** An end that hears what is said in the group, and may say something. */
class Listener implements AsyncDisposable {
  readonly #socket: UdpTransport;
  readonly #heard: (readonly [port: number, hex: string])[] = [];
  #wake = () => {};

  constructor(socket: UdpTransport) {
    this.#socket = socket;
    socket.receive((peer, bytes) => {
      this.#heard.push([peer.port, bytes.toHex()]);
      this.#wake();
    });
  }

  get port(): number {
    return this.#socket.address.port;
  }

  /** Takes a datagram from a port, when it has come. */
  async heard(port: number, hex: string): Promise<void> {
    while (true) {
      const index = this.#heard.findIndex(([from, what]) =>
        from === port && what === hex
      );
      if (index >= 0) return void this.#heard.splice(index, 1);
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  say(port: number, hex: string): void {
    this.#socket.send(peerOf(GROUP, port), Uint8Array.fromHex(hex));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#socket[Symbol.asyncDispose]();
  }
}

async function listen(port = 0): Promise<Listener> {
  const socket = await UdpTransport.bind({
    hostname: "0.0.0.0",
    port,
    isShared: true,
  });
  await socket.join(GROUP);
  return new Listener(socket);
}

Deno.test({
  name: "Broker advertises in its group, from its own port",
  ignore,
  async fn() {
    await using listener = await listen();
    await using broker = await Broker.listen({
      hostname: "0.0.0.0",
      port: 0,
      multicast: `${GROUP}:${listener.port}`,
      advertise: 900,
      gwId: 3,
    });
    await listener.heard(broker.port, "0500030384");
  },
});

Deno.test({
  name: "Broker answers who searches in its group, alone and before all",
  ignore,
  async fn() {
    await using broker = await Broker.listen({
      hostname: "0.0.0.0",
      port: 0,
      multicast: GROUP, // at the broker's own port
      gwId: 9,
    });
    await using client = await listen();
    client.say(broker.port, "030100");
    await client.heard(broker.port, "030209");
    client.say(broker.port, "030105"); // with a radius
    await client.heard(broker.port, "030209");
    assertEquals(broker.stats().mqttsn.sentByType.GWINFO, 4);
  },
});

Deno.test({
  name: "Broker hears who searches in a group with a port of its own",
  ignore,
  async fn() {
    await using other = await listen(); // the group's port is this one's
    await using broker = await Broker.listen({
      hostname: "0.0.0.0",
      port: 0,
      multicast: `${GROUP}:${other.port}`,
    });
    // The answer to the group reaches the listener that shares the port, or is
    // the one sent to the asker: either shows that the broker heard.
    await using asker = await listen();
    asker.say(other.port, "030100");
    await asker.heard(broker.port, "030201");
  },
});

Deno.test("Broker warns, and goes on, when it cannot join a group", async () => {
  const lines: string[] = [];
  const log = new Log({ write: (line) => lines.push(line.slice(25)) });
  await using broker = await Broker.listen({
    port: 0,
    multicast: "[ff02::1]:1883", // and it listens at an IPv4 address
    advertise: 900,
    log,
  });
  assertEquals(lines, [
    "warn  Cannot join the multicast group ff02::1: the broker listens at 127.0.0.1, which is of another kind: clients cannot search for this broker",
  ]);
  await using client = await UdpTransport.bind();
  const answer = new Promise<string>((resolve) => {
    client.receive((_peer, bytes) => resolve(bytes.toHex()));
  });
  client.send(broker.address, Uint8Array.of(3, 1, 0));
  assertEquals(await answer, "030201");
});

Deno.test("Multicast.join() leaves nothing open when the system will not have it", async () => {
  await using sender = await UdpTransport.bind();
  try {
    await using joined = await Multicast.join(sender, peerOf("10.0.0.1", 0));
    throw new Error(`joined ${joined.group.key}`);
  } catch (error) {
    assert(error instanceof Error);
    assertEquals(error.message, "Cannot join the multicast group 10.0.0.1");
  }
});

Deno.test("groupFrom() reads groups, and refuses what is none", () => {
  const cases: Record<string, string> = {
    "225.1.1.1": "225.1.1.1:7",
    "239.255.255.255:1883": "239.255.255.255:1883",
    "ff02::1": "[ff02::1]:7",
    "[ff1e:feed:caca:dead::1]:1883": "[ff1e:feed:caca:dead::1]:1883",
  };
  for (const [text, key] of Object.entries(cases)) {
    assertEquals(groupFrom(text, 7).key, key);
  }
  for (
    const text of [
      "",
      "10.0.0.1",
      "240.0.0.1",
      "225.1.1.256",
      "225.1.1",
      "225.1.1.1:",
      "225.1.1.1:0",
      "225.1.1.1:65536",
      "::1",
      "[fe80::1]:1",
      "all",
    ]
  ) assertThrows(() => groupFrom(text, 7), RangeError, text);
});
