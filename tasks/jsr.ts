// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * `deno task jsr` checks the project, and runs its tests, against the packages
 * at JSR that `links/` stands in for. Where JSR does not answer it says so, and
 * that is no failure.
 *
 * The configuration is `deno.json` without `"links"`, under a temporary name
 * beside it, so that its paths hold. It is removed whatever happens.
 *
 * @module
 */

import deno from "../deno.json" with { type: "json" };

const ROOT = new URL("..", import.meta.url);
const ANSWER_WITHIN_MS = 5_000;

/**
 * Runs the task.
 *
 * @param signal ends it early: what runs is ended, what was written is removed
 * @returns the exit code: 0 when all is well or JSR does not answer, the failed
 * command's own otherwise, 130 when it was ended early
 */
export async function main(signal: AbortSignal): Promise<number> {
  const reason = await whyNoAnswer(packageNames(), signal);
  if (signal.aborted) return 130;
  if (reason !== undefined) {
    console.log(`skipped: JSR does not answer here (${reason})`);
    return 0;
  }
  const name = `jsr-${Deno.pid}.tmp`;
  const file = new URL(name, ROOT);
  try {
    await Deno.writeTextFile(file, JSON.stringify(withoutLinks()), { signal });
    const options = ["--no-lock", `--config=${name}`];
    for (
      const args of [
        ["check", ...options, "."],
        ["test", "-A", "--parallel", ...options],
      ]
    ) {
      console.log(`deno ${args.join(" ")}`);
      const code = await run(args, signal);
      if (code !== 0) return code;
    }
    return 0;
  } catch (error) {
    if (signal.aborted) return 130;
    throw error;
  } finally {
    await Deno.remove(file).catch(() => {}); // it was never written
  }
}

/** The packages at JSR that the project imports, as `@scope/name`. */
function packageNames(): string[] {
  return Object.values(deno.imports).flatMap((specifier) =>
    /^jsr:(@[^/]+\/[^@/]+)/.exec(specifier)?.[1] ?? []
  );
}

/** The project's configuration, with the originals and without the stand-ins. */
function withoutLinks(): Record<string, unknown> {
  const { links: _, exclude, ...rest } = deno;
  return { ...rest, exclude: [...exclude, "links"] };
}

/** Why JSR cannot serve those packages; `undefined` when it can. */
async function whyNoAnswer(
  names: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const registry = Deno.env.get("JSR_URL") || "https://jsr.io/";
  const within = AbortSignal.timeout(ANSWER_WITHIN_MS);
  try {
    for (const name of names) {
      const response = await fetch(
        new URL(`${name}/meta.json`, registry.replace(/\/*$/, "/")),
        { signal: AbortSignal.any([signal, within]) },
      );
      if (!response.ok) {
        await response.body?.cancel();
        return `${response.status} for ${name}`;
      }
      const { versions } = await response.json();
      if (!versions) return `no versions of ${name}`;
    }
    return undefined;
  } catch (error) {
    if (within.aborted) return `nothing within ${ANSWER_WITHIN_MS / 1000} s`;
    return inShort(error);
  }
}

/** Runs deno at the project's root and gives its exit code. */
async function run(args: string[], signal: AbortSignal): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, signal });
  const { code } = await child.spawn().status;
  return signal.aborted ? 130 : code;
}

/** What went wrong on one line: the cause of a failed fetch says it best. */
function inShort(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message } = error.cause instanceof Error ? error.cause : error;
  return message
    .replace(/^error sending request for url \(.*?\): /, "")
    .replaceAll(/\s*\n\s*/g, " ");
}

if (import.meta.main) {
  const ending = new AbortController();
  const other = Deno.build.os === "windows" ? "SIGBREAK" : "SIGTERM";
  for (const name of ["SIGINT", other] as const) {
    Deno.addSignalListener(name, () => ending.abort());
  }
  const code = await main(ending.signal).catch((error) => {
    console.error(`jsr: ${inShort(error)}`);
    return 1;
  });
  Deno.exit(code);
}
