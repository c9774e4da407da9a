/** Experiments by the name of their command: how a worker finds the one that its run is of. */
import { ConfigError } from '@realhf/api';
import type { z } from 'zod';

import { dpoSchema } from '../options/schemas/dpo.js';
import { grpoSchema } from '../options/schemas/grpo.js';
import { ppoSchema } from '../options/schemas/ppo.js';
import { rwSchema } from '../options/schemas/rw.js';
import { sftSchema } from '../options/schemas/sft.js';
import { dpoSpec } from './dpo.js';
import { grpoSpec } from './grpo.js';
import { ppoSpec } from './ppo.js';
import { rwSpec } from './rw.js';
import { sftSpec } from './sft.js';
import type { ExperimentSpec } from './spec.js';

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
};

/** Throws ConfigError on an unknown command; options are those that the command's schema gave. */
export function makeSpec(command: string, options: unknown): Promise<ExperimentSpec> {
  const make = makers[command];
  if (!make)
    throw new ConfigError(
      `no experiment '${command}' to run on workers; there are ${Object.keys(makers).join(', ')}`,
    );
  return make(options);
}
