/**
 * Holds the pages of documentation to what they talk about: paths, links, flags, the
 * programs' help, and code in other languages. TypeScript in them runs as tests anyway.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../../tasks/house.ts";

/** Every page, by its path. */
async function readPages(): Promise<Map<string, string>> {
  const pages = new Map<string, string>();
  const add = async (path: string) => {
    pages.set(path, await Deno.readTextFile(new URL(path, ROOT)));
  };
  for (const directory of ["", "docs/"]) {
    for await (const { name } of Deno.readDir(new URL(directory, ROOT))) {
      if (name.endsWith(".md")) await add(directory + name);
    }
  }
  await add("bench/README.md");
  return pages;
}

const pages = await readPages();

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(new URL(path, ROOT));
    return true;
  } catch {
    return false;
  }
}

/** A heading's anchor, as GitHub makes it. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N}\p{M}_ -]/gu, "")
    .replaceAll(" ", "-");
}

const withoutCode = (text: string) => text.replace(/^```[^]*?^```/gm, "");

Deno.test("every link in a page leads somewhere", async () => {
  for (const [page, text] of pages) {
    for (const [, link] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link!)) continue;
      const [file, anchor] = link!.split("#") as [string, string?];
      const path = file === ""
        ? page
        : new URL(file, new URL(page, "file:///")).pathname.slice(1);
      assert(await exists(path), `${page}: ${link}`);
      if (anchor === undefined) continue;
      const headings = [...pages.get(path)!.matchAll(/^#+ (.*)$/gm)];
      assert(
        headings.some(([, heading]) => anchorOf(heading!) === anchor),
        `${page}: ${link}`,
      );
    }
  }
});

Deno.test("every page is found from the index", () => {
  const index = pages.get("docs/README.md")!;
  for (const page of pages.keys()) {
    const [, name] = /^docs\/(?!README)(.*)$/.exec(page) ?? [];
    if (name !== undefined) assert(index.includes(`](${name})`), page);
  }
});

Deno.test("every file of ours that a page names is there", async () => {
  const names =
    /`((?:base|wire|broker|client|transport|store|netsim|journal|fleet|entries|cli|tests|tasks|bench|examples|docs)\/[\w/.-]*\w)`/g;
  for (const [page, text] of pages) {
    if (page === "CHANGELOG.md") continue; // it tells what was
    for (const [, path] of text.matchAll(names)) {
      if (path!.includes("FOLDER")) continue;
      assert(await exists(path!), `${page}: ${path}`);
    }
  }
});

const PROGRAMS = {
  broker: "broker.ts",
  publisher: "publisher.ts",
  subscriber: "subscriber.ts",
  replay: "cli/replay.ts",
  simulate: "cli/simulate.ts",
} as const;

type ProgramName = keyof typeof PROGRAMS;

async function helpOf(program: ProgramName): Promise<string> {
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", PROGRAMS[program], "--help"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  assert(success, program);
  return new TextDecoder().decode(stdout);
}

const helps = new Map<ProgramName, string>();
for (const program of Object.keys(PROGRAMS) as ProgramName[]) {
  helps.set(program, await helpOf(program));
}

Deno.test("docs/command-line.md has the help of each program", async () => {
  const page = "docs/command-line.md";
  let text = pages.get(page)!;
  for (const [program, help] of helps) {
    text = text.replace(
      new RegExp(`(## ${program}\n\n\`\`\`\n)[^]*?(\`\`\`\n)`),
      (_, before, after) => before + help + after,
    );
  }
  // The text of a flag stands in one place. UPDATE=1 copies it here.
  if (Deno.env.get("UPDATE") === "1") {
    await Deno.writeTextFile(new URL(page, ROOT), text);
  }
  assertEquals(
    await Deno.readTextFile(new URL(page, ROOT)),
    text,
    "The help has changed: run this test with UPDATE=1",
  );
});

Deno.test("every command in a page has flags that there are", async () => {
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  ) as { tasks: Record<string, unknown> };
  const programs: Readonly<Record<string, ProgramName>> = {
    broker: "broker",
    pub: "publisher",
    sub: "subscriber",
    replay: "replay",
    simulate: "simulate",
  };
  let commands = 0;
  for (const [page, text] of pages) {
    for (const [, block] of text.matchAll(/^```sh\n([^]*?)^```/gm)) {
      const lines = block!.replaceAll("\\\n", " ").split("\n");
      for (const line of lines) {
        const found = line.matchAll(
          /\bdeno(?:@[\d.]+)? task (?:-\S+ )*([\w:]+)([^|#]*)/g,
        );
        for (const [, task, rest] of found) {
          commands++;
          assert(tasks[task!] !== undefined, `${page}: ${line}`);
          const help = helps.get(programs[task!]!);
          if (help === undefined) continue;
          const words = rest!.replace(/'[^']*'|"[^"]*"/g, "x").split(/\s+/);
          for (const flag of words) {
            if (!/^-+[a-zA-Z]/.test(flag)) continue;
            assert(
              new RegExp(`(^|[ ,])${flag}([ ,]|$)`, "m").test(help),
              `${page}: ${flag} of "${line}"`,
            );
          }
        }
      }
    }
  }
  assert(commands > 30);
});

/** How code in a language of a page is run. */
const RUNS = {
  python: { file: "test.py", needs: "python3", run: "python3 $FILE" },
  c: {
    file: "test.c",
    needs: "cc",
    run: "cc -Wall -o $FILE.out $FILE && $FILE.out",
  },
  js: { file: "test.mjs", needs: "node", run: "node $FILE" },
} as const;

for (const [language, { file, needs, run }] of Object.entries(RUNS)) {
  const [, code] =
    new RegExp(`^\`\`\`${language}(?: ignore)?\n([^]*?)^\`\`\``, "m")
      .exec(pages.get("docs/testing.md")!) ?? [];
  Deno.test(`docs/testing.md: the test in ${language} passes`, async (t) => {
    const sh = (command: string, env: Record<string, string> = {}) =>
      new Deno.Command("sh", { args: ["-c", command], cwd: ROOT, env })
        .output();
    if (!(await sh(`command -v ${needs}`)).success) {
      await t.step({ name: `skipped: no ${needs}`, ignore: true, fn() {} });
      return;
    }
    const directory = await Deno.makeTempDir();
    const path = `${directory}/${file}`;
    // The page says deno: it is the one that runs this test.
    await Deno.symlink(Deno.execPath(), `${directory}/deno`);
    await Deno.writeTextFile(path, code!);
    const PATH = `${directory}:${Deno.env.get("PATH")}`;
    const { success, stdout, stderr } = await sh(run, { FILE: path, PATH });
    const decoder = new TextDecoder();
    assert(success, decoder.decode(stderr));
    assertEquals(decoder.decode(stdout).trim(), "passed");
    await Deno.remove(directory, { recursive: true });
  });
}

Deno.test("every note that a test is named after stands in the notes, and has a test", async () => {
  const notes = pages.get("docs/spec-notes.md")!;
  const headed = new Set(
    [...notes.matchAll(/^### ([AG]\d+)$/gm)].map(([, code]) => code!),
  );
  const named = new Set<string>();
  const read = async (directory: string) => {
    for await (
      const { name, isDirectory } of Deno.readDir(new URL(directory, ROOT))
    ) {
      if (isDirectory) await read(`${directory}${name}/`);
      else if (name.endsWith("_test.ts")) {
        const text = await Deno.readTextFile(new URL(directory + name, ROOT));
        for (const [, test] of text.matchAll(/Deno\.test\(\s*["`]([^\n]*)/g)) {
          for (const [code] of test!.matchAll(/\b[AG]\d{1,2}\b/g)) {
            named.add(code);
          }
        }
      }
    }
  };
  await read("tests/");
  assertEquals([...named].filter((code) => !headed.has(code)).sort(), []);
  assertEquals([...headed].filter((code) => !named.has(code)).sort(), []);
});
