/** The form for GPUs on software adapters, against the form of packed attention for GPUs. */
import { test } from 'vitest';

import { onAdapters } from '../../testing/test-recorders.js';
import { manyQueries } from '../attention/attention-tiles.js';
import { attentionByWorkgroups } from '../attention/attention.js';
import { expectPaged } from './paged-attention-checks.js';

onAdapters((r, name) => {
  const cases = [
    { lengths: [7, 1, 19, 4], window: 6 },
    { lengths: [90, 40, 13], window: undefined },
  ];
  test.each(name === 'lavapipe' ? cases : cases.slice(0, 1))(
    '$lengths, window $window: bits of packed attention by workgroups',
    async (c) => {
      await expectPaged(
        r(),
        c,
        (recorder, a) => {
          attentionByWorkgroups(recorder, a, manyQueries(recorder, a.headDim / 4, 2)!);
        },
        'workgroups',
      );
    },
  );
});
