/**
 * Which token of which microbatch a pipeline stage makes when. Microbatches take turns: with W = max(microbatches,
 * stages), stage s does microbatch (t − s) mod W, token (t − s) div W in slot t; a turn without a microbatch is idle.
 * The stages are a ring: what a stage makes in a slot the next one needs in the slot after it, and the tokens of the last
 * stage go to the first.
 */

interface GenerationTurn {
  readonly microbatch: number;
  /** 0 is the prefill, which samples the first token. */
  readonly token: number;
}

/** What a stage does in a slot; undefined where it is idle. */
export function turnOf(
  slot: number,
  stage: number,
  stages: number,
  microbatches: number,
): GenerationTurn | undefined {
  const width = Math.max(microbatches, stages);
  const turn = slot - stage;
  const microbatch = turn % width;
  if (turn < 0 || microbatch >= microbatches) return undefined;
  return { microbatch, token: Math.floor(turn / width) };
}

/** Slots in which a stage may have something to do when every microbatch makes `tokens` tokens. */
export function slotCount(
  stage: number,
  stages: number,
  microbatches: number,
  tokens: number,
): number {
  return stage + (tokens - 1) * Math.max(microbatches, stages) + microbatches;
}
