/** Experiments by the name of their command: how a worker finds the one that its run is of. */
import { ConfigError } from '@realhf/api';
import type { z } from 'zod';

import { dpoSchema } from '../options/schemas/dpo.js';
import { genSchema } from '../options/schemas/gen.js';
import { grpoSchema } from '../options/schemas/grpo.js';
import { ppoSchema } from '../options/schemas/ppo.js';
import { ppoEmaSchema } from '../options/schemas/ppo-ema.js';
import { raftSchema } from '../options/schemas/raft.js';
import { remaxSchema } from '../options/schemas/remax.js';
import { rlooSchema } from '../options/schemas/rloo.js';
import { rwSchema } from '../options/schemas/rw.js';
import { sftSchema } from '../options/schemas/sft.js';
import { simpoSchema } from '../options/schemas/simpo.js';
import { dpoSpec } from './dpo.js';
import { genSpec } from './gen-spec.js';
import { grpoSpec } from './grpo.js';
import { ppoSpec } from './ppo.js';
import { ppoEmaSpec } from './ppo-ema.js';
import { raftSpec } from './raft.js';
import { remaxSpec } from './remax.js';
import { rlooSpec } from './rloo.js';
import { rwSpec } from './rw.js';
import { sftSpec } from './sft.js';
import { simpoSpec } from './simpo.js';
import type { ExperimentSpec } from './spec.js';
import { userCommandPrefix, userExperiment } from '../user-code/experiments.js';

type Maker = (options: unknown) => Promise<ExperimentSpec>;

const maker =
  <S extends z.ZodType>(schema: S, make: (config: z.output<S>) => Promise<ExperimentSpec>): Maker =>
  (options) =>
    make(schema.parse(options));

const makers: Readonly<Record<string, Maker>> = {
  sft: maker(sftSchema, sftSpec),
  rw: maker(rwSchema, rwSpec),
  ppo: maker(ppoSchema, ppoSpec),
  grpo: maker(grpoSchema, grpoSpec),
  dpo: maker(dpoSchema, dpoSpec),
  simpo: maker(simpoSchema, simpoSpec),
  rloo: maker(rlooSchema, rlooSpec),
  remax: maker(remaxSchema, remaxSpec),
  raft: maker(raftSchema, raftSpec),
  gen: maker(genSchema, genSpec),
  'ppo-ema': maker(ppoEmaSchema, ppoEmaSpec),
};

/** Throws ConfigError on an unknown command; options are those that the command's schema gave. */
export function makeSpec(command: string, options: unknown): Promise<ExperimentSpec> {
  if (command.startsWith(userCommandPrefix)) {
    const experiment = userExperiment(command.slice(userCommandPrefix.length));
    return experiment.spec(experiment.schema.parse(options));
  }
  const make = makers[command];
  if (!make)
    throw new ConfigError(
      `no experiment '${command}' to run on workers; there are ${Object.keys(makers).join(', ')}`,
    );
  return make(options);
}
