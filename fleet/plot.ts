/**
 * Line plots as SVG, to stand in a page of HTML: axes, curves and their legend.
 * Colours are variables of the page's style sheet, and each curve has its own dashes,
 * so that it can be told from others without them.
 *
 * @module
 */

/** A point of a curve, in the units of its axes. */
export type Point = readonly [x: number, y: number];

/** A curve. */
export interface Curve {
  /** What it is called in the legend. */
  readonly name: string;
  /** Its points, from left to right. */
  readonly points: readonly Point[];
  /** Which of the page's colours, counted from 1, and which dashes. */
  readonly style: number;
  /** Whether what is under it is filled. */
  readonly isFilled?: boolean;
}

/** An axis. */
export interface Axis {
  /** What is on it, with its unit. */
  readonly label: string;
  /** Its ends. */
  readonly range: readonly [min: number, max: number];
  /** Whether its steps are factors; its range is more than 0 then. */
  readonly isLogarithmic?: boolean;
  /** How a tick is written. Default: as a number. */
  readonly text?: (value: number) => string;
  /** Where ticks may be. Default: round numbers. */
  readonly ticks?: readonly number[];
}

/** A plot. */
export interface Plot {
  /** What it shows, in a sentence: for who cannot see it. */
  readonly description: string;
  /** From left to right. */
  readonly x: Axis;
  /** From below. */
  readonly y: Axis;
  /** What is in it. */
  readonly curves: readonly Curve[];
}

const WIDTH = 640;
const HEIGHT = 300;
const LEFT = 64;
const RIGHT = 16;
const TOP = 12;
const BOTTOM = 46;

/** Ticks of an axis, about. */
const TICKS = 6;

/** One for each style, so that curves differ without colour. */
const DASHES = ["", "7 4", "2 3", "10 3 2 3", "14 4", "5 2 2 2 2 2"] as const;

/**
 * A plot as an element of SVG, with its legend as HTML behind it.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { drawPlot } from "./plot.ts";
 *
 * const html = drawPlot({
 *   description: "It grows",
 *   x: { label: "time, s", range: [0, 10] },
 *   y: { label: "messages", range: [0, 5] },
 *   curves: [{ name: "sent", style: 1, points: [[0, 0], [10, 5]] }],
 * });
 * assert(html.includes("<svg") && html.includes("It grows"));
 * ```
 */
export function drawPlot({ description, x, y, curves }: Plot): string {
  const toX = placesOf(x, LEFT, WIDTH - RIGHT);
  const toY = placesOf(y, HEIGHT - BOTTOM, TOP);
  const bottom = HEIGHT - BOTTOM;
  const parts = [
    ...ticksOf(y).map((value) =>
      `<path class="grid" d="M${LEFT} ${toY(value)}H${WIDTH - RIGHT}"/>` +
      `<text class="tick" x="${LEFT - 8}" y="${
        toY(value)
      }" text-anchor="end" dy=".32em">${escapeHtml(tickText(y, value))}</text>`
    ),
    ...ticksOf(x).map((value) =>
      `<path class="grid" d="M${toX(value)} ${TOP}V${bottom + 5}"/>` +
      `<text class="tick" x="${toX(value)}" y="${
        bottom + 18
      }" text-anchor="middle">${escapeHtml(tickText(x, value))}</text>`
    ),
    `<path class="axis" d="M${LEFT} ${TOP}V${bottom}H${WIDTH - RIGHT}"/>`,
    `<text class="label" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${
      HEIGHT - 6
    }" text-anchor="middle">${escapeHtml(x.label)}</text>`,
    `<text class="label" transform="translate(14 ${
      (TOP + bottom) / 2
    }) rotate(-90)" text-anchor="middle">${escapeHtml(y.label)}</text>`,
    ...curves.map((curve) =>
      drawCurve(curve, curves.length > 1, toX, toY, bottom)
    ),
  ];
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${
    escapeHtml(description)
  }">${parts.join("")}</svg>${legendOf(curves)}`;
}

/** What a text is in HTML. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function drawCurve(
  { points, style, isFilled, name }: Curve,
  isDashed: boolean,
  toX: (value: number) => number,
  toY: (value: number) => number,
  bottom: number,
): string {
  const [first] = points;
  const last = points.at(-1);
  if (first === undefined || last === undefined) return "";
  const steps = points.slice(1).map(([x, y]) => `L${toX(x)} ${toY(y)}`).join(
    "",
  );
  const line = `M${toX(first[0])} ${toY(first[1])}${steps}`;
  const title = `<title>${escapeHtml(name)}</title>`;
  const area = isFilled
    ? `<path class="area c${style}" d="${line}V${bottom}H${toX(first[0])}Z"/>`
    : "";
  const dashes = isDashed ? ` stroke-dasharray="${dashesOf(style)}"` : "";
  return `<g>${title}${area}<path class="curve c${style}"${dashes} d="${line}"/></g>`;
}

function legendOf(curves: readonly Curve[]): string {
  if (curves.length < 2) return "";
  const items = curves.map(({ name, style }) =>
    `<li><svg viewBox="0 0 34 10" aria-hidden="true"><path class="curve c${style}" stroke-dasharray="${
      dashesOf(style)
    }" d="M1 5H33"/></svg>${escapeHtml(name)}</li>`
  );
  return `<ul class="legend">${items.join("")}</ul>`;
}

function dashesOf(style: number): string {
  return DASHES[(style - 1) % DASHES.length]!;
}

/** Where the values of an axis are, in the plot's own units. */
function placesOf(
  { range: [min, max], isLogarithmic }: Axis,
  from: number,
  to: number,
): (value: number) => number {
  const scale = isLogarithmic ? Math.log : (value: number) => value;
  const start = scale(min);
  const span = scale(max) - start || 1;
  return (value) => {
    const share = (scale(Math.min(max, Math.max(min, value))) - start) / span;
    return Number((from + share * (to - from)).toFixed(1));
  };
}

/** Where an axis has its ticks. */
function ticksOf({ range: [min, max], isLogarithmic, ticks }: Axis): number[] {
  const isIn = (value: number) => value >= min && value <= max;
  if (ticks !== undefined) {
    const shown = ticks.filter(isIn);
    const every = Math.ceil(shown.length / (2 * TICKS));
    return shown.filter((_, at) => at % every === 0);
  }
  if (isLogarithmic) {
    const first = Math.ceil(Math.log10(min));
    const count = Math.max(0, Math.floor(Math.log10(max)) - first + 1);
    return Array.from({ length: count }, (_, at) => 10 ** (first + at));
  }
  const step = roundStep((max - min) / TICKS);
  const first = Math.ceil(min / step);
  const count = Math.floor(max / step) - first + 1;
  return Array.from({ length: count }, (_, at) => (first + at) * step);
}

/** 1, 2 or 5 times a power of ten, and not less. */
function roundStep(step: number): number {
  if (step <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].find((times) => times * power >= step)! * power;
}

function tickText({ text }: Axis, value: number): string {
  return text?.(value) ?? String(Number(value.toPrecision(6)));
}
