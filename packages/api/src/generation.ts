/** GenerationHyperparameters (reference: G1–G6). Keys keep the field's spelling: they are command-line options. */
import { z } from 'zod';

/** Schema of the options of generation, in the spelling of Hugging Face. */
export const generationSchema = z
  .object({
    max_new_tokens: z
      .number()
      .int()
      .positive()
      .default(256)
      .describe('tokens generated at most, per sequence'),
    min_new_tokens: z
      .number()
      .int()
      .nonnegative()
      .default(256)
      .describe(
        'EOS is masked before this many tokens; as high as max_new_tokens, no answer ends by itself',
      ),
    greedy: z.boolean().default(false).describe('take the most likely token'),
    top_p: z
      .number()
      .gt(0)
      .lte(1)
      .default(0.9)
      .describe('nucleus: keep the smallest set of tokens with this probability'),
    top_k: z.number().int().positive().default(200).describe('keep the k most likely tokens'),
    temperature: z.number().nonnegative().default(1).describe('divides logits; 0 means greedy'),
    force_no_logits_mask: z
      .boolean()
      .default(false)
      .describe('do not record which tokens top_p and top_k removed'),
    kv_gib: z
      .number()
      .positive()
      .optional()
      .describe('GiB of keys and values at most, 4 by default; sequences beyond it wait'),
    max_running: z
      .number()
      .int()
      .positive()
      .optional()
      .describe('sequences decoded at once at most, 256 by default; others wait'),
  })
  .refine((g) => g.min_new_tokens <= g.max_new_tokens, {
    message: 'min_new_tokens must not exceed max_new_tokens',
    path: ['min_new_tokens'],
  });

/** Options of generation, defaults filled in. */
export type GenerationHyperparameters = z.infer<typeof generationSchema>;

/** Temperature exactly 0 is greedy at temperature 1. */
export function normalizeGeneration(g: GenerationHyperparameters): GenerationHyperparameters {
  return g.temperature === 0 ? { ...g, greedy: true, temperature: 1 } : g;
}
