/**
 * What the system has of Vulkan on Linux: the loader library and the drivers' JSON files. The loader reads its
 * environment when an instance is made, so the variables are set around `create` and put back after.
 */
import { readdirSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';

const driverDirs = [
  '/usr/share/vulkan/icd.d',
  '/usr/local/share/vulkan/icd.d',
  '/etc/vulkan/icd.d',
];

/**
 * Loads a shared library for the whole process and keeps it; a later `dlopen` of the same soname finds it.
 * Node's loader calls any library that is no addon an error after it has loaded it; that error is the good case.
 * @returns what went wrong, or undefined.
 */
export function loadGlobally(path: string): string | undefined {
  const noDelete = 0x1000;
  const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;
  try {
    process.dlopen({ exports: {} }, path, RTLD_NOW | RTLD_GLOBAL | noDelete);
    return undefined;
  } catch (e) {
    const message = e instanceof Error ? e.message : String(e);
    return message.includes('did not self-register') ? undefined : message;
  }
}

/** Loads `libvulkan.so.1` of the system. @returns what went wrong, or undefined. */
export function loadSystemVulkan(): string | undefined {
  return loadGlobally('libvulkan.so.1');
}

/** JSON files of lavapipe, Mesa's software Vulkan (`lvp_icd.json` or `lvp_icd.x86_64.json`). */
export function lavapipeDrivers(): string[] {
  return listDrivers().filter((file) => /\/lvp_icd\b.*\.json$/.test(file));
}

/** All drivers' JSON files in the loader's usual folders. */
export function listDrivers(): string[] {
  return driverDirs.flatMap((dir) => {
    try {
      return readdirSync(dir)
        .filter((name) => name.endsWith('.json'))
        .map((name) => join(dir, name));
    } catch {
      return [];
    }
  });
}

/** Runs `body` with the loader told to see only these drivers (undefined: as the user's environment says). */
export async function withDrivers<T>(
  drivers: readonly string[] | undefined,
  body: () => Promise<T>,
): Promise<T> {
  // Without it Mesa and the loader complain on stderr.
  process.env.XDG_RUNTIME_DIR ??= tmpdir();
  if (!drivers) return body();
  const names = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'] as const;
  const before = names.map((name) => process.env[name]);
  // The second name is for loaders older than 1.3.207.
  for (const name of names) process.env[name] = drivers.join(':');
  try {
    return await body();
  } finally {
    names.forEach((name, i) => {
      if (before[i] === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = before[i];
    });
  }
}
