import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Clock } from "../common/clock.ts";
import { messageOf, ShimmyError } from "../common/errors.ts";

/** The files of a directory, by name. */
export type Files = Readonly<Record<string, string>>;

/** Options for {@link MountedDirectory.open}. */
export interface MountedDirectoryOptions<T> {
  readonly path: string;
  /** Reads the files; throws when they make no sense. */
  readonly parse: (files: Files) => T;
  readonly clock: Clock;
  /** A change was taken, or refused and what was there before stays. */
  readonly onReload: (result: { readonly value: T } | { readonly error: ShimmyError }) => void;
}

/** The kubelet changes a mounted Secret or ConfigMap within a minute or so. */
const PERIOD_MS = 5000;

/**
 * A Secret or ConfigMap that is mounted as a directory, read again when it changes.
 *
 * It is looked at by time and not watched: the kubelet replaces a symbolic link above the files,
 * and events of that are easily missed.
 */
export class MountedDirectory<T> implements Disposable {
  #value: T;
  #text: string;
  readonly #options: MountedDirectoryOptions<T>;
  readonly #stop: () => void;

  private constructor(options: MountedDirectoryOptions<T>) {
    this.#options = options;
    const files = readFiles(options.path);
    this.#text = JSON.stringify(files);
    this.#value = parseFiles(files, options);
    this.#stop = options.clock.every(PERIOD_MS, () => {
      this.#reload();
    });
  }

  /**
   * Reads the directory.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when it cannot be read or makes no sense.
   */
  static open<T>(options: MountedDirectoryOptions<T>): MountedDirectory<T> {
    return new MountedDirectory(options);
  }

  /** What was read last that made sense. */
  get value(): T {
    return this.#value;
  }

  /** Stops looking. */
  [Symbol.dispose](): void {
    this.#stop();
  }

  #reload(): void {
    const { path, onReload } = this.#options;
    try {
      const files = readFiles(path);
      const text = JSON.stringify(files);
      if (text === this.#text) return;
      this.#text = text; // also when it is refused: said once
      this.#value = parseFiles(files, this.#options);
      onReload({ value: this.#value });
    } catch (err) {
      onReload({ error: invalid(path, err) });
    }
  }
}

function readFiles(path: string): Files {
  try {
    const entries = readdirSync(path).filter((name) => !name.startsWith("."));
    return Object.fromEntries(
      entries.toSorted().map((name) => [name, readFileSync(join(path, name), "utf8").trimEnd()]),
    );
  } catch (err) {
    throw invalid(path, err);
  }
}

function parseFiles<T>(files: Files, { parse, path }: MountedDirectoryOptions<T>): T {
  try {
    return parse(files);
  } catch (err) {
    throw invalid(path, err);
  }
}

function invalid(path: string, err: unknown): ShimmyError {
  const message = messageOf(err);
  const text = message.startsWith(`${path}: `) ? message : `${path}: ${message}`;
  return new ShimmyError("SHIMMY_ERR_INVALID_CONFIG", text, { cause: err });
}
