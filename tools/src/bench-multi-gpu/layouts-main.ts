/**
 * One model in several layouts against one GPU: loss and gradient norm of two train steps, greedy tokens, and what they
 * take. Every layout starts from the same weights; the loss of the second step is that of the updated ones.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import {
  generationSchema,
  optimizerSchema,
  SequenceSample,
  type ModelConfig,
  type ParallelGroups,
} from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import { sftLoss } from '@realhf/model';

import { layoutOf, modelOf, placeOf, runRank, type Rank } from './rank.js';

interface Outcome {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  /** Of this rank's prompts; empty on ranks whose data another one has. */
  readonly tokens: readonly (readonly number[])[];
  readonly trainSeconds: number;
  readonly generateSeconds: number;
  readonly peakBytes: number;
}

const size = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise);
const sequences = size('SEQUENCES', 16);
const length = size('LENGTH', 512);
const newTokens = size('NEW', 64);

function sampleOf(config: ModelConfig, n: number): SequenceSample {
  let state = 7;
  const tokens = Int32Array.from({ length: sequences * n }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 3 + Math.floor((state / 2 ** 32) * (config.vocabSize - 3));
  });
  const ids = Array.from({ length: sequences }, (_, i) => `s${i}`);
  return SequenceSample.fromDefault({
    ids,
    seqlens: ids.map(() => n),
    data: { packed_input_ids: tokens, prompt_mask: new Uint8Array(sequences * n) },
  });
}

async function measure(rank: Rank, groups: ParallelGroups, dp: number): Promise<Outcome> {
  const { ops, config } = rank;
  const model = modelOf(rank, groups);
  const part = (sample: SequenceSample) => {
    const cut = (i: number) => Math.floor((i * sample.bs) / dp);
    return sample.slice(cut(groups.coordinates.dp), cut(groups.coordinates.dp + 1));
  };
  // Before training: it makes the weights that products read.
  const prompts = part(sampleOf(config, 64)).remapKeys({ packed_input_ids: 'packed_prompts' });
  const optimizer = optimizerSchema.parse({ lr: 1e-3, lr_scheduler_type: 'constant' });
  const engine = new AdamEngine(model, { optimizer, totalSteps: 10 });
  const gconfig = generationSchema.parse({
    max_new_tokens: newTokens,
    min_new_tokens: newTokens,
    greedy: true,
    top_p: 1,
    top_k: config.vocabSize,
    force_no_logits_mask: true,
  });
  const generate = () =>
    engine.generate(prompts, gconfig, { eosTokenId: 2, padTokenId: 0, seed: 1, nMbs: 2 });
  const { tokens } = await generate();
  let start = performance.now();
  await generate();
  const generateSeconds = (performance.now() - start) / 1000;
  const losses: number[] = [];
  const norms: number[] = [];
  const batch = part(sampleOf(config, length));
  let trainSeconds = 0;
  for (let step = 0; step < 2; step++) {
    start = performance.now();
    const stats = await engine.trainBatch(batch, sftLoss, { versionSteps: step, nMbs: 4 / dp });
    await ops.sync();
    trainSeconds = (performance.now() - start) / 1000;
    losses.push(stats.loss ?? NaN);
    norms.push(stats.grad_norm ?? NaN);
  }
  const { peak } = ops.memory();
  engine.free();
  model.free();
  return {
    losses,
    norms,
    tokens: tokens.map((t) => [...t]),
    trainSeconds,
    generateSeconds,
    peakBytes: peak,
  };
}

await runRank(async (rank) => {
  const { world, say } = rank;
  const file = (layout: string, r: number) => join(process.env.NAMES!, `${layout}.${r}.json`);
  let one: Outcome | undefined;
  if (rank.rank === 0) one = await measure(rank, placeOf(0, layoutOf('d1m1p1')), 1);
  await world.barrier();
  const layouts = [
    ...[`d${rank.size}m1p1`, `d1m${rank.size}p1`, `d1m1p${rank.size}`],
    ...(rank.size === 4 ? ['d2m2p1', 'd2m1p2', 'd1m2p2'] : []),
  ];
  say(
    'layout | loss 1 | loss 2 | norm 1 | rel. diff loss, norm | tokens equal | train s | gen s | peak GiB',
  );
  const row = (name: string, o: Outcome, tokens: readonly (readonly number[])[]) => {
    const off = (a: readonly number[], b: readonly number[]) =>
      Math.max(...a.map((x, i) => Math.abs(x / b[i]! - 1)));
    const [mine, want] = [tokens.flat(), one!.tokens.flat()];
    const equal = mine.filter((t, i) => t === want[i]).length;
    say(
      [
        name,
        o.losses[0]!.toFixed(5),
        o.losses[1]!.toFixed(5),
        o.norms[0]!.toFixed(5),
        `${off(o.losses, one!.losses).toExponential(1)}, ${off(o.norms, one!.norms).toExponential(1)}`,
        `${equal}/${want.length}${mine.length === want.length ? '' : ` of ${mine.length}`}`,
        o.trainSeconds.toFixed(3),
        o.generateSeconds.toFixed(3),
        (o.peakBytes / 2 ** 30).toFixed(1),
      ].join(' | '),
    );
    return off(o.losses, one!.losses) < 1e-3 && equal > 0.9 * want.length;
  };
  let right = true;
  if (one) row('one GPU', one, one.tokens);
  for (const name of layouts) {
    const layout = layoutOf(name);
    const groups = await rank.groups(layout);
    writeFileSync(
      file(name, rank.rank),
      JSON.stringify({
        ...(await measure(rank, groups, layout.dataParallelSize)),
        groups: groups.coordinates,
      }),
    );
    await world.barrier();
    if (rank.rank !== 0) continue;
    const all = Array.from(
      { length: rank.size },
      (_, r) =>
        JSON.parse(readFileSync(file(name, r), 'utf8')) as Outcome & { groups: { dp: number } },
    );
    const byData = new Map(all.map((o) => [o.groups.dp, o.tokens]));
    const tokens = [...byData].sort(([a], [b]) => a - b).flatMap(([, t]) => t);
    right = row(name, all[0]!, tokens) && right;
  }
  say(right ? 'layouts: all right' : 'layouts: WRONG');
  return right;
});
