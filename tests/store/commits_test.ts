import { assert, assertEquals, assertFalse } from "@std/assert";
import { type Random, seededRandom } from "../../base/clock.ts";
import { Commits, compact, type Held } from "../../store/commits.ts";
import { peerOf } from "../../base/peer.ts";
import type { StoreChange } from "../../broker/records.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { ANN, BOB } from "../support/router.ts";

function end(topicName: string): StoreChange {
  return { type: "retainedEnd", topicName };
}

/** Holds a datagram of one octet. */
function hold(
  commits: Commits,
  octet: number,
  isPromise = true,
  peer = ANN,
): boolean {
  return commits.hold(peer, Uint8Array.of(octet), isPromise);
}

function octetsOf(held: readonly Held[]): (number | undefined)[] {
  return held.map(({ bytes }) => bytes[0]);
}

Deno.test("Commits.take() gives all that was told since, one batch at a time", () => {
  const commits = new Commits();
  assertEquals(commits.take(), undefined);
  commits.persist(end("a"));
  commits.persist(end("b"));
  assertEquals(commits.uncommitted, 2);
  assertEquals(commits.take(), [end("a"), end("b")]);
  commits.persist(end("c"));
  assertEquals(commits.take(), undefined, "one is under way");
  assertEquals(commits.uncommitted, 3);
  assertEquals(commits.handleCommitted(), []);
  assertEquals(commits.uncommitted, 1);
  assertEquals(commits.take(), [end("c")]);
  commits.handleCommitted();
  assertEquals([commits.uncommitted, commits.take()], [0, undefined]);
});

Deno.test("Commits.hold() lets everything leave when all is committed", () => {
  const commits = new Commits();
  assertFalse(hold(commits, 1));
  assertFalse(hold(commits, 2, false));
  commits.persist(end("a"));
  commits.take();
  commits.handleCommitted();
  assertFalse(hold(commits, 3));
  assertEquals(commits.held, 0);
});

Deno.test("Commits.hold() keeps a promise until what was told before it is committed", () => {
  const commits = new Commits();
  commits.persist(end("a"));
  assert(hold(commits, 1));
  assertFalse(hold(commits, 2, false, BOB), "no promise: it leaves at once");
  commits.take();
  commits.persist(end("b"));
  assert(hold(commits, 3, true, BOB));
  assertEquals(commits.held, 2);
  assertEquals(octetsOf(commits.handleCommitted()), [1]);
  assertEquals(commits.held, 1);
  commits.take();
  assertEquals(octetsOf(commits.handleCommitted()), [3]);
});

Deno.test("Commits.hold() keeps a promise that nothing told of before it is late for", () => {
  const commits = new Commits();
  commits.persist(end("a"));
  commits.take();
  assert(hold(commits, 1), "the commit is under way, not done");
  assertEquals(octetsOf(commits.handleCommitted()), [1]);
});

Deno.test("Commits.hold() keeps what follows a promise to the same peer, and its order", () => {
  const commits = new Commits();
  commits.persist(end("a"));
  assert(hold(commits, 1));
  assert(hold(commits, 2, false));
  commits.take();
  commits.persist(end("b"));
  assert(hold(commits, 3));
  assert(hold(commits, 4, false));
  const first = octetsOf(commits.handleCommitted());
  assertEquals(first, [1, 2]);
  assert(hold(commits, 5, false), "still behind 3");
  commits.take();
  assertEquals(octetsOf(commits.handleCommitted()), [3, 4, 5]);
  assertFalse(hold(commits, 6, false));
});

Deno.test("Commits.hold() knows a peer by its key", () => {
  const commits = new Commits();
  commits.persist(end("a"));
  assert(hold(commits, 1, true, peerOf("10.0.0.1", 5)));
  assert(hold(commits, 2, false, peerOf("10.0.0.1", 5)));
  assertFalse(hold(commits, 3, false, peerOf("10.0.0.1", 6)));
});

Deno.test("Commits.handleFailed() gives all back in order, and holds nothing until a commit succeeds", () => {
  const commits = new Commits();
  commits.persist(end("a"));
  assert(hold(commits, 1));
  commits.take();
  commits.persist(end("b"));
  assert(hold(commits, 2, true, BOB));
  assert(hold(commits, 3, false));
  const held = commits.handleFailed();
  assertEquals(octetsOf(held), [1, 2, 3]);
  assertEquals(held.map(({ isPromise }) => isPromise), [true, true, false]);
  assert(commits.isFailing);
  assertEquals([commits.held, commits.uncommitted], [0, 2]);

  commits.persist(end("c"));
  assertFalse(hold(commits, 4), "nothing waits");
  assertEquals(commits.take(), [end("a"), end("b"), end("c")]);
  assert(commits.isFailing, "until it has succeeded");
  commits.persist(end("d"));
  assertEquals(commits.handleCommitted(), []);
  assertFalse(commits.isFailing);
  assertEquals(commits.uncommitted, 1);
  assert(hold(commits, 5));
  assertEquals(commits.take(), [end("d")]);
  assertEquals(octetsOf(commits.handleCommitted()), [5]);
});

Deno.test("Commits.handleFailed() keeps the order of what failed and what came since", () => {
  const commits = new Commits();
  const message = { type: "retained", topicName: "a", qos: 0 } as const;
  const one = { ...message, payload: Uint8Array.of(1) };
  const two = { ...message, payload: Uint8Array.of(2) };
  commits.persist(one);
  commits.take();
  commits.persist(two);
  commits.handleFailed();
  assertEquals(commits.take(), [two]);
  commits.handleFailed();
  commits.persist(end("a"));
  assertEquals(commits.take(), [two, end("a")]);
  commits.handleFailed();
  assertEquals([commits.take(), commits.uncommitted], [[end("a")], 1]);
});

Deno.test("Commits.persist() takes no more memory than there are rows while commits fail", () => {
  const commits = new Commits();
  commits.persist(end("a"));
  commits.take();
  commits.handleFailed();
  for (let i = 0; i < 100_000; i++) {
    commits.persist({
      type: "queued",
      session: 1,
      seq: 1 + i % 100,
      topicName: "a",
      payload: new Uint8Array(1_000),
      qos: 1,
      retain: false,
      at: i,
      msgId: 0,
      isReleased: false,
    });
    assert(commits.uncommitted <= 10_100, `${commits.uncommitted} at ${i}`);
    assertEquals(commits.state, "refusing");
  }
  const batch = commits.take()!;
  assert(batch.length <= 10_100);
  commits.handleFailed();
  assertEquals(commits.uncommitted, 101);
});

Deno.test("Commits.state refuses while more waits than should, or a commit has failed", () => {
  const commits = new Commits();
  const payload = new Uint8Array(1024 * 1024);
  const retain = (topicName: string) =>
    commits.persist({ type: "retained", topicName, payload, qos: 0 });
  for (let i = 0; i < 63; i++) retain(`${i}`);
  assertEquals(commits.state, "ready");
  retain("63");
  assertEquals(commits.state, "refusing");
  commits.take();
  assertEquals(commits.state, "ready", "it is being committed");
  commits.handleFailed();
  assertEquals(commits.state, "refusing");
  commits.take();
  assertEquals(commits.state, "refusing", "until it has succeeded");
  commits.handleCommitted();
  assertEquals(commits.state, "ready");
});

Deno.test("Commits.hold() leaves out what comes while too much is held, and refuses until that has left", () => {
  const commits = new Commits();
  commits.persist(end("a"));
  commits.take();
  const bytes = new Uint8Array(64 * 1024);
  let held = 0;
  while (commits.state === "ready" && held < 2_000) {
    assert(commits.hold(ANN, bytes, held++ === 0));
  }
  assertEquals(commits.state, "refusing");
  assertEquals(held, Math.ceil((64 * 1024 * 1024 + 1) / (64 * 1024 + 200)));
  assert(hold(commits, 1, false), "not before what is held for the same peer");
  assert(hold(commits, 2, true, BOB));
  assertFalse(hold(commits, 3, false, BOB), "who waits for nothing");
  assertEquals([commits.held, commits.leftOut], [held, 2]);
  assertEquals(commits.handleCommitted().length, held);
  assertEquals([commits.state, commits.held], ["ready", 0]);
  commits.persist(end("b"));
  assert(hold(commits, 4));
  assertEquals([commits.held, commits.leftOut], [1, 2]);
});

Deno.test("Commits.state is busy while many changes wait that are not under way", () => {
  const commits = new Commits();
  const tell = (count: number) => {
    for (let i = 0; i < count; i++) commits.persist(end(`${i}`));
  };
  tell(1_999);
  assertEquals(commits.state, "ready");
  tell(1);
  assertEquals(commits.state, "busy");
  assert(hold(commits, 1), "what is promised is kept all the same");
  commits.take();
  assertEquals(commits.state, "ready");
  tell(2_000);
  assertEquals(commits.state, "busy");
  assertEquals(octetsOf(commits.handleCommitted()), [1]);
  assertEquals(commits.state, "busy");
  commits.take();
  assertEquals(commits.state, "ready");
});

Deno.test("Commits lets each peer have all that it was sent, in order, none before its promise", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const below = (n: number) => Math.floor(random() * n);
    const commits = new Commits();
    const peers = [1, 2, 3].map((port) => peerOf("127.0.0.1", port));
    const sent = new Map(peers.map(({ key }) => [key, [] as number[]]));
    const left = new Map(peers.map(({ key }) => [key, [] as number[]]));
    /** How many changes a promise relies on. */
    const relies = new Map<number, number>();
    let told = 0;
    let committed = 0;
    let underWay: number | undefined;
    let number = 0;
    const leave = (key: string, octets: Uint8Array) => {
      const id = new Uint32Array(octets.slice().buffer)[0]!;
      left.get(key)!.push(id);
      assert((relies.get(id) ?? 0) <= committed, `seed ${seed}, ${id}`);
    };
    const release = (held: readonly Held[]) => {
      for (const { peer, bytes } of held) leave(peer.key, bytes);
    };
    const commit = () => {
      const batch = commits.take();
      if (batch === undefined) return;
      assertEquals(underWay, undefined);
      underWay = told;
    };
    const succeed = () => {
      if (underWay === undefined) return;
      committed = underWay;
      underWay = undefined;
      release(commits.handleCommitted());
    };
    for (let step = 0; step < 200; step++) {
      const dice = below(10);
      if (dice < 3) {
        told++;
        commits.persist(end(`${told}`));
      } else if (dice === 8) commit();
      else if (dice === 9) succeed();
      else {
        const { key, ...peer } = peers[below(3)]!;
        const isPromise = below(2) === 0;
        const id = ++number;
        if (isPromise) relies.set(id, told);
        const bytes = new Uint8Array(Uint32Array.of(id).buffer);
        sent.get(key)!.push(id);
        if (!commits.hold({ ...peer, key }, bytes, isPromise)) {
          leave(key, bytes);
        }
      }
    }
    for (let i = 0; i < 2; i++) {
      succeed();
      commit();
    }
    succeed();
    assertEquals([commits.held, commits.uncommitted], [0, 0]);
    assertEquals(left, sent, `seed ${seed}`);
  }
});

// What is merged

/** A change as the core may tell one; sessions in `ended` are over. */
function changeOf(random: Random, ended: Set<number>): StoreChange {
  const below = (n: number) => Math.floor(random() * n);
  let session = 1 + below(3);
  while (ended.has(session)) session += 3; // a number is nobody else's, ever
  const topicName = `t${below(3)}`;
  const topicFilter = `f${below(3)}`;
  const seq = 1 + below(4);
  const msgId = 1 + below(3);
  const qos = below(3) as 0 | 1 | 2;
  const payload = Uint8Array.of(below(256));
  switch (below(14)) {
    case 0:
      return {
        type: "session",
        session,
        clientId: `c${session}`,
        isClean: false,
        state: "lost",
        peer: undefined,
        allowedMs: 0,
        duration: below(100),
        announcedWill: false,
        leftAt: 0,
        will: undefined,
      };
    case 1:
      return {
        type: "subscription",
        session,
        topicFilter,
        qos,
        isPending: below(2) === 0,
      };
    case 2:
      return {
        type: "topicId",
        session,
        topicName,
        topicId: below(100),
        aliasType: undefined,
        aliasId: 0,
        isRegistered: false,
        isSubscribed: true,
      };
    case 3:
    case 4:
      return {
        type: "queued",
        session,
        seq,
        topicName,
        payload,
        qos,
        retain: false,
        at: below(100),
        msgId: 0,
        isReleased: false,
      };
    case 5:
      if (below(2) > 0) {
        return { type: "begun", session, topicFilter, topicName };
      }
      return { type: "received", session, msgId, digest: below(9), until: 7 };
    case 6:
      return { type: "retained", topicName, payload, qos };
    case 7:
      return { type: "inFlight", session, seq, msgId, isReleased: qos > 0 };
    case 8:
      if (below(4) > 0) return { type: "queuedEnd", session, seq };
      ended.add(session);
      return { type: "sessionEnd", session };
    case 9:
      return { type: "subscriptionEnd", session, topicFilter };
    case 10:
      if (below(2) > 0) return { type: "begunEnd", session, topicFilter };
      return { type: "topicIdEnd", session, topicName };
    case 11:
      return { type: "queuedEnd", session, seq };
    case 12:
      return { type: "receivedEnd", session, msgId };
    default:
      return { type: "retainedEnd", topicName };
  }
}

Deno.test("compact() comes to the same as all changes, whatever was there, once or twice", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const ended = new Set<number>();
    let lastSeq = 0;
    const changes = (length: number) =>
      Array.from({ length }, (): StoreChange => {
        const dice = random();
        if (dice < 0.8) return changeOf(random, ended);
        if (dice < 0.85) {
          const seq = Math.ceil(random() * lastSeq);
          return { type: "datumEnd", seq };
        }
        const topicName = `t${Math.floor(random() * 3)}`;
        return { type: "datum", seq: ++lastSeq, topicName, text: `${seed}` };
      });
    const [plain, merged] = [new MemoryStore(), new MemoryStore()];
    const before = changes(30);
    plain.commit(before);
    merged.commit(before);
    const since = changes(60);
    plain.commit(since);
    const fewer = compact(since);
    assert(fewer.length <= since.length);
    merged.commit(fewer);
    assertEquals(sorted(merged), sorted(plain), `seed ${seed}`);
    merged.commit(fewer);
    assertEquals(sorted(merged), sorted(plain), `seed ${seed}, twice`);
    assertEquals(compact(fewer), fewer, `seed ${seed}: there is no more to it`);
  }
});

function sorted(store: MemoryStore): string[] {
  return store.load()
    .map((record) =>
      JSON.stringify(
        Object.entries(record).sort(),
        (_, value) => value instanceof Uint8Array ? value.toHex() : value,
      )
    )
    .sort();
}

Deno.test("compact() leaves of an ended session its end", () => {
  const session = 1;
  assertEquals(
    compact([
      { type: "received", session, msgId: 1, digest: 1, until: undefined },
      { type: "queuedEnd", session, seq: 1 },
      { type: "sessionEnd", session },
      end("a"),
    ]),
    [{ type: "sessionEnd", session }, end("a")],
  );
});

Deno.test("compact() ends a client's old session before it begins the next", () => {
  const fields = {
    type: "session",
    clientId: "ann",
    isClean: false,
    state: "lost",
    peer: undefined,
    allowedMs: 0,
    duration: 0,
    announcedWill: false,
    leftAt: 0,
    will: undefined,
  } as const;
  const changes: StoreChange[] = [
    { ...fields, session: 1 },
    { ...fields, session: 2, clientId: "bob" },
    { type: "sessionEnd", session: 1 },
    { ...fields, session: 3 },
  ];
  assertEquals(compact(changes), [
    { type: "sessionEnd", session: 1 },
    { ...fields, session: 2, clientId: "bob" },
    { ...fields, session: 3 },
  ]);
});
