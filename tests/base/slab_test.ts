import { assert, assertEquals } from "@std/assert";
import { allocate, copyOf } from "../../base/slab.ts";

const SIZES = [0, 1, 7, 128, 129, 1_000, 1_024, 1_025, 20_000];

for (
  const [name, make] of [
    ["allocate", (size: number) => allocate(size)],
    ["copyOf", (size: number) => copyOf(new Uint8Array(size))],
  ] as const
) {
  Deno.test(`${name}() gives no octet out twice, and none that is not 0`, () => {
    const made = [];
    for (let i = 0; i < 2_000; i++) {
      const size = SIZES[i % SIZES.length]!;
      const octets = make(size);
      assertEquals(octets.length, size);
      assert(octets.every((octet) => octet === 0));
      made.push(octets.fill(1 + i % 255));
    }
    for (const [i, octets] of made.entries()) {
      assert(octets.every((octet) => octet === 1 + i % 255));
    }
  });
}

Deno.test("copyOf() copies, a view of its own octets too", () => {
  for (const size of SIZES) {
    const octets = Uint8Array.from({ length: size }, (_, i) => i);
    const first = copyOf(octets);
    const second = copyOf(first.subarray(size >> 1));
    octets.fill(0);
    assertEquals(first, Uint8Array.from({ length: size }, (_, i) => i));
    first.fill(0);
    const rest = Array.from({ length: size }, (_, i) => i).slice(size >> 1);
    assertEquals(second, Uint8Array.from(rest));
  }
});

Deno.test("copyOf() has what stays alone keep no more than 1 KiB", () => {
  for (const size of SIZES) {
    const { buffer } = copyOf(new Uint8Array(size));
    assert(buffer.byteLength <= Math.max(1_024, size));
  }
});
