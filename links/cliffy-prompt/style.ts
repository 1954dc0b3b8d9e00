/**
 * Colors, figures, and text made safe to show. Knows nothing of prompts.
 *
 * @module
 */

type Paint = (text: string) => string;

/** The figures of a prompt. */
export const FIGURES = {
  cross: Deno.build.os === "windows" ? "×" : "✘",
  info: Deno.build.os === "windows" ? "i" : "ℹ",
  pointer: Deno.build.os === "windows" ? ">" : "❯",
  pointerSmall: Deno.build.os === "windows" ? "»" : "›",
} as const;

/** The look of what is asked. */
export const bold: Paint = sgr(1, 22);
/** The look of what is only proposed. */
export const dim: Paint = sgr(2, 22);
/** The look of a hint. */
export const italic: Paint = sgr(3, 23);
/** The look of what is typed. */
export const underline: Paint = sgr(4, 24);
/** The look of an error. */
export const red: Paint = sgr(31, 39);
/** The look of an answer. */
export const green: Paint = sgr(32, 39);
/** The look of the question mark. */
export const yellow: Paint = sgr(33, 39);
/** The look of pointers and matches. */
export const brightBlue: Paint = sgr(94, 39);

/** `text` without characters that a terminal would obey, at the same length. */
export function visible(text: string): string {
  // deno-lint-ignore no-control-regex -- it is control characters that are meant
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, "\ufffd");
}

function sgr(open: number, close: number): Paint {
  return (text) =>
    Deno.noColor || text === "" ? text : `\x1b[${open}m${text}\x1b[${close}m`;
}
