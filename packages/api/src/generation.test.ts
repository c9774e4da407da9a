/** Generation options: defaults of the field, ranges, temperature 0. */
import { describe, expect, it } from 'vitest';
import { generationSchema, normalizeGeneration } from './generation.js';

describe('generationSchema', () => {
  it('has the defaults of the reference', () => {
    expect(generationSchema.parse({})).toEqual({
      max_new_tokens: 256,
      min_new_tokens: 256,
      greedy: false,
      top_p: 0.9,
      top_k: 200,
      temperature: 1,
      force_no_logits_mask: false,
    });
  });
  it.each([
    { top_p: 0 },
    { top_p: 1.1 },
    { top_k: 0 },
    { temperature: -1 },
    { max_new_tokens: 0 },
    { max_new_tokens: 8 },
    { max_new_tokens: 8, min_new_tokens: 9 },
  ])('refuses %o', (options) => {
    expect(generationSchema.safeParse(options).success).toBe(false);
  });
  it('turns temperature 0 into greedy at temperature 1', () => {
    const g = generationSchema.parse({ temperature: 0 });
    expect(normalizeGeneration(g)).toMatchObject({ greedy: true, temperature: 1 });
    const h = generationSchema.parse({ temperature: 0.5 });
    expect(normalizeGeneration(h)).toBe(h);
  });
});
