/**
 * Tests of what can stand between a client and the network in the pair tests. The
 * network and the judge have their own.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { Device } from "../../client/device.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { Router } from "../../broker/router.ts";
import { BadNet, type NetOptions } from "../support/net.ts";
import { Forgetful, ForwarderBox } from "../support/nodes.ts";

const GATEWAY = peerOf("127.0.0.1", 1);
const ANN = peerOf("127.0.0.1", 1001);
const BOB = peerOf("127.0.0.1", 1002);
const PERFECT: NetOptions = {
  seed: 1,
  loss: 0,
  delayMs: [5, 5],
  duplicate: 0,
};

// What stands between

/** A router, and devices at their places. */
class Bench {
  readonly net = new BadNet({ ...PERFECT, trace: true });

  constructor() {
    this.net.attach(GATEWAY, new Router({ gwId: 7 }));
  }

  device(clientId: string, gateway: Peer | undefined = GATEWAY): Device {
    return new Device({
      ...(gateway === GATEWAY ? { gateway } : {
        search: { searchMs: 40 },
      }),
      clientId,
      random: seededRandom(1),
      keepAlive: 0,
      cleanSession: false,
    });
  }

  run(): void {
    this.net.run(this.net.now + 200);
  }

  /** What was said since the last time, without moments and addresses. */
  take(from: Peer): string[] {
    const mine = this.net.lines.filter((line) =>
      line.split(" ")[1] === from.key
    );
    this.net.lines.length = 0;
    return mine.map((line) => line.split(" ").slice(4).join(" "))
      .map((line) => line.replace(/ \(.*$/, ""));
  }
}

Deno.test("ForwarderBox speaks for its nodes, and hands on what is theirs alone", () => {
  const bench = new Bench();
  const forwarder = new ForwarderBox(ANN);
  bench.net.attach(ANN, forwarder);
  const got: string[] = [];
  const nodes = ["bob", "cyd"].map((clientId, at) => {
    const device = bench.device(clientId);
    forwarder.attach(Uint8Array.of(at), device, (event) => {
      if (event.type === "message") {
        got.push(`${clientId} ${event.message.text()}`);
      }
    });
    return device;
  });
  const [bob, cyd] = nodes as [Device, Device];
  bob.subscribe(0, { short: "ab" }, 1);
  bench.run();
  cyd.publish(bench.net.now, { short: "ab" }, new TextEncoder().encode("x"));
  bench.run();
  assertEquals(got, ["bob x"]);
  assertEquals(bench.take(ANN).slice(0, 2), [
    'node 00: CONNECT protocolId=1 duration=0 clientId="bob"',
    'node 00: SUBSCRIBE qos=1 msgId=38561 topicIdType=short topicName="ab"',
  ]);
  assertEquals([bob.state, cyd.state], ["active", "active"]);

  forwarder.detach(Uint8Array.of(0));
  cyd.publish(bench.net.now, { short: "ab" }, new TextEncoder().encode("y"));
  bench.run();
  assertEquals(got, ["bob x"]);
});

Deno.test("ForwarderBox broadcasts for a node that looks for a gateway", () => {
  const bench = new Bench();
  const forwarder = new ForwarderBox(ANN);
  bench.net.attach(ANN, forwarder);
  const device = bench.device("bob", ANN);
  forwarder.attach(Uint8Array.of(9), device);
  device.connect(0);
  bench.run();
  assertEquals(device.state, "active");
  assertEquals(bench.take(GATEWAY), [
    'node 09: GWINFO gwId=7 gwAdd=""',
    "node 09: CONNACK returnCode=0",
  ]);
});

Deno.test("Forgetful asks for an id once more that it had before it slept", () => {
  const bench = new Bench();
  const [ann, bob] = [bench.device("ann"), bench.device("bob")];
  const got: string[] = [];
  bench.net.attach(ANN, new Forgetful(ann), (event) => {
    if (event.type === "message") got.push(event.message.text());
  });
  bench.net.attach(BOB, bob);
  const publish = (text: string) => {
    const payload = new TextEncoder().encode(text);
    bob.publish(bench.net.now, "lamp", payload, { qos: 1 });
    bench.run();
  };
  ann.subscribe(0, "lamp", 1);
  bench.run();
  publish("on");
  ann.sleep(bench.net.now, 60);
  bench.run();
  publish("off");
  bench.take(ANN);
  ann.wake(bench.net.now);
  bench.run();
  assertEquals(got, ["on", "off"]);
  assertEquals(bench.take(ANN), [
    'PINGREQ clientId="ann"',
    "PUBACK topicId=1 msgId=2 returnCode=2",
    "REGACK topicId=1 msgId=3 returnCode=0",
    "PUBACK topicId=1 msgId=2 returnCode=0",
  ]);
});
