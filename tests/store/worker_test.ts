import { isWorker } from "../../base/worker.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { StoreChange, StoreRecord } from "../../broker/records.ts";
import { Store } from "../../store/store.ts";
import { StoreError } from "../../store/error.ts";
import {
  type AsyncStore,
  type AsyncStoreOptions,
  openStore,
} from "../../store/worker.ts";
import { datum, Directory, queued, RECORDS } from "../support/store.ts";
import { Watch } from "../support/watch.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

const WORKERS = [0, 1] as const;

function fast(workers: 0 | 1): AsyncStoreOptions {
  return { durability: "off", timeoutMs: 0, workers };
}

async function loaded(port: AsyncStore): Promise<StoreRecord[]> {
  const all: StoreRecord[] = [];
  await port.load((records) => {
    all.push(...records);
  });
  return all;
}

async function rejected(promise: Promise<unknown>): Promise<string> {
  const { kind, message } = await assertRejects(() => promise, StoreError);
  return `${kind}: ${message}`;
}

for (const workers of WORKERS) {
  const where = workers === 0 ? "in this thread" : "in a worker";

  Deno.test(`openStore() gives back what was committed ${where}`, async () => {
    using directory = new Directory();
    const path = directory.file();
    {
      await using port = await openStore(path, fast(workers));
      assertEquals([port.starts, port.size, port.setAside], [1, 0, undefined]);
      assertEquals(await loaded(port), []);
      await port.commit(RECORDS);
      assertEquals(await loaded(port), RECORDS);
      const { octets, ...counts } = await port.stats();
      assert(octets > 0);
      assertEquals(counts, {
        commits: 1,
        changes: RECORDS.length,
        failures: 0,
        durability: "off",
      });
    }
    assertEquals(directory.names, ["mqtt.store"]);
    await using port = await openStore(path, {
      ...fast(workers),
      offsetMs: 1,
    });
    assertEquals([port.starts, port.size], [2, RECORDS.length]);
    const last = (await loaded(port)).findLast(({ type }) => type === "queued");
    assertEquals(last?.type === "queued" && last.at, -5);
  });

  Deno.test(`AsyncStore.load() gives some at a time ${where}`, async () => {
    using directory = new Directory();
    await using port = await openStore(directory.file(), fast(workers));
    const records = Array.from({ length: 2_500 }, (_, i) => datum(1 + i));
    await port.commit(records);
    const given: [number, number, number][] = [];
    const all: StoreRecord[] = [];
    await port.load((records, done, total) => {
      given.push([records.length, done, total]);
      all.push(...records);
    });
    assertEquals(given, [
      [1_000, 1_000, 2_500],
      [1_000, 2_000, 2_500],
      [500, 2_500, 2_500],
    ]);
    assertEquals(all, records);
    // Large ones come in smaller numbers.
    await port.commit(
      Array.from(
        { length: 40 },
        (_, i) => queued(1, i, new Uint8Array(60_000)),
      ),
    );
    const lengths: number[] = [];
    await port.load((records) => {
      lengths.push(records.length);
    });
    assertEquals(lengths, [18, 18, 1_000, 1_000, 504]);
  });

  Deno.test(`AsyncStore.load() ends when the taker throws ${where}`, async () => {
    using directory = new Directory();
    await using port = await openStore(directory.file(), fast(workers));
    await port.commit(Array.from({ length: 3_000 }, (_, i) => datum(1 + i)));
    let calls = 0;
    const load = port.load(() => {
      calls++;
      throw new RangeError("Cannot take it");
    });
    await assertRejects(() => load, RangeError, "Cannot take it");
    assertEquals(calls, 1);
    assertEquals((await loaded(port)).length, 3_000);
  });

  Deno.test(`AsyncStore.commit() resolves in order, and not at once ${where}`, async () => {
    using directory = new Directory();
    await using port = await openStore(directory.file(), fast(workers));
    const order: (number | string)[] = [];
    const commits = [1, 2, 3].map((seq) =>
      port.commit([datum(seq)]).then(() => order.push(seq))
    );
    order.push("asked");
    await Promise.all(commits);
    assertEquals(order, ["asked", 1, 2, 3]);
  });

  Deno.test(`AsyncStore.commit() rejects with the store's error ${where}`, async () => {
    using directory = new Directory();
    const path = directory.file();
    await using port = await openStore(path, {
      ...fast(workers),
      maxPages: 60,
    });
    const large = [queued(1, 1, new Uint8Array(300_000))];
    const commits = [
      port.commit([datum(1)]),
      rejected(port.commit([datum(2), ...large])),
      port.commit([datum(3)]),
    ];
    assertEquals(
      (await Promise.all(commits))[1],
      `full: Cannot write the store "${path}": the disk is full`,
    );
    assertEquals(await loaded(port), [datum(1), datum(3)]);
  });

  Deno.test(`openStore() rejects with the store's error ${where}`, async () => {
    using directory = new Directory();
    const path = directory.file("no/mqtt.store");
    assertEquals(
      await rejected(openStore(path, fast(workers))),
      `failed: Cannot open the store "${path}": there is no directory "${
        directory.file("no")
      }"`,
    );
    using _store = Store.open(directory.file(), { durability: "off" });
    assertEquals(
      await rejected(openStore(directory.file(), fast(workers))),
      `locked: Cannot open the store "${directory.file()}": another broker, or another program, has it open`,
    );
  });

  Deno.test(`openStore() tells which file was set aside ${where}`, async () => {
    using directory = new Directory();
    const path = directory.file();
    Store.open(path, { durability: "off" }).close();
    Deno.truncateSync(path, 5_000);
    await using port = await openStore(path, fast(workers));
    assertEquals(port.setAside?.reason, "it is cut off");
    assertEquals(Deno.statSync(port.setAside!.path).size, 5_000);
  });

  Deno.test(`AsyncStore.close() keeps what was asked before it ${where}`, async () => {
    using directory = new Directory();
    const path = directory.file();
    const port = await openStore(path, fast(workers));
    const commits = Array.from(
      { length: 20 },
      (_, i) => port.commit([datum(1 + i)]),
    );
    const closed = [port.close(), port.close()];
    await Promise.all([...commits, ...closed]);
    await port.close();
    for (const late of [port.commit([datum(99)]), port.stats(), loaded(port)]) {
      assertStringIncludes(await rejected(late), "failed: ");
    }
    assertEquals(directory.names, ["mqtt.store"]);
    using store = Store.open(path, { durability: "off" });
    assertEquals(store.size, 20);
  });

  Deno.test(`AsyncStore.close() ends a load ${where}`, async () => {
    using directory = new Directory();
    const port = await openStore(directory.file(), fast(workers));
    await port.commit(Array.from({ length: 9_000 }, (_, i) => datum(1 + i)));
    let closed: Promise<void> | undefined;
    const load = rejected(port.load(() => {
      closed ??= port.close();
    }));
    assertStringIncludes(await load, "failed: ");
    await closed;
  });
}

Deno.test("AsyncStore.load() asks for the next records only when some were taken", async () => {
  using directory = new Directory();
  using watch = new Watch();
  await using port = await openStore(directory.file(), fast(1));
  await port.commit(Array.from({ length: 9_000 }, (_, i) => datum(1 + i)));
  const asked: number[] = [];
  await port.load(() => {
    asked.push(watch.posts.filter(({ call }) => call === "load").length);
  });
  // In hand and on their way: one of each.
  assertEquals(asked, [2, 3, 4, 5, 6, 7, 8, 9, 9]);
});

Deno.test("AsyncStore.commit() sends no more octets than there are", async () => {
  using directory = new Directory();
  using watch = new Watch();
  await using port = await openStore(directory.file(), fast(1));
  const view = new Uint8Array(65_507).subarray(8, 10);
  const session = RECORDS[1]!;
  assert(session.type === "session");
  const changes: StoreRecord[] = [
    {
      ...session,
      peer: { ...session.peer!, wirelessNodeId: view },
      will: { ...session.will!, payload: view },
    },
    { ...session, session: 2, peer: undefined, will: undefined },
    { type: "retained", topicName: "a", payload: view, qos: 0 },
    queued(1, 1, view),
    datum(1),
  ];
  await port.commit(changes);
  const { changes: posted } = watch.posts.find(({ call }) =>
    call === "commit"
  )!;
  assertEquals(posted, changes);
  const [first, , third, fourth] = posted as unknown as readonly [
    typeof session,
    unknown,
    { payload: Uint8Array },
    { payload: Uint8Array },
  ];
  assertEquals(
    [
      first.peer!.wirelessNodeId!,
      first.will!.payload,
      third.payload,
      fourth.payload,
    ].map(({ buffer }) => buffer.byteLength),
    [2, 2, 2, 2],
  );
  // What is whole already is not copied.
  await port.commit([changes[1]!, datum(2)]);
  assert(watch.posts.at(-1)!.changes![0] === changes[1]);
  assertEquals((await loaded(port)).length, 6);
});

Deno.test("AsyncStore.commit() keeps octets as they were when it was called", async () => {
  using directory = new Directory();
  for (const workers of WORKERS) {
    await using port = await openStore(
      directory.file(String(workers)),
      fast(workers),
    );
    const payload = Uint8Array.of(1, 2, 3);
    const commit = port.commit([queued(1, 1, payload)]);
    payload.fill(0);
    await commit;
    assertEquals(await loaded(port), [queued(1, 1, Uint8Array.of(1, 2, 3))]);
  }
});

Deno.test("AsyncStore.commit() rejects what cannot be sent to a worker", async () => {
  using directory = new Directory();
  await using port = await openStore(directory.file(), fast(1));
  const change = { ...datum(1), text: () => {} } as unknown as StoreChange;
  assertStringIncludes(await rejected(port.commit([change])), "failed: ");
  await port.commit([datum(1)]);
  assertEquals(await loaded(port), [datum(1)]);
});

Deno.test("AsyncStore rejects all calls when its worker has died", async () => {
  using directory = new Directory();
  const path = directory.file();
  {
    using watch = new Watch();
    await using port = await openStore(path, fast(1));
    await port.commit([datum(1)]);
    watch.workers[0]!.postMessage({ call: "nonsense", id: -1 });
    const pending = [port.commit([datum(2)]), loaded(port), port.stats()];
    for (const call of pending) {
      assertStringIncludes(
        await rejected(call),
        "failed: Cannot use the store: its worker has ended: ",
      );
    }
    assertStringIncludes(
      await rejected(port.commit([datum(3)])),
      "failed: Cannot use the store: its worker has ended: ",
    );
    await port.close();
  }
  // The file was left as by a process that was killed, and the lock with it.
  await using port = await openStore(path, { ...fast(1), timeoutMs: 5_000 });
  assertEquals(await loaded(port), [datum(1)]);
});

Deno.test("isWorker() is true in the store's worker alone", async () => {
  assertEquals(isWorker(), false);
  using directory = new Directory();
  const program = directory.file("program.ts");
  const room = new URL("../../store/worker.ts", import.meta.url).href;
  const base = new URL("../../base/worker.ts", import.meta.url).href;
  // A program in one file, as a bundle is one: its worker is itself.
  Deno.writeTextFileSync(
    program,
    `import { isWorker } from "${base}";
    import { openStore } from "${room}";
    console.log(import.meta.main, isWorker());
    if (import.meta.main && !isWorker()) {
      const store = await openStore(${JSON.stringify(directory.file())});
      await store.commit([{ type: "datum", seq: 1, topicName: "a", text: "b" }]);
      await store.load((records) => console.log(records.length));
      await store.close();
    }`,
  );
  const bundle = directory.file("bundle.js");
  const run = async (...args: string[]) => {
    const { stdout, success } = await new Deno.Command(Deno.execPath(), {
      args,
      cwd: new URL("../..", import.meta.url),
      stdin: "null",
      stderr: "inherit",
    }).output();
    assert(success, args.join(" "));
    return new TextDecoder().decode(stdout);
  };
  await run(
    ...["bundle", "--quiet", "--platform=deno", `--output=${bundle}`],
    program,
  );
  assertEquals(
    await run("run", "-A", "--quiet", bundle),
    "true false\ntrue true\n1\n",
  );
  // From its own file, the worker is the room and not the program.
  assertEquals(
    await run("run", "-A", "--quiet", "--no-check", program),
    "true false\n1\n",
  );
});

Deno.test("openStore() leaves nothing that is locked when it fails", async () => {
  using directory = new Directory();
  const path = directory.file();
  const other = "CREATE TABLE t (a)";
  Deno.writeTextFileSync(path, other);
  assertStringIncludes(await rejected(openStore(path, fast(1))), "foreign: ");
  assertThrows(() => Store.open(path), StoreError);
  assertEquals(Deno.readTextFileSync(path), other);
  Deno.removeSync(path);
  await using _port = await openStore(path, fast(1));
});
