// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * `deno task states` prints the states of an MQTT-SN client from the broker's
 * own transition table, as ARCHITECTURE.md shows them.
 *
 * @module
 */

import {
  SESSION_STATES,
  type SessionEvent,
  TRANSITIONS,
} from "../broker/session_states.ts";

/** The states as a diagram, in Mermaid's language. */
export function stateDiagram(): string {
  const lines = ["stateDiagram-v2", "    [*] --> disconnected"];
  for (const state of SESSION_STATES) {
    const byTarget = new Map<string, SessionEvent[]>();
    for (const [event, next] of Object.entries(TRANSITIONS[state])) {
      const events = byTarget.get(next) ?? [];
      byTarget.set(next, [...events, event as SessionEvent]);
    }
    for (const [next, events] of byTarget) {
      lines.push(`    ${state} --> ${next}: ${events.join(", ")}`);
    }
  }
  return lines.join("\n");
}

if (import.meta.main) console.log(stateDiagram());
