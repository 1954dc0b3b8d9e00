/**
 * `deno task test:quick` gives an answer in half a minute: it runs the tests of the
 * pure cores, which open no socket, start no process and tell no long story. They are
 * found, not listed: by their folder, and by what they import.
 *
 * @module
 */

import { ROOT } from "./house.ts";

/** Folders whose tests start programs, tell stories, or look at the project. */
const SLOW_FOLDERS = ["peers", "programs", "project", "stories", "support"];

/** What a test that starts a process has in its text. */
const STARTS_PROCESS =
  /Deno\.Command|support\/(?:programs|terminal|processes|foreign)\w*\.ts/;

/** What a test that opens sockets imports: the classes at the root. */
const OPENS_SOCKETS =
  /from "(?:\.\.\/)+(?:broker|client|classic_client|publisher|subscriber|template|mod)\.ts"/;

/** What a test that tells many stories has in its text. */
const TELLS_STORIES = /support\/\w*(?:story|stories|judge)\w*\.ts/;

const SLOW = [STARTS_PROCESS, OPENS_SOCKETS, TELLS_STORIES];

const files: string[] = [];
const collect = async (folder: string) => {
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))
  ) {
    const path = folder + name;
    if (isDirectory) {
      if (!SLOW_FOLDERS.includes(name)) await collect(`${path}/`);
    } else if (name.endsWith("_test.ts")) {
      const text = await Deno.readTextFile(new URL(path, ROOT));
      if (SLOW.some((pattern) => pattern.test(text))) continue;
      files.push(path);
    }
  }
};
await collect("tests/");
files.push("tests/project/architecture_test.ts");

const { code } = await new Deno.Command(Deno.execPath(), {
  args: ["test", "-A", "--no-check", "--parallel", "--quiet", ...files.sort()],
  cwd: ROOT,
}).spawn().status;
Deno.exit(code);
