#!/usr/bin/env python3
"""Opens checkpoints that this project saved with transformers and compares what both compute.

    check_checkpoint.py DIR [DIR ...] [--texts FILE] [--new-tokens N]

Of a language model: tokens of the texts, logits of every position, greedy continuations by `generate`. Of a critic
or reward model (ForSequenceClassification): the value of every position, and the score that the classifier itself
gives a sequence. Weights must load without a missing or unexpected name. Exit status 1 where something differs.
Needs torch and transformers; runs the product from this repository's sources (tools/outputs.mjs).
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1e-4
TEXTS = [
    "The right to",
    "Some articles",
    "A",
    " it's 1851, and — naïve or not — whales don't care!",
    "In the first place,\n\n we shall   have\tto see",
    "The people of the United States have been the best and the most",
]


def ours(folder, sequences, new_tokens):
    with tempfile.TemporaryDirectory() as tmp:
        request, out = Path(tmp, "request.json"), Path(tmp, "out.safetensors")
        request.write_text(json.dumps({"sequences": sequences, "newTokens": new_tokens}))
        subprocess.run(["node", ROOT / "tools/outputs.mjs", folder, request, out], check=True, stdout=subprocess.DEVNULL)
        return load_file(out)


def load(folder):
    """The model in the class that its config names, and what did not fit."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    critic = name.endswith("ForSequenceClassification")
    auto = transformers.AutoModelForSequenceClassification if critic else transformers.AutoModelForCausalLM
    model, info = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    if type(model).__name__ != name:
        raise SystemExit(f"{folder}: {name} opened as {type(model).__name__}")
    wrong = {k: sorted(map(str, v)) for k, v in info.items() if v}
    return model.eval(), critic, wrong


@torch.no_grad()
def check(folder, texts, new_tokens):
    model, critic, wrong = load(folder)
    has_tokenizer = (folder / "tokenizer.json").exists()
    if has_tokenizer:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        sequences = texts
        tokens = [tokenizer(t)["input_ids"] for t in texts]
    else:
        generator = torch.Generator().manual_seed(0)
        sequences = tokens = [torch.randint(2, model.config.vocab_size, (n,), generator=generator).tolist() for n in (1, 7, 40)]
    mine = ours(folder, sequences, new_tokens)
    report = {
        "architecture": type(model).__name__,
        "weights": wrong or "all",
        "tokensMatch": all(mine[f"tokens.{i}"].tolist() == t for i, t in enumerate(tokens)) if has_tokenizer else None,
    }
    passed = not wrong and report["tokensMatch"] is not False
    if not passed:
        return report, False
    error, score_error, matches, generated = 0.0, 0.0, [], 0
    for i, sequence in enumerate(tokens):
        ids = torch.tensor([sequence])
        if critic:
            values = model.score(model.base_model(ids).last_hidden_state)[0, :, 0]
            error = max(error, (values - mine[f"values.{i}"]).abs().max().item())
            score_error = max(score_error, abs(model(ids).logits.item() - mine[f"values.{i}"][-1].item()))
        else:
            error = max(error, (model(ids).logits[0] - mine[f"logits.{i}"]).abs().max().item())
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens)
            matches.append(out[0, len(sequence) :].tolist() == mine[f"greedy.{i}"].tolist())
            generated += out.shape[1] - len(sequence)
    if critic:
        report |= {"maxValueError": error, "maxScoreError": score_error}
    else:
        report |= {"maxLogitError": error, "greedyMatch": all(matches), "generated": generated}
    return report, max(error, score_error) <= LIMIT and all(matches)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dirs", nargs="+", type=Path)
    parser.add_argument("--texts", type=Path, help="JSON list of texts; default: a few of the kind of the quickstart")
    parser.add_argument("--new-tokens", type=int, default=24)
    args = parser.parse_args()
    texts = json.loads(args.texts.read_text()) if args.texts else TEXTS
    failed = False
    for folder in args.dirs:
        report, passed = check(folder.resolve(), texts, args.new_tokens)
        failed |= not passed
        print(json.dumps({"dir": str(folder), "passed": passed, **report}), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
