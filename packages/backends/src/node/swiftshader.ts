/**
 * SwiftShader (Vulkan on the CPU) out of the npm package `@sparticuz/chromium`, which carries it as a brotli tar.
 * Unpacked once per version into the cache folder; two processes may do it at once: each unpacks beside and renames,
 * the second rename finds the folder there and keeps the first. Contract: x64 Linux only, as the package is.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

import { DeviceError } from '@realhf/api';

import { untar } from './untar.js';

const packageName = '@sparticuz/chromium';
const wanted = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];

/** Where an unpacked SwiftShader lies. */
export interface SwiftShaderFiles {
  readonly version: string;
  /** The Vulkan loader that comes with it, for systems that have none. */
  readonly loader: string;
  /** The driver's JSON, for VK_DRIVER_FILES. */
  readonly icd: string;
}

/** The default cache folder: `$XDG_CACHE_HOME/realhf` or `~/.cache/realhf`. */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  // Set but empty counts as unset, says the XDG rule.
  const base = env.XDG_CACHE_HOME === '' ? undefined : env.XDG_CACHE_HOME;
  return join(base ?? join(homedir(), '.cache'), 'realhf');
}

/** The installed package, looked for from each place in turn (file paths or `file:` URLs). */
export function findSwiftShaderPackage(
  from: readonly (string | URL)[],
): { root: string; version: string } | undefined {
  for (const place of from) {
    let dir: string;
    try {
      dir = dirname(createRequire(place).resolve(packageName));
    } catch {
      continue;
    }
    // `exports` hides package.json, so walk up to it.
    for (; dir !== dirname(dir); dir = dirname(dir)) {
      const file = join(dir, 'package.json');
      if (!existsSync(file)) continue;
      const manifest = JSON.parse(readFileSync(file, 'utf8')) as {
        name?: string;
        version?: string;
      };
      if (manifest.name === packageName)
        return { root: dir, version: manifest.version ?? 'unknown' };
    }
  }
  return undefined;
}

/**
 * Unpacks SwiftShader unless that was done before. Throws DeviceError when the package is absent, of another
 * platform, or damaged. A cache folder that can't be written is replaced by a temporary one of this process.
 */
export function unpackSwiftShader(options: {
  readonly from: readonly (string | URL)[];
  readonly cacheDir?: string;
}): SwiftShaderFiles {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new DeviceError(
      `SwiftShader by npm exists for linux x64 only, this is ${process.platform} ${process.arch}`,
    );
  }
  const found = findSwiftShaderPackage(options.from);
  if (!found)
    throw new DeviceError(
      `the npm package ${packageName} is not installed; run: npm install ${packageName}@147.0.0`,
    );
  const cache = options.cacheDir ?? defaultCacheDir();
  const target = join(cache, `swiftshader-${found.version}`);
  if (isComplete(target)) return files(target, found.version);

  const packed = join(found.root, 'bin', 'swiftshader.tar.br');
  if (!existsSync(packed))
    throw new DeviceError(
      `${packageName}@${found.version} has no bin/swiftshader.tar.br; run: npm install ${packageName}@147.0.0`,
    );
  let archive: Map<string, Uint8Array>;
  try {
    archive = untar(brotliDecompressSync(readFileSync(packed)));
  } catch (cause) {
    throw new DeviceError(
      `can't unpack ${packed}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
  const contents = wanted.map((name) => {
    const data = archive.get(name);
    if (!data)
      throw new DeviceError(`${packed} has no ${name}; run: npm install ${packageName}@147.0.0`);
    return { name, data };
  });

  let parent = cache;
  let temporary: string;
  try {
    mkdirSync(parent, { recursive: true });
    temporary = mkdtempSync(`${target}.tmp-`);
  } catch {
    parent = tmpdir();
    temporary = mkdtempSync(join(parent, 'realhf-swiftshader-'));
    const own = temporary;
    process.once('exit', () => {
      rmSync(own, { recursive: true, force: true });
    });
  }
  for (const { name, data } of contents)
    writeFileSync(join(temporary, name), data, { mode: name.includes('.so') ? 0o755 : 0o644 });
  if (parent !== cache) return files(temporary, found.version);
  try {
    renameSync(temporary, target);
  } catch (cause) {
    // Another process was faster, or a folder with missing files stands there.
    if (isComplete(target)) {
      rmSync(temporary, { recursive: true, force: true });
    } else {
      rmSync(target, { recursive: true, force: true });
      try {
        renameSync(temporary, target);
      } catch {
        rmSync(temporary, { recursive: true, force: true });
        if (!isComplete(target))
          throw new DeviceError(`can't put SwiftShader into ${target}; remove that folder`, {
            cause,
          });
      }
    }
  }
  return files(target, found.version);
}

function isComplete(dir: string): boolean {
  return wanted.every((name) => existsSync(join(dir, name)));
}

function files(dir: string, version: string): SwiftShaderFiles {
  return {
    version,
    loader: join(dir, 'libvulkan.so.1'),
    icd: join(dir, 'vk_swiftshader_icd.json'),
  };
}
