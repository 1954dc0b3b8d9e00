/**
 * How the rules of faults are written, in JSON.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import {
  ACCEPTABLE,
  ANSWERABLE,
  DRAFT_TYPES,
  type DraftType,
  FIELD_NAMES,
  fieldsOf,
  type FieldValue,
  fits,
  formOfField,
  type PacketDraft,
} from "./fault_packets.ts";
import type {
  FaultAct,
  FaultMatch,
  FaultRule,
  FaultTurn,
} from "./fault_rules.ts";
import type { TopicFilter } from "../wire/message.ts";
import { MSG_TYPE, type MsgType, RETURN_CODE } from "../wire/packets.ts";
import { parseTopicFilter } from "../wire/topics.ts";
import { shareFrom, timeFrom } from "../base/units.ts";

/**
 * Understands rules.
 *
 * @param json a list of rules, or an object that has one as `faults`
 * @throws {TypeError} when it is not that, in a line that names the place and shows
 * what may stand there
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { parseFaults } from "./fault_text.ts";
 *
 * const [rule] = parseFaults([
 *   { type: "PUBACK", client: "lamp-7", nth: 2, do: "drop" },
 * ]);
 * assertEquals(rule?.turn, { type: "nth", count: 2 });
 * assertThrows(
 *   () => parseFaults([{ type: "PUBAK", do: "drop" }]),
 *   TypeError,
 *   'Cannot take faults[0].type "PUBAK"',
 * );
 * ```
 */
export function parseFaults(json: unknown): readonly FaultRule[] {
  let list = json;
  if (!Array.isArray(json)) {
    const file = objectAt("the faults", json, FILE_FORM);
    requireKeys("the file", file, ["about", "faults"]);
    list = file["faults"];
  }
  if (!Array.isArray(list)) throw wrong("faults", list, FILE_FORM);
  return list.map((rule, i) => ruleFrom(`faults[${i}]`, rule));
}

const FILE_FORM = 'a list of rules, or {"faults": [...]}';
const RULE_FORM =
  'a rule, such as {"type": "PUBACK", "client": "lamp-7", "nth": 2, "do": "drop"}';

const MATCH_KEYS = [
  "type",
  "from",
  "client",
  "topic",
  "qos",
  "state",
  "where",
];
const TURN_KEYS = ["nth", "first", "every"] as const;
const ENDS = ["client", "broker"] as const;
const STATES = [
  "unknown",
  "active",
  "asleep",
  "awake",
  "disconnected",
] as const;

type Json = Readonly<Record<string, unknown>>;

function ruleFrom(place: string, json: unknown): FaultRule {
  const rule = objectAt(place, json, RULE_FORM);
  requireKeys(place, rule, [
    "name",
    ...MATCH_KEYS,
    "since",
    ...TURN_KEYS,
    "perClient",
    "chance",
    "do",
  ]);
  const match = matchFrom(place, rule);
  const { name, since, perClient = false } = rule;
  return {
    name: name === undefined ? undefined : textAt(`${place}.name`, name),
    match,
    since: since === undefined ? undefined : sinceFrom(`${place}.since`, since),
    perClient: booleanAt(`${place}.perClient`, perClient),
    turn: turnFrom(place, rule),
    chance: chanceFrom(`${place}.chance`, rule["chance"]),
    act: actFrom(`${place}.do`, rule["do"], match),
  };
}

function sinceFrom(place: string, json: unknown): FaultMatch {
  const match = objectAt(place, json, 'such as {"type": "PINGREQ"}');
  requireKeys(place, match, MATCH_KEYS);
  return matchFrom(place, match);
}

function matchFrom(place: string, json: Json): FaultMatch {
  const { type, from, client, topic, qos, state, where } = json;
  return {
    ...type !== undefined && { types: typesFrom(`${place}.type`, type) },
    ...from !== undefined && { from: oneOf(`${place}.from`, from, ENDS) },
    ...client !== undefined && { client: textAt(`${place}.client`, client) },
    ...topic !== undefined && { topic: filterFrom(`${place}.topic`, topic) },
    ...qos !== undefined && { qos: oneOf(`${place}.qos`, qos, QOSES) },
    ...state !== undefined && { state: oneOf(`${place}.state`, state, STATES) },
    ...where !== undefined && { where: whereFrom(`${place}.where`, where) },
  };
}

const QOSES = [-1, 0, 1, 2] as const;

/** What a forwarder has wrapped is looked at without its wrapping. */
const TYPES = (Object.keys(MSG_TYPE) as MsgType[])
  .filter((type) => type !== "ENCAPSULATED");

function typesFrom(place: string, json: unknown): readonly MsgType[] {
  if (!Array.isArray(json)) return [oneOf(place, json, TYPES)];
  if (json.length === 0) throw wrong(place, json, formOf(TYPES));
  return json.map((type, i) => oneOf(`${place}[${i}]`, type, TYPES));
}

function filterFrom(place: string, json: unknown): TopicFilter {
  const filter = parseTopicFilter(textAt(place, json));
  if (filter !== undefined) return filter;
  throw wrong(place, json, 'a topic filter, such as "room/+/light"');
}

function whereFrom(
  place: string,
  json: unknown,
): Readonly<Record<string, FieldValue>> {
  const where = objectAt(place, json, 'fields, such as {"returnCode": 1}');
  requireKeys(place, where, FIELD_NAMES);
  for (const [name, value] of Object.entries(where)) {
    if (!fits(name, value)) throw wrongField(`${place}.${name}`, value, name);
  }
  return where as Readonly<Record<string, FieldValue>>;
}

function turnFrom(place: string, rule: Json): FaultTurn {
  const given = TURN_KEYS.filter((key) => rule[key] !== undefined);
  const [type, other] = given;
  if (type === undefined) return { type: "all" };
  if (other !== undefined) {
    throw new TypeError(
      `Cannot take both "${type}" and "${other}" in ${place}: it is one of nth, first, every`,
    );
  }
  return { type, count: countAt(`${place}.${type}`, rule[type], 1_000_000) };
}

function chanceFrom(place: string, json: unknown): number {
  if (json === undefined) return 1;
  const chance = typeof json === "string" ? shareFrom(json) : undefined;
  if (chance !== undefined) return chance;
  throw wrong(place, json, 'a percentage, such as "10%"');
}

const ACT_FORM =
  '"drop", "duplicate", or one of {"delay": "2s"}, {"duplicate": 3}, {"corrupt": "msgId"}, {"answer": "congestion"}, {"insert": {"type": "PINGRESP"}, "to": "client"}, {"replay": 5}, {"forget": "session"}';

const ACTS = [
  "delay",
  "duplicate",
  "corrupt",
  "answer",
  "insert",
  "replay",
  "forget",
] as const;

/** The acts that can be late. */
const LATE_ACTS: readonly string[] = [
  "duplicate",
  "answer",
  "insert",
  "replay",
];

function actFrom(place: string, json: unknown, match: FaultMatch): FaultAct {
  if (json === "drop") return { type: "drop" };
  if (json === "duplicate") {
    return { type: "duplicate", times: 2, afterMs: 0 };
  }
  const act = objectAt(place, json, ACT_FORM);
  const given = ACTS.filter((key) => Object.hasOwn(act, key));
  const [type, other] = given;
  if (type === undefined || other !== undefined) {
    throw wrong(place, json, ACT_FORM);
  }
  requireKeys(place, act, [
    type,
    ...LATE_ACTS.includes(type) ? ["after"] : [],
    ...type === "insert" ? ["to"] : [],
  ]);
  const at = `${place}.${type}`;
  const value = act[type];
  const afterMs = act["after"] === undefined
    ? 0
    : timeAt(`${place}.after`, act["after"]);
  switch (type) {
    case "delay":
      return { type, ms: timeAt(at, value) };
    case "duplicate":
      return { type, times: countAt(at, value, 100), afterMs };
    case "corrupt":
      return { type, ...fieldFrom(at, value) };
    case "answer":
      return { type, answer: answerFrom(at, value, match), afterMs };
    case "insert": {
      const to = oneOf(`${place}.to`, act["to"] ?? "client", ENDS);
      return { type, packet: draftFrom(at, value), to, afterMs };
    }
    case "replay":
      return { type, count: countAt(at, value, 16), afterMs };
    case "forget":
      return {
        type,
        what: oneOf(at, value, ["session", "topicIds", "topicId"]),
      };
    default:
      return type satisfies never;
  }
}

function fieldFrom(
  place: string,
  json: unknown,
): { field: string; value: FieldValue | undefined } {
  if (typeof json === "string") {
    return { field: oneOf(place, json, FIELD_NAMES), value: undefined };
  }
  const form = 'a field, such as "msgId", or {"returnCode": 0}';
  const fields = Object.entries(whereFrom(place, objectAt(place, json, form)));
  const [only] = fields;
  if (only === undefined || fields.length > 1) throw wrong(place, json, form);
  return { field: only[0], value: only[1] };
}

function answerFrom(
  place: string,
  json: unknown,
  { types }: FaultMatch,
): number | PacketDraft {
  if (typeof json === "object" && json !== null) return draftFrom(place, json);
  const code = typeof json === "string" && Object.hasOwn(RETURN_CODE, json)
    ? RETURN_CODE[json as keyof typeof RETURN_CODE]
    : json;
  if (!fits("returnCode", code)) {
    const words = Object.keys(RETURN_CODE).map((word) => `"${word}"`);
    throw wrong(
      place,
      json,
      `${words.join(", ")}, a number from 0 to 255, or {"type": "DISCONNECT"}`,
    );
  }
  const answered = code === RETURN_CODE.accepted ? ACCEPTABLE : ANSWERABLE;
  if (types === undefined || !types.every((type) => answered.includes(type))) {
    throw wrong(
      place,
      json,
      `it only where the rule's "type" says what is answered: ${
        answered.join(", ")
      }`,
    );
  }
  return code as number;
}

function draftFrom(place: string, json: unknown): PacketDraft {
  const draft = objectAt(place, json, 'a packet, such as {"type": "PINGRESP"}');
  const type: DraftType = oneOf(`${place}.type`, draft["type"], DRAFT_TYPES);
  requireKeys(place, draft, ["type", ...fieldsOf(type)]);
  const { type: _, ...fields } = draft;
  return { type, fields: whereFrom(place, fields) };
}

function objectAt(place: string, json: unknown, form: string): Json {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) {
    return json as Json;
  }
  throw wrong(place, json, form);
}

function requireKeys(
  place: string,
  json: Json,
  known: readonly string[],
): void {
  const stranger = Object.keys(json).find((key) => !known.includes(key));
  if (stranger === undefined) return;
  throw new TypeError(
    `Cannot take ${JSON.stringify(stranger)} in ${place}: the keys are ${
      known.join(", ")
    }`,
  );
}

function oneOf<const Value extends string | number>(
  place: string,
  json: unknown,
  values: readonly Value[],
): Value {
  const value = values.find((value) => value === json);
  if (value !== undefined) return value;
  throw wrong(place, json, formOf(values));
}

function formOf(values: readonly (string | number)[]): string {
  return `one of ${values.map((value) => JSON.stringify(value)).join(", ")}`;
}

function textAt(place: string, json: unknown): string {
  if (typeof json === "string" && json !== "") return json;
  throw wrong(place, json, "a text");
}

function booleanAt(place: string, json: unknown): boolean {
  if (typeof json === "boolean") return json;
  throw wrong(place, json, "true or false");
}

function countAt(place: string, json: unknown, max: number): number {
  const isCount = Number.isInteger(json) && (json as number) >= 1 &&
    (json as number) <= max;
  if (isCount) return json as number;
  throw wrong(place, json, `a whole number from 1 to ${max}`);
}

function timeAt(place: string, json: unknown): Millis {
  const time = typeof json === "string" ? timeFrom(json) : undefined;
  if (time !== undefined) return time;
  throw wrong(place, json, 'a time with its unit, such as "200ms" or "1.5s"');
}

function wrongField(place: string, json: unknown, name: string): TypeError {
  return wrong(place, json, formOfField(name));
}

/** What stands there is shown as it was written, cut short. */
function wrong(place: string, json: unknown, form: string): TypeError {
  const text = JSON.stringify(json) ?? "nothing";
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return new TypeError(`Cannot take ${place} ${shown}: write ${form}`);
}
