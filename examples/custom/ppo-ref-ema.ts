/**
 * A variant of PPO: after every update of the actor its parameters flow into the reference, ref = eta·actor + (1 − eta)·ref,
 * by a parameter reallocation as post-hook of the call actor_train. One option more, six calls as before.
 *
 * real run examples/custom/ppo-ref-ema.ts experiment_name=… eta=0.01 and the options of real ppo
 */
import { modelName, type MFCDef } from '@realhf/api';
import { ppoObject, ppoSpec, registerExperiment } from '@realhf/cli';
import { z } from 'zod';

const schema = ppoObject.extend({
  eta: z.number().gt(0).max(1).default(0.01).describe('share of the actor in the new reference'),
});

function withAverage(mfc: MFCDef, eta: number): MFCDef {
  if (mfc.name !== 'actor_train') return mfc;
  return { ...mfc, postHooks: [{ type: 'param_realloc', target: modelName('ref'), eta }] };
}

registerExperiment({
  name: 'my-ppo-ref-ema',
  summary: 'PPO whose reference follows the actor slowly',
  schema,
  async spec(config) {
    const ppo = await ppoSpec(config);
    return { ...ppo, mfcs: ppo.mfcs.map((mfc) => withAverage(mfc, config.eta)) };
  },
});
