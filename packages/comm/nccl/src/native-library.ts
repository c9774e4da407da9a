/**
 * Shared libraries by koffi, found when first called for and never at import. What is missing is told with all places
 * that were looked at. Handles and device addresses are bigints (`uint64_t`); results come back through byte buffers.
 */
import { readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { DeviceError } from '@realhf/api';
import koffi from 'koffi';

/** What crosses to a native function. */
export type NativeValue = number | bigint | null | Uint8Array | { readonly internal: Uint8Array };
type NativeFunction = (...args: readonly NativeValue[]) => unknown;

/** By function: its arguments' types; every one of them returns an int, but for names that `strings` lists. */
export type Symbols = Readonly<Record<string, readonly string[]>>;

/** A loaded library. */
export class NativeLibrary {
  readonly path: string;
  private readonly functions: ReadonlyMap<string, NativeFunction>;

  constructor(path: string, functions: ReadonlyMap<string, NativeFunction>) {
    this.path = path;
    this.functions = functions;
  }
  /** Calls it and gives its return code. */
  code(name: string, ...args: readonly NativeValue[]): number {
    return Number(this.functions.get(name)!(...args));
  }
  text(name: string, ...args: readonly NativeValue[]): string {
    const found = this.functions.get(name)!(...args);
    return typeof found === 'string' ? found : '';
  }
}

const byValue = new Map<string, ReturnType<typeof koffi.struct>>();

function typeOf(name: string): string | ReturnType<typeof koffi.struct> {
  if (name !== 'ncclUniqueId') return name;
  // An array of char would become a string that ends at the first NUL.
  const known =
    byValue.get(name) ?? koffi.struct({ internal: koffi.array('uint8_t', 128, 'Typed') });
  byValue.set(name, known);
  return known;
}

export interface LibraryRequest {
  /** What it is, for errors. */
  readonly what: string;
  /** Names or paths, in the order of trying; those set by the user come alone. */
  readonly candidates: readonly string[];
  readonly symbols: Symbols;
  /** Functions that return text. */
  readonly strings?: Symbols;
  /** What to do where there is none. */
  readonly advice: string;
}

/** Loads the first candidate that loads. Throws DeviceError with every place and what went wrong there. */
export function openLibrary(request: LibraryRequest): NativeLibrary {
  const failed: string[] = [];
  for (const candidate of request.candidates) {
    let library: ReturnType<typeof koffi.load>;
    try {
      library = koffi.load(candidate);
    } catch (e) {
      failed.push(`${candidate} (${reason(e)})`);
      continue;
    }
    const functions = new Map<string, NativeFunction>();
    const missing: string[] = [];
    for (const [result, group] of [
      ['int', request.symbols],
      ['str', request.strings ?? {}],
    ] as const) {
      for (const [name, types] of Object.entries(group)) {
        try {
          functions.set(name, library.func(name, result, types.map(typeOf)) as NativeFunction);
        } catch {
          missing.push(name);
        }
      }
    }
    if (missing.length === 0) return new NativeLibrary(candidate, functions);
    failed.push(`${candidate} (too old: it has no ${missing.join(', ')})`);
  }
  throw new DeviceError(
    `${request.what} was not found; looked for ${failed.join(', ')}; ${request.advice}`,
  );
}

function reason(e: unknown): string {
  const text = e instanceof Error ? e.message : String(e);
  return (text.split('\n')[0] ?? '').replace(/^.*?: (?=\S)/, '').slice(0, 120);
}

/** Where Python's packages keep NVIDIA's libraries: of the active environment, the user's and the system's. */
export function pythonLibraries(subpath: string): string[] {
  const roots = [
    process.env.VIRTUAL_ENV,
    process.env.CONDA_PREFIX,
    join(homedir(), '.local'),
    '/usr/local',
    '/usr',
    '/opt/conda',
  ].flatMap((root) => (root ? [join(root, 'lib')] : []));
  return roots.flatMap((lib) =>
    list(lib)
      .filter((name) => name.startsWith('python3'))
      .flatMap((python) =>
        ['site-packages', 'dist-packages'].map((p) => join(lib, python, p, subpath)),
      )
      .flatMap((folder) => (list(join(folder, '..')).length > 0 ? [folder] : [])),
  );
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
