/**
 * The picture of a run: deliveries a second at QoS 0 to one, ten, a hundred and a
 * thousand subscribers, a bar for each who was under load, with the spread of the
 * rounds.
 *
 * @module
 */

import { spreadOf } from "./figures.ts";
import type { Round } from "./load_job.ts";
import type { Machine } from "./servers.ts";

/** Who is drawn, how it is called and in which colour of light and dark. */
const BARS: readonly (readonly [
  name: string,
  label: string,
  light: string,
  dark: string,
])[] = [
  [
    "relay, batched",
    "relay: the same calls, no protocol",
    "#c3c9d1",
    "#4a525c",
  ],
  ["batched, 1 sender", "broker, batched, 1 sender", "#0b5cad", "#58a6ff"],
  ["batched, 0 senders", "broker, batched", "#4f95d8", "#2f6fb5"],
  ["portable", "broker, portable", "#a9cdee", "#1d4673"],
  ["mosquitto, TCP", "mosquitto (MQTT over TCP)", "#e39a3b", "#d08a2c"],
];

const [WIDTH, HEIGHT] = [760, 400];
const PLOT = { left: 72, right: 744, top: 92, bottom: 340 };
const [BAR, GAP] = [24, 4];

/**
 * Draws it, as SVG that is readable on light and on dark.
 *
 * @param measured what was measured; who has no figure has no bar
 * @param machine where
 */
export function drawPicture(
  measured: readonly Round[],
  { cpu, cores, deno }: Machine,
): string {
  const fans = [1, 10, 100, 1_000].filter((fan) =>
    measured.some((round) => round.case === `qos0-to-${fan}`)
  );
  const spreads = fans.map((fan) =>
    BARS.map(([name]) =>
      spreadOf(
        measured.filter((round) =>
          round.case === `qos0-to-${fan}` && round.rival === name
        ).map(({ rate }) => rate),
      )
    )
  );
  const most = Math.max(
    1,
    ...spreads.flat().map(({ max }) => max).filter(Number.isFinite),
  );
  const step = stepFor(most);
  const top = Math.ceil(most / step) * step;
  const y = (rate: number) =>
    PLOT.bottom - rate / top * (PLOT.bottom - PLOT.top);
  const parts: string[] = [];
  for (let rate = 0; rate <= top; rate += step) {
    const label = rate.toLocaleString("en");
    parts.push(
      `<path class="grid" d="M${PLOT.left} ${at(y(rate))}H${PLOT.right}"/>`,
      text(PLOT.left - 8, y(rate) + 4, "end", label),
    );
  }
  const group = (PLOT.right - PLOT.left) / Math.max(1, fans.length);
  fans.forEach((fan, i) => {
    const drawn = BARS.flatMap((_, bar) =>
      Number.isFinite(spreads[i]![bar]!.median) ? [bar] : []
    );
    const width = drawn.length * (BAR + GAP) - GAP;
    const middle = PLOT.left + group * (i + 0.5);
    drawn.forEach((bar, place) => {
      const { median, min, max } = spreads[i]![bar]!;
      const x = middle - width / 2 + place * (BAR + GAP);
      const centre = at(x + BAR / 2);
      const rate = Math.round(median).toLocaleString("en");
      parts.push(
        `<rect class="b${bar}" x="${at(x)}" y="${
          at(y(median))
        }" width="${BAR}" height="${at(PLOT.bottom - y(median))}"><title>${
          BARS[bar]![1]
        }: ${rate}/s</title></rect>`,
        `<path class="spread" d="M${centre} ${at(y(min))}V${at(y(max))}"/>`,
        text(x + BAR / 2, y(max) - 5, "middle", thousands(median), "value"),
      );
    });
    const many = fan === 1
      ? "1 subscriber"
      : `${fan.toLocaleString("en")} subscribers`;
    parts.push(text(middle, PLOT.bottom + 20, "middle", many));
  });
  BARS.forEach(([, label], bar) => {
    const [x, line] = [PLOT.left + bar % 3 * 235, Math.floor(bar / 3)];
    const legendY = 44 + line * 18;
    parts.push(
      `<rect class="b${bar}" x="${x}" y="${
        legendY - 9
      }" width="11" height="11"/>`,
      text(x + 17, legendY, "start", label),
    );
  });
  const where = `${cores} shared cores, ${cpu}, Deno ${deno}; 64 octets; ` +
    "median, and from the least to the most";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Deliveries a second at QoS 0">`,
    `<style>${styles()}</style>`,
    text(PLOT.left, 22, "start", "Deliveries a second at QoS 0", "title"),
    ...parts,
    text(PLOT.left, PLOT.bottom + 46, "start", where, "note"),
    "</svg>",
    "",
  ].join("\n");
}

function styles(): string {
  const colours = (which: 2 | 3) =>
    BARS.map((bar, i) => `.b${i}{fill:${bar[which]}}`).join("");
  return "text{font:12px system-ui,sans-serif;fill:#3b434d}" +
    ".title{font-size:15px;font-weight:600}.note,.value{font-size:10px}" +
    ".grid{stroke:#8b949e;stroke-opacity:.3}" +
    ".spread{stroke:#1f2328;stroke-opacity:.65}" + colours(2) +
    "@media(prefers-color-scheme:dark){text{fill:#c9d1d9}" +
    ".spread{stroke:#f0f6fc}" + colours(3) + "}";
}

/** Lines at round numbers, six at most. */
function stepFor(most: number): number {
  const rough = most / 6;
  const power = 10 ** Math.max(3, Math.floor(Math.log10(rough)));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough)!;
}

function text(
  x: number,
  y: number,
  anchor: string,
  content: string,
  kind?: string,
): string {
  const style = kind === undefined ? "" : ` class="${kind}"`;
  return `<text${style} x="${at(x)}" y="${
    at(y)
  }" text-anchor="${anchor}">${content}</text>`;
}

function at(position: number): string {
  return `${Math.round(position * 10) / 10}`;
}

function thousands(rate: number): string {
  return `${Math.round(rate / 1_000)}k`;
}
