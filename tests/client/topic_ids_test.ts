/**
 * The topic ids that a client knows.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { KnownTopicIds } from "../../client/topic_ids.ts";
import type { Publish } from "../../wire/packets.ts";
import { publishOf } from "../support/gateway.ts";

const PREDEFINED = new Map([[5, "p/five"]]);

const make = () => new KnownTopicIds(PREDEFINED);

function named(
  topics: KnownTopicIds,
  topicId: number,
  topicIdType: Publish["topicIdType"] = "normal",
): string | undefined {
  return topics.nameOf(publishOf(topicId, "x", { topicIdType }));
}

Deno.test("nameOf() knows each kind of topic apart", () => {
  const topics = make();
  topics.learn("a", 5);
  topics.learn("b", 0x6162);
  assertEquals(named(topics, 5), "a");
  assertEquals(named(topics, 5, "predefined"), "p/five");
  assertEquals(named(topics, 0x6162), "b");
  assertEquals(named(topics, 0x6162, "short"), "ab");
  assertEquals(named(topics, 5, "reserved"), undefined);
  assertEquals(named(topics, 7), undefined);
});

Deno.test("nameOf() takes a pre-defined id without a name for its own", () => {
  assertEquals(named(make(), 7, "predefined"), "7");
});

Deno.test("idOf() knows no pre-defined topic: names are registered", () => {
  assertEquals(make().idOf("p/five"), undefined);
});

Deno.test("learn() gives an id to its latest name", () => {
  const topics = make();
  topics.learn("a", 1);
  topics.learn("b", 1);
  assertEquals(topics.idOf("a"), undefined);
  assertEquals(topics.idOf("b"), 1);
  assertEquals(named(topics, 1), "b");
});

Deno.test("learn() publishes under a name's latest id, and understands the old", () => {
  const topics = make();
  topics.learn("a", 1);
  topics.learn("a", 2);
  assertEquals(topics.idOf("a"), 2);
  assertEquals(named(topics, 1), "a");
  assertEquals(named(topics, 2), "a");
});

Deno.test("forget() of an old id leaves a name its latest", () => {
  const topics = make();
  topics.learn("a", 1);
  topics.learn("a", 2);
  topics.forget(1);
  assertEquals(topics.idOf("a"), 2);
  assertEquals(named(topics, 1), undefined);
  topics.forget(2);
  assertEquals(topics.idOf("a"), undefined);
  topics.forget(99); // it was never known
});

Deno.test("learn() for another name leaves the one that has moved on", () => {
  const topics = make();
  topics.learn("a", 1);
  topics.learn("a", 2);
  topics.learn("b", 1);
  assertEquals(topics.idOf("a"), 2);
  assertEquals(named(topics, 1), "b");
});

Deno.test("distrust() asks anew, and still understands what comes", () => {
  const topics = make();
  topics.learn("a", 1);
  topics.distrust();
  assertEquals(topics.idOf("a"), undefined);
  assertEquals(named(topics, 1), "a");
  topics.forget(1);
  assertEquals(named(topics, 1), undefined);
});

Deno.test("clear() forgets all but what is pre-defined", () => {
  const topics = make();
  topics.learn("a", 1);
  topics.clear();
  assertEquals(topics.idOf("a"), undefined);
  assertEquals(named(topics, 1), undefined);
  assertEquals(named(topics, 5, "predefined"), "p/five");
});

Deno.test("KnownTopicIds is as two tables are, however many topics there are", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const topics = make();
    const idByName = new Map<string, number>();
    const nameById = new Map<number, string>();
    const many = seed % 2 === 0 ? 6 : 30;
    const draw = () => Math.floor(random() * many);
    for (let step = 0; step < 500; step++) {
      const [name, id, chance] = [`t${draw()}`, 1 + draw(), random()];
      if (chance < 0.6) {
        topics.learn(name, id);
        const last = nameById.get(id);
        if (last !== undefined && idByName.get(last) === id) {
          idByName.delete(last);
        }
        idByName.set(name, id);
        nameById.set(id, name);
      } else if (chance < 0.96) {
        topics.forget(id);
        const last = nameById.get(id);
        nameById.delete(id);
        if (last !== undefined && idByName.get(last) === id) {
          idByName.delete(last);
        }
      } else if (chance < 0.99) {
        topics.distrust();
        idByName.clear();
      } else {
        topics.clear();
        idByName.clear();
        nameById.clear();
      }
      for (let at = 0; at <= many; at++) {
        assertEquals(topics.idOf(`t${at}`), idByName.get(`t${at}`));
        assertEquals(topics.nameOfId(at), nameById.get(at));
        assertEquals(named(topics, at), nameById.get(at));
      }
    }
  }
});
