/** What the last pipeline stage sampled, told to the others. */
import type { Communicator, GenerateOutput } from '@realhf/api';

/** Collective over the pipeline; only the last stage passes `out`. */
export async function outputOfLastStage(
  pp: Communicator,
  out: GenerateOutput | undefined,
): Promise<GenerateOutput> {
  const last = pp.size - 1;
  const ints = async (mine: Int32Array | undefined): Promise<Int32Array> => {
    const length = Int32Array.of(mine?.length ?? 0);
    await pp.broadcast(length, last);
    const all = mine ?? new Int32Array(length[0]!);
    await pp.broadcast(all, last);
    return all;
  };
  const floats = async (mine: Float32Array | undefined, length: number): Promise<Float32Array> => {
    const all = mine ?? new Float32Array(length);
    await pp.broadcast(all, last);
    return all;
  };
  const lengths = await ints(out && Int32Array.from(out.tokens, (t) => t.length));
  const noEos = await ints(out && Int32Array.from(out.noEos, Number));
  const tokens = await ints(out && Int32Array.from(out.tokens.flatMap((t) => [...t])));
  const logProbs = await floats(
    out && Float32Array.from(out.logProbs.flatMap((l) => [...l])),
    tokens.length,
  );
  // Bytes of each mask; none where nothing was filtered.
  const maskLengths = await ints(out && Int32Array.from(out.masks ?? [], (m) => m.length));
  const bytes = await ints(out && packBytes(out.masks ?? []));
  if (out) return out;
  return {
    tokens: cut(tokens, lengths),
    logProbs: cut(logProbs, lengths),
    noEos: Array.from(noEos, Boolean),
    ...(maskLengths.length > 0 || lengths.length === 0
      ? { masks: cut(new Uint8Array(bytes.buffer), maskLengths) }
      : {}),
  };
}

/** Bytes of all arrays in whole words. */
function packBytes(parts: readonly Uint8Array[]): Int32Array {
  const words = new Int32Array(Math.ceil(parts.reduce((n, p) => n + p.length, 0) / 4));
  const bytes = new Uint8Array(words.buffer);
  let at = 0;
  for (const p of parts) {
    bytes.set(p, at);
    at += p.length;
  }
  return words;
}

function cut<T extends Int32Array | Float32Array | Uint8Array>(all: T, lengths: Int32Array): T[] {
  let at = 0;
  return Array.from(lengths, (n) => all.slice(at, (at += n)) as T);
}
