/**
 * What people read of a run: a table for each load, and one of all loads.
 *
 * @module
 */

import type { Case } from "./cases.ts";
import { brokers } from "./contenders.ts";
import { spreadOf } from "./figures.ts";
import { OCTETS, type Round } from "./load_job.ts";
import { shown, spread, table } from "./tables.ts";

/** How the loads were measured, in two lines. */
export function describe(rounds: number, loadMs: number): string {
  return [
    `Messages of ${OCTETS} octets; median and spread of ${rounds} ${
      rounds === 1 ? "round" : "rounds"
    } of ${loadMs / 1_000} s; times in milliseconds from a message's`,
    "start to its delivery while as much as can be is under way; CPU of a core.",
  ].join("\n");
}

/** What all did under one load, as a table under its title. */
export function reportOf(
  { name, title, pattern, qos }: Case,
  measured: readonly Round[],
  isWithoutTcp: boolean,
): string {
  const ours = measured.filter((round) => round.case === name);
  const names = [...new Set(ours.map(({ rival }) => rival))];
  const limits = new Map(brokers().map(({ name, limit }) => [name, limit]));
  const rows = names.map((rival) => {
    const rounds = ours.filter((round) => round.rival === rival);
    const limit = ours.filter((round) => round.rival === limits.get(rival));
    const middle = (figure: (round: Round) => number, digits: number) =>
      shown(spreadOf(rounds.map(figure)).median, digits);
    const sum = (figure: (round: Round) => number) =>
      shown(rounds.reduce((sum, round) => sum + figure(round), 0), 0);
    return [
      rival,
      ...spread(rounds.map(({ rate }) => rate), 0),
      limit.length === 0
        ? "-"
        : middle(({ rate, round }) =>
          rate / limit.find((other) => other.round === round)!.rate, 2),
      middle(({ sent, ms }) => sent / ms * 1_000, 0),
      ...([["p50", 2], ["p99", 2], ["p999", 2]] as const).map(
        ([share, digits]) =>
          middle(({ latency }) => latency[share] / 1_000, digits),
      ),
      middle(({ brokerCpuMs, ms }) => (brokerCpuMs ?? NaN) / ms * 100, 0),
      middle(
        ({ brokerCpuMs, rate, ms }) =>
          (brokerCpuMs ?? NaN) * 1_000 / (rate * ms / 1_000),
        1,
      ),
      middle(({ generatorCpuMs, ms }) => generatorCpuMs / ms * 100, 0),
      sum(({ lost }) => lost),
      sum(({ duplicates }) => duplicates),
      sum(({ reordered }) => reordered),
    ];
  });
  if (isWithoutTcp && qos >= 0) rows.push(["mosquitto, TCP", "skipped"]);
  const what = pattern === "acks" ? "acks" : "delivered";
  return `${title}\n\n${
    table([
      [
        "",
        `${what}/s`,
        "min–max",
        "of relay",
        "sent/s",
        "p50",
        "p99",
        "p99.9",
        "CPU %",
        "µs each",
        "generator %",
        "lost",
        "twice",
        "disordered",
      ],
      ...rows,
    ])
  }`;
}

/** The medians of all loads, a row for each load and a column for each server. */
export function summaryOf(
  cases: readonly Case[],
  measured: readonly Round[],
): string {
  const rivals = [...new Set(measured.map(({ rival }) => rival))];
  const rows = cases.map(({ name }) => [
    name,
    ...rivals.map((rival) => {
      const rounds = measured.filter((round) =>
        round.case === name && round.rival === rival
      );
      return shown(spreadOf(rounds.map(({ rate }) => rate)).median, 0);
    }),
  ]);
  return `All of them a second, medians\n\n${
    table([["", ...rivals], ...rows])
  }`;
}
