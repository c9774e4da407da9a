/**
 * What a hook does and who takes part. `move`: parameters go from one layout to another, a collective of both; `drop`:
 * the replica of a trained role lets its copy go (reference: 2.10, 7: it never goes back), `offload`: to the host.
 */
import { modelKey, type MFCDef, type MFCHook, type ModelName } from '@realhf/api';
import type { Placement } from './placement.js';

/** What a hook does and which ranks take part. */
export interface HookPlan {
  readonly kind: 'move' | 'drop' | 'offload';
  /** Ends of a move; the model alone for the others. */
  readonly source: ModelName;
  readonly target: ModelName;
  /** dst = eta·src + (1 − eta)·dst. */
  readonly eta: number;
  /** Global ranks that take part, ascending. */
  readonly ranks: readonly number[];
}

/** `mfc` has the hook. Ends without a placement have no ranks. */
export function planHook(hook: MFCHook, mfc: MFCDef, placements: readonly Placement[]): HookPlan {
  const of = (model: ModelName) => placements.find((p) => modelKey(p.model) === modelKey(model));
  const ranksOf = (...models: readonly ModelName[]) =>
    [...new Set(models.flatMap((m) => of(m)?.ranks ?? []))].sort((a, b) => a - b);
  const { model } = mfc;
  if (hook.type === 'offload')
    return { kind: 'offload', source: model, target: model, eta: 1, ranks: ranksOf(model) };
  const source = hook.source ?? model;
  const target = hook.target ?? model;
  const eta = hook.eta ?? 1;
  // Back to the replica that trains: it never gave its parameters away.
  const back = source.role === target.role && of(source)?.holdsParameters === false;
  return back
    ? { kind: 'drop', source, target, eta, ranks: ranksOf(source) }
    : { kind: 'move', source, target, eta, ranks: ranksOf(source, target) };
}
