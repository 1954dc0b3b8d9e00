/**
 * A fleet's report as a page of HTML that stands by itself: nothing is loaded from
 * anywhere, and it is read in daylight and in the dark.
 *
 * @module
 */

import type { FleetSample } from "./fleet.ts";
import {
  countText,
  type FleetReport,
  FLOW_COLUMNS,
  flowRows,
  type RunCost,
  shareText,
  summaryOf,
  timeText,
  titleOf,
} from "./report.ts";
import { type Curve, drawPlot, escapeHtml, type Point } from "./plot.ts";

/** Where a person looks for a latency, in milliseconds. */
const TIMES: readonly number[] = [
  ...[0.1, 1, 10, 100],
  ...[1, 10].map((seconds) => seconds * 1_000),
  ...[1, 10].map((minutes) => minutes * 60_000),
  ...[1, 10].map((hours) => hours * 3_600_000),
];

/** Where a person looks for a moment, in milliseconds. */
const MOMENTS: readonly number[] = [
  ...[10, 20, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60),
  ...[1, 2, 6, 12, 24, 48].map((hours) => hours * 3_600),
].map((seconds) => seconds * 1_000);

/**
 * The page.
 *
 * @param report what is told
 * @param cost what the run took this machine, if that is to be told too
 */
export function pageOf(report: FleetReport, cost?: RunCost): string {
  const title = titleOf(report);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
<main>
<header>
<p class="kind">Mock MQTT · simulated fleet</p>
<h1>${escapeHtml(title)}</h1>
</header>
<ul class="figures">${figuresOf(report)}</ul>
<section class="big">
<h2>Latency</h2>
<p>How many of the deliveries had come after how long, from the publisher's call
to the subscriber.</p>
${latencyPlot(report)}
</section>
<div class="pair">
<section>
<h2>Deliveries</h2>
<p>How many were to come of what was published, and how many came, a second.</p>
${deliveryPlot(report)}
</section>
<section>
<h2>Losses</h2>
<p>Which part of all datagrams the network lost.</p>
${lossPlot(report)}
</section>
<section>
<h2>Waiting</h2>
<p>Messages that waited in the broker for their subscriber.</p>
${queuePlot(report)}
</section>
<section>
<h2>Clients</h2>
<p>Clients that the broker knew to be active, awake or asleep.</p>
${clientPlot(report)}
</section>
</div>
<section>
<h2>Messages</h2>
${flowTable(report)}
</section>
<section>
<h2>The rest</h2>
<table class="facts">${
    summaryOf(report, cost).map(([name, text]) =>
      `<tr><th scope="row">${escapeHtml(name)}</th><td>${
        escapeHtml(text)
      }</td></tr>`
    ).join("")
  }</table>
</section>
</main>
</html>
`;
}

function figuresOf({ total, air, datagrams }: FleetReport): string {
  const figures: [string, string][] = [
    ["delivered", shareText(total.arrived, total.expected)],
    ["deliveries", countText(total.arrived)],
    ["half within", timeText(total.latency?.p50)],
    ["99 of 100 within", timeText(total.latency?.p99)],
    ["octets a delivery", countText(Math.round(air.octetsPerDelivery))],
    ["datagrams lost", shareText(datagrams.lost, datagrams.sent)],
  ];
  return figures.map(([name, text]) =>
    `<li><b>${escapeHtml(text)}</b> ${escapeHtml(name)}</li>`
  ).join("");
}

function latencyPlot({ flows }: FleetReport): string {
  const shown = flows.filter(({ curve }) => curve.length > 0);
  const times = shown.flatMap(({ curve }) => curve.map(({ ms }) => ms));
  const least = Math.max(0.05, Math.min(60_000, ...times));
  const most = Math.max(least * 10, ...times);
  const curves = shown.map(({ flow, qos, curve }): Curve => ({
    name: `${flow}, QoS ${qos}`,
    style: (flow === "readings" ? 1 : 4) + qos,
    points: [
      [least, 0],
      ...curve.map(({ ms, share }): Point => [ms, share * 100]),
      [most, 100],
    ],
  }));
  return drawPlot({
    description: "Deliveries that had come after a time, by kind and QoS",
    x: {
      label: "time from publisher to subscriber",
      range: [least, most],
      isLogarithmic: true,
      ticks: TIMES,
      text: timeText,
    },
    y: { label: "deliveries, %", range: [0, 100] },
    curves,
  });
}

/** How much of something happened a second, from one sample to the next. */
function rateOf(
  samples: readonly FleetSample[],
  count: (sample: FleetSample) => number,
): readonly Point[] {
  let last = 0;
  let lastAt = 0;
  return samples.map((sample): Point => {
    const rate = (count(sample) - last) / (sample.at - lastAt) * 1_000;
    last = count(sample);
    lastAt = sample.at;
    return [sample.at, rate];
  });
}

function deliveryPlot(report: FleetReport): string {
  const { samples } = report;
  return plotOverTime(report, {
    label: "a second",
    description: "Deliveries expected and come a second, over time",
    curves: [
      {
        name: "to come",
        style: 2,
        points: rateOf(samples, ({ expected }) => expected),
      },
      {
        name: "came",
        style: 1,
        points: rateOf(samples, ({ arrived }) => arrived),
      },
    ],
  });
}

function lossPlot(report: FleetReport): string {
  let last = { sent: 0, lost: 0 };
  const points = report.samples.map(({ at, sent, lost }): Point => {
    const share = (lost - last.lost) / Math.max(1, sent - last.sent) * 100;
    last = { sent, lost };
    return [at, share];
  });
  return plotOverTime(report, {
    label: "datagrams lost, %",
    description: "The part of datagrams that the network lost, over time",
    curves: [{ name: "lost", style: 3, isFilled: true, points }],
  });
}

function queuePlot(report: FleetReport): string {
  return plotOverTime(report, {
    label: "messages",
    description: "Messages that waited in the broker, over time",
    curves: [{
      name: "waiting",
      style: 4,
      isFilled: true,
      points: report.samples.map(({ at, queued }): Point => [at, queued]),
    }],
  });
}

function clientPlot(report: FleetReport): string {
  return plotOverTime(report, {
    label: "clients",
    description: "Clients that the broker knew to be there, over time",
    curves: [{
      name: "connected",
      style: 5,
      isFilled: true,
      points: report.samples.map(({ at, connected }): Point => [at, connected]),
    }],
  });
}

function plotOverTime(
  { samples }: FleetReport,
  { label, description, curves }: {
    readonly label: string;
    readonly description: string;
    readonly curves: readonly Curve[];
  },
): string {
  const most = Math.max(
    ...curves.flatMap(({ points }) => points.map(([, y]) => y)),
  );
  const end = samples.at(-1)?.at ?? 1;
  // The shortest step that does not crowd the axis.
  const step = MOMENTS.find((step) => end / step <= 8) ?? MOMENTS.at(-1)!;
  return drawPlot({
    description,
    x: {
      label: "time since the first client came",
      range: [0, end],
      ticks: Array.from(
        { length: Math.floor(end / step) + 1 },
        (_, at) => at * step,
      ),
      text: (ms) => ms === 0 ? "0" : timeText(ms),
    },
    y: { label, range: [0, most > 0 ? most * 1.08 : 1], text: shortText },
    curves,
  });
}

/** A tick in as little room as there is: "12k". */
function shortText(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(4)));
}

function flowTable(report: FleetReport): string {
  const heads = FLOW_COLUMNS.map((name) =>
    name === "" ? "<td></td>" : `<th scope="col">${escapeHtml(name)}</th>`
  ).join("");
  const rows = flowRows(report).map(([first, ...cells]) =>
    `<tr><th scope="row">${escapeHtml(first!)}</th>${
      cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join("")
    }</tr>`
  ).join("");
  return `<div class="wide"><table class="flows"><thead><tr>${heads}</tr></thead><tbody>${rows}</tbody></table></div>`;
}

const STYLE = `
:root { color-scheme: light dark;
  --page: #fbfbf9; --ink: #1c1f24; --faint: #5d646e; --line: #dadcd8;
  --c1: #0060a8; --c2: #c04a00; --c3: #a3195b; --c4: #00735c; --c5: #6b4fa0;
  --c6: #80610a; }
@media (prefers-color-scheme: dark) { :root {
  --page: #16191d; --ink: #e7e9ec; --faint: #a2aab4; --line: #363c44;
  --c1: #5db4f5; --c2: #f79350; --c3: #f07bb0; --c4: #3fc9a4; --c5: #b59cf0;
  --c6: #dcb74a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
.kind { margin: 0; color: var(--faint); font-size: 14px; }
h1 { margin: 4px 0 24px; font-size: 26px; line-height: 1.25; font-weight: 650; }
h2 { margin: 0; font-size: 18px; }
section { margin: 40px 0 0; min-width: 0; }
section > p { margin: 4px 0 12px; color: var(--faint); max-width: 70ch; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  gap: 1px; padding: 1px; margin: 0; list-style: none; background: var(--line); }
.figures li { background: var(--page); padding: 12px 14px; color: var(--faint);
  font-size: 14px; }
.figures b { display: block; color: var(--ink); font-size: 24px; line-height: 1.3;
  font-weight: 650; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  column-gap: 40px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.axis { stroke: var(--faint); stroke-width: 1; fill: none; }
.tick, .label { fill: var(--faint); font-size: 12px; }
.big > svg .tick, .big > svg .label { font-size: 9px; }
.big > svg .curve { stroke-width: 1.4; }
@media (max-width: 760px) { .big > svg .tick, .big > svg .label,
  .pair .tick, .pair .label { font-size: 17px; } }
.curve { fill: none; stroke: currentColor; stroke-width: 2;
  stroke-linejoin: round; }
.area { fill: currentColor; opacity: .16; }
.c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 0 10%;
  padding: 0; list-style: none; font-size: 14px; }
.legend li { display: flex; align-items: center; gap: 8px; }
.legend svg { width: 34px; height: 10px; }
table { border-collapse: collapse; font-size: 15px;
  font-variant-numeric: tabular-nums; margin-top: 8px; }
th { font-weight: 500; }
td, th { padding: 6px 12px; border-bottom: 1px solid var(--line); }
.flows { width: 100%; }
.flows th, .flows td { text-align: right; white-space: nowrap; }
.flows th[scope=row], .facts th { text-align: left; padding-left: 0; }
.flows thead th, .facts th { color: var(--faint); }
.facts th { vertical-align: top; white-space: nowrap; }
.facts td { text-align: left; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
`;
