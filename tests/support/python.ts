/**
 * Python, for the programs of the tests that are not ours to write in
 * TypeScript: a client and a broker that share no line with our own, and a
 * terminal.
 *
 * @module
 */

import { Running } from "./programs.ts";

/** The command of a Python 3, `undefined` where there is none. */
export const PYTHON: string | undefined = findPython();

/** What the name of a test that needs Python ends in. */
export const SKIPPED_WITHOUT_PYTHON: string = PYTHON === undefined
  ? " (skipped: there is no Python 3)"
  : "";

/** Starts a script in `tests`. */
export function startScript(
  script: string,
  args: readonly string[] = [],
): Running {
  // Names are written in UTF-8 whatever the system's code page is.
  const env = { PYTHONUTF8: "1" };
  return new Running(PYTHON!, [`tests/support/${script}`, ...args], { env });
}

/** Whether Python has the modules of that name here. */
export function hasModules(...names: readonly string[]): boolean {
  return PYTHON !== undefined && runs(PYTHON, `import ${names.join(", ")}`);
}

function findPython(): string | undefined {
  // Windows has no "python3", or one that opens a shop.
  return ["python3", "python"].find((command) =>
    runs(command, "import sys; assert sys.version_info >= (3, 8)")
  );
}

function runs(command: string, code: string): boolean {
  try {
    return new Deno.Command(command, {
      args: ["-c", code],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync().success;
  } catch {
    return false;
  }
}
