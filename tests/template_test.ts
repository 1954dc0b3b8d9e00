import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { type Clock, ManualClock, type Millis } from "../base/clock.ts";
import { Log } from "../base/log.ts";
import { type Effect, EffectQueue, type Machine } from "../base/machine.ts";
import type { Peer } from "../base/peer.ts";
import { Template } from "../template.ts";
import { Interruption } from "../base/interruption.ts";
import { messageOf } from "../base/errors.ts";
import type { Transport } from "../transport/transport.ts";
import { MemoryNetwork } from "../transport/memory.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

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

Deno.test("Template.close() takes nothing any more while what was sent leaves", async () => {
  const { network, peer } = setUp();
  const inner = network.bind();
  const left = Promise.withResolvers<void>();
  const slow: Transport = {
    address: inner.address,
    unsent: 1,
    receive: (handler) => inner.receive(handler),
    send: (to, bytes) => inner.send(to, bytes),
    flush: () => inner.flush(),
    stats: () => inner.stats(),
    overflowed: () => inner.overflowed(),
    close: () => inner.close(),
    async [Symbol.asyncDispose]() {
      await left.promise;
      await inner[Symbol.asyncDispose]();
    },
  };
  const program = new EchoProgram(new Echo(), slow, new Log());
  peer.send(program.address, new Uint8Array(5));
  await peer.flush();
  await peer.flush();
  assertEquals(program.events, ["took 5"]);
  const closed = program.close();
  await Promise.resolve();
  peer.send(program.address, new Uint8Array(6));
  for (let i = 0; i < 5; i++) await peer.flush();
  assertEquals([program.events, inner.stats().received], [["took 5"], 2]);
  left.resolve();
  await closed;
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

/** What a program was made to ask of the system, and a signal that a test aborts. */
class Timers implements Disposable {
  readonly asked: string[] = [];
  readonly #setTimeout = globalThis.setTimeout;
  readonly #timeout = AbortSignal.timeout;
  readonly #controller = new AbortController();
  #listeners = 0;

  constructor() {
    const { signal } = this.#controller;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: unknown[]) => {
      this.#listeners++;
      Reflect.apply(addEventListener, signal, args);
    };
    signal.removeEventListener = (...args: unknown[]) => {
      this.#listeners--;
      Reflect.apply(removeEventListener, signal, args);
    };
    AbortSignal.timeout = (ms) => {
      this.asked.push(`signal ${ms}`);
      return signal;
    };
    globalThis.setTimeout = ((handler: () => void, ms: number) => {
      this.asked.push(`timer ${ms}`);
      return this.#setTimeout(handler, 1e9);
    }) as typeof setTimeout;
  }

  /** Who listens to the signal. */
  get listeners(): number {
    return this.#listeners;
  }

  /** Aborts the signal. */
  elapse(): void {
    this.#controller.abort();
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#setTimeout;
    AbortSignal.timeout = this.#timeout;
  }
}

let modules = 0;

/** A program in a process that has had no timer yet. */
async function setUpFresh(clock?: Clock) {
  const fresh: typeof import("../template.ts") = await import(
    import.meta.resolve(`../template.ts?fresh=${modules++}`)
  );
  class Program extends fresh.Template<string> {
    readonly woke = Promise.withResolvers<void>();

    constructor(readonly echo: Echo) {
      super(echo, new MemoryNetwork().bind(), clock && { clock });
    }

    protected override handleEvent(): void {
      this.woke.resolve();
    }

    wakeAt(at: Millis | undefined): void {
      this.perform(() => this.echo.wakeAt = at);
    }

    take(bytes: Uint8Array): void {
      this.handleDatagram(this.address, bytes);
    }
  }
  return new Program(new Echo());
}

Deno.test("Template arms its first timer late, for the earliest deadline that there was", async () => {
  using timers = new Timers();
  const clock = new ManualClock();
  await using program = await setUpFresh(clock);
  assertEquals(timers.asked, []);
  program.wakeAt(1_000);
  program.wakeAt(500);
  program.wakeAt(700);
  assertEquals(timers.asked, ["signal 20"]);
  clock.advance(30);
  timers.elapse();
  assertEquals(timers.asked, ["signal 20", "timer 470"]);
  // From now on timers cost nothing. One that rings too early is harmless.
  program.wakeAt(900);
  program.wakeAt(400);
  assertEquals(timers.asked, ["signal 20", "timer 470", "timer 370"]);
});

Deno.test("Template arms its timer at once for what is due soon", async () => {
  using timers = new Timers();
  await using program = await setUpFresh(new ManualClock());
  program.wakeAt(20);
  assertEquals(timers.asked, ["timer 20"]);
  program.wakeAt(1_000);
  assertEquals(timers.asked, ["timer 20"]);
});

Deno.test("Template keeps a deadline that comes before the timer was to be armed", async () => {
  using timers = new Timers();
  await using program = await setUpFresh(new ManualClock());
  program.wakeAt(1_000);
  program.wakeAt(5);
  assertEquals(timers.asked, ["signal 20", "timer 5"]);
  timers.elapse();
  assertEquals(timers.asked, ["signal 20", "timer 5", "timer 5"]);
});

Deno.test("Template.close() waits for no timer that was to be armed late", async () => {
  using timers = new Timers();
  const program = await setUpFresh(new ManualClock());
  program.wakeAt(1_000);
  assertEquals(timers.listeners, 1);
  await program.close();
  assertEquals(timers.listeners, 0);
  timers.elapse();
  assertEquals(timers.asked, ["signal 20"]);
});

Deno.test("Template arms no timer for what comes while it closes", async () => {
  using timers = new Timers();
  const program = await setUpFresh(new ManualClock());
  const closing = program.close();
  for (const at of [5, 1_000]) {
    program.echo.wakeAt = at;
    program.take(new Uint8Array(2));
  }
  await closing;
  assertEquals(timers.asked, []);
});

Deno.test("Template wakes by a timer that was armed late", async () => {
  await using program = await setUpFresh();
  program.wakeAt(performance.now() + 25);
  await program.woke.promise;
});

Deno.test("Template that is closed leaves a process nothing to wait for", async () => {
  const code = `
    // Whoever still listened to one of these would wait for hours.
    const timeout = AbortSignal.timeout;
    AbortSignal.timeout = (ms) => timeout.call(AbortSignal, ms * 1_000);
    const { Broker, Client } = await import(${
    JSON.stringify(import.meta.resolve("../mod.ts"))
  });
    await using broker = await Broker.listen({ port: 0 });
    await using client = await Client.connect({ port: broker.port });
    await client.publish("a", "1", { qos: 1 });
    await client.close();
    await broker.close();
    // Fires only if something else keeps the process.
    Deno.unrefTimer(setTimeout(() => Deno.exit(7), 2_000));
    console.log("closed");
  `;
  const { code: exit, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--unstable-net", "--no-config", code],
    stderr: "inherit",
  }).output();
  assertEquals(new TextDecoder().decode(stdout), "closed\n");
  assertEquals(exit, 0);
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
