/**
 * Loads a user's module, TypeScript or JavaScript, with jiti. In it `@realhf/*` and `zod` are this program's own
 * instances (`provideModules`), wherever the file lies: what it registers is found, and its schemas are understood.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

import * as api from '@realhf/api';
import * as backends from '@realhf/backends';
import * as comm from '@realhf/comm';
import * as dataflow from '@realhf/dataflow';
import * as model from '@realhf/model';
import * as packing from '@realhf/packing';
import { createJiti } from 'jiti';
import * as zod from 'zod';

const { ConfigError, RealError } = api;

const provided: Record<string, unknown> = {
  '@realhf/api': api,
  '@realhf/backends': backends,
  '@realhf/comm': comm,
  '@realhf/dataflow': dataflow,
  '@realhf/model': model,
  '@realhf/packing': packing,
  zod,
};

/** More modules by name; `@realhf/cli` gives itself this way, as it can't import itself. */
export function provideModules(modules: Readonly<Record<string, unknown>>): void {
  Object.assign(provided, modules);
}

const loaded = new Map<string, Promise<unknown>>();

/** The absolute path of a user's file. Throws ConfigError if there is none; `option` names what asked for it. */
export function userFile(path: string, option: string): string {
  const file = resolve(path);
  if (!existsSync(file))
    throw new ConfigError(`${option}: there is no file ${file}; check the path`);
  return file;
}

/** Runs the file once per process; a second call does nothing. Throws ConfigError that names the file. */
export async function loadUserModule(path: string, option = 'user_modules'): Promise<void> {
  const file = userFile(path, option);
  const known = loaded.get(file);
  const module =
    known ??
    createJiti(import.meta.url, {
      fsCache: false,
      virtualModules: provided,
    }).import(file);
  loaded.set(file, module);
  try {
    await module;
  } catch (cause) {
    if (RealError.is(cause)) throw cause;
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${option}: ${file} does not load: ${text}`, { cause });
  }
}
