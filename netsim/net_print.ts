/**
 * A bad network's description, from values to text: what `netsim/spec_text.ts` understands.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type {
  Chance,
  Chosen,
  Delay,
  GeModel,
  NetSpec,
  Paths,
  PathSpec,
  Rate,
} from "./spec.ts";

/**
 * Writes a network down, so that the same comes of it again: `off` where nothing
 * happens.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { printNetSpec } from "./net_print.ts";
 * import { parseNetSpec } from "./spec_text.ts";
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
