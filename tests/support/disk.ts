/**
 * A disk of its own for a test, so small that it can be filled: a file system in
 * memory, which only Linux has, and only root may mount.
 *
 * @module
 */

import { join } from "node:path";

/** How large it is, in octets. */
const SIZE = 2 ** 20;

/** A disk that is gone with what is on it when it is disposed of. */
export class SmallDisk implements Disposable {
  /** Where it is. */
  readonly path: string = Deno.makeTempDirSync();

  private constructor() {
    const options = ["-o", `size=${SIZE}`];
    run("mount", ["-t", "tmpfs", ...options, "tmpfs", this.path]);
  }

  /**
   * Mounts one.
   *
   * @throws {Error} where that is not possible
   */
  static mount(): SmallDisk {
    return new SmallDisk();
  }

  /** A file on it. */
  file(name = "mqtt.store"): string {
    return join(this.path, name);
  }

  /** Takes what room there is. */
  fill(): void {
    using filler = Deno.openSync(this.file("filler"), {
      write: true,
      create: true,
    });
    try {
      for (;;) filler.writeSync(new Uint8Array(4_096));
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOSPC") throw error;
    }
  }

  /** Gives it back. */
  empty(): void {
    Deno.removeSync(this.file("filler"));
  }

  /** Lets nothing be written any more. */
  seal(): void {
    run("mount", ["-o", "remount,ro", this.path]);
  }

  /** Removes it. */
  [Symbol.dispose](): void {
    run("umount", [this.path]);
    Deno.removeSync(this.path);
  }
}

function run(command: string, args: readonly string[]): void {
  const { success, stderr } = new Deno.Command(command, { args: [...args] })
    .outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
}

function canMount(): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  try {
    using _ = SmallDisk.mount();
    return true;
  } catch {
    return false; // in a container, mostly
  }
}

const CAN_MOUNT = canMount();

/** A test that needs such a disk. */
export function testOnSmallDisk(name: string, fn: () => Promise<void>): void {
  const ignore = !CAN_MOUNT;
  const why = ignore ? " (skipped: no disk can be mounted)" : "";
  Deno.test({ name: name + why, ignore, fn });
}
