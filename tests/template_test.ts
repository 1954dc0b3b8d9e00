import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import type { Millis } from "../clock.ts";
import { Log } from "../log.ts";
import { type Effect, EffectQueue, type Machine } from "../machine.ts";
import type { Peer } from "../message.ts";
import { Interruption, messageOf, Template } from "../template.ts";
import { MemoryNetwork, type Transport } from "../transport.ts";

/** Sends back what it is sent, in two parts, and wakes when it is told to. */
class Echo implements Machine<string> {
  readonly effects = new EffectQueue<string>();
  wakeAt: Millis | undefined;

  handleDatagram(_now: Millis, peer: Peer, bytes: Uint8Array): void {
    if (bytes.length === 13) throw new Error("Thirteen is too much");
    this.effects.trace(`took ${bytes.length}`);
    this.effects.send(peer, bytes.slice(0, 1));
    this.effects.send(peer, bytes.slice(1));
  }

  handleTimeout(now: Millis): void {
    if (this.wakeAt === undefined || now < this.wakeAt) return;
    this.wakeAt = undefined;
    this.effects.trace("woke");
  }

  nextTimeout(): Millis | undefined {
    return this.wakeAt;
  }

  pollEffect(): Effect<string> | undefined {
    return this.effects.poll();
  }
}

class EchoProgram extends Template<string> {
  readonly events: string[] = [];
  readonly woke = Promise.withResolvers<void>();

  constructor(readonly echo: Echo, transport: Transport, log: Log) {
    super(echo, transport, { log });
  }

  protected override handleEvent(event: string): void {
    this.events.push(event);
    if (event === "woke") this.woke.resolve();
  }

  command(command: (now: Millis) => void): void {
    this.perform(command);
  }

  renew(transport: Transport): void {
    this.switchTransport(transport);
  }
}

function setUp() {
  const network = new MemoryNetwork();
  const lines: string[] = [];
  const log = new Log({ write: (line) => lines.push(line.slice(25)) });
  const program = new EchoProgram(new Echo(), network.bind(), log);
  const peer = network.bind();
  const received: number[] = [];
  peer.receive((_peer, bytes) => received.push(bytes.length));
  const flush = async () => {
    for (let i = 0; i < 5; i++) await peer.flush();
  };
  return { network, program, lines, peer, received, flush };
}

Deno.test("Template carries out a machine's effects in order", async () => {
  const { program, peer, received, flush } = setUp();
  await using _ = program;
  peer.send(program.address, new Uint8Array(5));
  await flush();
  assertEquals(received, [1, 4]);
  assertEquals(program.events, ["took 5"]);
});

Deno.test("Template lives on when the machine fails on a datagram", async () => {
  const { program, peer, received, lines, flush } = setUp();
  await using _ = program;
  peer.send(program.address, new Uint8Array(13));
  peer.send(program.address, new Uint8Array(2));
  await flush();
  assertEquals(received, [1, 1]);
  assertEquals(program.failures, 1);
  assertEquals(lines, [
    `error Failed on a datagram of 13 octets from ${peer.address.key}: Thirteen is too much`,
  ]);
});

Deno.test("Template arms its timer at the machine's next timeout, and anew when that moves", async () => {
  const { program } = setUp();
  await using _ = program;
  program.command((now) => program.echo.wakeAt = now + 1e9);
  program.command((now) => program.echo.wakeAt = now + 5);
  await program.woke.promise;
  assertEquals(program.events, ["woke"]);
});

Deno.test("Template.close() leaves no timer behind, and a second call waits for the first", async () => {
  const { program, peer, received, flush } = setUp();
  program.command((now) => program.echo.wakeAt = now + 1e9);
  assertFalse(program.isClosed);
  const first = program.close();
  assert(program.isClosed);
  assertEquals(program.close(), first);
  await first;
  await program.closed;
  peer.send(program.address, new Uint8Array(5));
  await flush();
  assertEquals(received, []);
  program.command(() => {
    throw new Error("It is closed");
  });
});

Deno.test("Template goes on with another transport", async () => {
  const { network, program, peer, received, flush } = setUp();
  await using _ = program;
  const before = program.port;
  program.renew(network.bind());
  assert(program.port !== before);
  peer.send(program.address, new Uint8Array(5));
  await flush();
  assertEquals(received, [1, 4]);
});

Deno.test("Template closes when its transport breaks, and says why", async () => {
  const lines: string[] = [];
  const log = new Log({ write: (line) => lines.push(line.slice(25)) });
  const transport = new MemoryNetwork().bind();
  const broken: Transport = {
    address: transport.address,
    receive: () => Promise.reject(new Error("Cannot receive at all")),
    send: () => {},
    unsent: 0,
    overflowed: () => Promise.resolve(0),
    flush: () => Promise.resolve(),
    stats: () => transport.stats(),
    close: () => transport.close(),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
  const program = new EchoProgram(new Echo(), broken, log);
  await program.closed;
  assertEquals(lines, ["error Cannot receive at all"]);
});

Deno.test("Interruption aborts once, and says which signal it was", async () => {
  using interruption = new Interruption();
  assertFalse(interruption.signal.aborted);
  const waited = interruption.wait();
  interruption.abort("SIGTERM");
  interruption.abort("SIGINT");
  await waited;
  await interruption.wait();
  assertEquals(interruption.cause, "SIGTERM");
  await assertRejects(
    () => Promise.reject(interruption.signal.reason),
    Error,
    "Interrupted by SIGTERM",
  );
});

Deno.test("messageOf() says what an error says", () => {
  assertEquals(messageOf(new TypeError("No")), "No");
  assertEquals(messageOf("thrown"), "thrown");
});
