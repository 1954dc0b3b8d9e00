import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import type { StoreChange } from "../../broker/records.ts";
import { Store } from "../../store/store.ts";
import { commitsBehindDamage } from "../../store/wal.ts";
import { describeStore, inspectStore } from "../../store/inspect.ts";
import { datum, Directory } from "../support/store.ts";

const FAST = { durability: "off" } as const;

/** Commits in the log below. */
const COMMITS = 12;

/** Octets of a frame: its header, and a page. */
const FRAME = 24 + 4_096;

/** A file with its log, as after a kill, and where each commit ends in the log. */
function killed(directory: Directory, commits = COMMITS) {
  const path = directory.file("living");
  using store = Store.open(path, FAST);
  const ends: number[] = [];
  for (let seq = 1; seq <= commits; seq++) {
    const text = "x".repeat(10_000);
    store.commit([datum(seq), { ...datum(100 + seq), text } as StoreChange]);
    ends.push(Deno.statSync(path + "-wal").size);
  }
  return {
    file: Deno.readFileSync(path),
    log: Deno.readFileSync(path + "-wal"),
    ends,
  };
}

function count(directory: Directory, log: Uint8Array): number {
  const path = directory.file("log");
  Deno.writeFileSync(path, log);
  return commitsBehindDamage(path);
}

Deno.test("commitsBehindDamage() is 0 for a log that is whole, or cut off anywhere", () => {
  using directory = new Directory();
  const { log } = killed(directory);
  assertEquals(count(directory, log), 0);
  const random = seededRandom(1);
  for (let length = 0; length < log.length;) {
    assertEquals(count(directory, log.subarray(0, length)), 0, `${length}`);
    length += 1 + Math.floor(random() * 5_000);
  }
});

Deno.test("commitsBehindDamage() counts the commits from a flipped bit on, but for one", () => {
  using directory = new Directory();
  const { log, ends } = killed(directory);
  let told = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const flipped = log.slice();
    const place = Math.floor(random() * log.length);
    flipped[place]! ^= 1 << Math.floor(random() * 8);
    const behind = ends.filter((end) => end > place).length;
    const counted = count(directory, flipped);
    // The damage may be to the mark of the commit's end, or to what the log is.
    const least = behind > 2 ? behind - 1 : 0;
    assert(counted === 0 ? behind <= 2 : counted <= behind + 1, `seed ${seed}`);
    assert(counted >= least, `seed ${seed}: ${counted} of ${behind}`);
    if (counted > 0) told++;
  }
  assert(told > 100, `${told}`);
});

Deno.test("commitsBehindDamage() counts all commits when the header is damaged", () => {
  using directory = new Directory();
  const { log } = killed(directory);
  const whole = count(directory, log.fill(0xff, 0, 32));
  assert(whole >= COMMITS, `${whole}`);
});

Deno.test("commitsBehindDamage() is 0 when the last commit alone is damaged: so a power cut leaves it", () => {
  using directory = new Directory();
  const { log, ends } = killed(directory);
  const torn = log.slice();
  torn.fill(0, ends.at(-2)!, ends.at(-2)! + FRAME);
  assertEquals(count(directory, torn), 0);
  // And two are told.
  const damaged = log.slice();
  damaged.fill(0, ends.at(-3)!, ends.at(-3)! + FRAME);
  assertEquals(count(directory, damaged), 2);
});

Deno.test("commitsBehindDamage() leaves out what the log held before it began anew", () => {
  using directory = new Directory();
  const { log, ends } = killed(directory);
  // Another salt for what was before: as after a checkpoint.
  const mixed = log.slice();
  for (let at = ends[5]!; at < mixed.length; at += FRAME) mixed[at + 11]! ^= 1;
  assertEquals(count(directory, mixed), 0);
});

Deno.test("commitsBehindDamage() throws when there is no log", () => {
  using directory = new Directory();
  assertThrows(
    () => commitsBehindDamage(directory.file()),
    Deno.errors.NotFound,
  );
});

Deno.test("Store.open() copies a file whose log is damaged, says so once, and goes on with what is whole", () => {
  using directory = new Directory();
  const { file, log, ends } = killed(directory);
  log[ends[3]! + 1_000]! ^= 1;
  const path = directory.file("damaged");
  Deno.writeFileSync(path, file);
  Deno.writeFileSync(path + "-wal", log);
  assertMatch(
    describeStore(inspectStore(path)),
    /\nDamaged: the last 8 commits in its -wal cannot be read, and do not count\n/,
  );
  assertEquals(Deno.readFileSync(path + "-wal"), log, "that has only looked");
  {
    using store = Store.open(path, FAST);
    const { setAside } = store;
    assertEquals(setAside?.isCopy, true);
    assertEquals(
      setAside?.reason,
      "the last 8 commits in its -wal cannot be read",
    );
    assertEquals(Deno.readFileSync(setAside!.path), file);
    assertEquals(Deno.readFileSync(setAside!.path + "-wal"), log);
    assertEquals(store.size, 8);
    store.commit([datum(50)]);
  }
  using again = Store.open(path, FAST);
  assertEquals([again.setAside, again.size], [undefined, 9]);
});
