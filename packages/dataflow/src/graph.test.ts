import { readFileSync } from 'node:fs';
import { modelName, type MFCDef } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { dpoMFCs } from './algorithms/dpo.js';
import { grpoMFCs } from './algorithms/grpo.js';
import { ppoMFCs } from './algorithms/ppo.js';
import { rwMFCs } from './algorithms/rw.js';
import { sftMFCs } from './algorithms/sft.js';
import { drawGraph } from './draw-graph.js';
import { buildGraph } from './graph.js';

const mfc = (name: string, inputs: string[], outputs: string[], more: Partial<MFCDef> = {}) =>
  ({
    name,
    nSeqs: 4,
    interfaceType: outputs.length > 0 ? 'inference' : 'train_step',
    interfaceImpl: { type_: 'fake', args: {} },
    model: modelName(name),
    inputKeys: inputs,
    outputKeys: outputs,
    ...more,
  }) satisfies MFCDef;
const build = (...mfcs: MFCDef[]) => buildGraph(mfcs, { datasetKeys: ['x'] });

describe('buildGraph', () => {
  it('connects the six MFCs of PPO', () => {
    const graph = buildGraph(ppoMFCs({ nSeqs: 8, logitsMask: true }), {
      datasetKeys: ['packed_prompts'],
    });
    expect(graph.order).toEqual([
      'actor_gen',
      'rew_inf',
      'ref_inf',
      'critic_inf',
      'actor_train',
      'critic_train',
    ]);
    const gen = graph.nodes.get('actor_gen')!;
    expect([gen.isSrc, gen.isDst, gen.isDstOfRole]).toEqual([true, false, false]);
    expect(gen.children).toEqual(graph.order.slice(1));
    const train = graph.nodes.get('actor_train')!;
    expect(train.parents).toEqual(graph.order.slice(0, 4));
    expect([train.isSrc, train.isDst, train.isDstOfRole]).toEqual([false, true, true]);
    expect(graph.consumers.get('packed_logits_mask')).toEqual(['ref_inf', 'actor_train']);
    expect(graph.producers.get('values')).toBe('critic_inf');
    expect(graph.edges).toHaveLength(5 + 3 * 2);
  });

  it('keeps the mask out when generation records none', () => {
    const keys = ppoMFCs({ nSeqs: 8, logitsMask: false }).flatMap((m) => [
      ...m.inputKeys,
      ...m.outputKeys,
    ]);
    expect(keys).not.toContain('packed_logits_mask');
  });

  it('builds sft and rw', () => {
    expect(
      buildGraph(sftMFCs({ nSeqs: 2 }), { datasetKeys: ['packed_input_ids', 'prompt_mask'] }).order,
    ).toEqual(['trainDefault']);
    expect(buildGraph(rwMFCs({ nSeqs: 2 }), { datasetKeys: ['packed_input_ids'] }).order).toEqual([
      'rwTrain',
    ]);
  });

  it('builds dpo: the reference scores, then the actor trains', () => {
    const mfcs = dpoMFCs({ nSeqs: 2, offloadRef: true, nMbs: { ref_inf: 2 } });
    const graph = buildGraph(mfcs, { datasetKeys: ['packed_input_ids', 'prompt_lens'] });
    expect(graph.order).toEqual(['ref_inf', 'actor_train']);
    expect(graph.consumers.get('seqlogp')).toEqual(['actor_train']);
    expect(mfcs.map((m) => [m.nMbs, m.postHooks, m.interfaceImpl.args.enable_save])).toEqual([
      [2, [{ type: 'offload' }], false],
      [undefined, undefined, undefined],
    ]);
  });

  it('builds grpo: four calls, the mask only where generation records one', () => {
    const of = (logitsMask: boolean) =>
      buildGraph(grpoMFCs({ nSeqs: 2, logitsMask }), { datasetKeys: ['packed_prompts'] });
    const graph = of(true);
    expect(graph.order).toEqual(['actor_gen', 'rew_inf', 'ref_inf', 'actor_train']);
    expect(graph.nodes.get('actor_train')!.parents).toEqual(['actor_gen', 'rew_inf', 'ref_inf']);
    expect(graph.consumers.get('packed_logits_mask')).toEqual(['ref_inf', 'actor_train']);
    expect(of(false).consumers.has('packed_logits_mask')).toBe(false);
    const hooked = grpoMFCs({ nSeqs: 2, logitsMask: false, offload: { ref: true, reward: true } });
    expect(hooked.flatMap((m) => (m.postHooks ? [m.name] : []))).toEqual(['rew_inf', 'ref_inf']);
  });

  it('sets hooks of offload and of the moving reference', () => {
    const hooks = (options: Partial<Parameters<typeof ppoMFCs>[0]>) =>
      Object.fromEntries(
        ppoMFCs({ nSeqs: 8, logitsMask: false, ...options }).flatMap((m) =>
          m.postHooks ? [[m.name, m.postHooks]] : [],
        ),
      );
    expect(hooks({})).toEqual({});
    expect(hooks({ offload: { ref: true, reward: true } })).toEqual({
      rew_inf: [{ type: 'offload' }],
      ref_inf: [{ type: 'offload' }],
    });
    expect(hooks({ offload: { ref: true }, refEmaEta: 0.001 })).toEqual({
      actor_train: [{ type: 'param_realloc', target: modelName('ref'), eta: 0.001 }],
    });
  });

  it('counts calls per step where an MFC takes fewer items', () => {
    const graph = build(mfc('a', ['x'], ['y']), mfc('b', ['y'], [], { nSeqs: 2 }));
    expect(graph.stepSize).toBe(4);
    expect(graph.nodes.get('b')!.callsPerStep).toBe(2);
  });

  it.each<[string, MFCDef[], RegExp]>([
    ['no MFC', [], /at least one MFC/],
    ['equal names', [mfc('a', ['x'], ['y']), mfc('a', ['x'], ['z'])], /two MFCs are named 'a'/],
    [
      'two producers',
      [mfc('a', ['x'], ['y']), mfc('b', ['x'], ['y'])],
      /'y' is produced by both MFC 'a' and MFC 'b'/,
    ],
    ['dataset and producer', [mfc('a', ['x'], ['x'])], /delivered by the dataset/],
    [
      'a cycle',
      [
        mfc('d', ['x'], ['w']),
        mfc('a', ['z'], ['y']),
        mfc('b', ['y', 'w'], ['z']),
        mfc('c', ['z'], ['v']),
      ],
      /cycle: a → b → a;/,
    ],
    ['a loop', [mfc('a', ['x', 'y'], ['y'])], /cycle: a → a;/],
    [
      'an unknown key',
      [mfc('a', ['x'], ['values']), mfc('b', ['valuse'], [])],
      /'valuse' of MFC 'b' is neither .* did you mean 'values'\?/,
    ],
    ['a far-off key', [mfc('a', ['qqqqqq'], ['y'])], /the dataset delivers x$/],
    [
      'sizes that do not fit',
      [mfc('a', ['x'], ['y']), mfc('b', ['y'], [], { nSeqs: 3 })],
      /'b' takes nSeqs 3, which does not divide nSeqs 4 of MFC 'a'/,
    ],
    [
      'two interfaces on a model',
      [
        mfc('a', ['x'], ['y'], { model: modelName('m') }),
        mfc('b', ['y'], [], {
          model: modelName('m'),
          interfaceImpl: { type_: 'fake', args: { beta: 1 } },
        }),
      ],
      /model m@0 has two interfaces: MFC 'a' .* MFC 'b'/,
    ],
    [
      'two train_steps of a role',
      [
        mfc('a', ['x'], [], { model: modelName('m') }),
        mfc('b', ['x'], [], { model: modelName('m', 1) }),
      ],
      /role 'm' has two train_steps, MFC 'a' and MFC 'b'/,
    ],
    [
      'a gap in replicas',
      [mfc('a', ['x'], ['y'], { model: modelName('m', 1) })],
      /role 'm' has replicas 1; number them 0 to 0/,
    ],
    [
      'outputs of a train_step',
      [mfc('a', ['x'], ['y'], { interfaceType: 'train_step' })],
      /stats only/,
    ],
    [
      'offload before the call',
      [mfc('a', ['x'], ['y'], { preHooks: [{ type: 'offload' }] })],
      /only be a post-hook/,
    ],
    [
      'a hook without an end',
      [mfc('a', ['x'], ['y'], { preHooks: [{ type: 'param_realloc' }] })],
      /neither source nor target/,
    ],
    [
      'a hook to nowhere',
      [
        mfc('a', ['x'], ['y'], {
          preHooks: [{ type: 'param_realloc', source: modelName('nobody') }],
        }),
      ],
      /nobody@0, which no MFC uses/,
    ],
    [
      'a rename of nothing',
      [mfc('a', ['x'], ['y'], { inputKeyRemap: { q: 'r' } })],
      /renames input 'q'/,
    ],
  ])('refuses %s', (_, mfcs, message) => {
    expect(() => build(...mfcs)).toThrow(message);
    try {
      build(...mfcs);
    } catch (e) {
      expect(e).toMatchObject({ name: 'GraphError' });
      expect((e as Error).message).not.toContain('\n');
    }
  });

  it('takes equal interface arguments in another order', () => {
    const impl = (args: Record<string, unknown>) => ({
      model: modelName('m'),
      interfaceImpl: { type_: 'fake', args },
    });
    expect(
      build(mfc('a', ['x'], ['y'], impl({ p: 1, q: 2 })), mfc('b', ['y'], [], impl({ q: 2, p: 1 })))
        .order,
    ).toEqual(['a', 'b']);
  });
});

describe('drawGraph', () => {
  const drawing = drawGraph(build(mfc('a', ['x'], ['y']), mfc('b', ['x', 'y'], [], { nSeqs: 2 })));
  it('draws text', () => {
    expect(drawing.text).toBe(
      [
        'step of 4 sequences',
        'a  inference a@0 fake, 4 sequences',
        '  ← dataset: x',
        '  → y',
        'b  train_step b@0 fake, 2 sequences × 2 calls',
        '  ← dataset: x',
        '  ← a: y',
      ].join('\n'),
    );
  });
  it('draws PPO as the README shows it', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    const shown = /```\n(step of[^`]*)…/.exec(readme)![1]!;
    const mfcs = ppoMFCs({ nSeqs: 128, logitsMask: true, offload: { ref: true } });
    const { text } = drawGraph(buildGraph(mfcs, { datasetKeys: ['packed_prompts'] }));
    expect(text.startsWith(shown)).toBe(true);
  });
  it('draws Mermaid', () => {
    expect(drawing.mermaid).toBe(
      [
        'flowchart TD',
        '  dataset[(dataset)]',
        '  m0["a<br/>inference · a@0"]',
        '  m1["b<br/>train_step · b@0"]',
        '  dataset -->|"x"| m0',
        '  dataset -->|"x"| m1',
        '  m0 -->|"y"| m1',
      ].join('\n'),
    );
  });
});
