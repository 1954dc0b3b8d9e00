/**
 * Processes as Linux tells of them: their CPU time and their memory.
 *
 * @module
 */

/** Linux counts CPU time in hundredths of a second. */
const TICK_MS = 10;

/** CPU time of a process with all its threads, in milliseconds, where Linux tells it. */
export function cpuMsOf(pid: number): number | null {
  if (Deno.build.os !== "linux") return null;
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The second field is the program's name, which may hold blanks and brackets.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Memory of a process that is in RAM, in octets. */
export function residentOf(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? NaN) * 1_024;
}

/** CPU time of each of a process's threads in nanoseconds, by its number. */
export function threadTimesOf(pid: number): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      const file = `/proc/${pid}/task/${name}/schedstat`;
      times.set(name, Number(Deno.readTextFileSync(file).split(" ")[0]));
    } catch (error) {
      // A thread that has ended meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return times;
}

/** CPU time of a process since an earlier look at its threads, in milliseconds. */
export function threadMsSince(
  pid: number,
  earlier: ReadonlyMap<string, number>,
): number {
  let ns = 0;
  for (const [name, time] of threadTimesOf(pid)) {
    ns += time - (earlier.get(name) ?? 0);
  }
  return ns / 1e6;
}
