import { assert, assertEquals, assertFalse } from "@std/assert";
import { EffectQueue } from "../../base/machine.ts";
import {
  NOT_KEPT,
  Persistence,
  SessionKeeper,
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
  return { persistence, take, keeper: new SessionKeeper(persistence, 7) };
}

const DATUM = { type: "datum", seq: 1, topicName: "a", text: "1" } as const;
const END = { type: "retainedEnd", topicName: "a" } as const;
const QUEUED = {
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

Deno.test("SessionKeeper says whose each record is", () => {
  const { keeper, take } = make("ready");
  const session = {
    clientId: "ann",
    isClean: false,
    state: "active",
    peer: undefined,
    allowedMs: 0,
    duration: 0,
    announcedWill: false,
    leftAt: 0,
    will: undefined,
  } as const;
  const topicId = {
    topicName: "a",
    topicId: 1,
    aliasType: undefined,
    aliasId: 0,
    isRegistered: true,
    isSubscribed: false,
  };
  keeper.put(session);
  keeper.putSubscription({ topicFilter: "a", qos: 1, isPending: false });
  keeper.putTopicId(topicId);
  assert(keeper.putQueued(QUEUED));
  keeper.putInFlight(3, 9, true);
  keeper.putReceived({ msgId: 4, digest: 5, until: undefined });
  keeper.endReceived(4);
  keeper.endQueued(3);
  keeper.endTopicId("a");
  keeper.endSubscription("a");
  keeper.end();
  assertEquals(take(), [
    { type: "session", session: 7, ...session },
    {
      type: "subscription",
      session: 7,
      topicFilter: "a",
      qos: 1,
      isPending: false,
    },
    { type: "topicId", session: 7, ...topicId },
    { type: "queued", session: 7, ...QUEUED },
    { type: "inFlight", session: 7, seq: 3, msgId: 9, isReleased: true },
    { type: "received", session: 7, msgId: 4, digest: 5, until: undefined },
    { type: "receivedEnd", session: 7, msgId: 4 },
    { type: "queuedEnd", session: 7, seq: 3 },
    { type: "topicIdEnd", session: 7, topicName: "a" },
    { type: "subscriptionEnd", session: 7, topicFilter: "a" },
    { type: "sessionEnd", session: 7 },
  ]);
});

Deno.test("SessionKeeper.putQueued() leaves out what nobody was promised, and nothing else", () => {
  const { keeper, persistence, take } = make("refusing");
  assertFalse(keeper.mayPromise);
  assertFalse(keeper.putQueued({ ...QUEUED, qos: 0 }));
  assertEquals([take(), persistence.skipped], [[], 1]);
  assert(keeper.putQueued(QUEUED));
  assertEquals(take().length, 1);
  persistence.state = "ready";
  assert(keeper.mayPromise);
  assert(keeper.putQueued({ ...QUEUED, qos: 0 }));
});

Deno.test("SessionKeeper.putQueued() takes the fields of a record and no others", () => {
  const { keeper, take } = make("ready");
  const more = { ...QUEUED, secret: 1 };
  keeper.putQueued(more);
  assertEquals(take(), [{ type: "queued", session: 7, ...QUEUED }]);
});

Deno.test("NOT_KEPT has no keeper", () => {
  assertEquals(NOT_KEPT.keeper, undefined);
});
