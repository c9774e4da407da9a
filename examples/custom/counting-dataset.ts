/**
 * A dataset type of one's own: prompts that count, made while training goes on; there is no file of records. Options of
 * its schema are dataset.args.*.
 *
 * real ppo user_modules=[examples/custom/counting-dataset.ts] dataset.type=counting dataset.path=none
 *   dataset.args.letters=abc … and the options of real ppo
 */
import { SequenceSample } from '@realhf/api';
import { registerDataset } from '@realhf/cli';
import { z } from 'zod';

const schema = z.object({
  letters: z.string().min(1).default('abcd').describe('what is counted through, again and again'),
  length: z.number().int().positive().default(3).describe('characters of a prompt'),
  size: z.number().int().positive().default(64).describe('prompts of an epoch'),
});

registerDataset({
  name: 'counting',
  schema,
  record: (id, { args }) => ({ letters: args.letters, number: Number(id.split('-')[1]) }),
  open({ args: { letters, length, size }, tokenizer }) {
    return Promise.resolve({
      size,
      item(index, epoch) {
        const text = Array.from(
          { length },
          (_, i) => letters[(index + epoch + i) % letters.length],
        );
        const tokens = tokenizer.encode(text.join(''));
        return SequenceSample.fromDefault({
          ids: [`count-${index}`],
          seqlens: [tokens.length],
          data: { packed_prompts: tokens },
        });
      },
    });
  },
});
