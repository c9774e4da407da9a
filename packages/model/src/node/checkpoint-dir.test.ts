import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CheckpointError } from '@realhf/api';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { paramSpecs } from '../params/specs.js';
import { gpt2Config, llamaConfig } from '../params/test-configs.js';
import { heldRanges, localRuns } from '../params/local-runs.js';
import { shardMap } from '../params/shard-map.js';
import { readCheckpointConfig, readCheckpointDir, writeCheckpointDir } from './checkpoint-dir.js';
import { replaceDir } from './replace-dir.js';
import { SafetensorsFile } from './safetensors.js';

const golden = (name: string) =>
  fileURLToPath(new URL(`../__fixtures__/golden/${name}`, import.meta.url));

let root: string;
let dir: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'realhf-checkpoint-'));
});
beforeEach(() => {
  dir = join(root, String(count++), 'model');
});
afterAll(() => rm(root, { recursive: true }));

async function loadAll(from: string, options: Parameters<typeof readCheckpointDir>[1] = {}) {
  const checkpoint = await readCheckpointDir(from, options);
  const params = new Map<string, Float32Array>();
  try {
    await checkpoint.load((name, full) => void params.set(name, full));
  } finally {
    await checkpoint.close();
  }
  return { config: checkpoint.config, params };
}

async function tensorsOf(from: string) {
  const out = new Map<string, unknown>();
  for (const name of (await readdir(from)).filter((n) => n.endsWith('.safetensors'))) {
    if (name === 'golden.safetensors') continue;
    const file = await SafetensorsFile.open(join(from, name));
    for (const t of file.names())
      out.set(t, { shape: file.header.tensors.get(t)!.shape, data: await file.read(t) });
    await file.close();
  }
  return out;
}

describe.each(['llama', 'llama3-rope', 'gpt2'])('golden %s', (name) => {
  it.each([5e9, 40_000])('comes back bit-equal, in shards of at most %d bytes', async (max) => {
    const { config, params } = await loadAll(golden(name));
    expect([...params.keys()]).toEqual(paramSpecs(config).map((s) => s.name));
    await writeCheckpointDir(dir, {
      config,
      getParam: (p) => params.get(p)!,
      maxShardBytes: max,
    });
    const before = await tensorsOf(golden(name));
    const after = await tensorsOf(dir);
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    for (const [t, value] of before) expect(after.get(t)).toEqual(value);
    expect(await loadAll(dir)).toEqual({ config, params });
    const files = await readdir(dir);
    expect(files.includes('model.safetensors.index.json')).toBe(max < 5e9);
  });

  it.each(['f16', 'bf16'] as const)('is saved as %s, each value the nearest', async (dtype) => {
    const { config, params } = await loadAll(golden(name));
    await writeCheckpointDir(dir, { config, getParam: (p) => params.get(p)!, dtype });
    const json = JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')) as { dtype: string };
    expect(json.dtype).toBe({ f16: 'float16', bf16: 'bfloat16' }[dtype]);
    const unit = { f16: 2 ** -11, bf16: 2 ** -8 }[dtype];
    for (const [param, values] of (await loadAll(dir)).params)
      values.forEach((v, i) => {
        const want = params.get(param)![i]!;
        if (Math.abs(v - want) > Math.max(Math.abs(want) * unit, 2 ** -25))
          expect(v).toBeCloseTo(want, 12);
      });
  });

  it.each([
    { tp: 1, pp: 1 },
    { tp: 2, pp: 1 },
    { tp: 2, pp: 2 },
  ])('streams to each rank of $tp × $pp what it holds, in pieces', async ({ tp, pp }) => {
    const { config, params } = await loadAll(golden(name));
    const padded = { ...config };
    const specs = new Map(paramSpecs(padded).map((s) => [s.name, s]));
    const checkpoint = await readCheckpointDir(golden(name));
    let read = 0;
    for (let rank = 0; rank < tp * pp; rank++) {
      const at = {
        tp: { rank: rank % tp, size: tp },
        pp: { rank: Math.floor(rank / tp), size: pp },
      };
      const { map } = shardMap(padded, at);
      const of = (param: string) => map.intervals.filter((i) => i.param === param);
      const segments = map.segmentSizes.map((n) => new Float32Array(n).fill(NaN));
      await checkpoint.stream(
        (param, begin, values) => {
          expect(values.length).toBeLessThanOrEqual(100);
          read += values.length;
          for (const run of localRuns(
            of(param),
            specs.get(param)!.offset,
            [begin, begin + values.length],
            (from, to) => values.subarray(from - begin, to - begin),
          ))
            segments[run.segment]!.set(run.values, run.offset);
        },
        {
          ranges: (param) => heldRanges(of(param), specs.get(param)!.offset, 1),
          pieceElements: 100,
        },
      );
      for (const i of map.intervals) {
        const begin = i.global - specs.get(i.param)!.offset;
        expect(segments[i.segment]!.subarray(i.local, i.local + i.length)).toEqual(
          params.get(i.param)!.subarray(begin, begin + i.length),
        );
      }
    }
    await checkpoint.close();
    const total = [...specs.values()].reduce((n, s) => n + s.size, 0);
    // Replicated tensors are read by every rank; cut ones once in all.
    if (tp * pp === 1) expect(read).toBe(total);
    else expect(read).toBeLessThan(tp * total);
  });

  it('keeps what config.json says', async () => {
    const config = await readCheckpointConfig(golden(name));
    await writeCheckpointDir(dir, {
      config,
      getParam: (p) => new Float32Array(paramSpecs(config).find((s) => s.name === p)!.size),
    });
    const json = async (d: string) =>
      JSON.parse(await readFile(join(d, 'config.json'), 'utf8')) as Record<string, unknown>;
    const [was, is] = [await json(golden(name)), await json(dir)];
    const same = Object.keys(is).filter((k) => k in was);
    expect(same.length).toBeGreaterThan(15);
    for (const key of same) expect([key, is[key]]).toEqual([key, was[key]]);
  });
});

describe('critics', () => {
  it.each([llamaConfig({ isCritic: true }), gpt2Config({ isCritic: true })])(
    'are stored and found again as classifiers',
    async (config) => {
      const value = new Map(
        paramSpecs(config).map((s, i) => [s.name, new Float32Array(s.size).fill(i)]),
      );
      await writeCheckpointDir(dir, { config, getParam: (p) => value.get(p)! });
      expect(await loadAll(dir)).toEqual({ config, params: value });
      expect([...(await tensorsOf(dir)).keys()]).toContain('score.weight');
    },
  );

  it('start from a golden actor', async () => {
    const checkpoint = await readCheckpointDir(golden('llama'), { isCritic: true });
    const names: string[] = [];
    await expect(checkpoint.load((n) => void names.push(n))).rejects.toThrow(/initCriticFromActor/);
    expect(names).toEqual([]);
    await checkpoint.load((n) => void names.push(n), { initCriticFromActor: true });
    await checkpoint.close();
    const all = paramSpecs(checkpoint.config).map((s) => s.name);
    expect(names).toEqual(all.filter((n) => n !== '3.head.weight'));
  });
});

describe('a folder', () => {
  const config = llamaConfig();
  const getParam = (p: string) =>
    new Float32Array(paramSpecs(config).find((s) => s.name === p)!.size);

  it('takes tokenizer files along, and no others', async () => {
    const from = join(root, 'companions');
    await cp(golden('llama'), from, { recursive: true });
    await writeFile(join(from, 'tokenizer.json'), '{"a":1}');
    await writeFile(join(from, 'generation_config.json'), '{}');
    await writeFile(join(from, 'notes.txt'), '');
    await writeCheckpointDir(dir, { config, getParam, companionsFrom: from });
    expect((await readdir(dir)).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.json',
    ]);
    expect(await readFile(join(dir, 'tokenizer.json'), 'utf8')).toBe('{"a":1}');
  });

  it('is replaced only when told, and whole', async () => {
    await writeCheckpointDir(dir, { config, getParam });
    await writeFile(join(dir, 'old'), '');
    await expect(writeCheckpointDir(dir, { config, getParam })).rejects.toThrow(
      /exists already; remove it/,
    );
    expect(await readdir(dir)).toContain('old');
    await writeCheckpointDir(dir, { config, getParam, overwrite: true });
    expect(await readdir(dir)).not.toContain('old');
    const failing = replaceDir(dir, () => Promise.reject(new Error('disk full')), {
      overwrite: true,
    });
    await expect(failing).rejects.toThrow('disk full');
    expect(await readdir(dir)).toContain('model.safetensors');
    expect(await readdir(join(dir, '..'))).toEqual(['model']);
  });

  it('that is incomplete is refused by name', async () => {
    await expect(readCheckpointDir(join(root, 'nowhere'))).rejects.toThrow(/nowhere\/config\.json/);
    await cp(golden('llama'), dir, { recursive: true });
    await rm(join(dir, 'model.safetensors'));
    await expect(readCheckpointDir(dir)).rejects.toThrow(/neither model\.safetensors nor/);
    await writeFile(join(dir, 'config.json'), '[]');
    await expect(readCheckpointDir(dir)).rejects.toThrow(/config\.json is not a JSON object/);
  });

  it('whose index and shards disagree is refused by name', async () => {
    await writeCheckpointDir(dir, { config, getParam, maxShardBytes: 6000 });
    const path = join(dir, 'model.safetensors.index.json');
    const index = JSON.parse(await readFile(path, 'utf8')) as {
      weight_map: Record<string, string>;
      metadata: { total_size: number };
    };
    expect(index.metadata.total_size).toBe(4 * paramSpecs(config).reduce((n, s) => n + s.size, 0));
    const opening = async (weight_map: unknown) => {
      await writeFile(path, JSON.stringify({ weight_map }));
      return readCheckpointDir(dir).then((c) => c.close());
    };
    const map = index.weight_map;
    const first = map['model.embed_tokens.weight']!;
    await expect(opening({ ...map, extra: first })).rejects.toThrow(/'extra' in .*which lacks it/);
    const { 'model.norm.weight': norm, ...without } = map;
    await expect(opening(without)).rejects.toThrow(/'model.norm.weight', which .* does not place/);
    await expect(opening({ ...map, 'model.norm.weight': '../x.safetensors' })).rejects.toThrow(
      /not a \.safetensors file of its folder/,
    );
    await expect(opening(3)).rejects.toThrow(/no weight_map/);
    await rm(join(dir, norm!));
    await expect(opening(map)).rejects.toThrow(new RegExp(`cannot open .*${norm!}`));
    await expect(opening(map)).rejects.toThrow(CheckpointError);
  });
});
