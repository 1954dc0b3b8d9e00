/**
 * Tests of ours against theirs: the broker against a client, and publisher and
 * subscriber against a broker, that speak the classic protocol as the first
 * programs did and share no line with ours (`classic_client.py`,
 * `classic_broker.py`).
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertInstanceOf,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { ClassicClient, ClassicRefusedError } from "../../classic_client.ts";
import { DROP_REASONS } from "../../broker/events.ts";
import { zeros } from "../../broker/outlet.ts";
import { peerOf } from "../../base/peer.ts";
import { UdpTransport } from "../../transport/udp.ts";
import { LoggedBroker } from "../support/broker.ts";
import {
  portOf,
  run,
  type Running,
  SilentPort,
  start,
} from "../support/programs.ts";
import {
  PYTHON,
  SKIPPED_WITHOUT_PYTHON,
  startScript,
} from "../support/python.ts";

const TOPIC_TO_PUBLISH = "Enter topic to publish or exit_ to terminate : ";
const DATA_TO_PUBLISH = "Enter data to publish : ";
const TOPIC_TO_SUBSCRIBE = "Enter topic to subscribe or exit_ to terminate : ";

test("the broker does what the first one did when a client of its asks", async () => {
  await using broker = start("broker", ["--port", "0"]);
  await check(await portOf(broker), "rules");
});

test("the broker falls over none of the first one's faults when a client of its asks", async () => {
  await using broker = start("broker", ["--port", "0"]);
  await check(await portOf(broker), "faults");
});

test("`Broker.listen()` does what the first broker did when a client of its asks", async () => {
  await using here = await LoggedBroker.listen();
  await check(here.broker.port, "rules", "faults");
  const { failures, dropped } = here.broker.stats();
  assertEquals(failures, 0);
  assertEquals(dropped, {
    ...zeros(DROP_REASONS),
    empty: 1,
    malformed: 8,
    unknownType: 4,
  });
});

test("`Broker.listen()` says that it has an error when nobody may wait", async () => {
  await using here = await LoggedBroker.listen({ maxWaitingPerPeer: 0 });
  await check(here.broker.port, "full");
  assertEquals(here.broker.stats().classic.refused.failed, 1);
});

test("classic_client.py passes a broker when that is as the first one was", async () => {
  await using broker = await ClassicBroker.listen();
  await check(broker.port, "rules");
});

test("classic_client.py fails a broker when that does not answer as the first one did", async () => {
  await using broker = await ClassicBroker.listen();
  // It has an error where this group expects that somebody waits in vain.
  await using client = startClient(broker.port, "full");
  await broker.subscribed();
  await using publisher = await ClassicClient.connect(broker);
  await publisher.publish(broker.lastTopic, "no refusal");
  const { code, stdout } = await client.outcome();
  assertEquals(code, 1);
  assertMatch(stdout, /^not ok says that it has an error .+: b'no refusal' /);
});

// The library at a classic broker

test("`ClassicClient.publish()` and `ClassicClient.subscribe()` work when the broker is a classic one", async () => {
  await using broker = await ClassicBroker.listen();
  await using publisher = await ClassicClient.connect(broker);
  await using subscriber = await ClassicClient.connect(broker);
  await publisher.publish(" weather\n", "  21.5 °C ");
  assertEquals(await subscriber.subscribe("weather"), "  21.5 °C ");
  await publisher.publish("weather", "🌡\n22");
  assertEquals(await subscriber.subscribe("weather"), "  21.5 °C \n🌡\n22");
});

test("`ClassicClient.subscribe()` waits for the first publish when the broker is a classic one", async () => {
  await using broker = await ClassicBroker.listen();
  await using first = await ClassicClient.connect(broker);
  await using second = await ClassicClient.connect(broker);
  const histories = [first.subscribe("a"), second.subscribe("a")];
  await broker.subscribed();
  await broker.subscribed();
  await using publisher = await ClassicClient.connect(broker);
  await publisher.publish("a", "1");
  assertEquals(await Promise.all(histories), ["1", "1"]);
});

test("`ClassicClient.publish()` rejects when a classic broker refuses", async () => {
  await using broker = await ClassicBroker.listen();
  await using publisher = await ClassicClient.connect(broker);
  for (
    const [topic, data, refusal] of [
      [" ", "1", "invalidTopic"],
      ["a", " ", "invalidData"],
      ["", "", "invalidTopic"],
    ] as const
  ) {
    const error = await assertRejects(() => publisher.publish(topic, data));
    assertInstanceOf(error, ClassicRefusedError);
    assertEquals(error.refusal, refusal);
  }
  await publisher.publish("a", "1");
});

test("`ClassicClient.subscribe()` rejects when a classic broker refuses", async () => {
  await using broker = await ClassicBroker.listen();
  await using subscriber = await ClassicClient.connect(broker);
  const error = await assertRejects(() => subscriber.subscribe(" "));
  assertInstanceOf(error, ClassicRefusedError);
  assertEquals(error.refusal, "invalidTopic");
});

test("`ClassicClient.subscribe()` rejects when a classic broker has an error", async () => {
  await using broker = await ClassicBroker.listen();
  // What the first broker acknowledges, and can never send again.
  await using transport = await UdpTransport.bind();
  transport.send(
    peerOf("127.0.0.1", broker.port),
    new TextEncoder().encode('{"type":"publish","topic":"a","data":21.5}'),
  );
  await broker.published();
  await using subscriber = await ClassicClient.connect(broker);
  const error = await assertRejects(() => subscriber.subscribe("a"));
  assertInstanceOf(error, ClassicRefusedError);
  assertEquals(error.refusal, "failed");
});

test("`ClassicClient.ping()` tells whether a classic broker is there when asked", async () => {
  await using broker = await ClassicBroker.listen();
  await using client = await ClassicClient.connect(broker);
  assert(await client.ping());
  using nobody = new SilentPort();
  await using stranger = await ClassicClient.connect({
    port: nobody.port,
    timeoutMs: 1,
  });
  assertFalse(await stranger.ping());
});

// The programs at a classic broker

test("the publisher publishes to a classic broker when it is told by flags", async () => {
  await using broker = await ClassicBroker.listen();
  const args = [...broker.flags, "-t", "weather"];
  assertEquals(await run("publisher", [...args, "-m", "21.5 °C"]), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  const input = "22\n\n  23 ";
  const outcome = await run("publisher", [...args, "-l"], { input });
  assertEquals(outcome, { code: 0, stdout: "", stderr: "" });
  assertEquals(await broker.history("weather"), "21.5 °C\n22\n  23 ");
});

test("the publisher says why when a classic broker refuses", async () => {
  await using broker = await ClassicBroker.listen();
  const args = [...broker.flags, "-t", "weather", "-m", " "];
  assertEquals(await run("publisher", args), {
    code: 1,
    stdout: "",
    stderr: "publisher: Invalid data provided\n",
  });
});

test("the publisher publishes to a classic broker when it reads from a pipe", async () => {
  await using broker = await ClassicBroker.listen();
  const input = "weather\n21.5 °C\n \n1\nweather\n \nweather\n  22\nexit_\n";
  const answers = [
    "Broker has recieved message",
    "Invalid topic provided",
    "Invalid data provided",
    "Broker has recieved message",
  ];
  assertEquals(await run("publisher", broker.flags, { input }), {
    code: 0,
    stdout: answers.map((answer) =>
      `${TOPIC_TO_PUBLISH}${DATA_TO_PUBLISH}${answer}\n`
    ).join("") + TOPIC_TO_PUBLISH,
    stderr: "",
  });
  assertEquals(await broker.history("weather"), "21.5 °C\n  22");
});

test("the subscriber prints a classic broker's history when it is told by flags", async () => {
  await using broker = await ClassicBroker.listen();
  await using publisher = await ClassicClient.connect(broker);
  await publisher.publish("weather", "21.5 °C");
  await publisher.publish("weather", "22");
  const args = [...broker.flags, "-t", "weather"];
  assertEquals(await run("subscriber", args), {
    code: 0,
    stdout: "21.5 °C\n22\n",
    stderr: "",
  });
});

test("the subscriber waits for the first publish to a classic broker when there was none", async () => {
  await using broker = await ClassicBroker.listen();
  await using subscriber = start("subscriber", [...broker.flags, "-t", "a"]);
  await broker.subscribed();
  await using publisher = await ClassicClient.connect(broker);
  await publisher.publish("a", "1");
  const outcome = await subscriber.outcome();
  assertEquals(outcome, { code: 0, stdout: "1\n", stderr: "" });
});

test("the subscriber prints a classic broker's histories when it reads from a pipe", async () => {
  await using broker = await ClassicBroker.listen();
  await using publisher = await ClassicClient.connect(broker);
  await publisher.publish("a", "1");
  await publisher.publish("a", "2");
  await using subscriber = start("subscriber", broker.flags);
  await subscriber.write("a\n \nb\n");
  await broker.subscribed();
  await broker.subscribed();
  await publisher.publish("b", "3");
  await subscriber.write("exit_\n");
  assertEquals(await subscriber.outcome(), {
    code: 0,
    stdout: ["1\n2\n", "Invalid topic provided\n", "3\n", ""]
      .map((answer) => TOPIC_TO_SUBSCRIBE + answer).join(""),
    stderr: "",
  });
});

/** A broker as the first one was. */
class ClassicBroker implements AsyncDisposable {
  readonly port: number;
  readonly #running: Running;
  /** The topic of the request that was last waited for. */
  lastTopic = "";

  private constructor(running: Running, port: number) {
    this.#running = running;
    this.port = port;
  }

  static async listen(): Promise<ClassicBroker> {
    const running = startScript("classic_broker.py");
    await running.stdout.until("ready ");
    return new ClassicBroker(running, Number(await running.stdout.line()));
  }

  get flags(): readonly string[] {
    return ["--protocol", "classic", "-p", String(this.port)];
  }

  /** Waits for the next subscribe. */
  async subscribed(): Promise<void> {
    await this.#running.stdout.until("subscribe ");
    this.lastTopic = await this.#running.stdout.line();
  }

  /** Waits for the next publish. */
  async published(): Promise<void> {
    await this.#running.stdout.until("publish ");
    this.lastTopic = await this.#running.stdout.line();
  }

  async history(topic: string): Promise<string> {
    await using subscriber = await ClassicClient.connect(this);
    return await subscriber.subscribe(topic);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running[Symbol.asyncDispose]();
  }
}

function startClient(port: number, ...groups: readonly string[]): Running {
  const args = ["127.0.0.1", String(port), ...groups];
  return startScript("classic_client.py", args);
}

/** Lets the client check the broker at a port. */
async function check(port: number, ...groups: string[]): Promise<void> {
  await using client = startClient(port, ...groups);
  const { code, stdout, stderr } = await client.outcome();
  assertEquals(stderr, "");
  const lines = stdout.trimEnd().split(/\r?\n/);
  assertEquals(lines.filter((line) => !line.startsWith("ok ")), []);
  assertEquals(code, 0);
}

function test(name: string, fn: () => Promise<void>): void {
  const ignore = PYTHON === undefined;
  Deno.test({ name: name + SKIPPED_WITHOUT_PYTHON, ignore, fn });
}
