/**
 * A reward service: POST of the batch as JSON, an answer `{"rewards": [numbers]}` or `[numbers]`. Tried again with
 * growing pauses where the service may recover: no connection, a time-out, 429 and 5xx; other answers end the run.
 */
import { setTimeout as pause } from 'node:timers/promises';

import { CommError } from '@realhf/api';
import type { RewardBatch, RewardSource } from '@realhf/model';

export interface UrlRewardOptions {
  readonly url: string;
  readonly weight: number;
  /** Of one try. */
  readonly timeoutMs: number;
  /** Tries after the first. */
  readonly retries: number;
  /** Before the second try; doubled before each further one. Default 500. */
  readonly pauseMs?: number;
}

/** `score` throws CommError that names the address. */
export function urlReward(o: UrlRewardOptions): RewardSource {
  const { url, weight, retries, pauseMs = 500 } = o;
  return {
    name: url,
    weight,
    async score(batch) {
      for (let tried = 0; ; tried++) {
        const got = await attempt(o, batch);
        if ('rewards' in got) return got.rewards;
        if (!got.again || tried === retries)
          throw new CommError(
            `reward ${url}: ${got.why}, after ${tried + 1} tries; check the service, or raise reward.timeout_s and reward.retries`,
          );
        await pause(pauseMs * 2 ** tried);
      }
    },
  };
}

async function attempt(
  { url, timeoutMs }: UrlRewardOptions,
  batch: RewardBatch,
): Promise<{ rewards: readonly number[] } | { why: string; again: boolean }> {
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(batch),
      signal: AbortSignal.timeout(timeoutMs),
    });
    const { status } = answer;
    if (!answer.ok) return { why: `HTTP ${status}`, again: status === 429 || status >= 500 };
    const body: unknown = await answer.json();
    const list: unknown =
      typeof body === 'object' && body !== null && 'rewards' in body ? body.rewards : body;
    // What is in it is checked where the ids are known.
    if (Array.isArray(list)) return { rewards: list as number[] };
    return { why: 'the answer is no list and has no list `rewards`', again: false };
  } catch (e) {
    const error = e as Error & { readonly cause?: unknown };
    if (error.name === 'SyntaxError') return { why: 'the answer is no JSON', again: false };
    const why =
      error.name === 'TimeoutError' ? `no answer within ${timeoutMs / 1000} s` : causeOf(error);
    return { why, again: true };
  }
}

/** fetch says 'fetch failed'; its cause says why. */
function causeOf(error: Error & { readonly cause?: unknown }): string {
  return error.cause instanceof Error && error.cause.message ? error.cause.message : error.message;
}
