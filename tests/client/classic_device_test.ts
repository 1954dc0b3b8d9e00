import { assertEquals, assertThrows } from "@std/assert";
import {
  ClassicDevice,
  type ClassicDeviceEvent,
} from "../../client/classic_device.ts";
import { LocalProtocolError } from "../../base/errors.ts";
import { peerOf } from "../../base/peer.ts";

const BROKER = peerOf("127.0.0.1", 12_003);
const PING = '{"type":"publish","topic":"","data":""}';

function deviceOf(timeoutMs = 3_000) {
  const device = new ClassicDevice(BROKER, { timeoutMs });
  const events: ClassicDeviceEvent[] = [];
  const sent: string[] = [];
  const drain = () => {
    for (let effect; (effect = device.pollEffect()) !== undefined;) {
      if (effect.type === "trace") events.push(effect.event);
      else sent.push(new TextDecoder().decode(effect.bytes));
    }
  };
  return {
    device,
    sent: () => (drain(), sent.splice(0)),
    events: () => (drain(), events.splice(0)),
    reply: (text: string | Uint8Array, peer = BROKER) => {
      const bytes = typeof text === "string"
        ? new TextEncoder().encode(text)
        : text;
      device.handleDatagram(0, peer, bytes);
    },
  };
}

Deno.test("ClassicDevice.publish() ends in an answer", () => {
  const { device, sent, events, reply } = deviceOf();
  device.publish(0, "weather", "21.5");
  assertEquals(sent(), ['{"type":"publish","topic":"weather","data":"21.5"}']);
  reply("Broker has recieved message");
  assertEquals(events(), [{
    type: "answer",
    text: "Broker has recieved message",
    mayRepeat: false,
  }]);
  assertEquals(device.nextTimeout(), undefined);
});

for (
  const [refusal, text] of [
    ["invalidRequest", "Invalid request provided"],
    ["invalidTopic", "Invalid topic provided"],
    ["invalidData", "Invalid data provided"],
    ["failed", "Broker has got an error"],
  ] as const
) {
  Deno.test(`ClassicDevice.publish() ends in the refusal ${refusal}`, () => {
    const { device, events, reply } = deviceOf();
    device.publish(0, "a", "b");
    reply(text);
    assertEquals(events(), [{ type: "refused", refusal }]);
  });
}

Deno.test("ClassicDevice.publish() ends in silence when its time is up, and sends nothing twice", () => {
  const { device, sent, events } = deviceOf();
  device.publish(1_000, "a", "b");
  sent();
  assertEquals(device.nextTimeout(), 4_000);
  device.handleTimeout(3_999);
  assertEquals([sent(), events()], [[], []]);
  device.handleTimeout(4_000);
  assertEquals([sent(), events()], [[], [{ type: "silence" }]]);
});

Deno.test("ClassicDevice.publish() does not take data for its acknowledgement", () => {
  const { device, events, reply } = deviceOf();
  device.publish(0, "a", "b");
  reply("21.5");
  assertEquals(events().map(({ type }) => type), ["stray"]);
  reply("Broker has recieved message");
  assertEquals(events().map(({ type }) => type), ["answer"]);
});

Deno.test("ClassicDevice.subscribe() waits for as long as it takes", () => {
  const { device, sent, events, reply } = deviceOf();
  device.subscribe(0, "weather");
  assertEquals(sent(), ['{"type":"subscribe","topic":"weather"}']);
  assertEquals(device.nextTimeout(), undefined);
  device.handleTimeout(1e12);
  assertEquals(events(), []);
  reply("21.5\n22.0");
  assertEquals(events(), [{
    type: "answer",
    text: "21.5\n22.0",
    mayRepeat: false,
  }]);
});

Deno.test("ClassicDevice.subscribe() ends in the refusals that it can earn", () => {
  const { device, events, reply } = deviceOf();
  device.subscribe(0, " ");
  reply("Invalid topic provided");
  assertEquals(events(), [{ type: "refused", refusal: "invalidTopic" }]);
  device.subscribe(0, "a");
  reply("Broker has got an error");
  assertEquals(events(), [{ type: "refused", refusal: "failed" }]);
});

Deno.test("ClassicDevice.subscribe() takes data that reads like another refusal", () => {
  const { device, events, reply } = deviceOf();
  for (
    const text of [
      "Invalid data provided",
      "Invalid topic provided",
      "Invalid request provided",
      "Broker has recieved message",
      "",
      "\ufeffa",
    ]
  ) {
    device.subscribe(0, "a");
    reply(text);
    assertEquals(events(), [{ type: "answer", text, mayRepeat: false }]);
  }
});

Deno.test("ClassicDevice.ping() says that answers may repeat when it asked again", () => {
  const { device, events, reply } = deviceOf(3_000);
  device.ping(0);
  device.handleTimeout(1_000);
  reply("Invalid topic provided");
  assertEquals(
    events().map((event) => event.type === "answer" && event.mayRepeat),
    [true],
  );
});

Deno.test("ClassicDevice.ping() tries three times within its time, and takes any answer", () => {
  const { device, sent, events, reply } = deviceOf(3_000);
  device.ping(0);
  for (const at of [1_000, 2_000, 3_000]) {
    assertEquals(device.nextTimeout(), at);
    assertEquals([sent(), events()], [[PING], []]);
    device.handleTimeout(at);
  }
  assertEquals([sent(), events()], [[], [{ type: "silence" }]]);
  device.ping(9_000);
  reply("Invalid topic provided");
  assertEquals(events().map(({ type }) => type), ["answer"]);
});

Deno.test("ClassicDevice ignores strangers, late answers and what is no text", () => {
  const { device, events, reply } = deviceOf();
  reply("Broker has recieved message");
  device.publish(0, "a", "b");
  reply("Broker has recieved message", peerOf("127.0.0.1", 12_004));
  reply(Uint8Array.of(0xff));
  assertEquals(
    events().map((event) => event.type === "stray" && event.detail),
    [
      "Nothing was asked",
      "Not from the broker at 127.0.0.1:12003",
      "Cannot read the datagram: not UTF-8",
    ],
  );
  assertEquals(device.nextTimeout(), 3_000);
});

Deno.test("ClassicDevice has one request outstanding", () => {
  const { device } = deviceOf();
  device.subscribe(0, "a");
  for (
    const request of [
      () => device.publish(0, "a", "b"),
      () => device.subscribe(0, "a"),
      () => device.ping(0),
    ]
  ) {
    assertThrows(request, LocalProtocolError, "a subscribe is outstanding");
  }
  device.abandon();
  device.ping(0);
});

Deno.test("ClassicDevice.publish() throws LocalProtocolError for what fits no datagram, and is idle then", () => {
  const { device, sent } = deviceOf();
  assertThrows(
    () => device.publish(0, "a", "x".repeat(70_000)),
    LocalProtocolError,
  );
  assertEquals(sent(), []);
  device.publish(0, "a", "b");
});
