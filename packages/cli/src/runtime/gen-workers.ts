/** `real gen` on many workers: each batch is cut over the data-parallel ranks of the model. */
import { SequenceSample } from '@realhf/api';

import type { Answerer } from '../experiments/answerer.js';
import { genSpec } from '../experiments/gen-spec.js';
import type { RunDirectory } from '../log/run-directory.js';
import type { RunContext } from '../options/command.js';
import type { GenConfig } from '../options/schemas/gen.js';
import { allocate } from './allocate.js';
import { remoteModels } from './remote-engine.js';
import { exitMs, startWorkers } from './start-workers.js';

/** Throws what `use` throws, or CommError on a worker that died; the workers are gone after it. */
export async function withGenWorkers<T>(
  config: GenConfig,
  run: RunDirectory,
  context: RunContext,
  use: (answerer: Answerer) => Promise<T>,
): Promise<T> {
  const spec = await genSpec(config);
  const plan = { ...(await allocate(spec)), dataRanks: [] };
  const workers = await startWorkers({ command: 'gen', spec, plan, totalSteps: 1, run, context });
  let graceMs = 0;
  try {
    await workers.connected();
    run.status.set({ state: 'RUNNING' });
    const { engine, tokenizer } = remoteModels(workers.stream, spec, plan)('model');
    const { n_mbs: nMbs } = config.allocation;
    const answered = await use({
      submit: (batch) => async () => {
        const { tokens, noEos } = await engine.generate(SequenceSample.gather(batch), config.gen, {
          eosTokenId: tokenizer.eosTokenId,
          padTokenId: tokenizer.padTokenId,
          seed: config.seed,
          ...(nMbs === null ? {} : { nMbs }),
        });
        return tokens.map((t, i) => ({ tokens: t, noEos: noEos[i]! }));
      },
      close: () => Promise.resolve(),
    });
    for (const worker of workers.stream.workers)
      await workers.stream.request(worker, { type: 'exit' });
    graceMs = exitMs;
    return answered;
  } catch (error) {
    throw (await workers.failed(error)) ?? error;
  } finally {
    await workers.end(graceMs);
  }
}
