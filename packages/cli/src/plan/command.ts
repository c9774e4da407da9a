/** `real plan ALGO key=value…`: where calls would run, what ranks would hold and what would move. Needs no device. */
import { ConfigError } from '@realhf/api';
import { z } from 'zod';

import { defineCommand, type Command } from '../options/command.js';
import { makePlan } from './make-plan.js';
import { algorithmNames, algorithmOf, planOptions, planSchema } from './options.js';
import { planJson, planText } from './render.js';

const examples = [
  'real plan ppo preset=llama-7b n_gpus_per_node=8 capacity_gib=80',
  'real plan ppo preset=llama-7b n_nodes=2 n_gpus_per_node=8 allocation_mode=d2m4p2',
  'real plan sft model.path=./base n_gpus_per_node=4 allocation_mode=manual allocation.parallel.data_parallel_size=4',
];

function planCommandOf(word: string): Command {
  const algorithm = algorithmOf(word);
  return defineCommand({
    name: `plan ${algorithm}`,
    summary: `what 'real ${algorithm}' with these options would do, without doing it`,
    schema: planSchema(algorithm),
    flags: ['json'],
    examples: examples.filter((e) => e.includes(`plan ${algorithm} `)),
    async run(config, { stdout }) {
      const options = planOptions(config);
      const plan = await makePlan(algorithm, options);
      stdout.write(
        options.json
          ? `${JSON.stringify(planJson(algorithm, plan), null, 2)}\n`
          : planText(algorithm, plan),
      );
    },
  });
}

export const planCommand = defineCommand({
  name: 'plan',
  summary: 'shows meshes, layouts, memory and reallocations of a run without starting it',
  schema: z.object({
    algorithm: z
      .enum(algorithmNames)
      .describe('the first word; real plan ALGORITHM --help lists its options'),
  }),
  choose: planCommandOf,
  examples,
  run({ algorithm }) {
    return Promise.reject(
      new ConfigError(`the algorithm is a word of its own: real plan ${algorithm} key=value…`),
    );
  },
});
