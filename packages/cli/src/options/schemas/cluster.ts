/** Options of runs on several devices (reference: S1, L1): how many, how calls are laid out on them, how workers meet. */
import { z } from 'zod';

const count = (what: string) => z.number().int().positive().default(1).describe(what);

export const clusterShape = {
  n_nodes: count('nodes'),
  n_gpus_per_node: count('devices of a node, each with a worker process; 1 × 1: no workers'),
  allocation_mode: z
    .string()
    .min(1)
    .default('heuristic')
    .describe(
      'layout of the calls on many devices: heuristic, pipe_data, pipe_model, d2m2p1 (data, tensor, pipeline) for all, or manual: <call>.parallel and <call>.device_mesh',
    ),
  nodelist: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe("names of the nodes in device meshes, 'gpu-[01-02]'; null: NODE01, NODE02, …"),
  comm: z
    .enum(['auto', 'nccl', 'socket'])
    .default('auto')
    .describe(
      'how tensors travel between devices: nccl (@realhf/comm-nccl), socket: through the host; auto: nccl where every worker can share memory with it',
    ),
  gpus: z
    .array(z.string().min(1))
    .nullable()
    .default(null)
    .describe(
      'the GPU of each worker of a node by UUID, PCI address or index (needs @realhf/comm-nccl); null: in the order of CUDA',
    ),
  redis_url: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('workers meet by names in Redis (redis://host:port); null: in the run directory'),
  user_modules: z
    .array(z.string())
    .default([])
    .describe(
      'files (.ts, .mts, .js, .mjs) of yours that register interfaces, datasets or model families, loaded by every process of the run',
    ),
} as const;
