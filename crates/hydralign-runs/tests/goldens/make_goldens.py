"""Writes schedule.json with PyTorch and transformers, statistics.json with SciPy and statsmodels.

pip install torch transformers scipy statsmodels; python make_goldens.py [schedule] [statistics]
"""

import json
import pathlib
import sys
import warnings

HERE = pathlib.Path(__file__).parent


def schedule():
    import torch
    import transformers

    warnings.filterwarnings("ignore")
    cases = []
    for decay in ["constant", "linear", "cosine"]:
        for steps, warmup in [(1, 0), (7, 0), (20, 0), (20, 1), (20, 5), (13, 12)]:
            weight = torch.nn.Parameter(torch.zeros(()))
            optimizer = torch.optim.SGD([weight], lr=3e-4)
            if decay == "constant":
                fall = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
            elif decay == "linear":
                fall = transformers.get_linear_schedule_with_warmup(optimizer, 0, steps - warmup)
            else:
                fall = transformers.get_cosine_schedule_with_warmup(optimizer, 0, steps - warmup)
            chain = fall
            if warmup:
                rise = torch.optim.lr_scheduler.LinearLR(
                    optimizer, start_factor=1 / (warmup + 1), total_iters=warmup
                )
                chain = torch.optim.lr_scheduler.SequentialLR(
                    optimizer, [rise, fall], milestones=[warmup]
                )
            rates = []
            for _ in range(steps):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                chain.step()
            cases.append({"decay": decay, "warmup": warmup, "steps": steps, "lr": rates})
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"versions": versions, "peak": 3e-4, "cases": cases}


def statistics():
    import scipy
    import statsmodels
    from statsmodels.stats.proportion import proportion_confint

    win_rates = []
    for wins, ties, losses in [(1, 0, 0), (0, 0, 7), (50, 0, 50), (64, 10, 26), (3, 3, 0), (0, 9, 0)]:
        n = wins + ties + losses
        low, high = proportion_confint(wins + ties / 2, n, alpha=0.05, method="wilson")
        win_rates.append({"counts": [wins, ties, losses], "low": float(low), "high": float(high)})
    samples = [[1.5, -2.25, 3.0, 0.125], [7.0, 7.0], [1e6 + 1.0, 1e6 + 2.0, 1e6 + 4.0]]
    moments = [
        {"values": v, "mean": float(scipy.stats.tmean(v)), "std": float(scipy.stats.tstd(v))}
        for v in samples
    ]
    versions = {"scipy": scipy.__version__, "statsmodels": statsmodels.__version__}
    return {"versions": versions, "win_rates": win_rates, "moments": moments}


for make in [schedule, statistics]:
    if len(sys.argv) == 1 or make.__name__ in sys.argv[1:]:
        (HERE / f"{make.__name__}.json").write_text(json.dumps(make(), indent=1) + "\n")
