/**
 * A store's write-ahead log, read for damage. SQLite takes the commits in it up to the
 * first that is not whole, without a word: rightly, as a power cut leaves the last one
 * so. But a log that is damaged further ahead has whole commits behind the damage, and
 * these would be lost in silence.
 *
 * A log is a header and frames, a page each, of which a commit's last is marked. A
 * sum runs through all of them, so that behind the damage none is right; what the
 * log is, two numbers (its salt) tell that each frame repeats.
 *
 * @module
 */

/** Where the header has what. */
const HEADER = {
  length: 32,
  magic: 0,
  pageSize: 8,
  salt: 16,
  sum: 24,
} as const;

/** Where a frame has what, in front of its page. */
const FRAME = { length: 24, commit: 4, salt: 8, sum: 16 } as const;

/** How a log begins; the last bit tells the order of octets in its sums. */
const MAGIC = 0x377f0682;

/** For a header that does not tell: what a store has. */
const PAGE_SIZE = 4_096;

/** Two numbers of 32 bits. */
type Pair = readonly [number, number];

/**
 * How many commits of a log cannot be read, as it is damaged ahead of them. One is
 * none: that is what a power cut leaves.
 *
 * @param path the log
 * @throws {Deno.errors.NotFound} when it is not there
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { commitsBehindDamage } from "./wal.ts";
 *
 * const path = Deno.makeTempFileSync();
 * assertEquals(commitsBehindDamage(path), 0);
 * Deno.removeSync(path);
 * ```
 */
export function commitsBehindDamage(path: string): number {
  using file = Deno.openSync(path);
  const header = new DataView(new ArrayBuffer(HEADER.length));
  if (!fill(file, header)) return 0;
  const magic = header.getUint32(HEADER.magic);
  const isBigEndian = magic === MAGIC + 1;
  let sum = checksumOf([0, 0], header, 0, HEADER.sum, isBigEndian);
  let isWhole = (magic === MAGIC || isBigEndian) &&
    isSame(sum, pairAt(header, HEADER.sum));
  const pageSize = isWhole ? header.getUint32(HEADER.pageSize) : PAGE_SIZE;
  let salt = isWhole ? pairAt(header, HEADER.salt) : undefined;
  const frame = new DataView(new ArrayBuffer(FRAME.length + pageSize));
  let commits = 0;
  while (fill(file, frame)) {
    const itsSalt = pairAt(frame, FRAME.salt);
    salt ??= itsSalt;
    if (isWhole) {
      sum = checksumOf(sum, frame, 0, FRAME.salt, isBigEndian);
      sum = checksumOf(sum, frame, FRAME.length, frame.byteLength, isBigEndian);
      isWhole = isSame(sum, pairAt(frame, FRAME.sum)) &&
        isSame(salt, itsSalt);
    }
    // Frames of another salt are left over from before the log began anew.
    if (isWhole || !isSame(salt, itsSalt)) continue;
    if (frame.getUint32(FRAME.commit) > 0) commits++;
  }
  return commits > 1 ? commits : 0;
}

/** Reads as much as there is room for; false at the end of the file. */
function fill(file: Deno.FsFile, { buffer }: DataView<ArrayBuffer>): boolean {
  const bytes = new Uint8Array(buffer);
  for (let filled = 0; filled < bytes.length;) {
    const count = file.readSync(bytes.subarray(filled));
    if (count === null) return false;
    filled += count;
  }
  return true;
}

function pairAt(view: DataView, offset: number): Pair {
  return [view.getUint32(offset), view.getUint32(offset + 4)];
}

function isSame(one: Pair, other: Pair): boolean {
  return one[0] === other[0] && one[1] === other[1];
}

/** The sum that runs through a log, carried on over some octets. */
function checksumOf(
  [first, second]: Pair,
  view: DataView,
  begin: number,
  end: number,
  isBigEndian: boolean,
): Pair {
  for (let at = begin; at < end; at += 8) {
    first = (first + view.getUint32(at, !isBigEndian) + second) >>> 0;
    second = (second + view.getUint32(at + 4, !isBigEndian) + first) >>> 0;
  }
  return [first, second];
}
