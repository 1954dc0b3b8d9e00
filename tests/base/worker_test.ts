/**
 * Tests of workers that answer questions (`base/worker.ts`).
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { isWorker, WorkerClient, WorkerFailure } from "../../base/worker.ts";

/** A worker that doubles numbers; at "end" it ends, at "fail" it fails. */
const MODULE = `
import { serveWorker } from "${new URL(
  "../../base/worker.ts",
  import.meta.url,
)}";
serveWorker((question, end) => {
  if (question === "fail") throw new TypeError("Cannot double a word");
  if (question === "end") end();
  return 2 * question;
});`;

function startDoubler(): WorkerClient<unknown, number> {
  const url = `data:text/javascript,${encodeURIComponent(MODULE)}`;
  return new WorkerClient(url, "doubler");
}

Deno.test("WorkerClient.ask() is answered in order, also before the worker listens", async () => {
  const worker = startDoubler();
  assertEquals(
    await Promise.all([1, 2, 3].map((number) => worker.ask(number))),
    [2, 4, 6],
  );
  assertEquals(await worker.ask(4), 8);
  await worker.ask("end");
  worker.terminate();
});

Deno.test("WorkerClient.ask() rejects a question that cannot be copied, and goes on", async () => {
  const worker = startDoubler();
  const early = assertRejects(() => worker.ask(() => {}), DOMException);
  assertEquals(await worker.ask(1), 2);
  await early;
  await assertRejects(() => worker.ask(() => {}), DOMException);
  assertEquals(await worker.ask(2), 4);
  worker.terminate();
});

Deno.test("WorkerClient.ask() rejects what waits, and all else, once the worker has failed", async () => {
  const worker = startDoubler();
  const questions = [worker.ask("fail"), worker.ask(1)];
  const failed = () => "its worker has ended: Cannot double a word";
  assertEquals(
    await Promise.all(
      questions.map((it) => it.catch(({ message }) => message)),
    ),
    questions.map(failed),
  );
  await assertRejects(() => worker.ask(2), WorkerFailure, failed());
  worker.terminate();
});

Deno.test("isWorker() is false in a program", () => {
  assertEquals([isWorker(), isWorker("doubler")], [false, false]);
});
