import { assertEquals } from "@std/assert";
import { TopicTable } from "../../wire/topic_table.ts";
import { seededRandom } from "../../base/clock.ts";

interface Entry {
  readonly topicName: string;
  topicId: number;
}

/** A table whose owner is the test. */
class Open extends TopicTable<Entry> {
  override insert(entry: Entry): void {
    super.insert(entry);
  }
  override index(entry: Entry): void {
    super.index(entry);
  }
  override remove(entry: Entry): void {
    super.remove(entry);
  }
  get names(): string[] {
    return [...this.entries].map(({ topicName }) => topicName);
  }
}

Deno.test("TopicTable finds few and many by name and by id, in the order in which they came", () => {
  const table = new Open();
  const names: string[] = [];
  for (let topicId = 1; topicId <= 20; topicId++) {
    const topicName = `t/${topicId}`;
    names.push(topicName);
    table.insert({ topicName, topicId });
    assertEquals(table.names, names);
    assertEquals(table.size, topicId);
    for (let id = 1; id <= topicId; id++) {
      assertEquals(table.at(id)?.topicName, `t/${id}`);
      assertEquals(table.get(`t/${id}`)?.topicId, id);
    }
    assertEquals([table.at(topicId + 1), table.get("t/0")], [
      undefined,
      undefined,
    ]);
  }
  table.clear();
  assertEquals([table.size, table.at(1), table.get("t/1")], [
    0,
    undefined,
    undefined,
  ]);
});

for (const others of [0, 12]) {
  const filled = (): Open => {
    const table = new Open();
    for (let i = 0; i < others; i++) {
      table.insert({ topicName: `o/${i}`, topicId: 100 + i });
    }
    return table;
  };

  Deno.test(`TopicTable finds a topic by the id that it gets later, beside ${others} others`, () => {
    const table = filled();
    const entry = { topicName: "a", topicId: 0 };
    table.insert(entry);
    table.insert({ topicName: "b", topicId: 0 });
    assertEquals([table.at(0), table.get("a")], [undefined, entry]);
    entry.topicId = 7;
    table.index(entry);
    assertEquals(table.at(7), entry);
  });

  Deno.test(`TopicTable has the last of a name, and the earlier by its id, beside ${others} others`, () => {
    const table = filled();
    const [one, two] = [5, 6].map((topicId) => ({ topicName: "a", topicId }));
    table.insert(one!);
    table.insert(two!);
    assertEquals(table.get("a"), two);
    assertEquals(table.at(5), one);
    table.remove(one!);
    assertEquals([table.get("a"), table.at(5), table.at(6)], [
      two,
      undefined,
      two,
    ]);
    table.remove(two!);
    assertEquals([table.get("a"), table.at(6)], [undefined, undefined]);
  });
}

Deno.test("TopicTable has the same as two maps, for any order of coming and going", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const table = new Open();
    const model = new Map<string, Entry>();
    for (let step = 0; step < 60; step++) {
      const topicName = `t/${below(14)}`;
      const there = model.get(topicName);
      assertEquals(table.get(topicName), there, `seed ${seed}`);
      if (there === undefined) {
        const entry = { topicName, topicId: 1 + step };
        table.insert(entry);
        model.set(topicName, entry);
      } else {
        table.remove(there);
        model.delete(topicName);
        assertEquals(table.at(there.topicId), undefined, `seed ${seed}`);
      }
      assertEquals(table.names, [...model.keys()], `seed ${seed}`);
      for (const entry of model.values()) {
        assertEquals(table.at(entry.topicId), entry, `seed ${seed}`);
      }
    }
  }
});
