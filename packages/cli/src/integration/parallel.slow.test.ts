/**
 * Larger grids of ranks: both kinds of parallelism at once, kv heads shared by pairs of four ranks, three stages, memory
 * traded for time; and norms of heads, whose gradients every rank has a part of.
 */
import { llama, useOps } from './harness.js';
import { configs, parallelSuite } from './parallel-suite.js';

const ops = useOps();
const headNorms = 'norms of heads and a window';
configs[headNorms] = llama({ qkNorm: true, slidingWindow: 4 });

parallelSuite(ops, { tensorParallelSize: 2 }, [headNorms]);
parallelSuite(ops, { tensorParallelSize: 2, useSequenceParallel: true }, [
  headNorms,
  'gpt2 critic',
]);
parallelSuite(ops, { tensorParallelSize: 2, pipelineParallelSize: 2 });
// Two kv heads on four ranks.
parallelSuite(ops, { tensorParallelSize: 4 }, [
  'llama',
  'llama3 with shared kv heads',
  'gpt2',
  headNorms,
]);
configs['three layers'] = llama({ nLayers: 3, tiedEmbedding: true });
parallelSuite(ops, { pipelineParallelSize: 3 }, ['three layers']);
// Blocks run again, logits made again in chunks of 64 rows.
parallelSuite(
  ops,
  { tensorParallelSize: 2, pipelineParallelSize: 2, useSequenceParallel: true },
  ['llama', 'llama3 with shared kv heads', 'gpt2', headNorms],
  { gradientCheckpointing: true, logitsBytes: 1, lengths: [40, 60, 33] },
);
