/** Waiting by looking again and again: what directories and Redis have in common. */
import { CommError } from '@realhf/api';
import { timeoutError } from './name-resolve.js';
import type { NameResolve } from './name-resolve.js';

/** Looks for `key` every `pollMs`, until it is there, `timeoutMs` are over, or `signal` says that the client closed. */
export async function pollFor(
  names: NameResolve,
  key: string,
  timeoutMs: number,
  pollMs: number,
  signal: AbortSignal,
): Promise<string> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    if (signal.aborted) throw new CommError(`wait for '${key}': this client is closed`);
    const value = await names.get(key);
    if (value !== undefined) return value;
    const left = end - performance.now();
    if (left <= 0) throw await timeoutError(names, [key], timeoutMs);
    await pause(Math.min(pollMs, left), signal);
  }
}

/** Resolves after `ms`, or at once when aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
