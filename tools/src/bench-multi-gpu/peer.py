"""PyTorch's all-reduce and messages over NCCL on two GPUs, the sizes of rates-main.ts. Waits for each call, as that does."""
import os
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def rate(run, n):
    for _ in range(20):
        run()
    torch.cuda.synchronize()
    dist.barrier()
    times = []
    for _ in range(13):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return n / sorted(times[1:])[6] / 1e9


def main(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("PEER_PORT", "29544"))
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", rank=rank, world_size=2)
    if rank == 0:
        print("torch", torch.__version__, "NCCL", torch.cuda.nccl.version(), flush=True)
        print("bytes | all-reduce | send → | send ⇄ (GB/s each way)", flush=True)
    other = 1 - rank

    def both(a, b):
        ops = [dist.P2POp(dist.isend, a, other), dist.P2POp(dist.irecv, b, other)]
        for w in dist.batch_isend_irecv(ops):
            w.wait()

    for mib in (1, 4, 16, 64, 256, 1024):
        n = mib << 20
        a = torch.zeros(n // 4, device="cuda")
        b = torch.zeros(n // 4, device="cuda")
        row = (
            rate(lambda: dist.all_reduce(a), n),
            rate(lambda: dist.send(a, 1) if rank == 0 else dist.recv(b, 0), n),
            rate(lambda: both(a, b), n),
        )
        if rank == 0:
            print(f"{mib} MiB | " + " | ".join(f"{x:.1f}" for x in row), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(mp.spawn(main, nprocs=2))
