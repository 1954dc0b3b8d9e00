/**
 * What a fleet's run comes to: figures, and the same as a table for a terminal.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { Fleet, FleetSample } from "./fleet.ts";
import { type Account, MESSAGE_KINDS, type MessageKind } from "./ledger.ts";
import { type CurvePoint, Histogram } from "./histogram.ts";
import type { DeliveryQos } from "../wire/message.ts";
import type { NetCounts } from "../netsim/virtual_net.ts";

/** Octets that UDP and IPv4 put before each datagram. */
const HEADERS = 28;

/** Points of a curve, at most. */
const POINTS = 200;

/** What became of the messages of one flow at one QoS. */
export interface FlowReport {
  /** Readings from members, or commands to them. */
  readonly flow: MessageKind;
  /** At which QoS. */
  readonly qos: DeliveryQos;
  /** Messages published. */
  readonly published: number;
  /** Deliveries that were to come of them, one for each subscriber. */
  readonly expected: number;
  /** Those that came. */
  readonly arrived: number;
  /** Deliveries of what had come before; at QoS 2 there are none. */
  readonly duplicates: number;
  /** How long deliveries took, `undefined` if there were none. */
  readonly latency: LatencyReport | undefined;
  /** Which part of the deliveries took how long at most. */
  readonly curve: readonly CurvePoint[];
}

/** How long deliveries took, from the publisher's call to the receiver, in ms. */
export interface LatencyReport {
  /** On average. */
  readonly mean: Millis;
  /** Half of them. */
  readonly p50: Millis;
  /** Nine of ten. */
  readonly p90: Millis;
  /** 99 of a hundred. */
  readonly p99: Millis;
  /** 999 of a thousand. */
  readonly p999: Millis;
  /** The longest. */
  readonly max: Millis;
}

/** What a fleet's run comes to: all of it depends on the options alone. */
export interface FleetReport {
  /** Where all chance came from. */
  readonly seed: number;
  /** How many clients. */
  readonly clients: number;
  /** Which part of them sleeps, 0 to 1. */
  readonly sleepers: number;
  /** Seconds between two awakenings. */
  readonly sleep: number;
  /** For how long they published, in milliseconds. */
  readonly durationMs: Millis;
  /** For how long what was under way might still come, in milliseconds. */
  readonly graceMs: Millis;
  /** The network, as it was asked for; empty for a perfect one. */
  readonly network: string;
  /** What tells this run from all others. */
  readonly digest: string;
  /** Readings and commands, each at QoS 0, 1 and 2. */
  readonly flows: readonly FlowReport[];
  /** All of them. */
  readonly total: {
    /** Deliveries that were to come. */
    readonly expected: number;
    /** Those that came. */
    readonly arrived: number;
    /** Deliveries of what had come before. */
    readonly duplicates: number;
    /** How long deliveries took. */
    readonly latency: LatencyReport | undefined;
  };
  /** What has not come, and why. */
  readonly missing: {
    /** Messages that their publishers have not handed over yet. */
    readonly unsent: number;
    /** Messages that wait in the broker for their subscriber. */
    readonly queued: number;
    /** Readings that a client did not take on, as too many waited already. */
    readonly withheld: number;
    /** Messages that the broker gave up, by reason. */
    readonly givenUp: Readonly<Record<string, number>>;
    /** Messages whose octets were others when they came. */
    readonly spoiled: number;
  };
  /** What all machines sent. */
  readonly datagrams: Readonly<NetCounts>;
  /** What went between clients and the broker. */
  readonly air: {
    /** Datagrams. */
    readonly datagrams: number;
    /** Their octets, without headers. */
    readonly octets: number;
    /** The same for each delivery that came; 0 if none did. */
    readonly octetsPerDelivery: number;
    /** And with UDP's and IPv4's headers. */
    readonly withHeaders: number;
  };
  /** What was sent again as no answer had come. */
  readonly again: {
    /** By clients: requests. */
    readonly clients: number;
    /** By the broker: messages and its own requests. */
    readonly broker: number;
  };
  /** What it took the broker. */
  readonly broker: {
    /** The most messages that waited, of the samples. */
    readonly maxQueued: number;
    /** The most octets that they took, of the samples, estimated. */
    readonly maxQueueMemory: number;
    /** Octets of topic ids, filters and wills in the end, estimated. */
    readonly nameMemory: number;
    /** Requests refused, by reason. */
    readonly refused: Readonly<Record<string, number>>;
    /** Datagrams left unanswered, by reason. */
    readonly dropped: Readonly<Record<string, number>>;
    /** Clients that were lost, by what happened. */
    readonly lost: Readonly<Record<string, number>>;
  };
  /** How often a client was told that it cannot connect, or heard nothing. */
  readonly turnedAway: number;
  /** What it was like once in a while. */
  readonly samples: readonly FleetSample[];
}

/** What a run took this machine: another time it is something else. */
export interface RunCost {
  /** Seconds. */
  readonly seconds: number;
  /** Datagrams a second. */
  readonly datagramsPerSecond: number;
  /** The most memory that was in use, in octets. */
  readonly peakMemory: number;
}

/**
 * What a run comes to.
 *
 * @param fleet a fleet whose run is over
 * @param network what its network was asked to be
 */
export function reportOf(fleet: Fleet, network = ""): FleetReport {
  const { options, ledger, net, samples, air } = fleet;
  const { mqttsn, dropped } = fleet.stats();
  const all = new Histogram();
  let duplicates = 0;
  const flows = MESSAGE_KINDS.flatMap((flow) =>
    ledger.accounts[flow].map((account, qos) => {
      all.addAll(account.latency);
      duplicates += account.duplicates;
      return flowReportOf(flow, qos as DeliveryQos, account);
    })
  );
  const { seed, clients, sleepers, sleep, durationMs, graceMs } = options;
  const perDelivery = (count: number) =>
    ledger.arrived === 0 ? 0 : count / ledger.arrived;
  const withHeaders = air.octets + air.datagrams * HEADERS;
  return {
    seed,
    clients,
    sleepers,
    sleep,
    durationMs,
    graceMs,
    network,
    digest: net.digest,
    flows,
    total: {
      expected: ledger.expected,
      arrived: ledger.arrived,
      duplicates,
      latency: latencyReportOf(all),
    },
    missing: {
      unsent: fleet.unsent,
      queued: mqttsn.queued,
      withheld: fleet.withheld,
      givenUp: countsOf(mqttsn.lost),
      spoiled: ledger.spoiled,
    },
    datagrams: { ...net.counts },
    air: {
      ...air,
      octetsPerDelivery: perDelivery(air.octets),
      withHeaders: perDelivery(withHeaders),
    },
    again: { clients: fleet.repeats, broker: mqttsn.retried },
    broker: {
      maxQueued: Math.max(0, ...samples.map(({ queued }) => queued)),
      maxQueueMemory: Math.max(
        0,
        ...samples.map(({ queueMemory }) => queueMemory),
      ),
      nameMemory: mqttsn.nameMemory,
      refused: countsOf(mqttsn.refused),
      dropped: countsOf(dropped),
      lost: countsOf(mqttsn.lostBy),
    },
    turnedAway: fleet.turnedAway,
    samples,
  };
}

function flowReportOf(
  flow: MessageKind,
  qos: DeliveryQos,
  { published, expected, arrived, duplicates, latency }: Account,
): FlowReport {
  return {
    flow,
    qos,
    published,
    expected,
    arrived,
    duplicates,
    latency: latencyReportOf(latency),
    curve: thinned(latency.curve()),
  };
}

function latencyReportOf(latency: Histogram): LatencyReport | undefined {
  if (latency.count === 0) return undefined;
  return {
    mean: latency.mean!,
    p50: latency.percentile(50)!,
    p90: latency.percentile(90)!,
    p99: latency.percentile(99)!,
    p999: latency.percentile(99.9)!,
    max: latency.percentile(100)!,
  };
}

/** Those points of a curve that can be told apart. */
function thinned(curve: readonly CurvePoint[]): readonly CurvePoint[] {
  let last = -1;
  return curve.filter(({ share }, at) => {
    if (share - last < 1 / POINTS && at < curve.length - 1) return false;
    last = share;
    return true;
  });
}

/** Those counts that are not 0. */
function countsOf(
  counts: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(counts).filter(([, count]) => count > 0),
  );
}

/** The report as a table, for a terminal. */
export function describeReport(report: FleetReport, cost?: RunCost): string {
  const lines = summaryOf(report, cost);
  const width = Math.max(...lines.map(([name]) => name.length)) + 2;
  return [
    titleOf(report),
    "",
    ...flowTable(report),
    "",
    ...lines.map(([name, text]) => name.padEnd(width) + text),
    "",
  ].join("\n");
}

/** What there is to tell beside the table of flows, each with its name. */
export function summaryOf(
  report: FleetReport,
  cost?: RunCost,
): readonly (readonly [name: string, text: string])[] {
  const { total, missing, datagrams, air, again, broker } = report;
  const lines: [name: string, text: string][] = [
    [
      "delivered",
      `${shareText(total.arrived, total.expected)} of ${
        countText(total.expected)
      } deliveries, ${countText(total.duplicates)} of them twice`,
    ],
    ["not delivered", missingText(report)],
    [
      "datagrams",
      `${countText(datagrams.sent)}, of which ${
        shareText(datagrams.lost, datagrams.sent)
      } got lost and ${
        shareText(datagrams.duplicated, datagrams.sent)
      } doubled`,
    ],
    [
      "on the air",
      `${decimalText(air.octetsPerDelivery)} octets in ${
        decimalText(air.datagrams / total.arrived)
      } datagrams a delivery; with UDP's and IPv4's headers ${
        decimalText(air.withHeaders)
      }`,
    ],
    [
      "sent again",
      `${countText(again.clients)} by clients, ${
        countText(again.broker)
      } by the broker`,
    ],
    [
      "in the broker",
      `at most ${countText(broker.maxQueued)} messages waited, in ${
        octetsText(broker.maxQueueMemory)
      }`,
    ],
    ["refused", listText(broker.refused) || "nothing"],
    ["left unanswered", listText(broker.dropped) || "nothing"],
    ["clients lost", listText(broker.lost) || "none"],
  ];
  if (missing.withheld > 0) {
    lines.push([
      "not published",
      `${
        countText(missing.withheld)
      } readings, as too many waited in their clients`,
    ]);
  }
  lines.push(["digest", report.digest]);
  if (cost !== undefined) {
    lines.push([
      "took",
      `${decimalText(cost.seconds)} s at ${
        countText(Math.round(cost.datagramsPerSecond))
      } datagrams/s, ${octetsText(cost.peakMemory)} of memory`,
    ]);
  }
  return lines;
}

/** What has not come, and where it is as far as that is known. */
function missingText({ total, missing }: FleetReport): string {
  const count = total.expected - total.arrived;
  if (count === 0) return "nothing";
  const { unsent, queued, givenUp, spoiled } = missing;
  const reasons = listText({
    "wait in the broker": queued,
    "wait in their clients": unsent,
    ...givenUp,
    "came spoiled": spoiled,
  });
  return `${countText(count)}${reasons === "" ? "" : `; ${reasons}`}`;
}

/** A run in a line. */
export function titleOf(report: FleetReport): string {
  const { clients, sleepers, sleep, durationMs, network, seed } = report;
  const asleep = sleepers > 0
    ? `, ${percentText(sleepers)} of them asleep for ${
      timeText(sleep * 1_000)
    } at a time`
    : "";
  const over = network === "" ? "a perfect network" : `"${network}"`;
  return `${countText(clients)} clients${asleep}, ${
    timeText(durationMs)
  } over ${over}, seed ${seed}`;
}

/** The headings of the table of flows. */
export const FLOW_COLUMNS = [
  "",
  "published",
  "expected",
  "arrived",
  "",
  "twice",
  "p50",
  "p90",
  "p99",
  "p99.9",
  "longest",
] as const;

/** The table of flows: a row for each that there was. */
export function flowRows(report: FleetReport): readonly (readonly string[])[] {
  return report.flows.filter(({ published }) => published > 0).map((flow) => {
    const { p50, p90, p99, p999, max } = flow.latency ?? NO_LATENCY;
    return [
      `${flow.flow}, QoS ${flow.qos}`,
      countText(flow.published),
      countText(flow.expected),
      countText(flow.arrived),
      shareText(flow.arrived, flow.expected),
      countText(flow.duplicates),
      ...[p50, p90, p99, p999, max].map(timeText),
    ];
  });
}

const NO_LATENCY = {
  p50: undefined,
  p90: undefined,
  p99: undefined,
  p999: undefined,
  max: undefined,
};

function flowTable(report: FleetReport): string[] {
  const rows = [FLOW_COLUMNS, ...flowRows(report)];
  const widths = FLOW_COLUMNS.map((_, at) =>
    Math.max(...rows.map((row) => row[at]!.length))
  );
  return rows.map((row) =>
    row.map((cell, at) =>
      at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)
    ).join("  ").trimEnd()
  );
}

/** A length of time for a person: "3.2 ms", "41 s", "1 h". */
export function timeText(ms: Millis | undefined): string {
  if (ms === undefined) return "–";
  for (const [unit, size] of UNITS) {
    if (ms >= size) return `${decimalText(ms / size)} ${unit}`;
  }
  return `${decimalText(ms)} ms`;
}

const UNITS: readonly (readonly [string, Millis])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
];

/** A count with its thousands apart. */
export function countText(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A number with three figures that count. */
function decimalText(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value >= 100) return countText(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** A part as a percentage: never 100 % when something is missing. */
export function shareText(part: number, whole: number): string {
  return whole === 0 ? "–" : percentText(part / whole);
}

function percentText(share: number): string {
  const percent = share * 100;
  if (percent === 0 || percent === 100) return `${percent} %`;
  if (percent > 99.99) return "99.99 %";
  if (percent < 0.01) return "0.01 %";
  return `${Number(percent.toFixed(2))} %`;
}

function octetsText(octets: number): string {
  if (octets >= 2 ** 30) return `${decimalText(octets / 2 ** 30)} GiB`;
  if (octets >= 2 ** 20) return `${decimalText(octets / 2 ** 20)} MiB`;
  return `${decimalText(octets / 2 ** 10)} KiB`;
}

function listText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts).filter(([, count]) => count > 0)
    .map(([name, count]) => `${countText(count)} ${name}`).join(", ");
}
