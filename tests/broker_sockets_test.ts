import { assertEquals } from "@std/assert";
import { Broker } from "../broker.ts";
import { SocketClient } from "./support/gateway.ts";

const ACCEPTED = "Broker has recieved message";

Deno.test("Broker speaks MQTT-SN over UDP: connect, register, subscribe, publish at QoS 0, 1 and 2", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using ann = await SocketClient.towards(broker.address);
  await using bob = await SocketClient.towards(broker.address);

  assertEquals(await ann.ask("09 04 04 01 00 3C 61 6E 6E"), "030500");
  assertEquals(await bob.ask("09 04 04 01 00 3C 62 6F 62"), "030500");
  assertEquals(await ann.ask("08 12 40 00 01 61 2F 62"), "0813400001000100");
  assertEquals(await bob.ask("07 0A 00 00 00 01 78"), "070b0001000100");
  assertEquals(await bob.ask("09 0A 00 00 00 02 61 2F 62"), "070b0002000200");

  // The publisher's id is 2, the subscriber's is 1.
  bob.send({ hex: "09 0C 00 00 02 00 00 68 69" });
  assertEquals(await ann.hex(), "090c00000100006869");

  assertEquals(await bob.ask("09 0C 20 00 02 00 03 68 69"), "070d0002000300");
  assertEquals(await ann.hex(), "090c20000100016869");
  ann.send({ hex: "07 0D 00 01 00 01 00" });

  assertEquals(await bob.ask("09 0C 40 00 02 00 04 68 69"), "040f0004");
  assertEquals(await bob.ask("04 10 00 04"), "040e0004");
  assertEquals(await ann.hex(), "090c40000100026869");
  assertEquals(await ann.ask("04 0F 00 02"), "04100002");
  ann.send({ hex: "04 0E 00 02" });

  // Nothing else was sent to either: the next is the answer to this.
  assertEquals(await ann.ask("02 16"), "0217");
  assertEquals(await bob.ask("02 16"), "0217");
  assertEquals(await ann.ask("02 18"), "0218");
  assertEquals(await bob.ask("02 18"), "0218");
  const { mqttsn, received, failures } = broker.stats();
  const { published, delivered, queued, clients } = mqttsn;
  assertEquals([published, delivered, queued, clients.total], [3, 3, 0, 0]);
  assertEquals([received, failures], [16, 0]);
});

Deno.test("Broker speaks both protocols at one port, and one socket may too", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using sn = await SocketClient.towards(broker.address);
  await using classic = await SocketClient.towards(broker.address);

  assertEquals(await sn.ask("08 04 04 01 00 3C 73 6E"), "030500");
  assertEquals(await sn.ask("06 12 20 00 01 74"), "0813200001000100");
  classic.send({ text: '{"type":"publish","topic":"t","data":"21.5 °C"}' });
  assertEquals(await classic.text(), ACCEPTED);
  assertEquals(await sn.hex(), "0f0c000001000032312e3520c2b043");

  classic.send({ text: '{"type":"subscribe","topic":"u"}' });
  // It waits for certain when something sent later has been answered.
  classic.send({ text: "{}" });
  assertEquals(await classic.text(), "Invalid request provided");
  assertEquals(await sn.ask("07 0A 00 00 00 02 75"), "070b0002000200");
  assertEquals(await sn.ask("08 0C 20 00 02 00 03 78"), "070d0002000300");
  assertEquals(await classic.text(), "x");
  classic.send({ text: '{"type":"subscribe","topic":"u"}' });
  assertEquals(await classic.text(), "x");

  // The same socket speaks both.
  sn.send({ text: '{"type":"subscribe","topic":"t"}' });
  assertEquals(await sn.text(), "21.5 °C");
  sn.send({ text: '{"type":"publish","topic":"t","data":"22"}' });
  assertEquals(await sn.text(), ACCEPTED);
  assertEquals(await sn.hex(), "090c00000100003232");
  assertEquals(await classic.ask("02 16"), "0218");
  assertEquals(await sn.ask("02 16"), "0217");
  const { failures, dropped } = broker.stats();
  assertEquals([failures, dropped.malformed], [0, 0]);
});

Deno.test("Broker sends an unanswered PUBLISH again over UDP, with DUP", async () => {
  await using broker = await Broker.listen({
    port: 0,
    retryMs: 20,
    retries: 999,
  });
  await using ann = await SocketClient.towards(broker.address);
  await using bob = await SocketClient.towards(broker.address);
  assertEquals(await ann.ask("09 04 04 01 00 00 61 6E 6E"), "030500");
  assertEquals(await ann.ask("07 12 22 00 01 61 62"), "0813200000000100");
  assertEquals(await bob.ask("09 04 04 01 00 00 62 6F 62"), "030500");
  assertEquals(await bob.ask("08 0C 22 61 62 00 03 78"), "070d6162000300");
  assertEquals(await ann.hex(), "080c226162000178");
  assertEquals(await ann.hex(), "080ca26162000178");
  ann.send({ hex: "07 0D 61 62 00 01 00" });
  // What was on its way meanwhile is this PUBLISH again, and nothing else.
  ann.send({ hex: "02 16" });
  let hex: string;
  do hex = await ann.hex(); while (hex === "080ca26162000178");
  assertEquals(hex, "0217");
  assertEquals(broker.stats().mqttsn.queued, 0);
});
