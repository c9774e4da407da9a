/** Setups of a profile: every combination of some options' values. */
import { ConfigError } from '@realhf/api';

import { leaves } from '../log/run-directory.js';

/** Option to value. */
export type Setup = Readonly<Record<string, unknown>>;

/** `name=a|b` each; the last one varies fastest. Throws ConfigError on an entry of another form and on an unknown name. */
export function setupsOf(grid: readonly string[], config: unknown): Setup[] {
  const known = leaves(config);
  let setups: Setup[] = [{}];
  for (const entry of grid) {
    const [, name, values] = /^([^=]+)=(.+)$/s.exec(entry) ?? [];
    if (name === undefined || values === undefined)
      throw new ConfigError(`grid has '${entry}'; write option=value|value`);
    if (!known.has(name))
      throw new ConfigError(`grid has option '${name}', which this algorithm lacks`);
    setups = setups.flatMap((s) => values.split('|').map((v) => ({ ...s, [name]: valueOf(v) })));
  }
  return setups;
}

/** A copy of the options with a setup's values. */
export function withSetup(config: unknown, setup: Setup): Record<string, unknown> {
  const out = structuredClone(config) as Record<string, unknown>;
  for (const [name, value] of Object.entries(setup)) {
    const path = name.split('.');
    const last = path.pop()!;
    let at = out;
    for (const key of path) at = (at[key] ??= {}) as Record<string, unknown>;
    at[last] = value;
  }
  return out;
}

function valueOf(text: string): unknown {
  const t = text.trim();
  if (t === 'true' || t === 'false') return t === 'true';
  if (t === 'null') return null;
  return t !== '' && Number.isFinite(Number(t)) ? Number(t) : t;
}
