import { assertEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import type { PathSpec } from "../../netsim/spec.ts";
import {
  NET_PRESETS,
  parseNetSpec,
  printNetSpec,
} from "../../netsim/spec_text.ts";

const plain = (chance: number) => ({ chance, correlation: 0 });

/** A word, and what it means. */
const WORDS: readonly (readonly [string, PathSpec])[] = [
  ["off", {}],
  ["loss 10%", { loss: plain(0.1) }],
  ["loss random 10%", { loss: plain(0.1) }],
  ["loss .5% 25%", { loss: { chance: 0.005, correlation: 0.25 } }],
  [
    "loss gemodel 1% 10% 70% 0.1%",
    {
      loss: { toBad: 0.01, toGood: 0.1, lossInBad: 0.7, lossInGood: 0.001 },
    },
  ],
  [
    "loss gemodel 20%",
    { loss: { toBad: 0.2, toGood: 0.8, lossInBad: 1, lossInGood: 0 } },
  ],
  [
    "delay 200ms",
    {
      delay: {
        ms: 200,
        jitterMs: 0,
        correlation: 0,
        distribution: "uniform",
      },
    },
  ],
  [
    "delay 1.5s 50ms 25% distribution normal",
    {
      delay: {
        ms: 1_500,
        jitterMs: 50,
        correlation: 0.25,
        distribution: "normal",
      },
    },
  ],
  [
    "delay 1ms 500us distribution pareto",
    {
      delay: {
        ms: 1,
        jitterMs: 0.5,
        correlation: 0,
        distribution: "pareto",
      },
    },
  ],
  ["duplicate 1% 50%", { duplicate: { chance: 0.01, correlation: 0.5 } }],
  ["corrupt 0.1%", { corrupt: plain(0.001) }],
  ["rate 9600bit", { rate: { bitsPerSecond: 9_600, overhead: 0 } }],
  ["rate 250kbit 28", { rate: { bitsPerSecond: 250_000, overhead: 28 } }],
  ["rate 1.5Mbit", { rate: { bitsPerSecond: 1_500_000, overhead: 0 } }],
  ["rate 2kbps", { rate: { bitsPerSecond: 16_000, overhead: 0 } }],
  ["limit 20", { limit: 20 }],
  ["mtu 128", { mtu: 128 }],
  ["down 10s every 1min", { down: { ms: 10_000, everyMs: 60_000 } }],
  ["down", { down: { ms: 1, everyMs: 1 } }],
  ["loss 1%, mtu 5; limit 2", { loss: plain(0.01), mtu: 5, limit: 2 }],
  ["loss 1% loss 2%", { loss: plain(0.02) }],
  ["loss 1% off mtu 9", { mtu: 9 }],
];

for (const [text, path] of WORDS) {
  Deno.test(`parseNetSpec() takes "${text}", and printNetSpec() gives it back`, () => {
    const net = parseNetSpec(text);
    assertEquals(net, { in: path, out: path, isShared: false, chosen: [] });
    assertEquals(parseNetSpec(printNetSpec(net)), net);
  });
}

Deno.test("parseNetSpec() takes each direction by itself", () => {
  const net = parseNetSpec("mtu 9 in: loss 1% out: loss 2% mtu 5 shared");
  assertEquals(net.in, { mtu: 9, loss: plain(0.01) });
  assertEquals(net.out, { mtu: 5, loss: plain(0.02) });
  assertEquals(net.isShared, true);
});

Deno.test("parseNetSpec() takes words for chosen peers, on top of everybody's", () => {
  const net = parseNetSpec(
    'loss 1% peer 10.0.0.7: mtu 9 peer [::1]:1883: in: off client lamp-*: loss 5% client "a: b": shared',
  );
  const one = { loss: plain(0.01) };
  assertEquals(net.in, one);
  assertEquals(net.chosen.map(({ who }) => who), [
    { hostname: "10.0.0.7", port: undefined },
    { hostname: "::1", port: 1_883 },
    { clientId: "lamp-*" },
    { clientId: "a: b" },
  ]);
  const paths = net.chosen.map(({ in: into, out }) => [into, out]);
  assertEquals(paths, [
    [{ ...one, mtu: 9 }, { ...one, mtu: 9 }],
    [{}, one],
    [{ loss: plain(0.05) }, { loss: plain(0.05) }],
    [one, one],
  ]);
  assertEquals(net.chosen.map(({ isShared }) => isShared).at(-1), true);
  assertEquals(parseNetSpec(printNetSpec(net)), net);
});

Deno.test("parseNetSpec() takes an address however it is written, as the system has it", () => {
  for (
    const [text, hostname] of [
      ["[0:0::1]", "::1"],
      ["[2001:DB8:0:0:0:0:0:9]", "2001:db8::9"],
      ["[FE80:0::1%eth0]", "fe80::1%eth0"],
      ["010.0.0.7", "10.0.0.7"],
    ]
  ) {
    const [chosen] = parseNetSpec(`peer ${text}: mtu 1`).chosen;
    assertEquals(chosen?.who, { hostname: hostname!, port: undefined });
  }
});

Deno.test("parseNetSpec() turns a preset to the side that it is on", () => {
  const broker = parseNetSpec("2g");
  const client = parseNetSpec("2g", { side: "client" });
  assertEquals(broker.in.rate?.bitsPerSecond, 28_800);
  assertEquals([client.in, client.out], [broker.out, broker.in]);
});

for (const name of NET_PRESETS.keys()) {
  Deno.test(`parseNetSpec() knows the preset ${name}, and lets words override it`, () => {
    const net = parseNetSpec(name);
    assertEquals(parseNetSpec(printNetSpec(net)), net);
    const other = parseNetSpec(`${name} mtu 77 in: loss 3%`);
    assertEquals(other.out, { ...net.out, mtu: 77 });
    assertEquals(other.in, { ...net.in, mtu: 77, loss: plain(0.03) });
    assertEquals(parseNetSpec(`loss 99% limit 3 ${name}`), net);
  });
}

/** What is wrong, the word that its message names, and what it shows. */
const WRONG: readonly (readonly [string, string, string])[] = [
  ["", '""', "loss 10% delay 50ms"],
  [" , ", '" , "', "loss 10% delay 50ms"],
  ["los 10%", '"los"', "loss, delay"],
  ["nb-iot", '"nb-iot"', "nbiot"],
  ["loss 10", '"10"', "loss PERCENT"],
  ["loss", "too early", "loss PERCENT"],
  ["loss 101%", '"101%"', "0% to 100%"],
  ["loss -1%", '"-1%"', "0% to 100%"],
  ["loss gemodel 1", '"1"', "gemodel P"],
  ["delay 200", '"200"', "200ms"],
  ["delay 200 ms", '"200"', "200ms"],
  ["delay 25h", '"25h"', "delay TIME"],
  ["delay 1s 5ms distribution bell", '"bell"', "uniform|normal|pareto"],
  ["delay 1s distribution normal", '"distribution"', "JITTER"],
  ["reorder 5%", '"reorder"', "delay 50ms"],
  ["delay 1s out: off reorder 5%", '"reorder"', "delay 50ms"],
  ["delay 1s reorder 5% gap 0", '"0"', "gap N"],
  ["rate 9600", '"9600"', "9600bit"],
  ["rate 0bit", '"0bit"', "9600bit"],
  ["limit 0", '"0"', "limit N"],
  ["limit 1.5", '"1.5"', "limit N"],
  ["mtu 65508", '"65508"', "65507"],
  ["down 10s", "too early", "every TIME"],
  ["down 10s every 5s", '"5s"', "period"],
  ["peer lamp: loss 1%", '"lamp:"', "10.0.0.7"],
  ["peer 10.0.0.256: mtu 1", '"10.0.0.256:"', "10.0.0.7"],
  ["peer 10.0.0.7:70000: mtu 1", '"10.0.0.7:70000:"', "10.0.0.7"],
  ["peer [:::::]: mtu 1", '"[:::::]:"', "10.0.0.7"],
  ["peer [lamp]: mtu 1", '"[lamp]:"', "10.0.0.7"],
  ["client lamp loss 1%", '"lamp"', "client ID:"],
  ["loss 1% in:", "too early", "in: loss 10%"],
  ["in: out: loss 1%", '"out:"', "in: loss 10%"],
  ["out: peer 10.0.0.7: mtu 1", '"peer"', "in: off"],
];

for (const [text, word, form] of WRONG) {
  Deno.test(`parseNetSpec() refuses ${JSON.stringify(text)} in a line that helps`, () => {
    const { message } = assertThrows(() => parseNetSpec(text), TypeError);
    assertEquals(message.includes("\n"), false);
    assertEquals(message.includes(word), true, message);
    assertEquals(message.includes(form), true, message);
  });
}

Deno.test("parseNetSpec() gives a network or TypeError, whatever the words", () => {
  const seed = 41;
  const random = seededRandom(seed);
  const words = [
    ...WORDS.flatMap(([text]) => text.split(" ")),
    ..."in: out: peer client 10.0.0.7: lamp: shared reorder gap every 2g lora"
      .split(" "),
    '"',
    ":",
    "\u0000",
    "9".repeat(400) + "%",
  ];
  for (let i = 0; i < 20_000; i++) {
    const text = Array.from(
      { length: 1 + random() * 8 },
      () => words[Math.floor(random() * words.length)],
    ).join(" ");
    try {
      const net = parseNetSpec(text);
      const printed = printNetSpec(net);
      assertEquals(parseNetSpec(printed), net, `seed ${seed}: ${text}`);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }
});

Deno.test("docs/bad-network.md has the words of each preset", async () => {
  const readme = await Deno.readTextFile(
    new URL("../../docs/bad-network.md", import.meta.url),
  );
  for (const [name, { uplink, downlink }] of NET_PRESETS) {
    const row = readme.split("\n").find((line) =>
      line.startsWith(`| \`${name}\` `)
    );
    const words = uplink === downlink
      ? `| \`${uplink}\` `
      : `| uplink \`${uplink}\`, downlink \`${downlink}\` `;
    assertEquals(row?.includes(words), true, `${name}: ${words}`);
  }
});
