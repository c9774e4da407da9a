#!/usr/bin/env python3
"""Exchanges LoRA adapters with PEFT, both ways, on small models with random weights.

    check_peft.py [--work DIR]

PEFT makes an adapter and saves it; this project opens it on the same weights, and logits (values of a classifier) and
greedy continuations must be PEFT's. Then this project saves the adapter, PEFT opens that folder, and its tensors and
its outputs must be the same again. Exit status 1 where something differs.
Needs torch, transformers and peft; runs the product from this repository's sources (tools/outputs.mjs).
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1e-4
SIZES = dict(vocab_size=131, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, eos_token_id=1, pad_token_id=0, bos_token_id=None)
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
CASES = {
    "llama-all": ("Llama", {}, dict(r=8, lora_alpha=16, target_modules=ALL), False),
    "llama-qv-rslora": ("Llama", {}, dict(r=3, lora_alpha=7, target_modules=["v_proj", "q_proj"], use_rslora=True), False),
    "qwen3-mlp": ("Qwen3", dict(head_dim=16), dict(r=4, lora_alpha=4, target_modules=ALL[4:]), False),
    "qwen2-attention": ("Qwen2", {}, dict(r=4, lora_alpha=8, target_modules=ATTENTION), False),
    "llama-classifier": ("Llama", dict(num_labels=1), dict(r=4, lora_alpha=8, target_modules=ALL), True),
}


def outputs(model, sequences, classifier):
    out = []
    for s in sequences:
        ids = torch.tensor([s])
        if classifier:
            # Every position's value is the score of the sequence that ends there.
            out.append(torch.stack([model(ids[:, : i + 1]).logits[0, 0] for i in range(len(s))]))
        else:
            out.append(model(ids).logits[0])
    return out


@torch.no_grad()
def check(case, work):
    family, change, lora, classifier = CASES[case]
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **change, "initializer_range": 0.15})
    kind = "ForSequenceClassification" if classifier else "ForCausalLM"
    base = work / "base"
    getattr(transformers, family + kind)(config).eval().save_pretrained(base)
    auto = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModelForCausalLM
    load = lambda: auto.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    plain = load()
    model = peft.get_peft_model(load(), peft.LoraConfig(task_type="SEQ_CLS" if classifier else "CAUSAL_LM", **lora)).eval()
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.copy_(torch.randn_like(p) * 0.2)
    theirs, ours = work / "peft", work / "ours"
    model.save_pretrained(theirs)

    generator = torch.Generator().manual_seed(0)
    sequences = [torch.randint(2, SIZES["vocab_size"], (n,), generator=generator).tolist() for n in (1, 7, 30)]
    request, out = work / "request.json", work / "out.safetensors"
    request.write_text(json.dumps({"sequences": sequences, "newTokens": 12, "adapter": str(theirs), "saveAdapter": str(ours)}))
    subprocess.run(["node", ROOT / "tools/outputs.mjs", base, request, out], check=True, stdout=subprocess.DEVNULL)
    mine = load_file(out)
    key = "values" if classifier else "logits"
    again = peft.PeftModel.from_pretrained(load(), ours).eval()
    want, back, without = (outputs(m, sequences, classifier) for m in (model, again, plain))
    worst = lambda a: max((x - mine[f"{key}.{i}"]).abs().max().item() for i, x in enumerate(a))
    a, b = (load_file(d / "adapter_model.safetensors") for d in (theirs, ours))
    report = {
        "maxError": worst(want),
        "maxErrorOfOurs": worst(back),
        "withoutAdapter": worst(without),
        "sameTensors": a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a),
    }
    passed = max(report["maxError"], report["maxErrorOfOurs"]) <= LIMIT < report["withoutAdapter"] and report["sameTensors"]
    if not classifier:
        greedy = []
        for i, s in enumerate(sequences):
            ids = torch.tensor([s])
            g = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
            greedy.append(g[0, len(s) :].tolist() == mine[f"greedy.{i}"].tolist())
        report["greedyMatch"] = all(greedy)
        passed &= all(greedy)
    return report, passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where to leave the folders; default: nowhere")
    args = parser.parse_args()
    print(json.dumps({"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__}))
    failed = False
    with tempfile.TemporaryDirectory() as tmp:
        for case in CASES:
            work = (args.work or Path(tmp)) / case
            work.mkdir(parents=True)
            report, passed = check(case, work)
            failed |= not passed
            print(json.dumps({"case": case, "passed": passed, **report}), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
