"""Loads folders that the library saved with transformers and peft, and compares what they compute.

usage: check_saved.py FOLDER [--adapter FOLDER] --reference FILE.safetensors --tensor NAME

FILE holds `input_ids`, perhaps `attention_mask`, and the logits (or scores) expected under NAME.
Prints one line of JSON. Exit status: 0 equal within 1e-4 of the largest value, 1 not, 3 packages are missing.
"""

import argparse
import json
import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
try:
    import peft
    import torch
    import transformers
    from safetensors.torch import load_file
except ImportError as missing:
    print(json.dumps(dict(skipped=str(missing))))
    sys.exit(3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--adapter")
    parser.add_argument("--reference", required=True)
    parser.add_argument("--tensor", required=True)
    args = parser.parse_args()
    reference = load_file(args.reference)
    inputs = {k: reference[k] for k in ("input_ids", "attention_mask") if k in reference}
    expected = reference[args.tensor]
    scalar = expected.shape[-1] == 1
    auto = transformers.AutoModelForSequenceClassification if scalar else transformers.AutoModelForCausalLM
    settings = dict(attn_implementation="eager", dtype=torch.float32)
    if scalar:
        settings["num_labels"] = 1
    model, report = auto.from_pretrained(args.folder, output_loading_info=True, **settings)
    faults = {k: sorted(map(str, v)) for k, v in report.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if args.adapter:
        model = peft.PeftModel.from_pretrained(model, args.adapter)
    with torch.no_grad():
        got = model.eval()(**inputs).logits
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    versions = dict(transformers=transformers.__version__, peft=peft.__version__)
    print(json.dumps(dict(relative_error=error, faults=faults, versions=versions)))
    sys.exit(1 if faults or not error < 1e-4 else 0)


main()
