/**
 * Learning rate by optimizer step: linear warm-up over ⌊proportion·T⌋ steps, then cosine, linear or constant down to
 * min_lr_ratio·lr, reached at step T (the reference reaches it w steps early, over a T too long by the number of epochs).
 */
import type { OptimizerConfig } from '@realhf/api';

/** Rate of 0-based step `step` of `total`. */
export function learningRate(config: OptimizerConfig, step: number, total: number): number {
  const { lr, min_lr_ratio: floor } = config;
  const warmup = Math.floor(config.warmup_steps_proportion * total);
  if (step < warmup) return (lr * (step + 1)) / warmup;
  if (config.lr_scheduler_type === 'constant') return lr;
  const progress = Math.min(1, (step - warmup) / Math.max(1, total - warmup));
  const shape =
    config.lr_scheduler_type === 'cosine' ? (1 + Math.cos(Math.PI * progress)) / 2 : 1 - progress;
  return lr * (floor + (1 - floor) * shape);
}
