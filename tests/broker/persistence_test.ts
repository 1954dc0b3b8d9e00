import { assert, assertEquals, assertFalse } from "@std/assert";
import { EffectQueue } from "../../base/machine.ts";
import {
  type MessageChange,
  NOT_PERSISTED,
  Persistence,
  type SessionChange,
  SessionPersistence,
  type StoreState,
} from "../../broker/persistence.ts";
import type { StoreChange } from "../../broker/records.ts";

function make(state: StoreState) {
  const effects = new EffectQueue<unknown, StoreChange>();
  const persistence = new Persistence(effects);
  persistence.state = state;
  const take = () => {
    const changes: StoreChange[] = [];
    for (let effect; (effect = effects.poll()) !== undefined;) {
      if (effect.type === "persist") changes.push(effect.change);
    }
    return changes;
  };
  const session = new SessionPersistence(persistence, 7);
  return { persistence, take, session };
}

const DATUM = { type: "datum", seq: 1, topicName: "a", text: "1" } as const;
const END = { type: "retainedEnd", topicName: "a" } as const;
const QUEUED = {
  type: "queued",
  session: 7,
  seq: 3,
  topicName: "a",
  payload: Uint8Array.of(1),
  qos: 1,
  retain: false,
  at: 5,
  msgId: 0,
  isReleased: false,
} as const;

Deno.test("Persistence begins without a store: it promises all and persists nothing", () => {
  const persistence = new Persistence(new EffectQueue<unknown, StoreChange>());
  assertEquals(persistence.state, "none");
  const { persistence: none, take } = make("none");
  none.persist(END);
  assertFalse(none.persistLoosely(DATUM));
  assertEquals([none.isOn, none.mayPromise, none.skipped], [false, true, 0]);
  assertEquals(take(), []);
});

for (
  const [state, mayPromise] of [
    ["loading", false],
    ["ready", true],
    ["refusing", false],
  ] as const
) {
  Deno.test(`Persistence.persist() tells all while the store is ${state}`, () => {
    const { persistence, take } = make(state);
    assertEquals([persistence.isOn, persistence.mayPromise], [
      true,
      mayPromise,
    ]);
    persistence.persist(END);
    persistence.persist(DATUM);
    assertEquals(take(), [END, DATUM]);
  });
}

for (const state of ["loading", "busy", "refusing"] as const) {
  Deno.test(`Persistence.persistLoosely() leaves out, and counts, while the store is ${state}`, () => {
    const { persistence, take } = make(state);
    assertFalse(persistence.persistLoosely(DATUM));
    assertFalse(persistence.persistLoosely(DATUM));
    assertEquals([take(), persistence.skipped], [[], 2]);
    persistence.state = "ready";
    assert(persistence.persistLoosely(DATUM));
    assertEquals([take(), persistence.skipped], [[DATUM], 2]);
  });
}

Deno.test("SessionPersistence.persist() persists each change under the session's number", () => {
  const { session, take } = make("ready");
  const changes: SessionChange[] = [
    {
      type: "session",
      clientId: "ann",
      isClean: false,
      state: "active",
      peer: undefined,
      allowedMs: 0,
      duration: 0,
      announcedWill: false,
      leftAt: 0,
      will: undefined,
    },
    { type: "subscription", topicFilter: "a", qos: 1, isPending: false },
    { type: "begun", topicFilter: "a", topicName: "a" },
    {
      type: "topicId",
      topicName: "a",
      topicId: 1,
      aliasType: undefined,
      aliasId: 0,
      isRegistered: true,
      isSubscribed: false,
    },
    { type: "received", msgId: 4, digest: 5, until: undefined },
    { type: "receivedEnd", msgId: 4 },
    { type: "topicIdEnd", topicName: "a" },
    { type: "begunEnd", topicFilter: "a" },
    { type: "subscriptionEnd", topicFilter: "a" },
    { type: "sessionEnd" },
  ];
  for (const change of changes) session.persist(change);
  assertEquals(
    take(),
    changes.map((change) => ({ ...change, session: 7 })) as StoreChange[],
  );
});

Deno.test("SessionPersistence.persistMessage() persists a change as it is", () => {
  const { session, take } = make("ready");
  const changes: MessageChange[] = [
    QUEUED,
    { type: "inFlight", session: 7, seq: 3, msgId: 9, isReleased: true },
    { type: "queuedEnd", session: 7, seq: 3 },
  ];
  for (const change of changes) assert(session.persistMessage(change));
  assertEquals([session.session, take()], [7, changes as StoreChange[]]);
});

Deno.test("SessionPersistence.persistMessage() leaves out what nobody was promised, and nothing else", () => {
  const { session, persistence, take } = make("refusing");
  assertFalse(session.mayPromise);
  assertFalse(session.persistMessage({ ...QUEUED, qos: 0 }));
  assertEquals([take(), persistence.skipped], [[], 1]);
  assert(session.persistMessage(QUEUED));
  assertEquals(take().length, 1);
  persistence.state = "ready";
  assert(session.mayPromise);
  assert(session.persistMessage({ ...QUEUED, qos: 0 }));
});

Deno.test("NOT_PERSISTED has no persistence", () => {
  assertEquals(NOT_PERSISTED.persistence, undefined);
});
