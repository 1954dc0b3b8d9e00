import { assertEquals } from "@std/assert";
import { Deque } from "../../base/deque.ts";

function dequeOf(...items: number[]): Deque<number> {
  const deque = new Deque<number>();
  for (const item of items) deque.push(item);
  return deque;
}

Deno.test("Deque is empty at the start, and again when all have left", () => {
  const deque = dequeOf();
  for (let round = 0; round < 3; round++) {
    const { size, first, last } = deque;
    assertEquals([size, first, last], [0, undefined, undefined]);
    assertEquals([deque.shift(), [...deque]], [undefined, []]);
    deque.push(round);
    assertEquals([deque.size, deque.first, deque.last], [1, round, round]);
    assertEquals(deque.shift(), round);
  }
});

Deno.test("Deque.shift() takes items out in the order in which they came", () => {
  for (const length of [1, 2, 1_023, 1_024, 1_025, 5_000]) {
    const deque = dequeOf(...new Array(length).keys());
    for (let i = 0; i < length; i++) {
      assertEquals([deque.size, deque.first], [length - i, i]);
      assertEquals(deque.shift(), i);
    }
    assertEquals([deque.size, deque.shift()], [0, undefined]);
  }
});

Deno.test("Deque keeps the order while items come and go", () => {
  const deque = dequeOf();
  const array: number[] = [];
  for (let i = 0; i < 10_000; i++) {
    deque.push(i);
    array.push(i);
    if (i % 3 > 0) assertEquals(deque.shift(), array.shift());
    if (i % 1_000 > 0) continue;
    assertEquals([...deque], array);
    assertEquals([deque.first, deque.last], [array[0], array.at(-1)]);
  }
  assertEquals([...deque], array);
});

Deno.test("Deque.take() takes the first item out that meets a condition", () => {
  const deque = dequeOf(0, 1, 2, 3, 4, 5);
  const isOdd = (item: number) => item % 2 === 1;
  deque.shift();
  assertEquals([deque.take(isOdd), [...deque]], [1, [2, 3, 4, 5]]);
  assertEquals([deque.take(isOdd), [...deque]], [3, [2, 4, 5]]);
  assertEquals([deque.take(isOdd), [...deque]], [5, [2, 4]]);
  assertEquals([deque.take(isOdd), [...deque]], [undefined, [2, 4]]);
});

Deno.test("Deque.clear() takes all items out", () => {
  const deque = dequeOf(1, 2, 3);
  deque.shift();
  deque.clear();
  assertEquals([deque.size, deque.first, [...deque]], [0, undefined, []]);
  deque.push(4);
  assertEquals([...deque], [4]);
});
