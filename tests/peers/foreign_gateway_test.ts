/**
 * Our client, publisher and subscriber through a gateway that others have
 * written. `MQTT_SN_GATEWAY` names a command that starts one: it is given a UDP
 * port of 127.0.0.1, and runs until it gets SIGTERM. What a gateway does not do
 * is named by `MQTT_SN_GATEWAY_LACKS`, words between commas: `qos2`, `will`,
 * `retain`, `short`. Without a gateway these tests say `ignored`.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Client } from "../../client.ts";
import { NoAnswerError } from "../../base/errors.ts";
import { UdpTransport } from "../../transport/udp.ts";
import { run, Running, start } from "../support/programs.ts";

const COMMAND = Deno.env.get("MQTT_SN_GATEWAY");
const LACKS = (Deno.env.get("MQTT_SN_GATEWAY_LACKS") ?? "").split(",");

/** GatewaySearch need a moment to find their broker. */
const START_WITHIN_MS = 30_000;

class Gateway implements AsyncDisposable {
  private constructor(
    readonly port: number,
    private readonly process: Running,
  ) {}

  static async start(): Promise<Gateway> {
    await using free = await UdpTransport.bind();
    const { port } = free.address;
    free.close();
    const process = new Running(COMMAND!, [`${port}`]);
    const startedAt = performance.now();
    while (performance.now() - startedAt < START_WITHIN_MS) {
      try {
        await using _ = await Client.connect({ port, timeoutMs: 500 });
        return new Gateway(port, process);
      } catch (error) {
        if (!(error instanceof NoAnswerError)) throw error;
      }
    }
    await process[Symbol.asyncDispose]();
    throw new Error(`The gateway did not answer at ${port}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGTERM");
    await this.process[Symbol.asyncDispose]();
  }
}

interface Case {
  readonly name: string;
  readonly needs?: string;
  readonly test: (port: number) => Promise<void>;
}

const CASES: readonly Case[] = [
  {
    name: "publisher and subscriber at QoS 0 and 1, by wildcard",
    async test(port) {
      const args = ["-p", `${port}`];
      await using subscriber = start("subscriber", [
        ...args,
        ...["-t", "gw/+/light", "-q", "1", "-v", "-C", "3", "-W", "30", "-d"],
      ]);
      await subscriber.stderr.until("SUBACK");
      for (const [qos, text] of [["1", "one"], ["0", "two"], ["1", "three"]]) {
        const { code, stderr } = await run("publisher", [
          ...args,
          ...["-t", "gw/1/light", "-q", qos!, "-m", text!],
        ]);
        assertEquals([code, stderr], [0, ""]);
      }
      const { code, stdout } = await subscriber.outcome();
      assertEquals(code, 0);
      assertEquals(
        stdout,
        "gw/1/light one\ngw/1/light two\ngw/1/light three\n",
      );
    },
  },
  {
    name: "a hundred lines at QoS 1, in order",
    async test(port) {
      await using client = await Client.connect({ port, timeoutMs: 20_000 });
      const messages = await client.subscribe("gw/lines", { qos: 1 });
      const lines = Array.from({ length: 100 }, (_, i) => `line ${i}`);
      await using publisher = start("publisher", [
        ...["-p", `${port}`, "-t", "gw/lines", "-q", "1", "-l"],
        ...["--timeout", "20"],
      ]);
      await publisher.write(lines.join("\n") + "\n");
      await publisher.endInput();
      for (const line of lines) {
        assertEquals((await messages.take()).text(), line);
      }
      assertEquals((await publisher.outcome()).code, 0);
    },
  },
  {
    name: "QoS 2 both ways, once",
    needs: "qos2",
    async test(port) {
      await using client = await Client.connect({ port, timeoutMs: 20_000 });
      const messages = await client.subscribe("gw/two", { qos: 2 });
      for (let i = 0; i < 10; i++) {
        await client.publish("gw/two", `${i}`, { qos: 2 });
      }
      for (let i = 0; i < 10; i++) {
        assertEquals((await messages.take()).text(), `${i}`);
      }
    },
  },
  {
    name: "a retained message for who comes later",
    needs: "retain",
    async test(port) {
      const args = ["-p", `${port}`, "-t", "gw/kept"];
      await run("publisher", [...args, "-m", "kept", "-q", "1", "-r"]);
      const { stdout } = await run("subscriber", [
        ...args,
        ...["-C", "1", "-W", "20", "-F", "%r %p"],
      ]);
      assertEquals(stdout, "1 kept\n");
      await run("publisher", [...args, "-n", "-q", "1", "-r"]);
    },
  },
  {
    name: "a short topic name",
    needs: "short",
    async test(port) {
      await using client = await Client.connect({ port, timeoutMs: 20_000 });
      const messages = await client.subscribe({ short: "gw" });
      await client.publish({ short: "gw" }, "short", { qos: 1 });
      assertEquals((await messages.take()).text(), "short");
    },
  },
  {
    name: "a will, when its client is lost",
    needs: "will",
    async test(port) {
      await using client = await Client.connect({ port, timeoutMs: 20_000 });
      const messages = await client.subscribe("gw/will", { qos: 1 });
      const lost = start("publisher", [
        ...["-p", `${port}`, "-t", "gw/a", "-l", "-k", "2", "-i", "willing"],
        ...["--will-topic", "gw/will", "--will-payload", "gone", "-d"],
      ]);
      await lost.stderr.until("CONNACK");
      lost.kill("SIGKILL");
      assertEquals(
        (await messages.take({ signal: AbortSignal.timeout(30_000) })).text(),
        "gone",
      );
      await lost[Symbol.asyncDispose]();
    },
  },
  {
    name: "a sleeper that wakes for what was buffered",
    async test(port) {
      await using sleeper = await Client.connect({
        port,
        clientId: "gwsleeper",
        cleanSession: false,
        timeoutMs: 20_000,
      });
      await using publisher = await Client.connect({ port });
      const messages = await sleeper.subscribe("gw/sleep", { qos: 1 });
      await sleeper.sleep(1);
      await publisher.publish("gw/sleep", "buffered", { qos: 1 });
      assertEquals(
        (await messages.take({ signal: AbortSignal.timeout(20_000) })).text(),
        "buffered",
      );
    },
  },
  {
    name: "an unknown pre-defined id, which it refuses",
    async test(port) {
      const { code, stderr } = await run("publisher", [
        ...["-p", `${port}`, "-T", "999", "-m", "x", "-q", "1"],
      ]);
      assertEquals(code, 1);
      assertStringIncludes(stderr, "it does not know the topic id");
    },
  },
];

Deno.test({
  name: "publisher and subscriber work through a gateway of others",
  ignore: COMMAND === undefined,
  async fn(t) {
    await using gateway = await Gateway.start();
    assert(gateway.port > 0);
    for (const { name, needs, test } of CASES) {
      const ignore = needs !== undefined && LACKS.includes(needs);
      await t.step({ name, ignore, fn: () => test(gateway.port) });
    }
  },
});
