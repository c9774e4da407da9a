/**
 * Trained models in a checkpoint, of one rank or of many: `shards/rank-<n>.json` says what a rank wrote and where its pieces
 * lie in the flat space, `shards/<role>.<n>.<kind>.<segment>.bin` are the pieces (f32, SHA-256). Of data-parallel ranks
 * the first writes the parameters, each its share of Adam's moments. Read back in the same layout it is bit-equal; into
 * another layout it is cut anew. The store that makes the directory flushes and renames it.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import {
  CheckpointError,
  parallelismSchema,
  type ModelConfig,
  type Parallelism,
} from '@realhf/api';
import {
  recutState,
  stateMaps,
  type AdamEngine,
  type StateMaps,
  type TrainState,
} from '@realhf/backends';
import { coordinatesOf, rankOf, shardMapOf, worldSize } from '@realhf/comm';
import type { Placement } from '@realhf/dataflow';
import { loraSpecs, paramSpecs, replicaMaps, type LoraConfig } from '@realhf/model';
import { z } from 'zod';

import { readBlob, writeBlob, type BlobInfo } from './blob.js';

const blobSchema = z.object({
  type: z.enum(['f32', 'f64', 'i32', 'u32', 'u8']),
  length: z.number().int().nonnegative(),
  sha256: z.string(),
});
const pieceSchema = z.object({
  role: z.string(),
  /** Index in the placement, and the layout: together they give the maps. */
  index: z.number().int().nonnegative(),
  parallel: parallelismSchema,
  maxTensorBytes: z.number(),
  steps: z.number().int().nonnegative(),
  params: z.array(z.string()),
  m: z.array(z.string()),
  v: z.array(z.string()),
});
type PieceInfo = z.infer<typeof pieceSchema>;
const rankSchema = z.object({
  format: z.literal(1),
  pieces: z.array(pieceSchema),
  blobs: z.record(z.string(), blobSchema),
});

/** One rank's part of a model; without an engine that trains, or parameters that a hook moves, it has no state. */
export interface TrainedPart {
  readonly trained: Pick<AdamEngine, 'saveState' | 'loadState'> | undefined;
  readonly config: ModelConfig;
  readonly placement: Pick<Placement, 'model' | 'ranks' | 'parallel'>;
  /** Of the adapter: decides how parameters are cut into segments. */
  readonly maxTensorBytes: number;
  /** Of an adapter: then these are its parameters. Default: the model's. */
  readonly lora?: LoraConfig | undefined;
}

/** What decides which parameters there are. */
type Shape = Pick<TrainedPart, 'config' | 'lora'>;
const specsOf = ({ config, lora }: Shape) => (lora ? loraSpecs(config, lora) : paramSpecs(config));

type Kind = 'params' | 'm' | 'v';
const kinds: readonly Kind[] = ['params', 'm', 'v'];

/** Writes what this rank trains into `dir`. */
export async function saveShards(
  dir: string,
  rank: number,
  parts: readonly TrainedPart[],
): Promise<void> {
  const blobs: Record<string, BlobInfo> = {};
  const pieces: PieceInfo[] = [];
  for (const { trained, placement, maxTensorBytes } of parts) {
    if (!trained) continue;
    const { model, parallel, ranks } = placement;
    const { role } = model;
    const index = ranks.indexOf(rank);
    const state = await trained.saveState();
    const names: Record<Kind, string[]> = { params: [], m: [], v: [] };
    for (const kind of kinds) {
      if (kind === 'params' && coordinatesOf(index, parallel).dp > 0) continue;
      for (const [i, data] of state[kind].entries()) {
        const name = `${role}.${rank}.${kind}.${i}`;
        blobs[name] = await writeBlob(join(dir, `${name}.bin`), data);
        names[kind].push(name);
      }
    }
    pieces.push({ role, index, parallel, maxTensorBytes, steps: state.steps, ...names });
  }
  const text = JSON.stringify({ format: 1, pieces, blobs });
  await writeFile(join(dir, `rank-${rank}.json`), `${text}\n`, { flag: 'wx' });
}

/** Takes the states of what this rank trains from `dir`. Throws CheckpointError if a role or a piece is missing. */
export async function loadShards(
  dir: string,
  rank: number,
  parts: readonly TrainedPart[],
): Promise<void> {
  const saved = await readRanks(dir);
  for (const { trained, placement, config, maxTensorBytes, lora } of parts) {
    if (!trained) continue;
    const { model, parallel, ranks } = placement;
    const index = ranks.indexOf(rank);
    const pieces = needed(piecesOf(saved, model.role, dir), index, parallel);
    const states = [];
    for (const p of pieces) states.push(await readPiece(dir, { config, lora }, p, kinds));
    const target = mapsOf(
      { config, lora },
      {
        ...{ index, parallel, maxTensorBytes },
        moments: pieces.some((p) => p.info.m.length > 0),
      },
    );
    trained.loadState(recutState(target, states));
  }
}

/** Whole parameters of a role by name, from the pieces of all ranks. */
export async function readParams(
  dir: string,
  role: string,
  shape: Shape,
): Promise<(name: string) => Promise<Float32Array>> {
  const pieces = piecesOf(await readRanks(dir), role, dir).filter((p) => p.info.params.length > 0);
  const read: Awaited<ReturnType<typeof readPiece>>[] = [];
  for (const p of pieces) read.push(await readPiece(dir, shape, p, ['params']));
  const sizes = new Map(specsOf(shape).map((s) => [s.name, s]));
  return (name) => {
    const spec = sizes.get(name);
    if (!spec)
      return Promise.reject(new CheckpointError(`role '${role}' has no parameter '${name}'`));
    const whole = new Float32Array(spec.size);
    for (const { maps, state } of read)
      for (const i of maps.params.intervals) {
        if (i.param !== name) continue;
        const data = state.params[i.segment]!.subarray(i.local, i.local + i.length);
        whole.set(data, i.global - spec.offset);
      }
    return Promise.resolve(whole);
  };
}

interface SavedPiece {
  readonly info: PieceInfo;
  readonly blobs: Readonly<Record<string, BlobInfo>>;
}

async function readRanks(dir: string): Promise<SavedPiece[]> {
  const out: SavedPiece[] = [];
  for (const file of (await readdir(dir)).filter((f) => /^rank-\d+\.json$/.test(f)).sort()) {
    const parsed = rankSchema.safeParse(JSON.parse(await readFile(join(dir, file), 'utf8')));
    if (!parsed.success)
      throw new CheckpointError(`${join(dir, file)} is no list of shards of this version`);
    const { pieces, blobs } = parsed.data;
    out.push(...pieces.map((info) => ({ info, blobs })));
  }
  return out;
}

function piecesOf(saved: readonly SavedPiece[], role: string, dir: string): SavedPiece[] {
  const of = saved.filter((p) => p.info.role === role);
  const ranks = of[0] ? worldSize(of[0].info.parallel) : 0;
  if (of.length === 0 || of.length !== ranks)
    throw new CheckpointError(
      `${dir} has the state of role '${role}' from ${of.length} of ${ranks || 'its'} ranks; resume from another checkpoint`,
    );
  return of;
}

/** In the same layout the rank's own piece and the one with its parameters; else all. */
function needed(
  pieces: readonly SavedPiece[],
  index: number,
  parallel: Parallelism,
): readonly SavedPiece[] {
  const same = (a: Parallelism, b: Parallelism) =>
    a.dataParallelSize === b.dataParallelSize &&
    a.tensorParallelSize === b.tensorParallelSize &&
    a.pipelineParallelSize === b.pipelineParallelSize;
  if (!pieces.every((p) => same(p.info.parallel, parallel))) return pieces;
  const first = rankOf({ ...coordinatesOf(index, parallel), dp: 0 }, parallel);
  return pieces.filter((p) => p.info.index === index || p.info.index === first);
}

function mapsOf(
  shape: Shape,
  {
    index,
    parallel,
    maxTensorBytes,
    moments,
  }: Pick<PieceInfo, 'index' | 'parallel' | 'maxTensorBytes'> & { readonly moments: boolean },
): StateMaps {
  const map = shardMapOf(
    replicaMaps(shape.config, parallel, maxTensorBytes, specsOf(shape))[index]!,
  );
  const { dp } = coordinatesOf(index, parallel);
  const maps = stateMaps(map, { rank: dp, size: parallel.dataParallelSize });
  return moments ? maps : { ...maps, moments: { intervals: [], segmentSizes: [] } };
}

async function readPiece(
  dir: string,
  shape: Shape,
  { info, blobs }: SavedPiece,
  wanted: readonly Kind[],
): Promise<{ maps: StateMaps; state: TrainState }> {
  const maps = mapsOf(shape, { ...info, moments: info.m.length > 0 });
  const state: Record<Kind, Float32Array[]> = { params: [], m: [], v: [] };
  for (const kind of wanted)
    for (const name of info[kind]) {
      const blob = blobs[name];
      if (!blob) throw new CheckpointError(`${dir} does not list ${name}`);
      const data = await readBlob(join(dir, `${name}.bin`), blob);
      if (!(data instanceof Float32Array))
        throw new CheckpointError(`${join(dir, name)}.bin holds ${blob.type}, not f32`);
      state[kind].push(data);
    }
  const here = info.params.length > 0;
  return {
    maps: here ? maps : { ...maps, params: { intervals: [], segmentSizes: [] } },
    state: { steps: info.steps, ...state },
  };
}
