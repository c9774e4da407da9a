/**
 * How the GPU kernels of attention cut their work: constants of attention-workgroup.wgsl and its backward for a
 * head size and group.
 */
import type { AttentionArgs } from '@realhf/api';

import type { Recorder } from '../../webgpu/recorder.js';

export interface AttentionTiles extends Readonly<Record<string, number>> {
  /** Vec4s of a head = KV·CV. */
  readonly D4: number;
  /** Queries and heads of a workgroup; QT·G ≤ 4·RG rows. */
  readonly QT: number;
  readonly G: number;
  readonly RG: number;
  /** Keys of a tile = KS·TC. */
  readonly BK: number;
  readonly KS: number;
  readonly TC: number;
  readonly KV: number;
  readonly CV: number;
  readonly WG: number;
}

const WG = 128;
const floorPower = (x: number) => 2 ** Math.floor(Math.log2(x));

function tiles(d4: number, group: number, queries: number, rg: number, bk: number): AttentionTiles {
  const ks = Math.min(bk, WG / rg);
  const kv = Math.min(d4 & -d4, WG / rg);
  return {
    D4: d4,
    QT: queries,
    G: group,
    RG: rg,
    BK: bk,
    KS: ks,
    TC: bk / ks,
    KV: kv,
    CV: d4 / kv,
    WG,
  };
}

/** The most rows that fit into workgroup memory, at least a group's heads; undefined where not even these fit. */
function fitting(
  r: Recorder,
  group: number,
  most: number,
  make: (rg: number) => AttentionTiles,
  vec4s: (t: AttentionTiles) => number,
): AttentionTiles | undefined {
  const least = 2 ** Math.ceil(Math.log2(Math.max(1, group / 4)));
  for (let rg = Math.max(floorPower(Math.max(1, most)), least); rg >= least; rg /= 2) {
    const t = make(rg);
    if (rg <= WG && 16 * vec4s(t) <= r.device.limits.maxComputeWorkgroupStorageSize) return t;
  }
  return undefined;
}

/** Tiles for many queries at a time, or undefined where a head and its group don't fit into workgroup memory. */
export function manyQueries(r: Recorder, d4: number, group: number): AttentionTiles | undefined {
  return fitting(
    r,
    group,
    Math.min(16, 256 / d4),
    (rg) => tiles(d4, group, Math.floor((4 * rg) / group), rg, d4 > 32 ? 16 : 32),
    (t) => 4 * d4 * t.RG + t.BK * (d4 + 1) + t.BK * t.RG + t.RG * (t.KS + 4) + t.BK / 4 + 4,
  );
}

/** Tiles for one query at a time: decoding, where queries share no keys. */
export function oneQuery(d4: number, group: number): AttentionTiles {
  const rg = 2 ** Math.ceil(Math.log2(Math.max(1, group / 4)));
  return tiles(d4, group, 1, rg, d4 > 32 ? 16 : 32);
}

/** Tiles for the backward, which holds two operands of each side; undefined where they don't fit. */
export function backwardTiles(r: Recorder, a: AttentionArgs): AttentionTiles | undefined {
  const d4 = a.headDim / 4;
  const group = a.group ?? Math.max(1, Math.floor(a.nHeads / a.nKvHeads));
  const bk = Math.min(32, floorPower(Math.max(8, 512 / d4)));
  return fitting(
    r,
    group,
    Math.min(16, 128 / d4),
    (rg) => tiles(d4, group, Math.floor((4 * rg) / group), rg, bk),
    (t) => 8 * d4 * t.RG + 2 * t.BK * (d4 + 1) + 2 * t.BK * t.RG + 4 * t.RG + t.BK + 2,
  );
}
