import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { LoraConfig } from '../lora/config.js';
import { loraSpecs } from '../lora/specs.js';
import { gpt2Config, llamaConfig } from '../params/test-configs.js';
import { readPeftConfig, readPeftDir, writePeftDir } from './peft.js';
import { SafetensorsFile } from './safetensors.js';

let root = '';
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'peft-'));
});
afterAll(() => rm(root, { recursive: true }));

const lora: LoraConfig = {
  rank: 2,
  alpha: 6,
  targets: ['q_proj', 'v_proj', 'down_proj'],
  rslora: true,
};

const write = async (name: string, config = llamaConfig(), shape = lora) => {
  const dir = join(root, name);
  // Rows of k are nobody's: a trained adapter has zeros there.
  const params = new Map(
    loraSpecs(config, shape).map((s) => {
      const values = Float32Array.from({ length: s.size }, (_, i) => Math.sin(i + s.offset));
      if (s.name.endsWith('attn.qkv.lora_b')) values.fill(0, 24 * 2, 36 * 2);
      return [s.name, values];
    }),
  );
  const getParam = (param: string) => params.get(param)!;
  await writePeftDir(dir, { config, lora: shape, getParam, base: 'base' });
  return { dir, config, params };
};

describe('PEFT folders', () => {
  it.each([false, true])('give back what was saved (critic: %s)', async (isCritic) => {
    const { dir, config, params } = await write(`round-${isCritic}`, llamaConfig({ isCritic }));
    const read = await readPeftDir(dir, config);
    expect(read.lora).toEqual(lora);
    expect(read.params).toEqual(params);
  });

  it('have the names and shapes of peft', async () => {
    const { dir } = await write('names');
    const file = await SafetensorsFile.open(join(dir, 'adapter_model.safetensors'));
    const at = 'base_model.model.model.layers.1';
    expect(file.header.tensors.get(`${at}.self_attn.v_proj.lora_A.weight`)?.shape).toEqual([2, 20]);
    expect(file.header.tensors.get(`${at}.self_attn.v_proj.lora_B.weight`)?.shape).toEqual([12, 2]);
    expect(file.header.tensors.get(`${at}.mlp.down_proj.lora_A.weight`)?.shape).toEqual([2, 24]);
    expect(file.names()).toHaveLength(12);
    await file.close();
  });

  it('are refused where something would be lost', async () => {
    const { dir, config } = await write('refused');
    const path = join(dir, 'adapter_config.json');
    const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    const change = (fields: Record<string, unknown>) =>
      writeFile(path, JSON.stringify({ ...json, ...fields }));
    await change({ use_dora: true });
    await expect(readPeftConfig(dir)).rejects.toThrow(/use_dora/);
    await change({ target_modules: 'all-linear' });
    await expect(readPeftConfig(dir)).rejects.toThrow(/target_modules/);
    await change({ r: 3 });
    await expect(readPeftDir(dir, config)).rejects.toThrow(/needs \[3, 20\]/);
    await change({ target_modules: ['q_proj', 'v_proj'] });
    await expect(readPeftDir(dir, config)).rejects.toThrow(/no part of it/);
    const gpt2 = { rank: 2, alpha: 2, targets: ['up_proj'] } as const;
    await expect(write('gpt2', gpt2Config(), gpt2)).rejects.toThrow(/save\.lora=merged/);
    const wrong = { ...gpt2, targets: ['gate_proj'] } as const;
    await expect(write('gate', gpt2Config(), wrong)).rejects.toThrow(/a gpt2 model has q_proj/);
  });
});
