import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { type Random, seededRandom } from "../../base/clock.ts";
import { parseNetSpec } from "../../netsim/spec_text.ts";
import { Netem } from "../../netsim/netem.ts";
import type { PathSpec } from "../../netsim/spec.ts";

/** Each statistic is of as many datagrams, and is told with its seed. */
const MANY = 200_000;
const SEED = 20_240_229;

function pathOf(text: string): PathSpec {
  return parseNetSpec(text).out;
}

function netem(text: string, random: Random = seededRandom(SEED)): Netem {
  return new Netem(pathOf(text), random);
}

const DATAGRAM = new Uint8Array(64);

/** When each of so many datagrams arrives, `undefined` for those that do not. */
function fates(
  path: Netem,
  count = MANY,
  everyMs = 1_000_000,
): (number | undefined)[] {
  const all: (number | undefined)[] = [];
  for (let i = 0; i < count; i++) {
    const now = i * everyMs;
    let delay: number | undefined;
    path.send(now, DATAGRAM, (at) => delay = at - now);
    all.push(delay);
  }
  return all;
}

function lossesOf(path: Netem, count = MANY): boolean[] {
  return fates(path, count).map((delay) => delay === undefined);
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviationOf(values: readonly number[]): number {
  const mean = meanOf(values);
  return Math.sqrt(meanOf(values.map((value) => (value - mean) ** 2)));
}

/** How much each value is like the one before: the autocorrelation at lag 1. */
function correlationOf(values: readonly number[]): number {
  const mean = meanOf(values);
  let sum = 0;
  for (let i = 1; i < values.length; i++) {
    sum += (values[i - 1]! - mean) * (values[i]! - mean);
  }
  return sum / (values.length - 1) / deviationOf(values) ** 2;
}

/** Within five standard deviations of what a fair coin of that chance gives. */
function assertShare(count: number, of: number, chance: number): void {
  const bound = 5 * Math.sqrt(of * chance * (1 - chance));
  assertAlmostEquals(count, of * chance, bound, `seed ${SEED}`);
}

const count = (all: readonly boolean[]) => all.filter(Boolean).length;

Deno.test("Netem sends on at once what nothing happens to, and does not copy it", () => {
  const path = new Netem({}, () => {
    throw new Error("It drew from chance");
  });
  const arrived: [number, Uint8Array][] = [];
  path.send(7, DATAGRAM, (at, bytes) => arrived.push([at, bytes]));
  assertEquals(arrived.length, 1);
  assertEquals(arrived[0]![0], 7);
  assert(arrived[0]![1] === DATAGRAM);
});

for (const chance of [0.001, 0.1, 0.5]) {
  Deno.test(`Netem loses ${chance * 100}% and says so`, () => {
    const path = netem(`loss ${chance * 100}%`);
    const lost = count(lossesOf(path));
    assertShare(lost, MANY, chance);
    assertEquals(path.counts.lost, lost);
    assertEquals(path.counts.sent, MANY);
    assertEquals(path.counts.delivered, MANY - lost);
  });
}

Deno.test("Netem loses all at 100% and none at 0%", () => {
  assertEquals(count(lossesOf(netem("loss 100%"), 1_000)), 1_000);
  assertEquals(count(lossesOf(netem("loss 0%"), 1_000)), 0);
});

for (const correlation of [0.25, 0.5, 0.9]) {
  Deno.test(`Netem's losses keep their rate with a correlation of ${correlation}`, () => {
    const lost = lossesOf(netem(`loss 10% ${correlation * 100}%`));
    const share = count(lost) / MANY;
    // What follows each other so closely tells less: a wider bound than above.
    assertAlmostEquals(share, 0.1, 0.1 * 0.08, `seed ${SEED}`);
    const pairs = lost.filter((isLost, i) => isLost && lost[i - 1] === true);
    const again = pairs.length / count(lost);
    assert(again > 0.1 + correlation * 0.15, `${again} after a loss`);
  });
}

Deno.test("Netem's delays correlate as they were told to", () => {
  for (const law of ["uniform", "normal", "pareto"]) {
    for (const correlation of [0.25, 0.75]) {
      const path = netem(
        `delay 500ms 50ms ${correlation * 100}% distribution ${law}`,
      );
      // Ranks say it of any law, and of pareto's the moments hardly exist.
      const delays = fates(path).map((delay) => delay!);
      const sorted = Float64Array.from(delays).sort();
      const ranks = delays.map((delay) => rankOf(sorted, delay));
      assertAlmostEquals(
        correlationOf(ranks),
        correlation,
        0.03,
        `${law}, seed ${SEED}`,
      );
    }
  }
});

function rankOf(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

Deno.test("Netem loses in bursts by the model of Gilbert and Elliott", () => {
  const [p, r] = [0.02, 0.25];
  const lost = lossesOf(netem("loss gemodel 2% 25%"), MANY);
  // In a bad path every datagram is lost: a burst is as long as it stays bad.
  const bursts: number[] = [];
  for (let i = 0; i < lost.length; i++) {
    if (!lost[i]) continue;
    if (lost[i - 1]) bursts[bursts.length - 1]!++;
    else bursts.push(1);
  }
  assertAlmostEquals(count(lost) / MANY, p / (p + r), 0.003, `seed ${SEED}`);
  assertAlmostEquals(meanOf(bursts), 1 / r, 0.2, `seed ${SEED}`);
  // Geometric: a burst ends after each of its losses with the same chance.
  for (const length of [1, 2, 3]) {
    const reached = bursts.filter((burst) => burst >= length);
    const ended = reached.filter((burst) => burst === length);
    assertShare(ended.length, reached.length, r);
  }
});

Deno.test("Netem's bad path lets some through, and its good one loses some", () => {
  const [p, r, bad, good] = [0.1, 0.3, 0.7, 0.01];
  const lost = count(lossesOf(netem("loss gemodel 10% 30% 70% 1%")));
  const badShare = p / (p + r);
  const expected = badShare * bad + (1 - badShare) * good;
  assertAlmostEquals(lost / MANY, expected, 0.005, `seed ${SEED}`);
});

Deno.test("Netem with gemodel's first chance alone loses that share", () => {
  assertShare(count(lossesOf(netem("loss gemodel 7%"))), MANY, 0.07);
});

const MOMENTS = [
  // The law, its standard deviation, the least and the most of it in jitters.
  ["uniform", 1 / Math.sqrt(3), -1, 1],
  ["normal", 1, -6, 6],
  ["pareto", 1, -1 / Math.sqrt(3), Infinity],
] as const;

for (const [law, deviation, least, most] of MOMENTS) {
  Deno.test(`Netem spreads delays by the ${law} distribution`, () => {
    const path = netem(`delay 1s 50ms distribution ${law}`);
    const delays = fates(path).map((delay) => delay!);
    assertAlmostEquals(meanOf(delays), 1_000, 1, `seed ${SEED}`);
    // Pareto's fourth moment does not exist: samples of it settle slowly.
    const slack = law === "pareto" ? 12 : 0.5;
    assertAlmostEquals(deviationOf(delays), 50 * deviation, slack);
    const sorted = Float64Array.from(delays).sort();
    const [min, max] = [sorted[0]!, sorted.at(-1)!];
    assert(min >= 1_000 + 50 * least - 1e-6, `${min}`);
    assert(max <= 1_000 + 50 * most, `${max}`);
  });
}

Deno.test("Netem's normal delays lie where a bell has them", () => {
  const delays = fates(netem("delay 1s 50ms distribution normal"));
  for (const [deviations, share] of [[-1, 0.1587], [0, 0.5], [2, 0.9772]]) {
    const below = delays.filter((delay) => delay! < 1_000 + 50 * deviations!);
    assertShare(below.length, MANY, share!);
  }
});

Deno.test("Netem's pareto delays have its tail", () => {
  const delays = fates(netem("delay 1s 50ms distribution pareto"));
  // P(X > x) = x^-3; in jitters it is (x - 3/2) / sqrt(3/4).
  for (const x of [1.5, 3, 10]) {
    const bound = 1_000 + 50 * (x - 1.5) / Math.sqrt(0.75);
    const above = delays.filter((delay) => delay! > bound);
    assertShare(above.length, MANY, x ** -3);
  }
});

Deno.test("Netem never lets a datagram arrive before it was sent", () => {
  const delays = fates(netem("delay 1ms 50ms distribution normal"), 10_000);
  assert(delays.every((delay) => delay! >= 0));
  assert(delays.some((delay) => delay === 0));
});

Deno.test("Netem sends as many bits a second as its rate says", () => {
  const path = netem("rate 9600bit limit 1000000");
  let last = 0;
  let bits = 0;
  for (let i = 0; i < 1_000; i++) {
    const length = 10 + i % 50;
    bits += length * 8;
    path.send(0, new Uint8Array(length), (at) => last = at);
  }
  assertAlmostEquals(bits / (last / 1_000), 9_600, 1e-6);
});

Deno.test("Netem's rate counts headers, waits for nobody, and comes after the delay", () => {
  const path = netem("delay 100ms rate 8kbit 6");
  const arrivals: number[] = [];
  const send = (now: number) =>
    path.send(now, new Uint8Array(4), (at) => arrivals.push(at));
  send(0);
  send(0);
  send(5_000);
  assertEquals(arrivals, [110, 120, 5_110]);
});

Deno.test("Netem keeps the order under a rate, whatever the jitter", () => {
  const path = netem("delay 100ms 100ms rate 1mbit limit 100000");
  const arrivals: number[] = [];
  for (let i = 0; i < 5_000; i++) {
    path.send(i, DATAGRAM, (at) => arrivals.push(at));
  }
  assertEquals(arrivals, arrivals.toSorted((one, other) => one - other));
  assertEquals(path.counts.reordered, 0);
});

Deno.test("Netem lets datagrams overtake each other by jitter alone", () => {
  const path = netem("delay 100ms 50ms");
  const arrivals: number[] = [];
  for (let i = 0; i < 5_000; i++) {
    path.send(i, DATAGRAM, (at) => arrivals.push(at));
  }
  let latest = -Infinity;
  let overtaking = 0;
  for (const at of arrivals) {
    if (at < latest) overtaking++;
    else latest = at;
  }
  assert(overtaking > 1_000);
  assertEquals(path.counts.reordered, overtaking);
});

Deno.test("Netem's limit is how many are under way, and it loses the rest", () => {
  const path = netem("rate 8kbit limit 3");
  const arrivals: number[] = [];
  const send = (now: number) =>
    path.send(now, new Uint8Array(10), (at) => arrivals.push(at));
  for (let i = 0; i < 5; i++) send(0);
  assertEquals(arrivals, [10, 20, 30]);
  assertEquals(path.counts.queueFull, 2);
  assertEquals(path.underWay(9), 3);
  send(10); // by now the first has arrived
  assertEquals(arrivals, [10, 20, 30, 40]);
  assertEquals(path.underWay(40), 0);
});

Deno.test("Netem's limit holds under jitter, and is 1000 unless told", () => {
  const path = netem("delay 1s 500ms");
  for (let i = 0; i < 1_500; i++) path.send(0, DATAGRAM, () => {});
  assertEquals(path.counts.delivered, 1_000);
  assertEquals(path.counts.queueFull, 500);
});

Deno.test("Netem remembers under way exactly what has not arrived", () => {
  const random = seededRandom(SEED);
  const path = netem("delay 100ms 100ms limit 40");
  let pending: number[] = [];
  for (let now = 0; now < 20_000; now += Math.floor(random() * 8)) {
    pending = pending.filter((at) => at > now);
    assertEquals(path.underWay(now), pending.length);
    const isFull = pending.length >= 40;
    const before = path.counts.queueFull;
    path.send(now, DATAGRAM, (at) => pending.push(at));
    assertEquals(path.counts.queueFull - before, isFull ? 1 : 0);
  }
});

Deno.test("Netem doubles 5%, both copies whole", () => {
  const path = netem("duplicate 5%");
  let arrived = 0;
  for (let i = 0; i < MANY; i++) {
    path.send(i, DATAGRAM, (_at, bytes) => {
      arrived++;
      assert(bytes === DATAGRAM);
    });
  }
  assertShare(path.counts.duplicated, MANY, 0.05);
  assertEquals(arrived, MANY + path.counts.duplicated);
});

Deno.test("Netem flips one bit of a copy of its own", () => {
  const path = netem("corrupt 1%");
  const original = Uint8Array.from({ length: 16 }, (_, i) => i * 17);
  const sent = original.slice();
  const places = new Set<number>();
  for (let i = 0; i < MANY; i++) {
    path.send(i, sent, (_at, bytes) => {
      if (bytes === sent) return;
      let flips = 0;
      bytes.forEach((octet, place) => {
        for (let bit = 0; bit < 8; bit++) {
          if (((octet ^ original[place]!) >> bit & 1) === 0) continue;
          flips++;
          places.add(place * 8 + bit);
        }
      });
      assertEquals(flips, 1);
    });
  }
  assertEquals(sent, original);
  assertShare(path.counts.corrupted, MANY, 0.01);
  assertEquals(places.size, 128);
});

Deno.test("Netem has nothing to flip in an empty datagram", () => {
  const lengths: number[] = [];
  netem("corrupt 100%").send(
    0,
    new Uint8Array(),
    (_at, bytes) => lengths.push(bytes.length),
  );
  assertEquals(lengths, [0]);
});

Deno.test("Netem lets a share overtake, and every how many-th at most", () => {
  for (const [gap, chance] of [[1, 0.25], [5, 0.5]]) {
    const path = netem(`delay 50ms reorder ${chance! * 100}% gap ${gap}`);
    const early = fates(path, MANY).map((delay) => delay === 0);
    let last = -gap!;
    early.forEach((isEarly, i) => {
      if (!isEarly) return;
      assert(i - last >= gap!);
      last = i;
    });
    // Behind a gap each has the chance: one in gap - 1 + 1 / chance overtakes.
    const expected = MANY / (gap! - 1 + 1 / chance!);
    assertAlmostEquals(count(early), expected, expected * 0.03);
  }
});

Deno.test("Netem drops what is longer than its MTU", () => {
  const path = netem("mtu 64");
  const lengths: number[] = [];
  for (const length of [63, 64, 65]) {
    path.send(
      0,
      new Uint8Array(length),
      (_at, bytes) => lengths.push(bytes.length),
    );
  }
  assertEquals(lengths, [63, 64]);
  assertEquals(path.counts.tooLong, 1);
});

Deno.test("Netem is down at the end of each period", () => {
  const path = new Netem(
    pathOf("down 10s every 60s"),
    seededRandom(SEED),
    5_000,
  );
  const got: number[] = [];
  for (const second of [5, 54, 55, 64, 65, 114, 115, 124, 125]) {
    path.send(second * 1_000, DATAGRAM, () => got.push(second));
  }
  assertEquals(got, [5, 54, 65, 114, 125]);
  assertEquals(path.counts.down, 4);
});

Deno.test("Netem that is down stays so", () => {
  const path = netem("down");
  for (let i = 0; i < 100; i++) path.send(i * 777.7, DATAGRAM, () => {});
  assertEquals(path.counts.delivered, 0);
});

Deno.test("Netem.set() changes what happens from then on", () => {
  const path = netem("delay 100ms");
  const arrivals: number[] = [];
  const send = (now: number) =>
    path.send(now, DATAGRAM, (at) => arrivals.push(at));
  send(0);
  path.set(pathOf("off"));
  send(10);
  path.set(pathOf("loss 100%"));
  send(20);
  assertEquals(arrivals, [100, 10]);
  assertEquals(path.counts.reordered, 1);
  assertEquals(path.counts.lost, 1);
});

Deno.test("Netem gives the same run for the same seed, and another for another", () => {
  const text =
    "loss 5% 20% delay 50ms 20ms 30% distribution pareto duplicate 3% corrupt 2% reorder 10%";
  const run = (seed: number) => {
    const path = netem(text, seededRandom(seed));
    const lines: string[] = [];
    for (let i = 0; i < 2_000; i++) {
      const bytes = new Uint8Array(i % 40).fill(i);
      path.send(i * 3, bytes, (at, got) => lines.push(`${at} ${got}`));
    }
    return lines;
  };
  assertEquals(run(1), run(1));
  assert(run(1).join() !== run(2).join());
});
