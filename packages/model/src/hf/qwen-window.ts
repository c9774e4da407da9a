/**
 * The window fields of qwen2 and qwen3: `use_sliding_window` limits the layers from `max_window_layers` on. Models with
 * layers of both kinds are refused; published ones have the switch off.
 */
import { ConfigError } from '@realhf/api';
import { z } from 'zod';

export const windowFields = {
  use_sliding_window: z.boolean().default(false),
  max_window_layers: z.number().int().nonnegative().default(28),
  layer_types: z.array(z.string()).nullish(),
};

/** Throws ConfigError if a layer has a window. */
export function checkNoWindow(
  family: string,
  c: z.infer<z.ZodObject<typeof windowFields>> & { num_hidden_layers: number },
): void {
  const other = c.layer_types?.find((t) => t !== 'full_attention');
  if (other !== undefined)
    throw new ConfigError(
      `config.json of a ${family}: layer_types has '${other}'; known: full_attention`,
    );
  if (c.use_sliding_window && !c.layer_types && c.max_window_layers < c.num_hidden_layers)
    throw new ConfigError(
      `config.json of a ${family}: use_sliding_window limits the layers from ${c.max_window_layers} of ${c.num_hidden_layers}; only models with full attention in every layer are supported`,
    );
}

/** The fields of a model without windows. */
export const noWindow = { use_sliding_window: false, sliding_window: null };
