/** summary.json of a quickstart: the figures of the report, for programs. */
export interface Summary {
  readonly adapter: string;
  readonly seed: number;
  /** Wall clock of all stages; those of an interrupted run are added up. */
  readonly seconds: number;
  readonly steps: number;
  /** Mean VADER compound of the continuations, −1 to 1. */
  readonly scoreBefore: number;
  readonly scoreAfter: number;
  /** Paired bootstrap of scoreAfter − scoreBefore. */
  readonly scoreGainCi95: readonly [low: number, high: number];
  readonly rewardBefore: number;
  readonly rewardAfter: number;
  /** Nats from the SFT model on the final policy's own samples. */
  readonly klPerToken: number;
  readonly klCap: number;
  readonly distinct4Ratio: number;
  readonly heldOutPrompts: number;
  readonly secondsPerMfc: Readonly<Record<string, number>>;
}

/** What the quickstart promises; empty when all holds. */
export function shortcomings(s: Summary): string[] {
  const out: string[] = [];
  if (!(s.scoreGainCi95[0] > 0))
    out.push(
      `the gain's interval [${s.scoreGainCi95.map((x) => x.toFixed(3)).join(', ')}] is not above 0`,
    );
  if (!(s.klPerToken <= s.klCap))
    out.push(`KL per token ${s.klPerToken.toFixed(3)} exceeds ${s.klCap}`);
  if (!(s.distinct4Ratio >= 0.7))
    out.push(`distinct 4-grams fell to ${s.distinct4Ratio.toFixed(2)} of the SFT model's`);
  return out;
}

/** The summary for a terminal. */
export function summaryText(s: Summary): string {
  const [low, high] = s.scoreGainCi95;
  return [
    `VADER on ${s.heldOutPrompts} unseen prompts: ${s.scoreBefore.toFixed(3)} → ${s.scoreAfter.toFixed(3)}, gain 95 % [${low.toFixed(3)}, ${high.toFixed(3)}]`,
    `reward: ${s.rewardBefore.toFixed(2)} → ${s.rewardAfter.toFixed(2)}   KL per token: ${s.klPerToken.toFixed(3)} (cap ${s.klCap})   distinct 4-grams: ${(100 * s.distinct4Ratio).toFixed(0)} % of SFT's`,
    `${s.steps} steps in ${Math.round(s.seconds)} s on ${s.adapter}`,
  ].join('\n');
}
