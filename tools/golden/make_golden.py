#!/usr/bin/env python3
"""Tiny checkpoints with random weights and what transformers computes from them, for `real verify`.

    make_golden.py OUT --variants variants.json [--only NAME ...]
    make_golden.py OUT --name tiny --family llama --set hidden_size=96 --set rope_theta=5e5 --lens 1,7,300

Each variant becomes a folder: config.json and model.safetensors as transformers saves them, golden.json (sequences,
greedy continuations, loss, versions) and golden.safetensors (logits.<i>, loss, grad.<parameter>). Everything is
float32 with eager attention, a sequence at a time, so that neither padding nor a fused kernel takes part.
`--set` takes JSON values of any field of the transformers config; sizes not given are small. A variant may also say
  lens      lengths of its sequences
  spread    how far parameters are from their usual initial values (0.05; more gives sharper distributions)
  dtype     of the stored weights; what is expected comes from the rounded weights in float32
  shard     size of a file at most, such as "100KB": the checkpoint becomes several files and an index
  legacy    true: config.json with rope_theta and rope_scaling, as transformers 4 wrote it
  critic    true: a one-label classifier, with no golden files; check_checkpoint.py compares it
Needs torch, transformers and safetensors; the product and its tests do not.
"""
import argparse
import copy
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

EOS = 1
NEW_TOKENS = 24

SMALL = dict(
    vocab_size=160,
    hidden_size=64,
    intermediate_size=112,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=512,
)
GROUPED = {**SMALL, "num_key_value_heads": 2}

FAMILIES = {
    "llama": (transformers.LlamaConfig, SMALL),
    "qwen2": (transformers.Qwen2Config, GROUPED),
    "qwen3": (transformers.Qwen3Config, {**GROUPED, "head_dim": 32}),
    "mistral": (transformers.MistralConfig, {**GROUPED, "sliding_window": 48}),
    "mixtral": (transformers.MixtralConfig, {**GROUPED, "num_local_experts": 4, "router_aux_loss_coef": 0.02}),
    "gemma": (transformers.GemmaConfig, {**SMALL, "num_key_value_heads": 1, "head_dim": 32, "pad_token_id": 0}),
    "gpt2": (
        transformers.GPT2Config,
        dict(vocab_size=160, n_embd=64, n_layer=2, n_head=4, n_positions=512, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
    ),
}


def build(family, fields, seed, spread=0.05, dtype="float32", critic=False):
    """A model in which every parameter, biases and norms included, differs from its usual initial value."""
    config_class, defaults = FAMILIES[family]
    config = config_class(**{**defaults, "bos_token_id": 0, "eos_token_id": EOS, **fields})
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    torch.manual_seed(seed)
    if critic:
        config.num_labels = 1
    auto = transformers.AutoModelForSequenceClassification if critic else transformers.AutoModelForCausalLM
    model = auto.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn(parameter.shape))
            # Rounded, so that what is stored and what is computed with are the same numbers.
            parameter.copy_(parameter.to(getattr(torch, dtype)))
    return model


def save(model, folder, dtype="float32", shard="5GB", legacy=False):
    # A copy: `to` would also round the rotary frequencies of the model that computes.
    copy.deepcopy(model).to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if legacy:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
        config["torch_dtype"] = config.pop("dtype")
        config["transformers_version"] = "4.30.0"
        path.write_text(json.dumps(config, indent=2))


def loss_of(model, sequences, tensors):
    """Mean next-token cross-entropy over all sequences; leaves the logits in `tensors`."""
    total, count = torch.zeros(()), 0
    for i, sequence in enumerate(sequences):
        ids = torch.tensor([sequence])
        logits = model(ids, use_cache=False).logits[0]
        tensors[f"logits.{i}"] = logits.detach().clone()
        total = total + cross_entropy(logits[:-1], ids[0, 1:], reduction="sum") if len(sequence) > 1 else total
        count += len(sequence) - 1
    return total / count


@torch.no_grad()
def greedy(model, prompt):
    """Argmax continuation without a cache; the end token is part of it."""
    out = list(prompt)
    while len(out) < len(prompt) + NEW_TOKENS:
        out.append(int(model(torch.tensor([out]), use_cache=False).logits[0, -1].argmax()))
        if out[-1] == EOS:
            break
    return out[len(prompt) :]


def make(out, name, variant, lens, seed):
    folder = Path(out) / name
    family, fields = variant["family"], variant.get("set", {})
    lens = variant.get("lens", lens)
    dtype, critic = variant.get("dtype", "float32"), variant.get("critic", False)
    model = build(family, fields, seed, variant.get("spread", 0.05), dtype, critic)
    save(model, folder, dtype, variant.get("shard", "5GB"), variant.get("legacy", False))
    if critic:
        print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters", flush=True)
        return
    vocab = model.config.vocab_size
    sequences = [torch.randint(2, vocab, (n,)).tolist() for n in lens]
    tensors = {}
    loss = loss_of(model, sequences, tensors)
    loss.backward()
    tensors["loss"] = loss.detach().reshape(1)
    for parameter_name, parameter in model.named_parameters():
        tensors[f"grad.{parameter_name}"] = parameter.grad.clone().contiguous()
    save_file(tensors, folder / "golden.safetensors")
    report = {
        "sequences": sequences,
        "greedy": [greedy(model, s) for s in sequences],
        "loss": loss.item(),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "variant": variant,
        "seed": seed,
    }
    (folder / "golden.json").write_text(json.dumps(report))
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, loss {loss.item():.4f}", flush=True)


def assignment(text):
    key, _, value = text.partition("=")
    return key, json.loads(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--variants", type=Path, help="JSON: name → {family, set, …}")
    parser.add_argument("--only", nargs="*", help="names out of --variants")
    parser.add_argument("--name")
    parser.add_argument("--family", choices=FAMILIES, default="llama")
    parser.add_argument("--set", type=assignment, action="append", default=[], metavar="FIELD=JSON")
    parser.add_argument("--lens", default="1,65,7,2,130", help="lengths of the sequences")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lens = [int(n) for n in args.lens.split(",")]
    if args.variants:
        for name, v in json.loads(args.variants.read_text()).items():
            if not args.only or name in args.only:
                make(args.out, name, v, lens, args.seed)
    else:
        make(args.out, args.name or args.family, {"family": args.family, "set": dict(args.set)}, lens, args.seed)


if __name__ == "__main__":
    main()
