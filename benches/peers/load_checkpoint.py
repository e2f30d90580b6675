"""Loads a checkpoint with transformers in float32 and prints seconds, CPU seconds and peak memory as JSON.

usage: load_checkpoint.py FOLDER
"""

import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
import torch  # noqa: E402
import transformers  # noqa: E402


def kib(name):
    with open("/proc/self/status") as f:
        return int(next(line.split()[1] for line in f if line.startswith(name)))


def main():
    before, wall, cpu = kib("VmRSS"), time.perf_counter(), time.process_time()
    model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
    # Mapped pages are read when they are used.
    total = sum(p.sum().item() for p in model.parameters())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    weights = sum(p.numel() for p in model.parameters()) * 4
    peak = (kib("VmHWM") - before) * 1024
    versions = {m.__name__: m.__version__ for m in (torch, transformers)}
    print(json.dumps(dict(seconds=wall, cpu_seconds=cpu, weights=weights, peak=peak, ratio=peak / weights, sum=total, **versions)))


main()
