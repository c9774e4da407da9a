/** What planMemory says of a train step beside what the pool of buffers held at most. */
import {
  optimizerSchema,
  SequenceSample,
  singleDevice,
  type MFCDef,
  type ModelConfig,
} from '@realhf/api';
import { AdamEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { planMemory } from '@realhf/dataflow';
import { ReaLModel, sftLoss } from '@realhf/model';
import { expect, test } from 'vitest';

import { llama } from '../bench-model/shapes.js';

const length = 32;

async function held(config: ModelConfig, nSeqs: number, nMbs: number, keep: boolean) {
  const gpu = await openGpu({ adapter: 'swiftshader' });
  const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: true });
  const model = new ReaLModel({ ops, config, gradientCheckpointing: !keep });
  model.init(1);
  const engine = new AdamEngine(model, { optimizer: optimizerSchema.parse({}), totalSteps: 10 });
  const ids = Array.from({ length: nSeqs }, (_, i) => `${i}`);
  const sample = SequenceSample.fromDefault({
    ids,
    seqlens: ids.map(() => length),
    data: {
      packed_input_ids: Int32Array.from({ length: nSeqs * length }, (_, i) => i % 200),
      prompt_mask: new Uint8Array(nSeqs * length),
    },
  });
  await engine.trainBatch(sample, sftLoss, { versionSteps: 0, nMbs });
  const { peak } = ops.memory();
  ops.destroy();
  return peak;
}

function planned(config: ModelConfig, nSeqs: number, nMbs: number, keep: boolean): number {
  const model = { role: 'default', replicaId: 0 };
  const mfc: MFCDef = {
    name: 'train',
    model,
    interfaceType: 'train_step',
    interfaceImpl: { type_: 'sft', args: {} },
    inputKeys: ['packed_input_ids', 'prompt_mask'],
    outputKeys: [],
    nSeqs,
    nMbs,
  };
  const placement = { model, ranks: [0], parallel: singleDevice, holdsParameters: true };
  return planMemory(
    { mfcs: [mfc], placements: [placement] },
    {
      configs: { default: config },
      workload: { promptTokens: 0, newTokens: length },
      ...(keep ? { keepActivations: ['default'] } : {}),
    },
  ).get(0)!.peak;
}

// Sizes that the pool, which rounds up to a quarter of a power of two, wastes little of.
const shape = { ...llama(64, 4, 1, 1, 192, 360), maxPositions: 64 };

test.each([
  [4, 1, true],
  [8, 2, false],
])(
  'train step of %i sequences in %i microbatches, activations kept: %s',
  async (nSeqs, nMbs, keep) => {
    const [estimate, peak] = [
      planned(shape, nSeqs, nMbs, keep),
      await held(shape, nSeqs, nMbs, keep),
    ];
    expect(estimate / peak).toBeGreaterThan(0.9);
    expect(estimate / peak).toBeLessThan(1.1);
  },
);
