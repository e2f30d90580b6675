"""Writes the JSON files of this folder by running verl, torchtune, OpenRLHF, TRL and PyTorch.

    python generate.py PEERS        # PEERS/<package>/ as `peers.py` of hydralign-advantage describes
"""

import collections
import os
import pathlib
import sys
import types

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "hydralign-advantage" / "tests" / "golden"))
from peers import Batch, save, take, versions  # noqa: E402

PEERS = sys.argv[1]
masks = take(
    PEERS, "verl", "verl/utils/torch_functional.py",
    ["masked_sum", "masked_mean", "masked_var", "masked_whiten", "clip_by_value"],
)
verl = take(
    PEERS, "verl", "verl/trainer/ppo/core_algos.py", ["agg_loss", "compute_policy_loss", "compute_value_loss", "compute_gae_advantage_return"],
    verl_F=types.SimpleNamespace(**masks),
)
rewards = take(PEERS, "torchtune", "torchtune/rlhf/rewards.py", ["masked_mean"])
tune = take(
    PEERS, "torchtune", "torchtune/rlhf/loss/ppo.py", ["PPOLoss"],
    rlhf=types.SimpleNamespace(masked_mean=rewards["masked_mean"]),
)
utils = take(PEERS, "openrlhf", "openrlhf/models/utils.py", ["masked_mean", "compute_approx_kl", "compute_reward"])
orlhf = take(
    PEERS, "openrlhf", "openrlhf/models/loss.py", ["aggregate_loss", "PolicyLoss", "ValueLoss", "PairWiseLoss"],
    masked_mean=utils["masked_mean"],
)

trl = take(PEERS, "trl", "trl/trainer/reward_trainer.py", ["RewardTrainer"], _BaseTrainer=object)


def gradient(b, loss, leaf):
    (grad,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    return b.cut(grad)


def ppo_case(seed, drift, low, high, value_clip, value_coef=0.1):
    b = Batch([6, 1, 9, 3], seed)
    old, values = b.logprobs(), b.normal()
    logprobs = (old + b.normal(drift)).float().double().requires_grad_()
    new_values = (values + b.normal(2 * drift)).float().double().requires_grad_()
    advantages, returns = b.normal(), b.normal(1.0, 0.5)
    real = b.mask.double()
    case = dict(
        clip_low=low, clip_high=high, value_clip=value_clip, old_logprobs=b.cut(old), logprobs=b.cut(logprobs),
        advantages=b.cut(advantages), old_values=b.cut(values), values=b.cut(new_values), returns=b.cut(returns),
    )
    # A dual-clip bound of a million: the plain PPO objective.
    loss, clip_fraction, kl, _ = verl["compute_policy_loss"](
        old, logprobs, advantages, real, cliprange_low=low, cliprange_high=high, clip_ratio_c=1e6
    )
    value_loss, value_clip_fraction = verl["compute_value_loss"](new_values, returns, values, real, value_clip)
    case["verl"] = dict(
        policy_loss=loss.item(), clip_fraction=clip_fraction.item(), mean_negative_log_ratio=kl.item(),
        value_loss=value_loss.item(), value_clip_fraction=value_clip_fraction.item(),
        policy_gradient=gradient(b, loss, logprobs), value_gradient=gradient(b, value_loss, new_values),
    )
    loss, clip_fraction, _, _, _ = orlhf["PolicyLoss"](low, high)(logprobs, old, advantages, real)
    value_loss = orlhf["ValueLoss"](value_clip)(new_values, values, returns, real)
    case["openrlhf"] = dict(
        policy_loss=loss.item(), clip_fraction=clip_fraction.item(), value_loss=value_loss.item(),
        policy_gradient=gradient(b, loss, logprobs), value_gradient=gradient(b, value_loss, new_values),
    )
    if low == high:
        total, policy, value, _, clip_fraction = tune["PPOLoss"](low, value_clip, value_coef)(
            old, logprobs, advantages, values, new_values, returns, b.mask, b.mask
        )
        case["torchtune"] = dict(
            value_coef=value_coef, loss=total.item(), policy_loss=policy.item(), value_loss=value.item(),
            clip_fraction=clip_fraction.item(), policy_gradient=gradient(b, total, logprobs),
            value_gradient=gradient(b, total, new_values),
        )
    return case


def ppo_loss():
    cases = [
        ppo_case(700, 0.0, 0.2, 0.2, 0.2),  # first minibatch: ratio 1
        ppo_case(701, 0.15, 0.2, 0.2, 0.2),
        ppo_case(702, 0.5, 0.2, 0.2, 0.2),
        ppo_case(703, 0.3, 0.1, 0.1, 0.5),
        ppo_case(704, 0.3, 0.2, 0.28, 0.2),
    ]
    save(HERE / "ppo_loss.json", dict(versions=versions("verl", "torchtune", "openrlhf"), cases=cases))


def ppo_iteration():
    """Credit and loss of one batch, from log-probabilities and scores to gradients."""
    b = Batch([10, 7, 1, 9], 750)
    old, ref, values = b.logprobs(), b.logprobs(), b.normal()
    score = torch.tensor([1.5, -0.75, 0.25, 9.0]).double()
    kl_coef, score_clip, gamma, lam, clip = 0.05, 5.0, 1.0, 0.95, 0.2
    kl = utils["compute_approx_kl"](old, ref).double()
    rewards = utils["compute_reward"](score.clone(), kl_coef, kl, b.mask, (-score_clip, score_clip))
    real = b.mask.double()
    whitened, returns = verl["compute_gae_advantage_return"](rewards * real, values, real, gamma, lam)
    logprobs = (old + b.normal(0.2)).float().double().requires_grad_()
    new_values = (values + b.normal(0.3)).float().double().requires_grad_()
    loss, clip_fraction, _, _ = verl["compute_policy_loss"](old, logprobs, whitened, real, clip, clip_ratio_c=1e6)
    value_loss, value_clip_fraction = verl["compute_value_loss"](new_values, returns, values, real, clip)
    save(HERE / "ppo_iteration.json", dict(
        versions=versions("verl", "openrlhf"), kl_coef=kl_coef, score_clip=score_clip, gamma=gamma, lambda_=lam, clip_range=clip,
        value_clip=clip, score=score, old_logprobs=b.cut(old), ref_logprobs=b.cut(ref), old_values=b.cut(values),
        logprobs=b.cut(logprobs), values=b.cut(new_values), rewards=b.cut(rewards), returns=b.cut(returns),
        whitened=b.cut(whitened), policy_loss=loss.item(), clip_fraction=clip_fraction.item(), value_loss=value_loss.item(),
        value_clip_fraction=value_clip_fraction.item(), policy_gradient=gradient(b, loss, logprobs),
        value_gradient=gradient(b, value_loss, new_values),
    ))


def adamw(lr, betas, eps, weight_decay, steps, seed):
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(3, 4, generator=rng).double()
    grads = [torch.randn(3, 4, generator=rng).double() * 10.0 ** (1 - i) for i in range(steps)]
    p = torch.nn.Parameter(start.clone())
    opt = torch.optim.AdamW([p], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    trace = []
    for g in grads:
        p.grad = g.clone()
        opt.step()
        trace.append(p.detach().clone())
    state = opt.state[p]
    return dict(
        lr=lr, beta_1=betas[0], beta_2=betas[1], eps=eps, weight_decay=weight_decay, start=start, gradients=grads, trace=trace,
        moment_1=state["exp_avg"], moment_2=state["exp_avg_sq"],
    )


def clip_norm(max_norm, scale, seed):
    rng = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (5,), (2, 2), (1,)]
    params = [torch.nn.Parameter(torch.zeros(s).double()) for s in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=rng).double() * scale
    before = [p.grad.clone() for p in params]
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm)
    return dict(max_norm=max_norm, norm=norm.item(), before=before, after=[p.grad for p in params])


def optimizer():
    save(HERE / "optimizer.json", dict(
        versions=versions(),
        adamw=[
            adamw(1e-2, (0.9, 0.999), 1e-5, 0.0, 6, 800),
            adamw(1e-2, (0.9, 0.999), 1e-5, 0.1, 6, 801),
            adamw(3e-3, (0.9, 0.95), 1e-8, 0.01, 6, 802),
        ],
        clip_grad_norm=[clip_norm(1.0, 1.0, 810), clip_norm(100.0, 1.0, 811), clip_norm(0.5, 1e-3, 812)],
    ))


def trl_loss(model, inputs, coefficient):
    """The loss of TRL's RewardTrainer, with a stand-in for everything else that a trainer is."""
    same = types.SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = types.SimpleNamespace(
        model=types.SimpleNamespace(training=False), args=types.SimpleNamespace(center_rewards_coefficient=coefficient),
        accelerator=same, _metrics={"eval": collections.defaultdict(list)}, _total_train_tokens=0,
    )
    return trl["RewardTrainer"].compute_loss(trainer, model, inputs)


def pairwise():
    rng = torch.Generator().manual_seed(900)
    chosen = (torch.randn(6, generator=rng) * 3).double().requires_grad_()
    rejected = (torch.randn(6, generator=rng) * 3).double().requires_grad_()
    margin = torch.rand(6, generator=rng).double()
    head = lambda **_: types.SimpleNamespace(logits=torch.cat([chosen, rejected])[:, None])  # noqa: E731
    cases = []
    for m, centring in ((None, None), (margin, None), (None, 0.01), (margin, 0.1)):
        loss = trl_loss(head, {} if m is None else dict(margin=m), centring)
        if centring is None:
            assert torch.equal(loss, orlhf["PairWiseLoss"]()(chosen, rejected, m))
        dc, dr = torch.autograd.grad(loss, (chosen, rejected))
        cases.append(dict(margin=m, centring=centring, loss=loss.item(), chosen_gradient=dc, rejected_gradient=dr))
    save(HERE / "pairwise.json", dict(
        versions=versions("openrlhf", "trl"), chosen=chosen, rejected=rejected, cases=cases, reward_model=reward_model(),
    ))


def reward_model():
    """The same loss through the reward model of hydralign-models' goldens: three pairs, right-padded."""
    os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    import transformers

    folder = HERE.parents[2] / "hydralign-models" / "tests" / "golden" / "llama_rm"
    model = transformers.LlamaForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    mask = (torch.arange(28)[None] < torch.tensor([23, 28, 18, 17, 25, 27])[:, None]).long()
    ids = torch.randint(5, 384, mask.shape, generator=torch.Generator().manual_seed(901)) * mask
    inputs = dict(input_ids=ids, attention_mask=mask)
    loss = trl_loss(model, dict(inputs), 0.01)
    loss.backward()
    with torch.no_grad():
        scores = model(**inputs).logits[:, 0].tolist()
    rows = [row[: n.sum()].tolist() for row, n in zip(ids, mask)]
    return dict(
        transformers=transformers.__version__, checkpoint="llama_rm", chosen=rows[:3], rejected=rows[3:], scores_chosen=scores[:3],
        scores_rejected=scores[3:], centring=0.01, loss=loss.item(), head_gradient=model.score.weight.grad[0],
    )


for make in (ppo_loss, ppo_iteration, optimizer, pairwise):
    make()
