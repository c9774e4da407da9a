/**
 * ZeRO stage 1 (Rajbhandari et al., arXiv 1910.02054): every data-parallel rank holds all parameters and gradients, but
 * Adam's moments of its share of each segment only. Shares are equal, padding included, and know nothing of tensors. A
 * state is intervals of the flat parameter space, so one saved in any layout can be cut for any other.
 */
import { CheckpointError, type ShardInterval, type ShardMap } from '@realhf/api';

/** One of `size` ranks. */
export interface DataPart {
  readonly rank: number;
  readonly size: number;
}

/** A rank's share of a segment; elements. */
export interface Share {
  readonly begin: number;
  readonly length: number;
}

/** Share of a segment of `elements`: a multiple of 64 elements, which together cover it. */
export function shareOf(elements: number, { rank, size }: DataPart): Share {
  const length = Math.ceil(elements / (64 * size)) * 64;
  return { begin: rank * length, length };
}

/** What of a map lies in a rank's shares, in segments that are these shares: where its moments are. */
function shareMap(map: ShardMap, part: DataPart): ShardMap {
  const shares = map.segmentSizes.map((n) => shareOf(n, part));
  const intervals = map.intervals.flatMap((i): ShardInterval[] => {
    const { begin, length } = shares[i.segment]!;
    const from = Math.max(i.local, begin);
    const to = Math.min(i.local + i.length, begin + length);
    if (from >= to) return [];
    return [{ ...i, global: i.global + from - i.local, local: from - begin, length: to - from }];
  });
  return { intervals, segmentSizes: shares.map((s) => s.length) };
}

/** What an exact resume needs of one rank: whole segments of parameters, its shares of Adam's moments. */
export interface TrainState {
  readonly steps: number;
  readonly params: readonly Float32Array[];
  readonly m: readonly Float32Array[];
  readonly v: readonly Float32Array[];
}

/** Where a rank's state lies in the flat space. */
export interface StateMaps {
  readonly params: ShardMap;
  readonly moments: ShardMap;
}

/** The maps of data-parallel rank `part.rank` on a (tp, pp) rank that holds `map`. */
export function stateMaps(map: ShardMap, part: DataPart): StateMaps {
  return {
    params: {
      ...map,
      segmentSizes: map.segmentSizes.map((n) => shareOf(n, part).length * part.size),
    },
    moments: shareMap(map, part),
  };
}

/**
 * The state of a rank with maps `target` from states of ranks of another layout of the same model. Throws
 * CheckpointError where they leave an element out or are of different steps.
 */
export function recutState(
  target: StateMaps,
  pieces: readonly { readonly maps: StateMaps; readonly state: TrainState }[],
): TrainState {
  const steps = pieces[0]?.state.steps;
  if (steps === undefined || pieces.some((p) => p.state.steps !== steps))
    throw new CheckpointError(
      `optimizer states of steps ${pieces.map((p) => p.state.steps).join(', ') || '(none)'}; all ranks' states of one step are needed`,
    );
  const cut = (kind: 'params' | 'm' | 'v') => {
    const map = (maps: StateMaps) => (kind === 'params' ? maps.params : maps.moments);
    return recut(
      map(target),
      pieces.map((p) => ({ map: map(p.maps), segments: p.state[kind] })),
      kind,
    );
  };
  return { steps, params: cut('params'), m: cut('m'), v: cut('v') };
}

interface Piece {
  readonly map: ShardMap;
  readonly segments: readonly Float32Array[];
}

/** Fills the target's intervals from those of the pieces: one sweep over both in the order of the flat space. */
function recut(target: ShardMap, pieces: readonly Piece[], kind: string): Float32Array[] {
  const out = target.segmentSizes.map((n) => new Float32Array(n));
  const order = (a: ShardInterval, b: ShardInterval) => a.global - b.global;
  const sources = pieces
    .flatMap(({ map, segments }) =>
      map.intervals.map((i) => ({ ...i, data: segments[i.segment] ?? new Float32Array(0) })),
    )
    .sort(order);
  let first = 0;
  for (const w of [...target.intervals].sort(order)) {
    const end = w.global + w.length;
    while (first < sources.length && sources[first]!.global + sources[first]!.length <= w.global)
      first++;
    let covered = w.global;
    for (let k = first; covered < end && k < sources.length; k++) {
      const s = sources[k]!;
      if (s.global > covered) break;
      const to = Math.min(end, s.global + s.length);
      if (to <= covered) continue;
      const at = s.local + covered - s.global;
      if (at + to - covered > s.data.length)
        throw new CheckpointError(
          `segment ${s.segment} of the saved ${kind} has ${s.data.length} elements, less than its map says; was it saved with this model?`,
        );
      out[w.segment]!.set(s.data.subarray(at, at + to - covered), w.local + covered - w.global);
      covered = to;
    }
    if (covered < end)
      throw new CheckpointError(
        `the saved ${kind} of '${w.param}' lack element ${covered} of the flat space; the states of all ranks are needed`,
      );
  }
  return out;
}
