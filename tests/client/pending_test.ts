import { assertEquals, assertRejects } from "@std/assert";
import { PendingCommands } from "../../client/pending.ts";

function make() {
  const canceled: number[] = [];
  const pending = new PendingCommands((token) => canceled.push(token));
  const add = (token: number, signal?: AbortSignal, what = "publish") =>
    pending.add(token, { what, askedAt: 0, signal });
  return { pending, canceled, add };
}

Deno.test("a command that has ended before it is waited for gives its end", async () => {
  const { pending, add } = make();
  const done = add(1);
  pending.take(1)!.end({ type: "done", qos: 2 });
  assertEquals(await pending.wait(1, done), 2);
  const failed = add(2);
  pending.take(2)!.end({ type: "failed", reason: new Error("no") });
  await assertRejects(() => pending.wait(2, failed), Error, "no");
  assertEquals(pending.take(1), undefined);
});

Deno.test("a command that ends later settles its promise", async () => {
  const { pending, add } = make();
  const promises = [1, 2].map((token) => pending.wait(token, add(token)));
  pending.take(1)!.end({ type: "done", qos: 1 });
  pending.take(2)!.end({ type: "failed", reason: new Error("no") });
  assertEquals(await promises[0], 1);
  await assertRejects(() => promises[1]!, Error, "no");
});

Deno.test("a signal ends all its commands, and none that is over", async () => {
  const { pending, canceled, add } = make();
  const controller = new AbortController();
  const { signal } = controller;
  const promises = [1, 2, 3].map((token) =>
    pending.wait(token, add(token, signal))
  );
  pending.take(2)!.end({ type: "done", qos: 0 });
  controller.abort(new Error("enough"));
  assertEquals(canceled, [1, 3]);
  assertEquals(await promises[1], 0);
  await assertRejects(() => promises[0]!, Error, "enough");
  await assertRejects(() => promises[2]!, Error, "enough");
});

Deno.test("endAll() ends all, and lets go of signals", async () => {
  const { pending, canceled, add } = make();
  const controller = new AbortController();
  const promise = pending.wait(1, add(1, controller.signal));
  pending.endAll(new Error("closed"));
  await assertRejects(() => promise, Error, "closed");
  controller.abort();
  assertEquals(canceled, []);
});

Deno.test("areAll() tells whether all ask for the same", () => {
  const { pending, add } = make();
  assertEquals(pending.areAll("connect"), true);
  add(1, undefined, "connect");
  assertEquals(pending.areAll("connect"), true);
  add(2);
  assertEquals(pending.areAll("connect"), false);
  pending.delete(2);
  assertEquals(pending.areAll("connect"), true);
});
