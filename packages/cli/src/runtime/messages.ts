/** What a master asks of worker processes beside the requests of dataflow: checkpoints and numbers about the process. */

/** Write this rank's parameters and optimizer states into a directory that is there. */
export interface SaveShardsRequest {
  readonly type: 'save_shards';
  readonly dir: string;
}
/** Take parameters and optimizer states from a checkpoint's directory, of whatever layout. */
export interface LoadShardsRequest {
  readonly type: 'load_shards';
  readonly dir: string;
}
/** Write a trained role as a Hugging Face directory from the shards of all ranks in `shards`. */
export interface ExportRequest {
  readonly type: 'export';
  readonly role: string;
  readonly shards: string;
  readonly dir: string;
}
export interface UsageRequest {
  readonly type: 'usage';
}
export type RuntimeRequest = SaveShardsRequest | LoadShardsRequest | ExportRequest | UsageRequest;

/** Of one worker process. */
export interface Usage {
  readonly adapter: string;
  /** How tensors travel to others, and why so. */
  readonly comm: string;
  /** Bytes of buffers on the device, at most since the start. */
  readonly deviceBytes: number;
  /** Bytes of the process. */
  readonly residentBytes: number;
}

export type RuntimeReply<R extends RuntimeRequest> = R extends UsageRequest ? Usage : null;
