/**
 * The language in which a bad network is described: its named networks, its reader
 * and its writer. They stand in one file because a change to the language changes
 * all three.
 *
 * ```
 * [PRESET | WORD …] [in: WORD …] [out: WORD …]
 * [peer ADDRESS[:PORT]: WORD …] [client ID: WORD …]
 * ```
 *
 * Words are netem's (`delay 200ms 50ms 25% distribution normal`) and a few more.
 * What stands before `in:` and `out:` is for both directions. What stands before
 * the first `peer` or `client` is for everybody, and holds for those as well until
 * their own words say otherwise. The last word on a matter holds.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { addressFrom } from "../base/peer.ts";
import type {
  Chance,
  Chosen,
  Delay,
  Distribution,
  Down,
  GeModel,
  NetSpec,
  Paths,
  PathSpec,
  Rate,
  Reorder,
} from "./spec.ts";
import { measureFrom, shareFrom, timeFrom } from "../base/units.ts";

/** How a text is to be understood. */
export interface NetTextOptions {
  /**
   * Whose network it is, as a preset's way up is what comes in at a broker, and
   * what goes out at a client. Default `broker`.
   */
  readonly side?: "broker" | "client";
}

/** How each word is written, for the error about it. */
const FORMS = {
  loss: "loss PERCENT [CORRELATION], or loss gemodel P [R [1-H [1-K]]]",
  delay:
    "delay TIME [JITTER [CORRELATION]] [distribution uniform|normal|pareto]",
  duplicate: "duplicate PERCENT [CORRELATION]",
  reorder: "reorder PERCENT [CORRELATION] [gap N]",
  corrupt: "corrupt PERCENT [CORRELATION]",
  rate: "rate RATE [OVERHEAD]",
  limit: "limit N",
  mtu: "mtu OCTETS",
  down: "down TIME every TIME, or down",
  peer: "peer ADDRESS[:PORT]:",
  client: "client ID:",
} as const;

/**
 * Understands a network's description.
 *
 * @throws {TypeError} when it is not one, in a line that names the word and shows
 * what may stand there
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseNetSpec } from "./spec_text.ts";
 *
 * const net = parseNetSpec("loss 10% in: delay 200ms");
 * assertEquals(net.out, { loss: { chance: 0.1, correlation: 0 } });
 * assertEquals(net.in.delay?.ms, 200);
 * ```
 */
export function parseNetSpec(
  text: string,
  { side = "broker" }: NetTextOptions = {},
): NetSpec {
  const words = wordsOf(text);
  if (words.isEmpty) {
    throw new TypeError(
      `Cannot take the network ${
        JSON.stringify(text)
      }: it is empty, write for example loss 10% delay 50ms, or off`,
    );
  }
  const usual = new Section(side);
  const chosen: { who: Chosen; section: Section }[] = [];
  let section = usual;
  while (!words.isEmpty) {
    const isClient = words.take("client");
    if (isClient || words.take("peer")) {
      section = new Section(side, usual);
      chosen.push({ who: isClient ? clientOf(words) : peerOf(words), section });
    } else section.read(words);
  }
  return {
    ...usual.paths(words),
    chosen: chosen.map(({ who, section }) => ({
      who,
      ...section.paths(words),
    })),
  };
}

type Draft = { -readonly [Word in keyof PathSpec]: PathSpec[Word] };

/** What is for the same peers, as it is read. */
class Section {
  readonly #side: "broker" | "client";
  readonly #in: Draft;
  readonly #out: Draft;
  #isShared: boolean;
  #drafts: Draft[];

  constructor(side: "broker" | "client", usual?: Section) {
    this.#side = side;
    this.#in = usual === undefined ? {} : { ...usual.#in };
    this.#out = usual === undefined ? {} : { ...usual.#out };
    this.#isShared = usual !== undefined && usual.#isShared;
    this.#drafts = [this.#in, this.#out];
  }

  /** Takes what stands next. */
  read(words: Words): void {
    if (words.take("in:")) this.#turnTo(this.#in, words);
    else if (words.take("out:")) this.#turnTo(this.#out, words);
    else if (words.take("shared")) this.#isShared = true;
    else if (words.take("off")) {
      for (const draft of this.#drafts) clear(draft);
    } else if (NET_PRESETS.has(words.next)) this.#readPreset(words);
    else {
      const read = readWord(words);
      for (const draft of this.#drafts) Object.assign(draft, read);
    }
  }

  /** What follows is for one direction. That nothing follows is a slip. */
  #turnTo(draft: Draft, words: Words): void {
    const { next } = words;
    if (next === "" || ENDS_OF_PART.includes(next)) {
      throw words.error(
        next,
        "something has to stand behind in: and out:, such as in: loss 10%, or in: off",
      );
    }
    this.#drafts = [draft];
  }

  #readPreset(words: Words): void {
    const { uplink, downlink } = NET_PRESETS.get(words.shift())!;
    const isBroker = this.#side === "broker";
    for (const draft of this.#drafts) {
      const isUp = (draft === this.#in) === isBroker;
      const inner = wordsOf(isUp ? uplink : downlink);
      clear(draft);
      while (!inner.isEmpty) Object.assign(draft, readWord(inner));
    }
  }

  /** What was read, if it goes together. */
  paths(words: Words): Paths {
    for (const { reorder, delay, rate } of [this.#in, this.#out]) {
      const overtakes = reorder !== undefined && reorder.chance > 0;
      if (!overtakes || rate !== undefined || (delay?.ms ?? 0) > 0) continue;
      throw words.error(
        "reorder",
        "it lets some overtake those that are delayed, so add for example delay 50ms",
      );
    }
    return { in: this.#in, out: this.#out, isShared: this.#isShared };
  }
}

/** What no direction's words begin with. */
const ENDS_OF_PART: readonly string[] = ["in:", "out:", "peer", "client"];

function clear(draft: Draft): void {
  for (const word of Object.keys(draft)) delete draft[word as keyof Draft];
}

function readWord(words: Words): PathSpec {
  const word = words.shift();
  switch (word) {
    case "loss":
      if (words.take("gemodel")) return { loss: readGeModel(words) };
      words.take("random"); // netem's long form
      return { loss: readChance(words, "loss") };
    case "delay":
      return { delay: readDelay(words) };
    case "duplicate":
    case "corrupt":
      return { [word]: readChance(words, word) };
    case "reorder":
      return { reorder: readReorder(words) };
    case "rate":
      return { rate: readRate(words) };
    case "limit":
      return { limit: words.count("limit", 1, 1_000_000) };
    case "mtu":
      return { mtu: words.count("mtu", 1, 65_507) };
    case "down":
      return { down: readDown(words) };
    default: {
      const all = [...Object.keys(FORMS), "in:", "out:", "shared", "off"];
      const presets = [...NET_PRESETS.keys()];
      throw words.error(
        word,
        `the words are ${all.join(", ")}, the presets ${presets.join(", ")}`,
      );
    }
  }
}

function readChance(words: Words, word: keyof typeof FORMS): Chance {
  const chance = words.share(word);
  return { chance, correlation: words.shareIfAny() ?? 0 };
}

function readGeModel(words: Words): GeModel {
  const toBad = words.share("loss");
  const toGood = words.shareIfAny() ?? 1 - toBad;
  const lossInBad = words.shareIfAny() ?? 1;
  return { toBad, toGood, lossInBad, lossInGood: words.shareIfAny() ?? 0 };
}

const DISTRIBUTIONS: readonly Distribution[] = ["uniform", "normal", "pareto"];

function readDelay(words: Words): Delay {
  const ms = words.time("delay");
  const jitterMs = words.timeIfAny();
  const correlation = jitterMs === undefined ? undefined : words.shareIfAny();
  let distribution: Distribution | undefined;
  if (words.take("distribution")) {
    const word = words.next;
    distribution = DISTRIBUTIONS.find((name) => name === word);
    if (distribution === undefined) throw words.wrong("delay");
    if (jitterMs === undefined) {
      throw words.error(
        "distribution",
        `without a jitter nothing is spread: ${FORMS.delay}`,
      );
    }
    words.shift();
  }
  return {
    ms,
    jitterMs: jitterMs ?? 0,
    correlation: correlation ?? 0,
    distribution: distribution ?? "uniform",
  };
}

function readReorder(words: Words): Reorder {
  const chance = readChance(words, "reorder");
  const gap = words.take("gap") ? words.count("reorder", 1, 1_000_000) : 1;
  return { ...chance, gap };
}

/** tc's units: `bit` counts bits, `bps` octets. */
const RATES: ReadonlyMap<string, number> = new Map([
  ["bit", 1],
  ["kbit", 1e3],
  ["mbit", 1e6],
  ["gbit", 1e9],
  ["bps", 8],
  ["kbps", 8e3],
  ["mbps", 8e6],
]);

function readRate(words: Words): Rate {
  const bitsPerSecond = measureFrom(words.next, RATES);
  if (bitsPerSecond === undefined || !(bitsPerSecond >= 1)) {
    throw words.wrong("rate", "such as 9600bit, 250kbit or 1mbit");
  }
  words.shift();
  const overhead = /^\d/.test(words.next) ? words.count("rate", 0, 65_535) : 0;
  return { bitsPerSecond, overhead };
}

function readDown(words: Words): Down {
  const ms = words.timeIfAny();
  if (ms === undefined) return { ms: 1, everyMs: 1 };
  if (!words.take("every")) throw words.wrong("down");
  const next = words.next;
  const everyMs = words.time("down");
  if (!(ms > 0 && everyMs >= ms)) {
    throw words.error(next, `a period is at least as long as it is down`);
  }
  return { ms, everyMs };
}

function clientOf(words: Words): Chosen {
  const clientId = words.name();
  if (clientId === undefined || clientId === "") throw words.wrong("client");
  words.shift();
  return { clientId };
}

function peerOf(words: Words): Chosen {
  const name = words.name() ?? "";
  const [, v6, v4, digits] =
    /^(?:\[([^\]]*:[^\]]*)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(name) ?? [];
  const hostname = addressFrom(v6 ?? v4 ?? "");
  const port = digits === undefined ? undefined : Number(digits);
  if (hostname === undefined || (port ?? 0) > 65_535) {
    throw words.wrong("peer", "such as peer 10.0.0.7: or peer [::1]:1883:");
  }
  words.shift();
  return { hostname, port };
}

/** The words that are still to be read. */
class Words {
  readonly #text: string;
  readonly #words: readonly string[];
  #place = 0;

  constructor(text: string, words: readonly string[]) {
    this.#text = text;
    this.#words = words;
  }

  get isEmpty(): boolean {
    return this.#place >= this.#words.length;
  }

  /** The next word, empty when there is none. */
  get next(): string {
    return this.#words[this.#place] ?? "";
  }

  shift(): string {
    return this.#words[this.#place++] ?? "";
  }

  /** Takes a word if it is the next. */
  take(word: string): boolean {
    const isNext = this.next === word;
    if (isNext) this.#place++;
    return isNext;
  }

  shareIfAny(): number | undefined {
    const share = shareFrom(this.next);
    if (share !== undefined) this.#place++;
    return share;
  }

  share(word: keyof typeof FORMS): number {
    const share = this.shareIfAny();
    if (share !== undefined) return share;
    throw this.wrong(word, "a percentage is a number from 0% to 100%");
  }

  timeIfAny(): Millis | undefined {
    const time = timeFrom(this.next);
    if (time !== undefined) this.#place++;
    return time;
  }

  time(word: keyof typeof FORMS): Millis {
    const time = this.timeIfAny();
    if (time !== undefined) return time;
    throw this.wrong(word, "a time has its unit, such as 200ms or 1.5s");
  }

  count(word: keyof typeof FORMS, min: number, max: number): number {
    const count = /^\d+$/.test(this.next) ? Number(this.next) : NaN;
    if (!(count >= min && count <= max)) {
      throw this.wrong(word, `a whole number from ${min} to ${max}`);
    }
    this.#place++;
    return count;
  }

  /** What stands before the colon at a word's end; `undefined` without one. */
  name(): string | undefined {
    const { next } = this;
    if (!next.endsWith(":")) return undefined;
    const name = next.slice(0, -1);
    return /^".*"$/.test(name) ? unquoted(name) : name;
  }

  /** The next word is none that may stand there. */
  wrong(word: keyof typeof FORMS, hint?: string): TypeError {
    const form = FORMS[word] + (hint === undefined ? "" : ` (${hint})`);
    return this.error(this.next, `write ${form}`);
  }

  error(word: string, what: string): TypeError {
    const where = `the network ${JSON.stringify(this.#text)}`;
    return new TypeError(
      word === ""
        ? `Cannot take ${where}: it ends too early, ${what}`
        : `Cannot take "${word}" in ${where}: ${what}`,
    );
  }
}

/** The words of a text, a quoted one in one piece. Commas may separate them. */
function wordsOf(text: string): Words {
  const words = text.match(/(?:"(?:[^"\\]|\\.)*"|[^\s,;])+/g);
  return new Words(text, words ?? []);
}

function unquoted(text: string): string | undefined {
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}

/** A network by its name. */
export interface NetPreset {
  /** What happens on the way from clients to their broker. */
  readonly uplink: string;
  /** What happens on the way back. */
  readonly downlink: string;
}

/** Of a network that is the same both ways. */
function both(words: string): NetPreset {
  return { uplink: words, downlink: words };
}

/** The networks that have a name. */
export const NET_PRESETS: ReadonlyMap<string, NetPreset> = new Map([
  ["lan", both("delay 0.3ms rate 100mbit 66 mtu 1472")],
  [
    "wifi-poor",
    both(
      "loss gemodel 2.8% 25% delay 20ms 20ms distribution pareto rate 1mbit 66 mtu 1472",
    ),
  ],
  ["2g", {
    uplink: "delay 350ms 200ms rate 28.8kbit 28 mtu 1472",
    downlink: "delay 350ms 200ms rate 57.6kbit 28 mtu 1472",
  }],
  ["nbiot", {
    uplink: "delay 2s 700ms distribution pareto rate 62kbit 28 mtu 1330",
    downlink: "delay 500ms 250ms rate 26kbit 28 mtu 1330",
  }],
  ["lora", {
    uplink: "loss 12% rate 1760bit 13 mtu 115",
    downlink: "loss 12% delay 1s rate 1760bit 13 mtu 115",
  }],
  ["satellite", both("delay 280ms rate 448kbit 28 mtu 1472")],
  ["zigbee", both("loss 1% delay 15ms 8ms rate 250kbit 69 mtu 64")],
]);

/**
 * Writes a network down, so that the same comes of it again: `off` where nothing
 * happens.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseNetSpec, printNetSpec } from "./spec_text.ts";
 *
 * const net = parseNetSpec("lora in: loss 50%");
 * assertEquals(
 *   printNetSpec(net),
 *   "in: loss 50% rate 1760bit 13 mtu 115 " +
 *     "out: loss 12% delay 1s rate 1760bit 13 mtu 115",
 * );
 * assertEquals(parseNetSpec(printNetSpec(net)), net);
 * ```
 */
export function printNetSpec(net: NetSpec): string {
  const sections = net.chosen.map(({ who, ...paths }) => {
    // Words before the first section hold in it as well.
    const text = printPaths(paths);
    return `${printChosen(who)} off ${text === "off" ? "" : text}`.trim();
  });
  return [printPaths(net), ...sections].join(" ");
}

function printPaths(paths: Paths): string {
  const into = printPath(paths.in);
  const out = printPath(paths.out);
  const shared = paths.isShared ? "shared " : "";
  if (into === out) return shared + (into || "off");
  return `${shared}in: ${into || "off"} out: ${out || "off"}`;
}

function printChosen(who: Chosen): string {
  if ("clientId" in who) {
    const isPlain = /^[^\s,;:"\\]+$/.test(who.clientId);
    return `client ${isPlain ? who.clientId : JSON.stringify(who.clientId)}:`;
  }
  const { hostname, port } = who;
  const address = hostname.includes(":") ? `[${hostname}]` : hostname;
  return `peer ${address}${port === undefined ? "" : `:${port}`}:`;
}

function printPath(path: PathSpec): string {
  const { loss, delay, duplicate, reorder, corrupt, rate, down } = path;
  const words: string[] = [];
  if (loss !== undefined) {
    words.push(
      "loss",
      "toBad" in loss ? `gemodel ${printGeModel(loss)}` : printChance(loss),
    );
  }
  if (delay !== undefined) words.push("delay", printDelay(delay));
  if (duplicate) words.push("duplicate", printChance(duplicate));
  if (reorder) {
    words.push("reorder", printChance(reorder));
    if (reorder.gap !== 1) words.push("gap", `${reorder.gap}`);
  }
  if (corrupt) words.push("corrupt", printChance(corrupt));
  if (rate) words.push("rate", printRate(rate));
  if (path.limit !== undefined) words.push(`limit ${path.limit}`);
  if (path.mtu !== undefined) words.push(`mtu ${path.mtu}`);
  if (down) {
    words.push("down");
    if (down.ms < down.everyMs) {
      words.push(printTime(down.ms), "every", printTime(down.everyMs));
    }
  }
  return words.join(" ");
}

function printGeModel(model: GeModel): string {
  const { toBad, toGood, lossInBad, lossInGood } = model;
  return [toBad, toGood, lossInBad, lossInGood].map(printShare).join(" ");
}

function printChance({ chance, correlation }: Chance): string {
  const text = printShare(chance);
  return correlation === 0 ? text : `${text} ${printShare(correlation)}`;
}

function printDelay(delay: Delay): string {
  const { ms, jitterMs, correlation, distribution } = delay;
  if (jitterMs === 0) return printTime(ms);
  const words = [printTime(ms), printTime(jitterMs)];
  if (correlation > 0) words.push(printShare(correlation));
  if (distribution !== "uniform") words.push("distribution", distribution);
  return words.join(" ");
}

function printRate({ bitsPerSecond, overhead }: Rate): string {
  const [unit, factor] = bitsPerSecond >= 1e6
    ? ["mbit", 1e6]
    : bitsPerSecond >= 1e4
    ? ["kbit", 1e3]
    : ["bit", 1];
  const text = `${plain(bitsPerSecond / factor)}${unit}`;
  return overhead === 0 ? text : `${text} ${overhead}`;
}

function printShare(share: number): string {
  return `${plain(share * 100)}%`;
}

function printTime(ms: Millis): string {
  return ms >= 1_000 ? `${plain(ms / 1_000)}s` : `${plain(ms)}ms`;
}

/** A number without an exponent, and without what rounding has added to it. */
function plain(value: number): string {
  const text = value.toFixed(
    Math.max(0, 11 - Math.floor(Math.log10(value + 1))),
  );
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
