import { assert, assertEquals, assertFalse } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import type { TopicFilter } from "../../wire/message.ts";
import {
  matchesFilter,
  parseTopicFilter,
  parseTopicName,
} from "../../wire/topics.ts";
import { SubscriptionTrie } from "../../wire/topic_trie.ts";

interface Client {
  readonly id: string;
}

const name = (text: string) => parseTopicName(text)!;
const filter = (text: string) => parseTopicFilter(text)!;
const [ada, bob, eve]: readonly Client[] = ["ada", "bob", "eve"].map((id) => ({
  id,
}));

type Trie = SubscriptionTrie<Client, unknown>;

/** What a match visits, in an order that is easy to compare. */
function visits(trie: Trie, topicName: string): string[] {
  const visited: string[] = [];
  trie.match(
    name(topicName),
    ({ id }, grant) => visited.push(`${id} ${grant}`),
  );
  return visited.sort();
}

Deno.test("SubscriptionTrie.set() tells what is new, and replaces the grant", () => {
  for (const text of ["a/b", "a/+", "a/b/#", "+/b", "#"]) {
    const trie: Trie = new SubscriptionTrie();
    assert(trie.set(filter(text), ada!, 0));
    assertFalse(trie.set(filter(text), ada!, 1));
    assertEquals(visits(trie, "a/b"), ["ada 1"], text);
    assert(trie.set(filter(text), bob!, 2));
    assertFalse(trie.set(filter(text), ada!, undefined));
    assertEquals(visits(trie, "a/b"), ["ada undefined", "bob 2"], text);
    assertEquals(trie.size, 2);
  }
});

Deno.test("SubscriptionTrie.delete() takes away that subscription and no other", () => {
  for (const text of ["a/b", "a/+", "a/b/#", "+/b", "#"]) {
    const trie: Trie = new SubscriptionTrie();
    assertFalse(trie.delete(filter(text), ada!));
    for (const [i, client] of [ada!, bob!, eve!].entries()) {
      trie.set(filter(text), client, i);
    }
    assert(trie.delete(filter(text), bob!));
    assertFalse(trie.delete(filter(text), bob!));
    assertFalse(trie.delete(filter("a"), ada!));
    assertFalse(trie.delete(filter("a/b/c/+"), ada!));
    assertFalse(trie.delete(filter("a/#"), ada!));
    assertEquals(visits(trie, "a/b"), ["ada 0", "eve 2"], text);
    assert(trie.delete(filter(text), ada!));
    assertEquals(visits(trie, "a/b"), ["eve 2"], text);
    assert(trie.delete(filter(text), eve!));
    assertEquals(visits(trie, "a/b"), [], text);
    assertEquals(trie.size, 0);
  }
});

Deno.test("SubscriptionTrie.match() visits a subscriber once for each of its filters", () => {
  const trie: Trie = new SubscriptionTrie();
  const filters = ["a/b", "a/+", "+/b", "+/+", "a/#", "a/b/#", "+/#", "#"];
  for (const text of filters) trie.set(filter(text), ada!, text);
  for (const text of ["a", "b/+", "a/b/+", "+", "/#"]) {
    trie.set(filter(text), ada!, text);
  }
  assertEquals(
    visits(trie, "a/b"),
    filters.map((text) => `ada ${text}`).sort(),
  );
});

Deno.test("SubscriptionTrie.match() shows $ only to who asks for it", () => {
  const trie: Trie = new SubscriptionTrie();
  for (const text of ["#", "+/#", "+/x", "+", "$SYS/#", "$SYS/+", "$SYS/x"]) {
    trie.set(filter(text), ada!, text);
  }
  assertEquals(visits(trie, "$SYS/x"), [
    "ada $SYS/#",
    "ada $SYS/+",
    "ada $SYS/x",
  ]);
  assertEquals(visits(trie, "$SYS"), ["ada $SYS/#"]);
  assertEquals(visits(trie, "/$SYS"), ["ada #", "ada +/#"]);
});

Deno.test("SubscriptionTrie.match() walks 200 levels and names of 65,535 octets", () => {
  const trie: Trie = new SubscriptionTrie();
  const deep = "a/".repeat(199);
  trie.set(filter("+/".repeat(199) + "+"), ada!, 0);
  trie.set(filter(deep + "#"), ada!, 1);
  assertEquals(visits(trie, deep + "a"), ["ada 0", "ada 1"]);
  const long = `${"x".repeat(32_000)}/${"é".repeat(16_000)}`;
  trie.set(filter(`${long}/+`), ada!, 2);
  assertEquals(visits(trie, `${long}/y`), ["ada 2"]);
});

Deno.test("SubscriptionTrie.hasBelow() is for filters that begin with the level", () => {
  const trie: Trie = new SubscriptionTrie();
  trie.set(filter("#"), ada!, 0);
  trie.set(filter("+/x"), ada!, 0);
  trie.set(filter("$SYSTEM/x"), ada!, 0);
  trie.set(filter("a/$SYS"), ada!, 0);
  assertFalse(trie.hasBelow("$SYS"));
  const filters = ["$SYS", "$SYS/#", "$SYS/uptime", "$SYS/+/x"].map(filter);
  for (const one of filters) {
    trie.set(one, ada!, 0);
    trie.set(one, ada!, 1);
    trie.set(one, bob!, 1);
  }
  for (const one of filters) {
    for (const client of [ada!, bob!]) {
      assert(trie.hasBelow("$SYS"));
      trie.delete(one, client);
      trie.delete(one, client);
    }
  }
  assertFalse(trie.hasBelow("$SYS"));
  assert(trie.hasBelow("+"));
  assert(trie.hasBelow("$SYSTEM"));
});

const LEVELS = ["", "a", "b", "$SYS", "a level of some length"];

Deno.test("SubscriptionTrie agrees with matchesFilter() on any set, and ends empty", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const pick = <T>(items: readonly T[]) => items[below(items.length)]!;
    const text = (levels: readonly string[], last: readonly string[]) =>
      [...Array.from({ length: below(4) }, () => pick(levels)), pick(last)]
        .join("/");
    const anyName = () => parseTopicName(text(LEVELS, LEVELS)) ?? name("a");
    const anyFilter = () =>
      parseTopicFilter(
        text([...LEVELS, "+", "+"], [...LEVELS, "+", "+", "#", "#"]),
      ) ?? filter("#");

    const clients = Array.from({ length: 4 }, (_, i) => ({ id: `${i}` }));
    const trie: Trie = new SubscriptionTrie();
    const pairs = new Map<string, [TopicFilter, Client, number]>();
    for (let step = 0; step < 400; step++) {
      const [one, client] = [anyFilter(), pick(clients)];
      const key = `${client.id} ${one}`;
      const hint = `seed ${seed}, step ${step}, "${one}"`;
      if (below(5) < 3) {
        assertEquals(trie.set(one, client, step), !pairs.has(key), hint);
        pairs.set(key, [one, client, step]);
      } else assertEquals(trie.delete(one, client), pairs.delete(key), hint);
      assertEquals(trie.size, pairs.size, hint);

      if (step % 4 > 0) continue;
      const topicName = anyName();
      const expected = [...pairs.values()]
        .filter(([one]) => matchesFilter(one, topicName))
        .map(([, { id }, grant]) => `${id} ${grant}`);
      assertEquals(
        visits(trie, topicName),
        expected.sort(),
        `${hint}, "${topicName}"`,
      );
      const first = pick(LEVELS);
      assertEquals(
        trie.hasBelow(first),
        [...pairs.values()].some(([one]) => one.split("/")[0] === first),
        hint,
      );
    }
    for (const [one, client] of pairs.values()) {
      assert(trie.delete(one, client), `seed ${seed}, "${one}"`);
    }
    assertEquals(trie.size, 0, `seed ${seed}`);
    for (const level of LEVELS) assertFalse(trie.hasBelow(level));
    for (let i = 0; i < 20; i++) assertEquals(visits(trie, anyName()), []);
  }
});
