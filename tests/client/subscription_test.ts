import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { ReceivedMessage } from "../../client/events.ts";
import type { DeliveryQos } from "../../wire/message.ts";
import { Subscription } from "../../client/subscription.ts";

/** A subscription without a client, and whatever ended it. */
function setUp({ limit = 10, qos = 2 as DeliveryQos } = {}) {
  const ended: Subscription[] = [];
  const subscription = new Subscription(["a"], qos, limit, {
    unsubscribe(subscription) {
      ended.push(subscription);
      subscription.end();
      return Promise.resolve();
    },
    dispose(subscription) {
      return this.unsubscribe(subscription, {});
    },
  });
  return { subscription, ended };
}

function message(text: string, qos: DeliveryQos = 0): ReceivedMessage {
  const payload = new TextEncoder().encode(text);
  return new ReceivedMessage("a", payload, {
    qos,
    retain: false,
    dup: false,
    msgId: 0,
    predefined: undefined,
  });
}

async function texts(
  messages: AsyncIterable<ReceivedMessage>,
): Promise<string[]> {
  const texts: string[] = [];
  for await (const message of messages) texts.push(message.text());
  return texts;
}

Deno.test("Subscription.take() gives what came, in order, and then waits", async () => {
  const { subscription } = setUp();
  subscription.push(message("1"));
  subscription.push(message("2"));
  assertEquals(subscription.length, 2);
  assertEquals((await subscription.take()).text(), "1");
  assertEquals((await subscription.take()).text(), "2");
  const third = subscription.take();
  subscription.push(message("3"));
  assertEquals((await third).text(), "3");
  assertEquals(subscription.length, 0);
});

Deno.test("Subscription.take() serves those who wait in the order in which they came", async () => {
  const { subscription } = setUp();
  const controller = new AbortController();
  const { signal } = controller;
  const takers = [
    subscription.take(),
    subscription.take({ signal }),
    subscription.take({ signal: new AbortController().signal }),
    subscription.take(),
  ];
  const aborted = assertRejects(() => takers[1]!, Error, "Enough");
  controller.abort(new Error("Enough"));
  for (const text of ["1", "2", "3"]) subscription.push(message(text));
  await aborted;
  const taken = await Promise.all([takers[0]!, takers[2]!, takers[3]!]);
  assertEquals(taken.map((message) => message.text()), ["1", "2", "3"]);
});

Deno.test("Subscription.take() rejects with the signal's reason, even when something waits, and takes nothing", async () => {
  const { subscription } = setUp();
  subscription.push(message("1"));
  const signal = AbortSignal.abort(new Error("Enough"));
  await assertRejects(() => subscription.take({ signal }), Error, "Enough");
  assertEquals((await subscription.take()).text(), "1");
  await assertRejects(() => subscription.take({ signal }), Error, "Enough");
  subscription.end();
  await assertRejects(() => subscription.take({ signal }), Error, "Enough");
});

Deno.test("Subscription.take() no longer listens to a signal when it is over", async () => {
  const { subscription } = setUp();
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listeners++;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    Reflect.apply(removeEventListener, signal, args);
  };
  const taken = subscription.take({ signal });
  assertEquals(listeners, 1);
  subscription.push(message("1"));
  await taken;
  assertEquals(listeners, 0);
  const ended = assertRejects(() => subscription.take({ signal }));
  assertEquals(listeners, 1);
  subscription.end();
  await ended;
  const { subscription: broken } = setUp();
  const failed = assertRejects(() => broken.take({ signal }), Error, "Gone");
  broken.end(new Error("Gone"));
  await failed;
  assertEquals(listeners, 0);
});

Deno.test("Subscription.end() leaves what came, and then take() throws and the loop ends", async () => {
  const { subscription } = setUp();
  for (const text of ["1", "2", "3"]) subscription.push(message(text));
  subscription.end();
  assert(subscription.isEnded);
  assertEquals((await subscription.take()).text(), "1");
  assertEquals(await texts(subscription), ["2", "3"]);
  assertEquals(await texts(subscription), []);
  await assertRejects(
    () => subscription.take(),
    Error,
    "Cannot take a message: the subscription has ended",
  );
});

Deno.test("Subscription.end() ends every wait, and again does nothing", async () => {
  const { subscription } = setUp();
  const loop = texts(subscription);
  const taker = assertRejects(() => subscription.take(), Error, "has ended");
  subscription.end();
  subscription.end(new Error("Too late"));
  assertEquals(await loop, []);
  await taker;
  assertEquals(await texts(subscription), []);
});

Deno.test("Subscription.end() with a reason rejects with it whoever waits, and whoever comes later", async () => {
  const { subscription } = setUp();
  const loop = assertRejects(() => texts(subscription), Error, "Gone");
  subscription.end(new Error("Gone"));
  await loop;
  await assertRejects(() => subscription.take(), Error, "Gone");
});

Deno.test("Subscription goes on where a loop was left", async () => {
  const { subscription } = setUp();
  for (const text of ["1", "2", "3", "4"]) subscription.push(message(text));
  for await (const message of subscription) {
    if (message.text() === "2") break;
  }
  assertEquals((await subscription.take()).text(), "3");
  assertFalse(subscription.isEnded);
  subscription.end();
  assertEquals(await texts(subscription), ["4"]);
});

Deno.test("Subscription.push() drops and counts at QoS 0 what finds no room, and nothing else", async () => {
  const { subscription } = setUp({ limit: 2 });
  assert(subscription.push(message("1")));
  assertFalse(subscription.isFull);
  assert(subscription.push(message("2")));
  assert(subscription.isFull);
  assertFalse(subscription.push(message("3")));
  assert(subscription.push(message("4", 1)));
  assertEquals(subscription.lost, 1);
  assertEquals(subscription.length, 3);
  await subscription.take();
  assert(subscription.isFull);
  await subscription.take();
  assert(subscription.push(message("5")));
  subscription.end();
  assertEquals(await texts(subscription), ["4", "5"]);
});

Deno.test("Subscription.push() hands over to who waits, however small the queue", async () => {
  const { subscription } = setUp({ limit: 1 });
  const takers = [subscription.take(), subscription.take()];
  assert(subscription.push(message("1")));
  assert(subscription.push(message("2")));
  const taken = await Promise.all(takers);
  assertEquals(taken.map((message) => message.text()), ["1", "2"]);
  assertEquals(subscription.lost, 0);
});

Deno.test("Subscription.push() takes the same message once, and an equal one again", () => {
  const { subscription } = setUp();
  const first = message("1");
  assert(subscription.push(first));
  assert(subscription.push(first));
  assertEquals(subscription.length, 1);
  subscription.push(message("1"));
  assertEquals(subscription.length, 2);
});

Deno.test("Subscription.push() counts a message once that finds no room by two topics", () => {
  const { subscription } = setUp({ limit: 1 });
  subscription.push(message("1"));
  const second = message("2");
  subscription.push(second);
  subscription.push(second);
  assertEquals(subscription.lost, 1);
});

Deno.test("Subscription keeps order over thousands that come and go", async () => {
  const { subscription } = setUp({ limit: 10_000 });
  let pushed = 0;
  let taken = 0;
  for (let round = 1; round <= 60; round++) {
    for (let i = 0; i < round * 3; i++) {
      subscription.push(message(String(pushed++)));
    }
    for (let i = 0; i < round * 2; i++) {
      assertEquals((await subscription.take()).text(), String(taken++));
    }
    assertEquals(subscription.length, pushed - taken);
  }
  subscription.end();
  for await (const message of subscription) {
    assertEquals(message.text(), String(taken++));
  }
  assertEquals(taken, pushed);
});

Deno.test("Subscription.grant() notes the lowest QoS", () => {
  const { subscription } = setUp({ qos: 1 });
  subscription.grant(2);
  assertEquals(subscription.qos, 1);
  subscription.grant(0);
  subscription.grant(1);
  assertEquals(subscription.qos, 0);
});

Deno.test("Subscription unsubscribes at the end of its block, once", async () => {
  const { subscription, ended } = setUp();
  {
    await using _ = subscription;
  }
  assertEquals(ended, [subscription]);
  await subscription[Symbol.asyncDispose]();
  assertEquals(ended.length, 1);
});
