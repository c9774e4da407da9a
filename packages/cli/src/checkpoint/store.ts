/**
 * CheckpointStore: step directories for an exact resume. A checkpoint is written aside, flushed, then renamed to
 * `step-000010`; `latest` (a text file with that name) is replaced after it. So a kill at any moment leaves only whole
 * checkpoints and an ignored `.partial-…`. Nothing is ever overwritten. One process per store: hold a RunLock.
 */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '@realhf/api';
import { z } from 'zod';
import { type BlobArray, type BlobInfo, readBlob, writeBlob } from './blob.js';
import { filesBelow, replaceFile, sync, syncTree } from './durable.js';

const manifestSchema = z.object({
  format: z.literal(1),
  step: z.number().int().nonnegative(),
  /** Bytes of every other file, by relative path. */
  files: z.record(z.string(), z.number()),
  blobs: z.record(
    z.string(),
    z.object({
      type: z.enum(['f32', 'f64', 'i32', 'u32', 'u8']),
      length: z.number().int().nonnegative(),
      sha256: z.string(),
    }),
  ),
});
type Manifest = z.infer<typeof manifestSchema>;

const nameOf = (step: number) => `step-${String(step).padStart(6, '0')}`;
const namePattern = /^step-(\d{6,})$/;
const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** What a save callback fills. Names are plain file names. */
export interface CheckpointWriter {
  /** A new empty directory for one model, to be filled by the callback. */
  modelDir(name: string): Promise<string>;
  /** A new empty directory that many processes fill, each with files of its own names; they must be done when `fill` returns. */
  shardsDir(): Promise<string>;
  /** One array; a name is written once. */
  blob(name: string, data: BlobArray): Promise<void>;
  /** JSON state of the run: position, RNG, optimizer steps, value norm, KL controller, … */
  state(value: unknown): Promise<void>;
}

/** A whole checkpoint on disk. */
export class Checkpoint {
  readonly step: number;
  readonly path: string;
  private readonly manifest: Manifest;

  constructor(path: string, manifest: Manifest) {
    this.path = path;
    this.step = manifest.step;
    this.manifest = manifest;
  }

  /** state.json, parsed: check it with a schema. Throws CheckpointError if none was saved. */
  state(): unknown {
    return JSON.parse(readFileSync(this.existing('state.json'), 'utf8')) as unknown;
  }
  get blobNames(): string[] {
    return Object.keys(this.manifest.blobs);
  }
  /** Reads and checks; throws CheckpointError on an unknown name or damage. */
  async blob(name: string): Promise<BlobArray> {
    const info = this.manifest.blobs[name];
    if (!info)
      throw new CheckpointError(
        `checkpoint ${this.path} has no blob '${name}'; it has ${this.blobNames.join(', ') || 'none'}`,
      );
    return readBlob(join(this.path, 'blobs', `${name}.bin`), info);
  }
  /** Directory of a model's weights; throws CheckpointError if there is none. */
  modelDir(name: string): string {
    return this.existing(join('models', name));
  }
  /** Directory that many processes wrote; throws CheckpointError if one process made this checkpoint. */
  shardsDir(): string {
    return this.existing('shards');
  }
  private existing(relative: string): string {
    const path = join(this.path, relative);
    if (!existsSync(path)) throw new CheckpointError(`checkpoint ${this.path} has no ${relative}`);
    return path;
  }
}

/** The manifest of a directory all of whose files have their sizes, else undefined. */
function completeManifest(path: string, step: number): Manifest | undefined {
  try {
    const text = readFileSync(join(path, 'checkpoint.json'), 'utf8');
    const manifest = manifestSchema.parse(JSON.parse(text));
    const whole = Object.entries(manifest.files).every(
      ([file, bytes]) => statSync(join(path, file)).size === bytes,
    );
    return whole && manifest.step === step ? manifest : undefined;
  } catch {
    // Whatever is wrong with it (missing, cut, another format), it is not a checkpoint to resume from.
    return undefined;
  }
}

/** Where checkpoints are and how many stay. */
export interface CheckpointStoreOptions {
  readonly dir: string;
  /** Newest complete checkpoints kept; null or absent: all. */
  readonly keep?: number | null;
}

/** Checkpoints of a run; each is whole or not there. */
export class CheckpointStore {
  readonly dir: string;
  private readonly keep: number;

  constructor(options: CheckpointStoreOptions) {
    this.dir = options.dir;
    this.keep = options.keep ?? Infinity;
  }

  /** Complete checkpoints, oldest first; torn ones are left out. */
  list(): Checkpoint[] {
    if (!existsSync(this.dir)) return [];
    const out: Checkpoint[] = [];
    for (const name of readdirSync(this.dir)) {
      const match = namePattern.exec(name);
      if (!match) continue;
      const path = join(this.dir, name);
      const manifest = completeManifest(path, Number(match[1]));
      if (manifest) out.push(new Checkpoint(path, manifest));
    }
    return out.sort((a, b) => a.step - b.step);
  }
  /** The newest complete one. */
  latest(): Checkpoint | undefined {
    return this.list().at(-1);
  }

  /**
   * Saves step `step` with what `fill` writes and returns it. Throws CheckpointError if that step is saved already;
   * a failure of `fill` leaves nothing behind.
   */
  async save(step: number, fill: (writer: CheckpointWriter) => Promise<void>): Promise<Checkpoint> {
    const final = join(this.dir, nameOf(step));
    if (completeManifest(final, step))
      throw new CheckpointError(
        `checkpoint ${final} exists already; checkpoints are not overwritten`,
      );
    await mkdir(this.dir, { recursive: true });
    await this.clearPartial();
    // A damaged directory of that name is evidence, not ours to delete.
    if (existsSync(final)) await rename(final, `${final}.torn-${Date.now()}`);
    const aside = join(this.dir, `.partial-${nameOf(step)}`);
    await mkdir(aside);
    let manifest: Manifest;
    try {
      manifest = await this.fill(aside, step, fill);
    } catch (error) {
      await rm(aside, { recursive: true, force: true });
      throw error;
    }
    await rename(aside, final);
    await sync(this.dir);
    await replaceFile(join(this.dir, 'latest'), `${nameOf(step)}\n`);
    await this.prune(step);
    return new Checkpoint(final, manifest);
  }

  private async fill(
    aside: string,
    step: number,
    fill: (writer: CheckpointWriter) => Promise<void>,
  ): Promise<Manifest> {
    const blobs: Record<string, BlobInfo> = {};
    const check = (name: string) => {
      if (!plainName.test(name))
        throw new CheckpointError(
          `'${name}' can't name a part of a checkpoint; use letters, digits, . _ -`,
        );
    };
    await mkdir(join(aside, 'blobs'));
    await mkdir(join(aside, 'models'));
    await fill({
      async modelDir(name) {
        check(name);
        const dir = join(aside, 'models', name);
        await mkdir(dir);
        return dir;
      },
      async shardsDir() {
        const dir = join(aside, 'shards');
        await mkdir(dir);
        return dir;
      },
      async blob(name, data) {
        check(name);
        blobs[name] = await writeBlob(join(aside, 'blobs', `${name}.bin`), data);
      },
      async state(value) {
        await writeFile(join(aside, 'state.json'), `${JSON.stringify(value)}\n`, { flag: 'wx' });
      },
    });
    const files: Record<string, number> = {};
    for (const file of await filesBelow(aside)) files[file] = (await stat(join(aside, file))).size;
    const manifest: Manifest = { format: 1, step, files, blobs };
    await writeFile(join(aside, 'checkpoint.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    await syncTree(aside);
    return manifest;
  }

  /** Leftovers of a killed process; the run's lock says that nobody writes them now. */
  private async clearPartial(): Promise<void> {
    for (const name of readdirSync(this.dir))
      if (name.startsWith('.partial-')) await rm(join(this.dir, name), { recursive: true });
  }
  private async prune(current: number): Promise<void> {
    const all = this.list();
    const excess = all.slice(0, Math.max(0, all.length - this.keep));
    for (const old of excess) {
      if (old.step === current) continue;
      // Renamed first: a kill while deleting must not leave half a checkpoint under a good name.
      const doomed = join(this.dir, `.partial-${nameOf(old.step)}-old`);
      await rename(old.path, doomed);
      await rm(doomed, { recursive: true });
    }
  }
}
