import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { seededRandom } from "../../base/clock.ts";
import type { StoreChange, StoreRecord } from "../../broker/records.ts";
import { Store } from "../../store/store.ts";
import { StoreError, type StoreErrorKind } from "../../store/error.ts";
import type { StoreOptions } from "../../store/file.ts";
import { migrate, MIGRATIONS } from "../../store/schema.ts";
import { describeStore, inspectStore } from "../../store/inspect.ts";
import {
  datum,
  Directory,
  Model,
  PAYLOADS,
  queued,
  randomChange,
  RECORDS,
} from "../support/store.ts";

/** A disk is not waited for, unless that is what is tested. */
const FAST: StoreOptions = { durability: "off", timeoutMs: 0 };

/** The URL of a room. */
const room = (file: string) => new URL(`../../${file}`, import.meta.url).href;

/** Runs a program beside this one that has the store's room at hand. */
function beside(code: string): Deno.Command {
  const program = `
    import { Store } from "${room("store/store.ts")}";
    import { StoreError } from "${room("store/error.ts")}";
    ${code}`;
  return new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "--no-check", program],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  });
}

/** What another process is told that opens a file. */
async function openedBeside(path: string): Promise<string> {
  const { stdout } = await beside(`
    try {
      Store.open(${JSON.stringify(path)}, { timeoutMs: 0 }).close();
      console.log("opened");
    } catch (error) {
      console.log(error instanceof StoreError ? error.kind : error);
    }
  `).output();
  return new TextDecoder().decode(stdout).trim();
}

function kindOf(act: () => unknown): StoreErrorKind {
  return assertThrows(act, StoreError).kind;
}

/** A closed file with a few of everything, and what it holds. */
function written(directory: Directory, seed = 1): {
  path: string;
  bytes: Uint8Array;
  records: StoreRecord[];
} {
  const path = directory.file("whole.store");
  const model = new Model();
  const random = seededRandom(seed);
  const changes = Array.from({ length: 300 }, () => randomChange(random));
  for (const change of changes) model.apply(change);
  using store = Store.open(path, FAST);
  store.commit(changes);
  store.close();
  return { path, bytes: Deno.readFileSync(path), records: model.load() };
}

Deno.test("Store.load() gives back records of every type, in its order", () => {
  using directory = new Directory();
  const path = directory.file();
  using store = Store.open(path, FAST);
  store.commit([...RECORDS].reverse());
  assertEquals([...store.load()], RECORDS);
  assertEquals(store.size, RECORDS.length);
  store.close();
  assertEquals(directory.names, ["mqtt.store"]);
  using again = Store.open(path, FAST);
  assertEquals([...again.load()], RECORDS);
  assertEquals([store.starts, again.starts], [1, 2]);
  assertEquals(again.setAside, undefined);
});

Deno.test("Store.load() gives every record of many, whatever the page", () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), FAST);
  const records = Array.from({ length: 1_001 }, (_, i) => i).flatMap(
    (i): StoreRecord[] => [
      queued(1 + i % 3, i),
      datum(1 + i),
      { type: "retained", topicName: `t${i}`, payload: PAYLOADS[0]!, qos: 0 },
      { type: "received", session: 1, msgId: i, digest: i, until: i },
      {
        type: "begun",
        session: 1 + i % 2,
        topicFilter: `${i % 3}`,
        topicName: `${i}`,
      },
      {
        type: "subscription",
        session: 1 + i % 2,
        topicFilter: `${i}`,
        qos: 0,
        isPending: false,
      },
    ],
  );
  const model = new Model();
  for (const record of records) model.apply(record);
  store.commit(records);
  assertEquals([...store.load()], model.load());
});

Deno.test("Store.load() can be left, met by a commit, and made again", () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), FAST);
  store.commit(RECORDS);
  const load = store.load();
  load.next();
  store.commit([datum(5)]);
  const other = [...store.load()];
  assertEquals(other.length, RECORDS.length + 1);
  assertEquals([...load], other.slice(1));
  for (const _ of store.load()) break;
  const cut = store.load();
  cut.next();
  store.close();
  assertEquals(kindOf(() => cut.next()), "failed");
  assertEquals(kindOf(() => store.size), "failed");
});

Deno.test("Store.commit() leads to what a plain model has", () => {
  for (let seed = 1; seed <= 20; seed++) {
    using directory = new Directory();
    const random = seededRandom(seed);
    const model = new Model();
    let store = Store.open(directory.file(), FAST);
    try {
      for (let commit = 0; commit < 40; commit++) {
        const changes = Array.from({ length: 8 }, () => randomChange(random));
        for (const change of changes) model.apply(change);
        store.commit(changes);
        // Applied twice or once, they give the same.
        if (random() < 0.1) store.commit(changes);
        if (random() < 0.1) {
          store.close();
          store = Store.open(directory.file(), FAST);
        }
        assertEquals([...store.load()], model.load(), `seed ${seed}`);
      }
    } finally {
      store.close();
    }
  }
});

Deno.test("Store.commit() takes a session's records with it, and no others", () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), FAST);
  store.commit(RECORDS);
  store.commit([{ type: "sessionEnd", session: 3 }]);
  assertEquals(
    [...store.load()],
    RECORDS.filter((record) => !("session" in record) || record.session !== 3),
  );
});

Deno.test("Store.commit() forgets a datum by its number", () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), FAST);
  store.commit([datum(1), datum(2, "b"), datum(3), datum(4)]);
  store.commit([{ type: "datumEnd", seq: 3 }]);
  assertEquals([...store.load()], [datum(1), datum(2, "b"), datum(4)]);
});

Deno.test("Store.commit() keeps views of octets, and no more than these", () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), FAST);
  const view = Uint8Array.of(1, 2, 3, 4).subarray(1, 3);
  store.commit([queued(1, 1, view)]);
  assertEquals([...store.load()], [queued(1, 1, Uint8Array.of(2, 3))]);
});

Deno.test("Store.commit() keeps all or nothing when a change is impossible", () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), FAST);
  store.commit([datum(1)]);
  const bad: StoreChange[] = [
    { ...datum(0) },
    { ...datum(2 ** 53) },
    { ...datum(1.5) },
    { type: "received", session: 1, msgId: 65_536, digest: 0, until: 0 },
    { type: "received", session: 1, msgId: 1, digest: 2 ** 32, until: 0 },
    { ...queued(1, 1), at: NaN } as StoreChange,
    { type: "retained", topicName: "", payload: PAYLOADS[0]!, qos: 0 },
    {
      type: "retained",
      topicName: "a",
      payload: PAYLOADS[0]!,
      qos: 3 as unknown as 2,
    },
    {
      type: "retained",
      topicName: "a",
      payload: undefined as unknown as Uint8Array,
      qos: 0,
    },
  ];
  for (const change of bad) {
    assertEquals(kindOf(() => store.commit([datum(2), change])), "failed");
    assertEquals([...store.load()], [datum(1)]);
  }
  store.commit([datum(2)]);
  assertEquals(store.size, 2);
  const { octets: _, ...counts } = store.stats();
  assertEquals(counts, {
    commits: 2,
    changes: 2,
    failures: bad.length,
    durability: "off",
  });
});

Deno.test("Store.commit() says that it is full, and works when there is room", () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), { ...FAST, maxPages: 60 });
  let kept = 0;
  const batch = (number: number) =>
    Array.from(
      { length: 8 },
      (_, i) => queued(1, number * 8 + i, new Uint8Array(2_000)),
    );
  const error = assertThrows(() => {
    for (;; kept++) store.commit(batch(kept));
  }, StoreError);
  assertEquals(error.kind, "full");
  assertEquals(
    error.message,
    `Cannot write the store "${directory.file()}": the disk is full`,
  );
  assert(kept > 2);
  assertEquals(store.size, kept * 8);
  assertEquals(kindOf(() => store.commit(batch(kept))), "full");
  store.commit([0, 1, 2, 3].map((seq) => ({
    type: "queuedEnd",
    session: 1,
    seq,
  })));
  store.commit(batch(kept).slice(0, 2));
  assertEquals(store.size, kept * 8 - 2);
});

Deno.test("Store.open() keeps moments by another clock than the next one has", () => {
  using directory = new Directory();
  const moments = (records: Iterable<StoreRecord>) =>
    [...records].map((record) =>
      record.type === "session"
        ? record.leftAt
        : record.type === "queued"
        ? record.at
        : record.type === "received"
        ? record.until
        : record.type
    );
  const changes = RECORDS.filter(({ type }) =>
    ["session", "queued", "received"].includes(type)
  );
  const is = moments(changes);
  using store = Store.open(directory.file(), { ...FAST, offsetMs: 1e12 });
  store.commit(changes);
  assertEquals(moments(store.load()), is);
  store.close();
  using later = Store.open(directory.file(), { ...FAST, offsetMs: 1e12 + 50 });
  assertEquals(
    moments(later.load()),
    is.map((moment) => moment === undefined ? moment : moment as number - 50),
  );
  later.commit([{ ...queued(9, 1), at: 0.4 } as StoreChange]);
  assertEquals([...later.load()].at(-1), queued(9, 1));
  later.close();
  assertEquals(
    inspectStore(directory.file()).longest.map((queue) => queue.oldestAt),
    [1e12 + 3, 1e12 - 4],
  );
});

Deno.test("Store.open() makes SQLite as durable as it is told", () => {
  using directory = new Directory();
  for (const durability of ["full", "normal", "off"] as const) {
    using store = Store.open(directory.file(), { durability });
    assertEquals(store.stats().durability, durability);
  }
  using store = Store.open(directory.file());
  assertEquals([store.stats().durability, store.starts], ["full", 4]);
});

Deno.test("Store.open() takes a path as it is, whatever it looks like", () => {
  using directory = new Directory();
  const names = ["file:x?mode=memory#y", "100%41 'a' é", ":memory:"];
  if (Deno.build.os === "windows") names.splice(0, 3, "100%41 'a' é");
  for (const name of names) {
    const path = directory.file(name);
    using store = Store.open(path, FAST);
    store.close();
    assertEquals(inspectStore(path).starts, 1);
  }
  assertEquals(directory.names, [...names].sort());
});

Deno.test("Store.open() tells what is wrong with a path", () => {
  using directory = new Directory();
  const path = directory.file("no/mqtt.store");
  const error = assertThrows(() => Store.open(path, FAST), StoreError);
  assertEquals(error.kind, "failed");
  assertEquals(
    error.message,
    `Cannot open the store "${path}": there is no directory "${
      directory.file("no")
    }"`,
  );
  assertEquals(kindOf(() => Store.open(directory.path, FAST)), "failed");
  assertEquals(kindOf(() => inspectStore(path)), "failed");
  assertEquals(kindOf(() => inspectStore(directory.path)), "failed");
  assertEquals(directory.names, []);
});

Deno.test("Store.open() makes a file that is its owner's alone", {
  ignore: Deno.build.os === "windows",
}, () => {
  using directory = new Directory();
  using store = Store.open(directory.file(), FAST);
  store.commit([datum(1)]);
  for (const name of directory.names) {
    const { mode } = Deno.statSync(directory.file(name));
    assertEquals([name, mode! & 0o777], [name, 0o600]);
  }
});

const IS_ROOT = Deno.build.os === "windows" || Deno.uid() === 0;

Deno.test({
  name: "Store.open() says that it cannot write" +
    (IS_ROOT ? " (skipped: root can write anything)" : ""),
  ignore: IS_ROOT,
  fn() {
    using directory = new Directory();
    const path = directory.file();
    Store.open(path, FAST).close();
    Deno.chmodSync(path, 0o400);
    assertEquals(kindOf(() => Store.open(path, FAST)), "readOnly");
    assertEquals(inspectStore(path).starts, 1);
    Deno.chmodSync(path, 0o600);
    Deno.chmodSync(directory.path, 0o500);
    assertEquals(kindOf(() => Store.open(path, FAST)), "readOnly");
    assertEquals(
      kindOf(() => Store.open(directory.file("other"), FAST)),
      "readOnly",
    );
    assertEquals(inspectStore(path).starts, 1);
    Deno.chmodSync(directory.path, 0o700);
    assertEquals(directory.names, ["mqtt.store"]);
  },
});

Deno.test("Store.open() turns away whoever comes second", async () => {
  using directory = new Directory();
  const path = directory.file();
  for (const start of [1, 2]) {
    using store = Store.open(path, FAST);
    assertEquals(await openedBeside(path), "locked", `start ${start}`);
    assertEquals(kindOf(() => Store.open(path, FAST)), "locked");
    assertEquals(kindOf(() => inspectStore(path)), "locked");
    // These looks have not let go of the lock.
    assertEquals(await openedBeside(path), "locked", `start ${start}`);
    store.commit([datum(start)]);
    assertEquals([...store.load()].length, start);
  }
  assertEquals(directory.names, ["mqtt.store"]);
  assertEquals(await openedBeside(path), "opened");
});

Deno.test("Store.open() finds whole commits after a process was killed", async () => {
  using directory = new Directory();
  const path = directory.file();
  const child = beside(`
    const store = Store.open(${JSON.stringify(path)}, { durability: "normal" });
    for (let first = 1;; first += 10) {
      store.commit(Array.from({ length: 10 }, (_, i) => (
        { type: "datum", seq: first + i, topicName: "a", text: "x".repeat(100) }
      )));
      Deno.stdout.writeSync(Uint8Array.of(0x2e));
    }
  `).spawn();
  let committed = 0;
  for await (const dots of child.stdout) {
    committed += dots.length;
    if (committed >= 500) break;
  }
  child.kill("SIGKILL");
  await child.status;
  assert(directory.names.includes("mqtt.store-wal"));
  const { histories } = inspectStore(path);
  using store = Store.open(path, FAST);
  const seqs = [...store.load()].map((record) =>
    record.type === "datum" ? record.seq : 0
  );
  assertEquals(seqs, seqs.map((_, i) => i + 1));
  assertEquals(seqs.length % 10, 0);
  assert(seqs.length >= committed * 10, `${seqs.length} of ${committed}`);
  assertEquals([store.starts, store.setAside], [2, undefined]);
  assertEquals(histories.count, seqs.length);
});

Deno.test("Store.open() finds whole commits in a log that is torn", () => {
  using directory = new Directory();
  const path = directory.file();
  const states: StoreRecord[][] = [[]];
  {
    using store = Store.open(path, FAST);
    const random = seededRandom(3);
    for (let commit = 0; commit < 12; commit++) {
      store.commit(Array.from({ length: 6 }, () => randomChange(random)));
      states.push([...store.load()]);
    }
    for (const suffix of ["", "-wal"]) {
      Deno.copyFileSync(path + suffix, directory.file("torn") + suffix);
    }
  }
  const file = Deno.readFileSync(directory.file("torn"));
  const log = Deno.readFileSync(directory.file("torn-wal"));
  let found = 0;
  const random = seededRandom(4);
  for (let length = 0; length <= log.length;) {
    Deno.writeFileSync(directory.file("torn"), file);
    Deno.writeFileSync(directory.file("torn-wal"), log.subarray(0, length));
    using store = Store.open(directory.file("torn"), FAST);
    assertEquals(store.setAside, undefined);
    const records = [...store.load()];
    // Never fewer than in a shorter log, and only what some commit led to.
    const state = states.findIndex((state, i) =>
      i >= found && Deno.inspect(state) === Deno.inspect(records)
    );
    assert(state >= found, `${length} octets of the log`);
    found = state;
    if (length === log.length) break;
    length = Math.min(log.length, length + Math.ceil(random() * 3_000));
  }
  assertEquals(found, 12);
});

Deno.test("Store.open() sets a file aside that is cut off, at any length", () => {
  using directory = new Directory();
  const { bytes, records } = written(directory);
  const path = directory.file("cut");
  const random = seededRandom(5);
  const lengths = [1, 15, 16, 71, 72, 99, 100, bytes.length - 1, bytes.length];
  for (let at = 512; at < bytes.length; at += 512) lengths.push(at);
  for (let i = 0; i < 20; i++) {
    lengths.push(1 + Math.floor(random() * bytes.length));
  }
  for (const length of lengths) {
    Deno.writeFileSync(path, bytes.subarray(0, length));
    if (length < bytes.length) {
      assertEquals(kindOf(() => inspectStore(path)), "damaged");
      assertEquals(Deno.statSync(path).size, length);
    }
    using store = Store.open(path, FAST);
    const { setAside } = store;
    if (length === bytes.length) {
      assertEquals([setAside, [...store.load()]], [undefined, records]);
      continue;
    }
    assertMatch(setAside!.path, /cut\.damaged-\d{8}T\d{6}Z(-\d+)?$/);
    assert(setAside!.reason !== "" && !setAside!.reason.includes("\n"));
    assertEquals(Deno.readFileSync(setAside!.path), bytes.subarray(0, length));
    assertEquals([store.starts, store.size], [1, 0]);
  }
});

Deno.test("Store.open() opens or sets aside whatever was flipped in a file", () => {
  using directory = new Directory();
  const { bytes } = written(directory);
  const path = directory.file("flipped");
  const outcomes = { opened: 0, setAside: 0, refused: 0 };
  for (let seed = 1; seed <= 400; seed++) {
    const random = seededRandom(seed);
    const flipped = bytes.slice();
    // Half of them where it hurts most: the header and the schema.
    const range = seed % 2 === 0 ? bytes.length : seed % 4 === 1 ? 100 : 4_096;
    const places = Array.from(
      { length: 1 + seed % 3 },
      () => Math.floor(random() * range),
    );
    for (const place of places) {
      flipped[place]! ^= 1 << Math.floor(random() * 8);
    }
    const told = `seed ${seed}, octets ${places}`;
    Deno.writeFileSync(path, flipped);
    try {
      inspectStore(path);
    } catch (error) {
      assert(error instanceof StoreError, told);
      assertEquals(Deno.readFileSync(path), flipped, told);
    }
    try {
      using store = Store.open(path, FAST);
      const { setAside } = store;
      if (setAside !== undefined) {
        assertEquals(Deno.readFileSync(setAside.path), flipped, told);
      }
      outcomes[setAside === undefined ? "opened" : "setAside"]++;
      assertEquals([...store.load()].length, store.size, told);
    } catch (error) {
      if (!(error instanceof StoreError)) {
        throw new Error(told, { cause: error });
      }
      // Only the two numbers that tell whose it is, and of which version.
      const isNumber = places.some((place) => place >= 60 && place < 72);
      assert(isNumber, `${told}: ${error.message}`);
      assert(["newer", "foreign"].includes(error.kind), told);
      assertEquals(Deno.readFileSync(path), flipped, told);
      outcomes.refused++;
    }
    Deno.removeSync(path);
  }
  assert(outcomes.opened > 50, Deno.inspect(outcomes));
  assert(outcomes.setAside > 50, Deno.inspect(outcomes));
});

Deno.test("Store.open() opens or sets aside whatever was flipped in a log", () => {
  using directory = new Directory();
  const path = directory.file("flipped");
  {
    using store = Store.open(directory.file(), FAST);
    const random = seededRandom(6);
    store.commit(Array.from({ length: 100 }, () => randomChange(random)));
    for (const suffix of ["", "-wal"]) {
      Deno.copyFileSync(
        directory.file() + suffix,
        directory.file("k") + suffix,
      );
    }
  }
  const file = Deno.readFileSync(directory.file("k"));
  const log = Deno.readFileSync(directory.file("k-wal"));
  for (let seed = 1; seed <= 60; seed++) {
    const random = seededRandom(seed);
    const flipped = log.slice();
    const place = Math.floor(random() * (seed % 2 === 0 ? 64 : log.length));
    flipped[place]! ^= 1 << Math.floor(random() * 8);
    Deno.writeFileSync(path, file);
    Deno.writeFileSync(path + "-wal", flipped);
    using store = Store.open(path, FAST);
    assertEquals([...store.load()].length, store.size, `seed ${seed}`);
  }
});

Deno.test("Store.open() sets aside a log whose file is gone or empty", () => {
  using directory = new Directory();
  const path = directory.file();
  for (const isEmpty of [false, true]) {
    Deno.writeFileSync(path + "-wal", Uint8Array.of(1, 2, 3));
    if (isEmpty) Deno.writeFileSync(path, new Uint8Array());
    using store = Store.open(path, FAST);
    const { setAside } = store;
    assertEquals(
      Deno.readFileSync(setAside!.path + "-wal"),
      Uint8Array.of(1, 2, 3),
    );
    store.close();
    Deno.removeSync(path);
  }
  // Both in one second have names of their own.
  assertEquals(directory.names.length, 3);
});

Deno.test({
  name: "Store.open() looks for the log beside the file that a link leads to",
  ignore: Deno.build.os === "windows",
  fn() {
    using directory = new Directory();
    using links = new Directory();
    const file = directory.file();
    const link = links.file();
    Deno.symlinkSync(file, link);
    {
      using store = Store.open(file, FAST);
      store.commit([datum(1)]);
      for (const suffix of ["", "-wal"]) {
        Deno.copyFileSync(file + suffix, `${file}.killed${suffix}`);
      }
    }
    for (const suffix of ["", "-wal"]) {
      Deno.renameSync(`${file}.killed${suffix}`, file + suffix);
    }
    // As it was killed, it was just carrying a page over, and will again.
    Deno.writeFileSync(file, new Uint8Array(100), { append: true });
    assertEquals(inspectStore(link).histories.count, 1);
    {
      using store = Store.open(link, FAST);
      assertEquals([store.setAside, store.starts], [undefined, 2]);
      assertEquals([...store.load()], [datum(1)]);
    }
    assertEquals(directory.names, ["mqtt.store"]);
    assertEquals(links.names, ["mqtt.store"]);

    // What is damaged gets its new name where it is; the link stays.
    Deno.truncateSync(file, 5_000);
    using store = Store.open(link, FAST);
    assertEquals(
      dirname(store.setAside!.path),
      Deno.realPathSync(directory.path),
    );
    assertEquals(store.size, 0);
    assertEquals(links.names, ["mqtt.store"]);
    assert(Deno.lstatSync(link).isSymlink);
    store.close();
    Deno.removeSync(file);
    Store.open(link, FAST).close();
    assertEquals(directory.names.includes("mqtt.store"), true);
    assert(Deno.lstatSync(link).isSymlink);
  },
});

Deno.test("Store.open() sets the log aside together with its file", () => {
  using directory = new Directory();
  const path = directory.file("broken");
  {
    using store = Store.open(directory.file(), FAST);
    store.commit(RECORDS);
    for (const suffix of ["", "-wal"]) {
      Deno.copyFileSync(directory.file() + suffix, path + suffix);
    }
  }
  const bytes = Deno.readFileSync(path);
  bytes.fill(0xff, 0, 16);
  Deno.writeFileSync(path, bytes);
  const log = Deno.readFileSync(path + "-wal");
  // A log that holds the first page would mend it.
  log.fill(0xff, 0, 32);
  Deno.writeFileSync(path + "-wal", log);
  using store = Store.open(path, FAST);
  assertEquals(Deno.readFileSync(store.setAside!.path), bytes);
  assertEquals(Deno.readFileSync(store.setAside!.path + "-wal"), log);
});

Deno.test("Store.open() takes an empty file for a new one", () => {
  using directory = new Directory();
  const path = directory.file();
  Deno.writeFileSync(path, new Uint8Array());
  assertEquals(kindOf(() => inspectStore(path)), "foreign");
  using store = Store.open(path, FAST);
  assertEquals([store.starts, store.setAside], [1, undefined]);
  // A database that was begun, and in which nothing was made.
  const blank = directory.file("blank");
  using database = new DatabaseSync(blank);
  database.exec("CREATE TABLE t (a); DROP TABLE t");
  database.close();
  using begun = Store.open(blank, FAST);
  assertEquals([begun.starts, begun.setAside], [1, undefined]);
});

Deno.test("Store.open() leaves alone what is no store", () => {
  using directory = new Directory();
  const path = directory.file();
  const database = (sql: string) => {
    Deno.removeSync(path);
    using other = new DatabaseSync(path);
    other.exec(sql);
    other.close();
    return Deno.readFileSync(path);
  };
  Deno.writeFileSync(path, new Uint8Array());
  const table = "CREATE TABLE t (a); INSERT INTO t VALUES (1);";
  const files = [
    new TextEncoder().encode("Dear diary\n"),
    new Uint8Array(10_000),
    database(table),
    database(`${table} PRAGMA application_id = 5`),
    database("PRAGMA application_id = 5"),
    database(`${table} PRAGMA journal_mode = WAL`),
    database(`${table} PRAGMA user_version = 99`),
  ];
  for (const bytes of files) {
    Deno.writeFileSync(path, bytes);
    for (
      const act of [() => Store.open(path, FAST), () => inspectStore(path)]
    ) {
      const error = assertThrows(act, StoreError);
      assertEquals(error.kind, "foreign");
      assertStringIncludes(
        error.message,
        "it is no store of this broker, and stays as it is",
      );
    }
    assertEquals(Deno.readFileSync(path), bytes);
    assertEquals(directory.names, ["mqtt.store"]);
  }
  // Of one that was killed, even its log is left as it is.
  const other = directory.file("other");
  {
    using live = new DatabaseSync(path.replace("mqtt", "live"));
    live.exec(`PRAGMA journal_mode = WAL; ${table}`);
    for (const suffix of ["", "-wal"]) {
      Deno.copyFileSync(directory.file("live.store") + suffix, other + suffix);
    }
  }
  const log = Deno.readFileSync(other + "-wal");
  assertEquals(kindOf(() => Store.open(other, FAST)), "foreign");
  assertEquals(Deno.readFileSync(other + "-wal"), log);
});

Deno.test("migrate() brings a store on, and an older program leaves it alone", () => {
  using directory = new Directory();
  const { path, records } = written(directory);
  const longer = [
    ...MIGRATIONS,
    "ALTER TABLE retained ADD COLUMN extra INTEGER NOT NULL DEFAULT 5",
    "CREATE TABLE extra (id INTEGER PRIMARY KEY) STRICT;\nINSERT INTO extra VALUES (7);",
  ];
  {
    using database = new DatabaseSync(path);
    const bad = [...longer.slice(0, -1), "CREATE TABLE extra (id);\nOH NO"];
    assertThrows(() => migrate(database, bad));
    const version = () =>
      database.prepare("PRAGMA user_version").get()!.user_version;
    // Each stands by itself: the first was well, of the second nothing is left.
    assertEquals(version(), MIGRATIONS.length + 1);
    migrate(database, longer);
    migrate(database, longer);
    assertEquals(version(), longer.length);
    assertEquals({ ...database.prepare("SELECT id FROM extra").get() }, {
      id: 7,
    });
    const { kept } = database.prepare("SELECT count(*) AS kept FROM retained")
      .get() as { kept: number };
    assertEquals(
      kept,
      records.filter(({ type }) => type === "retained").length,
    );
    database.close();
  }
  const bytes = Deno.readFileSync(path);
  for (const act of [() => Store.open(path, FAST), () => inspectStore(path)]) {
    const error = assertThrows(act, StoreError);
    assertEquals(error.kind, "newer");
    assertStringIncludes(
      error.message,
      `(version ${longer.length}, and this one knows ${MIGRATIONS.length} at most)`,
    );
  }
  assertEquals(Deno.readFileSync(path), bytes);
});

/**
 * What the first version has left: of the retained messages of two subscriptions
 * one is under way, and one of these subscriptions has had all.
 */
const FIRST_VERSION = `
  INSERT INTO session (session, client_id, is_clean, state, allowed_ms, duration,
    announced_will, left_at) VALUES (1, 'ann', 0, 'lost', 0, 0, 0, 5);
  INSERT INTO subscription VALUES (1, '#', 2, 1), (1, '+', 2, 0), (2, '#', 2, 1);
  INSERT INTO retained VALUES ('a', x'07', 2), ('b', x'07', 2);
  INSERT INTO queued VALUES
    (1, 1, 'b', x'07', 2, 1, 3, 9, 1),
    (1, 2, 'c', x'07', 2, 0, 3, 9, 1),
    (1, 3, 'd', x'07', 1, 1, 3, 9, 0),
    (1, 4, 'e', x'07', 2, 1, 3, 0, 0);
  INSERT INTO datum VALUES (1, 'f', '21.5');`;

Deno.test("Store.open() of a file of the first version keeps all, and what is under way counts as begun", () => {
  using directory = new Directory();
  const path = directory.file();
  {
    using database = new DatabaseSync(path);
    migrate(database, MIGRATIONS.slice(0, 1));
    database.exec(FIRST_VERSION);
  }
  const before = Deno.readFileSync(path);
  const summary = inspectStore(path);
  assertEquals([summary.version, summary.starts], [1, 0]);
  assertEquals(summary.queued[2], { count: 3, octets: 3 });
  assertEquals(Deno.readFileSync(path), before);
  {
    using store = Store.open(path, FAST);
    const loaded = [...store.load()];
    assertEquals(store.size, loaded.length);
    assertEquals(loaded.filter(({ type }) => type === "begun"), [
      { type: "begun", session: 1, topicFilter: "#", topicName: "b" },
    ]);
    const message = { ...queued(1, 1, Uint8Array.of(7)), at: 3, msgId: 9 };
    assertEquals(loaded.filter(({ type }) => type === "queued"), [
      { ...message, topicName: "b", qos: 2, retain: true, isReleased: true },
      { ...message, seq: 2, topicName: "c", qos: 2, isReleased: true },
      { ...message, seq: 3, topicName: "d", retain: true },
      { ...message, seq: 4, topicName: "e", qos: 2, retain: true, msgId: 0 },
    ] as StoreRecord[]);
    const types = Object.groupBy(loaded, ({ type }) => type);
    assertEquals(
      [types.session, types.subscription, types.retained, types.datum].map(
        (records) => records?.length,
      ),
      [1, 3, 2, 1],
    );
  }
  const after = inspectStore(path);
  assertEquals([after.version, after.queued], [2, summary.queued]);
  // The first version leaves it alone from here on.
  using database = new DatabaseSync(path);
  assertThrows(
    () => migrate(database, MIGRATIONS.slice(0, 1)),
    StoreError,
    "a newer broker has written it (version 2, and this one knows 1 at most)",
  );
});

Deno.test("inspectStore() counts, and changes nothing", () => {
  using directory = new Directory();
  const path = directory.file();
  {
    using store = Store.open(path, FAST);
    store.commit(RECORDS);
    store.commit(
      Array.from({ length: 30 }, (_, i) => ({
        ...RECORDS[3],
        session: 100 + i,
        clientId: `c${i}\u001b[2J`,
      } as StoreRecord)),
    );
    store.commit(
      Array.from({ length: 30 }, (_, i) => queued(100 + i, 1)),
    );
    // As a broker that was killed leaves it.
    for (const suffix of ["", "-wal"]) {
      Deno.copyFileSync(path + suffix, directory.file("left") + suffix);
    }
  }
  const closed = Deno.readFileSync(path);
  const left = Deno.readFileSync(directory.file("left-wal"));
  const names = directory.names;
  const summary = inspectStore(path);
  const { path: _, at: __, octets: ___, ...counts } = inspectStore(
    directory.file("left"),
  );
  assertEquals({ ...summary, ...counts }, summary);
  assertEquals(Deno.readFileSync(path), closed);
  assertEquals(Deno.readFileSync(directory.file("left-wal")), left);
  assertEquals(directory.names, names);

  assertEquals(summary.octets, closed.length);
  assertEquals(
    { ...counts, longest: counts.longest.slice(0, 2) },
    {
      unreadableCommits: 0,
      version: 2,
      starts: 1,
      sessions: { active: 1, asleep: 1, disconnected: 31, lost: 1 },
      subscriptions: 2,
      topicIds: 3,
      queued: {
        0: { count: 1, octets: 65_507 },
        1: { count: 31, octets: 31 },
        2: { count: 1, octets: 0 },
      },
      received: 2,
      retained: { count: 2, octets: 65_507 },
      histories: { topics: 2, count: 2, octets: 22 },
      longest: [
        {
          clientId: "",
          state: "lost",
          subscriptions: 2,
          queued: { count: 2, octets: 65_507 },
          oldestAt: 3,
          awaySince: 5,
        },
        {
          clientId: "door",
          state: "disconnected",
          subscriptions: 0,
          queued: { count: 1, octets: 1 },
          oldestAt: -4,
          awaySince: 5,
        },
      ],
    },
  );
  assertEquals(counts.longest.length, 20);
});

Deno.test("describeStore() shows a summary in lines", () => {
  const text = describeStore({
    path: "/var/mqtt.store",
    at: 1_800_000_000_000,
    version: 1,
    octets: 1_234_567,
    starts: 12,
    unreadableCommits: 0,
    sessions: { active: 1, asleep: 2, disconnected: 3_000, lost: 0 },
    subscriptions: 4,
    topicIds: 5,
    queued: {
      0: { count: 0, octets: 0 },
      1: { count: 1_000, octets: 64_000 },
      2: { count: 7, octets: 8 },
    },
    received: 9,
    retained: { count: 10, octets: 11 },
    histories: { topics: 12, count: 13, octets: 14 },
    longest: [{
      clientId: "lamp\n",
      state: "disconnected",
      subscriptions: 3,
      queued: { count: 1_000, octets: 64_000 },
      oldestAt: 1_800_000_000_000 - 7_200_000,
      awaySince: 1_700_000_000_000,
    }, {
      clientId: "x",
      state: "active",
      subscriptions: 0,
      queued: { count: 7, octets: 8 },
      oldestAt: 1_800_000_000_001,
      awaySince: undefined,
    }],
  });
  assertEquals(
    text.split("\n"),
    [
      'Store "/var/mqtt.store"',
      "Schema 1, 1,234,567 octets, opened 12 times",
      "",
      "Sessions               3,003",
      "  active                   1",
      "  asleep                   2",
      "  disconnected         3,000",
      "  lost                     0",
      "Subscriptions              4",
      "Topic ids                  5",
      "Queued at QoS 0            0       0 octets",
      "Queued at QoS 1        1,000  64,000 octets",
      "Queued at QoS 2            7       8 octets",
      "QoS 2 ids received         9",
      "Retained messages         10      11 octets",
      "Topics with a history     12",
      "  data                    13      14 octets",
      "",
      "Longest queues  state         subscriptions  queued  octets  oldest  away since",
      "lamp\\u000a      disconnected              3   1,000  64,000     2 h  2023-11-14T22:13:20Z",
      "x               active                    0       7       8     0 s  –",
    ],
  );
});
