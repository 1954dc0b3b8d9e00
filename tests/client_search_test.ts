/**
 * Client: what it tells, and gateways that it searches for.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import type { DeviceState } from "../client/events.ts";
import { Log } from "../base/log.ts";
import { NoAnswerError } from "../base/errors.ts";
import { peerOf } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import { UdpTransport } from "../transport/udp.ts";
import "./support/sockets.ts";
import { setUp, take, until } from "./support/client.ts";

// What it tells

Deno.test("Client logs each datagram at debug, decoded", async () => {
  await using system = await setUp();
  const lines: string[] = [];
  {
    await using client = await system.connect({
      clientId: "lamp",
      log: new Log({
        level: "debug",
        write: (line) => lines.push(line.slice(25)),
      }),
    });
    await client.publish({ short: "ab" }, "on", { qos: 1 });
  }
  const plain = lines.map((line) => line.replace(/msgId=\d+/, "msgId=N"));
  assertEquals(plain, [
    "debug Now connecting",
    'debug > 127.0.0.1:12003 CONNECT cleanSession protocolId=1 duration=60 clientId="lamp"',
    "debug < 127.0.0.1:12003 CONNACK returnCode=0",
    "debug Now active",
    'debug > 127.0.0.1:12003 PUBLISH qos=1 topicIdType=short topicName="ab" msgId=N data="on"',
    "debug < 127.0.0.1:12003 PUBACK topicId=24930 msgId=N returnCode=0",
    "debug > 127.0.0.1:12003 DISCONNECT",
    "debug < 127.0.0.1:12003 DISCONNECT",
    "debug Now disconnected",
  ]);
});

Deno.test("Client.stats() is a snapshot, and counts strays", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const before = client.stats();
  assertEquals(before, {
    received: 0,
    dropped: 0,
    unclaimed: 0,
    held: 0,
    rejected: 0,
    strays: 0,
    failures: 0,
    transport: {
      sent: 1,
      received: 1,
      sendErrors: 0,
      receiveErrors: 0,
      refused: {},
      congested: 0,
    },
    net: undefined,
  });
  await using stranger = system.network.bind();
  await using messages = await client.subscribe({ short: "ab" });
  stranger.send(
    client.address,
    encodePacket({ type: "PINGREQ", clientId: "" }),
  );
  stranger.send(
    client.address,
    encodePacket({
      type: "PUBLISH",
      dup: false,
      qos: 0,
      retain: false,
      topicIdType: "short",
      topicId: 0x6162,
      msgId: 0,
      data: new Uint8Array(),
    }),
  );
  stranger.send(client.address, Uint8Array.of(1, 2, 3));
  await until(() => client.stats().strays === 3);
  assertEquals(messages.length, 0);
  assertEquals(before.strays, 0);
  assertEquals(before.transport.received, 1);
  assertEquals(await client.overflowed(), 0);
});

// Gateways that are searched for

const GROUP = "225.1.1.1";

/** Whether this machine lets a datagram to a group through to itself. */
async function hasMulticast(): Promise<boolean> {
  await using listener = await UdpTransport.bind({ hostname: "0.0.0.0" });
  await using sender = await UdpTransport.bind({ hostname: "0.0.0.0" });
  try {
    await listener.join(GROUP);
  } catch {
    return false;
  }
  const arrived = Promise.withResolvers<boolean>();
  listener.receive(() => arrived.resolve(true));
  const tooLong = setTimeout(() => arrived.resolve(false), 500);
  const port = listener.address.port;
  sender.send(peerOf(GROUP, port), Uint8Array.of(0));
  const has = await arrived.promise;
  clearTimeout(tooLong);
  return has;
}

const ignore = !await hasMulticast();

Deno.test({
  name: "Client finds a broker in a multicast group",
  ignore,
  async fn() {
    await using free = await UdpTransport.bind({ hostname: "0.0.0.0" });
    const { port } = free.address;
    free.close();
    const multicast = `${GROUP}:${port}`;
    await using broker = await Broker.listen({
      hostname: "0.0.0.0",
      port: 0,
      multicast,
    });
    const states: DeviceState[] = [];
    await using client = await Client.connect({
      multicast,
      seed: 8, // by which it searches without a long pause
      onState: (state) => states.push(state),
    });
    assertEquals(states, ["searching", "connecting", "active"]);
    assertEquals(client.broker?.port, broker.port);
    await using messages = await client.subscribe("a");
    await client.publish("a", "1");
    assertEquals(await take(messages, 1), ["1"]);
  },
});

Deno.test({
  name:
    "Client that finds no broker in its group is ended by its signal, and leaves nothing open",
  ignore,
  async fn() {
    await using free = await UdpTransport.bind({ hostname: "0.0.0.0" });
    const { port } = free.address;
    free.close();
    const controller = new AbortController();
    await assertRejects(
      () =>
        Client.connect({
          multicast: `${GROUP}:${port}`,
          signal: controller.signal,
          onState: (state) => {
            if (state === "searching") controller.abort(new Error("Enough"));
          },
        }),
      Error,
      "Enough",
    );
    const error = await assertRejects(
      () => Client.connect({ multicast: `${GROUP}:${port}`, timeoutMs: 20 }),
      NoAnswerError,
    );
    assertEquals(error.broker, undefined);
  },
});

Deno.test({
  name: "Client that searches leaves nothing open when it cannot be made",
  ignore,
  async fn() {
    await using taken = await UdpTransport.bind({ hostname: "0.0.0.0" });
    const { port } = taken.address;
    taken.close();
    await assertRejects(
      () => Client.connect({ multicast: `${GROUP}:${port}`, retryMs: 0 }),
      RangeError,
    );
  },
});
