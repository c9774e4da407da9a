/**
 * TensorCommunicator: the collectives of a group on device tensors. What crosses the wire is not the caller's concern:
 * an implementation may stage through the host (any Communicator) or move device memory (NCCL). Same order of calls on
 * every rank; tensors of 4-byte elements; sums are the same on every rank and run: in rank order where the host takes
 * them, in an order of NCCL's own there.
 */
import type { Tensor } from './tensor.js';

/** Messages and collectives on tensors of a device. */
export interface TensorCommunicator {
  readonly rank: number;
  readonly size: number;
  /** Ordered per (from, to); resolves when `t` may be overwritten. It may wait for the receiver. */
  send(to: number, t: Tensor): Promise<void>;
  /** Fills `into`, of the size that was sent. */
  recv(from: number, into: Tensor): Promise<void>;
  broadcast(t: Tensor, root: number): Promise<void>;
  /** In place, f32. */
  allReduce(t: Tensor): Promise<void>;
  /** `into` holds size × t.size elements, by rank; `t` may be this rank's piece of it. */
  allGather(t: Tensor, into: Tensor): Promise<void>;
  /** `t` (f32) holds size × into.size elements; rank r gets the sum of piece r. `into` may be this rank's piece of `t`, whose other pieces are then undefined. */
  reduceScatter(t: Tensor, into: Tensor): Promise<void>;
}
