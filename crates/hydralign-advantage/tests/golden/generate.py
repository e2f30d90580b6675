"""Writes the JSON files of this folder by running verl, TRL, torchtune, OpenRLHF and Stable-Baselines3.

    python generate.py PEERS        # PEERS/<package>/ as `peers.py` describes
"""

import pathlib
import sys
import types

import torch
from peers import Batch, save, take, versions

PEERS, HERE = sys.argv[1], pathlib.Path(__file__).parent
VERL = "verl/trainer/ppo/core_algos.py"

verl_masks = take(PEERS, "verl", "verl/utils/torch_functional.py", ["masked_sum", "masked_mean", "masked_var", "masked_whiten"])
verl = take(
    PEERS, "verl", VERL, ["compute_gae_advantage_return", "kl_penalty_forward", "AdaptiveKLController"],
    verl_F=types.SimpleNamespace(**verl_masks),
)
trl = take(PEERS, "trl", "trl/experimental/ppo/ppo_trainer.py", ["masked_mean", "masked_var", "masked_whiten"])
tune = take(
    PEERS, "torchtune", "torchtune/rlhf/rewards.py",
    ["masked_mean", "masked_var", "whiten", "estimate_advantages", "get_rewards_ppo", "get_reward_penalty_mask"],
)
orlhf = take(PEERS, "openrlhf", "openrlhf/models/utils.py", ["compute_approx_kl", "compute_reward"])
maker = take(PEERS, "openrlhf", "openrlhf/trainer/ppo_utils/experience_maker.py", ["RemoteExperienceMaker"])
moments = take(PEERS, "stable_baselines3", "stable_baselines3/common/running_mean_std.py", ["RunningMeanStd"])


def gae():
    cases = []
    for seed, (gamma, lam) in enumerate([(1.0, 0.95), (0.99, 0.9), (1.0, 1.0), (0.9, 0.0)]):
        b = Batch([7, 1, 4, 12, 2], 100 + seed)
        rewards, values = b.normal(0.3), b.normal()
        case = dict(gamma=gamma, lambda_=lam, rewards=b.cut(rewards), values=b.cut(values))
        whitened, returns = verl["compute_gae_advantage_return"](rewards, values, b.mask.double(), gamma, lam)
        case["verl"] = dict(returns=b.cut(returns), whitened=b.cut(whitened))
        # torchtune runs over the padding, which the zeros of the batch make harmless.
        whitened, returns = tune["estimate_advantages"](values, rewards, gamma, lam, masks=b.mask)
        case["torchtune"] = dict(returns=b.cut(returns), whitened_mean_added=b.cut(whitened))
        method = maker["RemoteExperienceMaker"].get_advantages_and_returns
        advantages, returns = method(None, values, rewards, b.mask.double(), gamma, lam)
        case["openrlhf"] = dict(returns=b.cut(returns), advantages=b.cut(advantages))
        cases.append(case)
    save(HERE / "gae.json", dict(versions=versions("verl", "torchtune", "openrlhf"), cases=cases))


def whiten():
    b = Batch([6, 1, 9, 3], 200)
    x = b.normal(2.0, 3.0)
    outputs = []
    for shift in (True, False):
        for name, f in (("verl", verl_masks["masked_whiten"]), ("trl", trl["masked_whiten"]), ("torchtune", tune["whiten"])):
            mask = b.mask if name == "torchtune" else b.mask.double()
            outputs.append(dict(source=name, shift_mean=shift, whitened=b.cut(f(x, mask, shift_mean=shift))))
    stats = dict(
        mean=trl["masked_mean"](x, b.mask.double()).item(),
        variance_biased=trl["masked_var"](x, b.mask.double(), unbiased=False).item(),
        variance_unbiased=trl["masked_var"](x, b.mask.double(), unbiased=True).item(),
    )
    save(HERE / "whiten.json", dict(versions=versions("verl", "trl", "torchtune"), values=b.cut(x), trl=stats, outputs=outputs))


def kl():
    b = Batch([24], 300)
    logprob, ref = b.logprobs(), b.logprobs()
    rows = {k: verl["kl_penalty_forward"](logprob, ref, k)[0] for k in ("k1", "k2", "k3")}
    # OpenRLHF computes in float32 by itself.
    rows32 = {k: orlhf["compute_approx_kl"](logprob, ref, kl_estimator=k)[0] for k in ("k1", "k2", "k3")}
    save(HERE / "kl.json", dict(versions=versions("verl", "openrlhf"), logprobs=logprob[0], ref_logprobs=ref[0], verl=rows, openrlhf=rows32))


def rewards():
    b = Batch([8, 3, 1, 5], 400)
    logprob, ref = b.logprobs(), b.logprobs()
    score = torch.tensor([7.5, -6.25, 0.5, 1.75]).double()
    kl_coef, clip, last = 0.05, 5.0, torch.tensor(b.lengths) - 1
    kl = orlhf["compute_approx_kl"](logprob, ref).double()
    clipped = orlhf["compute_reward"](score.clone(), kl_coef, kl, b.mask, (-clip, clip))
    free = orlhf["compute_reward"](score.clone(), kl_coef, kl, b.mask)
    tuned, _, _ = tune["get_rewards_ppo"](score, logprob, ref, kl_coef, last)
    # torchtune calls a response stopped when padding follows it: the longest row ran to the limit.
    unstopped = tune["get_reward_penalty_mask"](~b.mask, torch.tensor(b.lengths))
    save(HERE / "rewards.json", dict(
        versions=versions("openrlhf", "torchtune"), kl_coef=kl_coef, score_clip=clip, score=score, logprobs=b.cut(logprob),
        ref_logprobs=b.cut(ref), openrlhf=dict(clipped=b.cut(clipped), unclipped=b.cut(free)),
        torchtune=dict(unclipped=b.cut(tuned), penalised=unstopped.tolist()),
    ))


def controller():
    kls, samples = [0.0, 3.0, 5.5, 6.6, 9.0, 40.0, 7.1, 6.0, 5.9, -1.0], [256, 512, 512, 64, 512, 512, 1024, 512, 512, 256]
    c, trace = verl["AdaptiveKLController"](0.15, 6.0, 10_000), []
    for k, n in zip(kls, samples):
        c.update(k, n)
        trace.append(float(c.value))
    save(HERE / "controller.json", dict(versions=versions("verl"), initial=0.15, target=6.0, horizon=10_000, measured_kl=kls, samples=samples, coef=trace))


def running():
    rng = torch.Generator().manual_seed(600)
    batches = [(torch.randn(n, generator=rng) * s + m) for n, m, s in ((8, 3.0, 1.0), (1, -40.0, 0.0), (16, 3.5, 2.0), (5, 1e3, 0.5))]
    # An epsilon of zero: plain moments, without the pseudo-count of the original.
    stats, trace = moments["RunningMeanStd"](epsilon=0.0), []
    for batch in batches:
        stats.update(batch.double().numpy())
        trace.append(dict(scores=batch, mean=float(stats.mean), variance=float(stats.var), count=int(stats.count)))
    save(HERE / "running.json", dict(versions=versions("stable_baselines3"), trace=trace))


for make in (gae, whiten, kl, rewards, controller, running):
    make()
