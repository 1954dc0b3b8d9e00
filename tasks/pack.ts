/**
 * Packs a program as a self-extracting executable: a POSIX shell script, then
 * two gzip files, the bundled program and the Deno binary that runs it. It is
 * for the system it is packed on, Linux or macOS, and needs there only what
 * every such system has ({@linkcode TOOLS}).
 *
 * The first start unpacks both into a directory of the user's cache, under names
 * that carry the hash of their content; so the three programs share one Deno,
 * and a new build never starts an old program. Each file is renamed into place
 * when it is whole, so two first starts at the same time do no harm. Then, and
 * on every later start, the script becomes Deno by `exec`: arguments, standard
 * input, signals and the exit code are the program's own.
 *
 * This file knows archives and shells; it knows nothing of flags or targets.
 *
 * @module
 */

import { promisify } from "node:util";
import { gzip } from "node:zlib";

/** The bytes before the first archive: the script, filled up with a comment. */
const HEADER_BYTES = 8192;

/** The commands that the script needs besides `sh`. */
export const TOOLS: readonly string[] = [
  "chmod",
  "gzip",
  "head",
  "id",
  "mkdir",
  "mktemp",
  "mv",
  "rm",
  "tail",
];

/** A file of the archive, compressed. */
export interface Compressed {
  /** What the unpacked file is called: it ends in the hash of its content. */
  readonly fileName: string;
  /** The gzip file. */
  readonly gzipped: Uint8Array<ArrayBuffer>;
}

/** What {@linkcode selfExtracting} packs. */
export interface PackOptions {
  /** The program's name, for its messages. */
  readonly name: string;
  /** The program's version, for a person that opens the file. */
  readonly version: string;
  /** Flags of `deno run`: the permissions, and unstable features. */
  readonly flags: readonly string[];
  /** Whether the program starts Web Workers: it must read its own file then. */
  readonly hasWorkers: boolean;
  /** The program, bundled into one JavaScript file. */
  readonly program: Compressed;
  /** The Deno binary. */
  readonly deno: Compressed;
}

/**
 * Compresses a file for {@linkcode selfExtracting}. The same content gives the
 * same bytes and name. The Deno binary takes about 2 s and shrinks to 45 %.
 */
export async function compress(
  name: string,
  extension: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<Compressed> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const hash = digest.subarray(0, 8).toHex();
  // Level 9 would take three times as long and save 3 %.
  const gzipped = await promisify(gzip)(content, { level: 6 });
  return {
    fileName: `${name}-${hash}${extension}`,
    gzipped: new Uint8Array(gzipped),
  };
}

/** Returns the executable: the script and the two archives. */
export function selfExtracting(options: PackOptions): Uint8Array<ArrayBuffer> {
  const { program, deno } = options;
  const script = new TextEncoder().encode(header(options));
  const denoAt = HEADER_BYTES + program.gzipped.length;
  const packed = new Uint8Array(denoAt + deno.gzipped.length);
  packed.fill(0x23, 0, HEADER_BYTES); // "#"
  packed[HEADER_BYTES - 1] = 0x0a;
  if (script.length > HEADER_BYTES) {
    throw new RangeError(`The header takes ${script.length} bytes`);
  }
  packed.set(script);
  packed.set(program.gzipped, HEADER_BYTES);
  packed.set(deno.gzipped, denoAt);
  return packed;
}

/** Quotes a word for the shell. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** What {@linkcode Deno.build} and a person call this system. */
function systemName(): string {
  const os = Deno.build.os === "darwin" ? "macOS" : "Linux with glibc";
  return `${os}, ${Deno.build.arch}`;
}

function header(
  { name, version, flags, hasWorkers, program, deno }: PackOptions,
): string {
  const words = flags.map(quote);
  if (hasWorkers && !flags.includes("--allow-read")) {
    words.push('"--allow-read=$dir/$program"');
  }
  // macOS keeps caches elsewhere than the XDG directories say.
  const homeCache = Deno.build.os === "darwin" ? "Library/Caches" : ".cache";
  return `#!/bin/sh
# ${name} ${version} of mock-mqtt, for ${systemName()}. After this script come
# two gzip files: the program, and Deno ${Deno.version.deno}, which runs it. The first start
# unpacks them into the user's cache; what is there may be deleted at any time.
name=${quote(name)}
program=${quote(program.fileName)}
program_at=${HEADER_BYTES + 1}
program_bytes=${program.gzipped.length}
deno=${quote(deno.fileName)}
deno_at=${HEADER_BYTES + 1 + program.gzipped.length}
system=${quote(systemName())}

self=$0
case $self in */*) ;; *) self=./$self ;; esac

# Whether directory $1 is the user's own and holds both files.
ready() {
  [ -O "$1" ] && [ ! -L "$1" ] && [ -x "$1/$deno" ] && [ -r "$1/$program" ]
}

# Fills directory $1, or says why it cannot. Runs in a subshell.
unpack() {
  exec </dev/null
  umask 077
  for tool in ${TOOLS.join(" ")}; do
    command -v "$tool" >/dev/null || { echo "there is no $tool"; return; }
  done
  [ -d "$1" ] || mkdir -p "$1" || return
  if [ -L "$1" ] || [ ! -O "$1" ]; then
    echo "$1 does not belong to this user"
    return
  fi
  chmod 700 "$1" || return
  new=$(mktemp -d "$1/new.XXXXXX") || return
  trap 'rm -rf "$new"' EXIT
  trap 'exit 1' HUP INT TERM
  if [ ! -x "$1/$deno" ]; then
    tail -c +"$deno_at" "$self" | gzip -dc >"$new/deno" || {
      echo "in $1"
      return
    }
    chmod 700 "$new/deno" || return
    "$new/deno" --version >/dev/null || {
      echo "in $1 (this file is for $system)"
      return
    }
    mv -f "$new/deno" "$1/$deno" || return
  fi
  tail -c +"$program_at" "$self" | head -c "$program_bytes" |
    gzip -dc >"$new/program" || { echo "in $1"; return; }
  mv -f "$new/program" "$1/$program"
}

# Becomes the program, unpacked into directory $1. Returns if that cannot be.
start() {
  dir=$1
  shift
  # Deno takes a comma for the end of a path when it reads permissions.
  case $dir in *,*) why="$why$dir has a comma in it; "; return ;; esac
  if ! ready "$dir"; then
    said=$(unpack "$dir" 2>&1)
    ready "$dir" || { why="$why$said; "; return; }
  fi
  # Deno reads .npmrc of the home, and ends if it cannot.
  HOME=$dir
  DENO_DIR=$dir/state
  DENO_NO_UPDATE_CHECK=1
  export HOME DENO_DIR DENO_NO_UPDATE_CHECK
  exec "$dir/$deno" run --quiet --no-prompt --no-config --no-lock \\
    --cached-only --no-remote --no-npm \\
    ${words.join(" ")} \\
    "$dir/$program" "$@"
}

why=
case \${XDG_CACHE_HOME-}:\${HOME-} in
  /*) start "$XDG_CACHE_HOME/mock-mqtt" "$@" ;;
  *:/*) start "$HOME/${homeCache}/mock-mqtt" "$@" ;;
esac
start "\${TMPDIR:-/tmp}/mock-mqtt-$(id -u)" "$@"

# One line, however many the tools wrote.
set -f
# shellcheck disable=SC2086
set -- \${why%; }
echo "$name: cannot unpack itself: $*" >&2
exit 126
`;
}
