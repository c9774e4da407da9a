/**
 * Registries: small typed maps filled by explicit calls, because a worker finds a user's class by name after
 * importing the user's module.
 */
import { ConfigError } from './errors.js';
import type { ModelInterface } from './interface.js';

/** Names and what they stand for. */
export interface Registry<F> {
  /** Throws ConfigError if the name is taken by another value. */
  register(name: string, factory: F): void;
  /** Throws ConfigError that lists what is known. */
  get(name: string): F;
  names(): string[];
}

/** An empty registry; `kind` is what its errors call an entry. */
export function createRegistry<F>(kind: string): Registry<F> {
  const map = new Map<string, F>();
  return {
    register(name, factory) {
      if (map.has(name) && map.get(name) !== factory)
        throw new ConfigError(`${kind} '${name}' is registered already; choose another name`);
      map.set(name, factory);
    },
    get(name) {
      const f = map.get(name);
      if (f === undefined)
        throw new ConfigError(
          `unknown ${kind} '${name}'; known: ${[...map.keys()].sort().join(', ') || 'none'}`,
        );
      return f;
    },
    names: () => [...map.keys()].sort(),
  };
}

/** Model interfaces (sft, paired_rw, ppo_actor, …) by name. */
export const interfaces: Registry<(args: Readonly<Record<string, unknown>>) => ModelInterface> =
  createRegistry('interface');
