/** Who sends bytes to whom, in process, over sockets or over NCCL. All calls are collective over the group and in the same order on every rank. */
export interface Communicator {
  /** Rank in this group and its size. */
  readonly rank: number;
  readonly size: number;
  /** Ordered per (from, to); resolves when `data` may be reused. Throws CommError on time-out or a dead peer. */
  send(to: number, data: Float32Array | Int32Array | Uint32Array): Promise<void>;
  /** Fills `into`; a message of another length is an error. */
  recv(from: number, into: Float32Array | Int32Array | Uint32Array): Promise<void>;
  broadcast(data: Float32Array | Int32Array | Uint32Array, root: number): Promise<void>;
  /** In place; the sum is taken in rank order, so it is the same on every rank and every run. */
  allReduce(data: Float32Array | Float64Array, op?: 'sum' | 'max'): Promise<void>;
  /** `into` holds size × data.length, by rank. */
  allGather(
    data: Float32Array | Int32Array | Uint32Array,
    into: Float32Array | Int32Array | Uint32Array,
  ): Promise<void>;
  /** `data` holds size × into.length; rank r gets the sum of piece r. */
  reduceScatter(data: Float32Array, into: Float32Array): Promise<void>;
  barrier(): Promise<void>;
  /** A sub-group by ranks of this one, collective over its members; undefined for non-members. */
  group(ranks: readonly number[]): Communicator | undefined;
  close(): Promise<void>;
}
