/**
 * Lines that a person types while a program runs, to make its network another one.
 *
 * @module
 */

import type { NetSim } from "../netsim/netsim.ts";
import { messageOf } from "../base/errors.ts";
import { inputLines, printError } from "./terminal.ts";

const HELP = [
  "net            show the network, and what it has done",
  "net SPEC       make it another one: net loss 20% delay 1s",
  "net off        let everything through",
  "help           show this",
].join("\n");

/**
 * Does what a line says.
 *
 * @returns what to show for it, empty for nothing
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { obey } from "./net_console.ts";
 * import { NetSim } from "../netsim/netsim.ts";
 *
 * const net = new NetSim({ net: "off", side: "broker" });
 * assertEquals(obey(net, "net loss 20%"), "The network is now: loss 20%");
 * ```
 */
export function obey(net: NetSim, line: string): string {
  const [word, ...rest] = line.trim().split(/\s+/);
  switch (word) {
    case "":
    case undefined:
      return "";
    case "help":
    case "?":
      return HELP;
    case "net": {
      if (rest.length === 0) return describe(net);
      try {
        net.set(line.trim().slice("net".length).trim());
      } catch (error) {
        return messageOf(error);
      }
      return `The network is now: ${net}`;
    }
    default:
      return `Cannot take "${word}": type net SPEC, net off, net, or help`;
  }
}

function describe(net: NetSim): string {
  const stats = net.stats();
  const ways = (["in", "out"] as const).map((way) => {
    const counts = Object.entries(stats[way]).filter(([, count]) => count > 0);
    const words = counts.map(([name, count]) => `${WORDS[name]} ${count}`);
    return `${way}: ${words.join(", ") || "nothing yet"}`;
  });
  const rest = `faults ${stats.faults}, under way ${stats.underWay}`;
  return [`The network is: ${net}`, ...ways, rest].join("\n");
}

const WORDS: Readonly<Record<string, string>> = {
  sent: "sent",
  delivered: "delivered",
  lost: "lost",
  queueFull: "without room",
  tooLong: "too long",
  down: "while down",
  duplicated: "doubled",
  reordered: "out of order",
  corrupted: "corrupted",
};

/**
 * Does what is typed, until there is nothing more or the signal aborts. Does not
 * read where that would stop the program: in the background of a terminal.
 */
export async function obeyKeyboard(
  net: NetSim,
  signal: AbortSignal,
): Promise<void> {
  if (!Deno.stdin.isTerminal() || isInBackground()) return;
  printError('Type "net loss 20%" to change the network, "help" for more\n');
  try {
    for await (const line of inputLines(signal)) {
      const answer = obey(net, line);
      if (answer !== "") printError(`${answer}\n`);
    }
  } catch {
    return; // interrupted, or a terminal that is gone
  }
}

/** Whether another program has the terminal; `false` where that does not show. */
function isInBackground(): boolean {
  if (Deno.build.os !== "linux") return false;
  try {
    const stat = Deno.readTextFileSync("/proc/self/stat");
    // Behind the name, which may hold anything: state, parent, group, session,
    // terminal, and the group that has the terminal.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[2] !== fields[5];
  } catch {
    return false;
  }
}
