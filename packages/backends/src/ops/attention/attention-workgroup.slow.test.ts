/** The forms for GPUs on software adapters, which compile them for seconds each. */
import type { AttentionArgs } from '@realhf/api';
import { test } from 'vitest';

import { onAdapters } from '../../testing/test-recorders.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { attentionBackward } from './attention-backward.js';
import {
  cases,
  expectAttention,
  expectDecode,
  type Backward,
  type Case,
} from './attention-checks.js';
import { backwardTiles, manyQueries, oneQuery } from './attention-tiles.js';
import { attentionByWorkgroups } from './attention.js';

const groupOf = (a: AttentionArgs) => a.group ?? a.nHeads / a.nKvHeads;
const many = (r: Recorder, a: AttentionArgs) => {
  attentionByWorkgroups(r, a, manyQueries(r, a.headDim / 4, groupOf(a))!);
};
const one = (r: Recorder, a: AttentionArgs) => {
  attentionByWorkgroups(r, a, oneQuery(a.headDim / 4, groupOf(a)));
};
const backward: Backward = (r, a) => {
  attentionBackward(r, a, backwardTiles(r, a));
};
const wide: Case = { name: 'wide heads', lengths: [21, 9], nHeads: 3, nKvHeads: 1, headDim: 64 };
const chosen = cases.filter((c) => /four|window|rank/.test(c.name));

onAdapters((r, name) => {
  test.each(name === 'lavapipe' ? [...chosen, wide] : cases.slice(1, 2))(
    '$name: many queries a workgroup, and one',
    async (c) => {
      await expectAttention(r(), c, many, backward);
      await expectAttention(r(), c, one, backward);
    },
  );

  test('decode is bit-equal to packed training', async () => {
    if (name === 'lavapipe') await expectDecode(r(), 100, many, many);
    await expectDecode(r(), 100, many, one);
  });
});
