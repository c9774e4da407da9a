/** A synthetic checkpoint of 3 GB is written and read while the process grows by a small part of it. */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { llamaConfig } from '../params/test-configs.js';
import { paramSpecs } from '../params/specs.js';
import { readCheckpointDir, writeCheckpointDir } from './checkpoint-dir.js';

const MiB = 2 ** 20;

it('needs less than 400 MiB to write 3 GB and less than 200 MiB to read it', async () => {
  const config = llamaConfig({
    nLayers: 24,
    hiddenDim: 2048,
    nHeads: 16,
    nKvHeads: 16,
    headDim: 128,
    intermediateDim: 5632,
    vocabSize: 32_000,
  });
  const specs = new Map(paramSpecs(config).map((s) => [s.name, s.size]));
  const elements = [...specs.values()].reduce((a, b) => a + b, 0);
  const root = await mkdtemp(join(tmpdir(), 'realhf-stream-'));
  try {
    const base = process.memoryUsage().rss;
    let peak = base;
    const look = () => (peak = Math.max(peak, process.memoryUsage().rss));
    await writeCheckpointDir(join(root, 'model'), {
      config,
      getParam: (name) => {
        look();
        return new Float32Array(specs.get(name)!).fill(0.5);
      },
      maxShardBytes: 1e9,
      dtype: 'bf16',
    });
    look();
    const written = (peak - base) / MiB;
    let bytes = 0;
    for (const f of await readdir(join(root, 'model')))
      bytes += (await stat(join(root, 'model', f))).size;
    expect(bytes).toBeGreaterThan(3e9 * 0.9);

    const before = process.memoryUsage().rss;
    peak = before;
    let read = 0;
    const checkpoint = await readCheckpointDir(join(root, 'model'));
    await checkpoint.stream((_, __, values) => {
      read += values.length;
      look();
    });
    await checkpoint.close();
    const grown = (peak - before) / MiB;
    console.log(
      `checkpoint ${(bytes / 1e9).toFixed(2)} GB: writing took ${written.toFixed(0)} MiB more, reading ${grown.toFixed(0)} MiB more`,
    );
    expect(read).toBe(elements);
    expect(written).toBeLessThan(400);
    expect(grown).toBeLessThan(200);
  } finally {
    await rm(root, { recursive: true });
  }
}, 600_000);
