/**
 * Says why a loss is not finite. A loss never throws for it: on several ranks the others wait for this one, so the
 * engine goes through all passes first and then throws with this text.
 */
import type { Loss, LossInput, SequenceSample } from '@realhf/api';

/** The loss with `problem` in its output where that is not finite; `keys`: those of the sample that it reads. */
export function withProblem(loss: Loss, keys: readonly string[] = []): Loss {
  return {
    ...loss,
    compute(input) {
      const out = loss.compute(input);
      return Number.isFinite(out.loss) ? out : { ...out, problem: findProblem(loss, input, keys) };
    },
  };
}

function findProblem(loss: Loss, input: LossInput, keys: readonly string[]): string {
  const { sample, logProbs, entropy, values } = input;
  const full = sample.seqlens.packed_input_ids!;
  const short = full.map((item) => item.map((l) => l - 1));
  const needed = loss.needed?.(sample);
  const looked: [string, Float32Array | undefined, SequenceSample['seqlens'][string]][] = [
    ...keys.map((k): [string, Float32Array, SequenceSample['seqlens'][string]] => [
      `'${k}'`,
      sample.f32(k),
      sample.seqlens[k]!,
    ]),
    ['the log-probs', logProbs, short],
    ['the entropy', entropy, short],
    ['the values', values, full],
  ];
  for (const [name, data, lens] of looked) {
    const mask = lens === short ? needed : undefined;
    const at = data?.findIndex((x, i) => !Number.isFinite(x) && (mask?.[i] ?? 1) !== 0) ?? -1;
    if (!data || at < 0) continue;
    let end = 0;
    const item = lens.findIndex((l) => at < (end += l.reduce((a, b) => a + b, 0)));
    return `${name} of id '${sample.ids[item] ?? '?'}' are ${data[at]!}`;
  }
  return `inputs are finite, the loss of ids '${sample.ids.slice(0, 3).join("', '")}' overflows`;
}
