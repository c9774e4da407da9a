"""Losses and gradients of TRL on random log-probs: trl.json of packages/model/src/losses/trl.test.ts.

TRL's own methods compute them (GRPOTrainer, RLOOTrainer, DPOTrainer and CPOTrainer of trl); what stands in for a trainer
only hands over the log-probs that a model would have given. Run once, by hand, where torch and trl are installed:
    python make_trl.py ../../packages/model/src/__fixtures__/trl.json
"""
import json
import platform
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch
import transformers
import trl
from trl import DPOTrainer, GRPOTrainer, RLOOTrainer
from trl.experimental.cpo import CPOTrainer

torch.manual_seed(11)
GROUPS, SIZE, WIDTH = 3, 4, 7
N = GROUPS * SIZE


def rounded(x):
    """float32 values, so that JSON and both programs have the same numbers."""
    return x.float()


lengths = torch.randint(1, WIDTH + 1, (N,))
lengths[0] = WIDTH
mask = (torch.arange(WIDTH)[None, :] < lengths[:, None]).long()
old = rounded(-torch.rand(N, WIDTH) * 3 - 0.1)
new = rounded(old + 0.25 * torch.randn(N, WIDTH))
ref = rounded(old + 0.3 * torch.randn(N, WIDTH))
rewards = rounded(torch.randn(N))


class Accelerator:
    device = "cpu"
    num_processes = 1
    sync_gradients = True

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction="sum"):
        return x

    def unwrap_model(self, model):
        return model


def trainer(per_token, **options):
    metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    stub = dict(
        accelerator=Accelerator(),
        model=SimpleNamespace(training=True),
        _metrics=metrics,
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=0.0,
        loss_type="grpo",
        epsilon_low=0.2,
        epsilon_high=0.2,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=WIDTH,
        _entropy_bonus_enabled=False,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        _get_per_token_logps_and_entropies=lambda *a, **k: (per_token, torch.zeros(N, WIDTH), None),
    )
    delta = options.pop("delta", None)
    stub.update(options)
    stub["args"].delta = delta
    return SimpleNamespace(**stub)


def policy(cls, advantages, extra, **options):
    per_token = new.clone().requires_grad_()
    inputs = dict(
        prompt_ids=torch.zeros(N, 1, dtype=torch.long),
        prompt_mask=torch.ones(N, 1, dtype=torch.long),
        completion_ids=torch.zeros(N, WIDTH, dtype=torch.long),
        completion_mask=mask,
        advantages=advantages,
        num_items_in_batch=mask.sum(),
        **extra,
    )
    stub = trainer(per_token, **options)
    loss = cls._compute_loss(stub, stub.model, inputs)
    loss.backward()
    return dict(options=options, loss=loss.item(), grad=per_token.grad.tolist())


grouped = rewards.view(GROUPS, SIZE)
group_mean = grouped.mean(1, keepdim=True)
normalized = ((grouped - group_mean) / (grouped.std(1, keepdim=True) + 1e-4)).view(-1)
plain = (grouped - group_mean).view(-1)
loo = (grouped - (grouped.sum(1, keepdim=True) - grouped) / (SIZE - 1)).view(-1)
grpo_inputs = dict(old_per_token_logps=old, ref_per_token_logps=ref)
grpo = [
    policy(GRPOTrainer, normalized, grpo_inputs, loss_type="grpo", beta=0.04),
    policy(GRPOTrainer, normalized, grpo_inputs, loss_type="bnpo", beta=0.04),
    policy(GRPOTrainer, normalized, grpo_inputs, loss_type="dapo", epsilon_high=0.28),
    policy(GRPOTrainer, plain, grpo_inputs, loss_type="dr_grpo"),
    policy(GRPOTrainer, normalized, grpo_inputs, loss_type="grpo", delta=1.3),
    policy(
        GRPOTrainer,
        normalized,
        grpo_inputs,
        loss_type="grpo",
        importance_sampling_level="sequence",
        epsilon_low=0.03,
        epsilon_high=0.04,
    ),
]
rloo = policy(RLOOTrainer, loo, dict(old_logps=(old * mask).sum(1)))

# Pairs: rows 2i and 2i + 1 are chosen and rejected.
chosen, rejected = torch.arange(0, N, 2), torch.arange(1, N, 2)
order = torch.cat([chosen, rejected])


def sums(per_token):
    return (per_token * mask).sum(1)


def dpo(beta):
    per_token = new.clone().requires_grad_()
    nothing = torch.zeros(N, WIDTH)

    def model(**_):
        # TRL's fused head gives 0 where a label is masked.
        return SimpleNamespace(
            log_probs=(per_token * mask)[order], entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )

    model.training = True
    stub = SimpleNamespace(
        accelerator=Accelerator(), model=model, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0], beta=beta, label_smoothing=0.0,
        use_weighting=False, _metrics={"train": defaultdict(list)}, _total_train_tokens=0, _tp_size=1,
    )
    completion = torch.cat([torch.zeros(N, 1, dtype=torch.long), mask], 1)[order]
    inputs = dict(
        input_ids=torch.zeros_like(completion), attention_mask=torch.ones_like(completion),
        completion_mask=completion, ref_chosen_logps=sums(ref)[chosen], ref_rejected_logps=sums(ref)[rejected],
    )
    loss = DPOTrainer._compute_loss(stub, model, inputs, False)
    loss.backward()
    return dict(beta=beta, loss=loss.item(), grad=per_token.grad.tolist())


def cpo(of, **options):
    """CPOTrainer.cpo_loss on `of`: numbers of a sequence from log-probs."""
    per_token = new.clone().requires_grad_()
    stub = SimpleNamespace(
        **{**dict(accelerator=Accelerator(), label_smoothing=0.0, alpha=0.0, simpo_gamma=0.0), **options}
    )
    numbers = of(per_token)
    losses, *_ = CPOTrainer.cpo_loss(stub, numbers[chosen], numbers[rejected])
    losses.mean().backward()
    return dict(options=options, loss=losses.mean().item(), grad=per_token.grad.tolist())


def log_ratios(per_token):
    return sums(per_token) - sums(ref)


out = dict(
    versions=dict(
        trl=trl.__version__, torch=torch.__version__, transformers=transformers.__version__,
        python=platform.python_version(),
    ),
    groupSize=SIZE,
    lengths=lengths.tolist(),
    old=old.tolist(), new=new.tolist(), ref=ref.tolist(), rewards=rewards.tolist(),
    normalized=normalized.tolist(), plain=plain.tolist(), leaveOneOut=loo.tolist(),
    grpo=grpo, rloo=rloo, dpo=dpo(0.1),
    cdpo=cpo(log_ratios, loss_type="sigmoid", beta=0.1, label_smoothing=0.2),
    ipo=cpo(log_ratios, loss_type="ipo", beta=0.1),
    simpo=cpo(lambda p: sums(p) / lengths, loss_type="simpo", beta=2.0, simpo_gamma=0.7),
)
with open(sys.argv[1], "w") as f:
    json.dump(out, f)
    f.write("\n")
print({k: v["loss"] for k, v in out.items() if isinstance(v, dict) and "loss" in v}, [g["loss"] for g in grpo])
