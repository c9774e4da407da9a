/** Stage: what generation and gradient synchronisation see of a model, a part of the layers on one rank. */
import type { Network } from '@realhf/api';

import type { Block } from './block.js';
import type { Shard } from './shard.js';

export interface Stage extends Network {
  readonly shard: Shard;
  /** Blocks of this pipeline stage, in order. */
  readonly blocks: readonly Block[];
}
