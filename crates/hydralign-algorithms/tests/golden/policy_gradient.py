"""Writes policy_gradient.json by running the policy losses of TRL, verl, OpenRLHF, the learner of Dr. GRPO, and ReMax.

    python policy_gradient.py PEERS REPOS   # PEERS as `peers.py` of hydralign-advantage describes; REPOS/<owner>+<name>/<path>
                                            # holds the files that are cloned below, as they were in the commits of COMMITS
"""

import collections
import functools
import gc
import logging
import pathlib
import sys
import time
import unittest.mock

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "hydralign-advantage" / "tests" / "golden"))
import groups  # noqa: E402
from groups import ACCELERATOR, GRPO, NS, PEERS, RLOO, bare, clone, close, learner, masks, nothing, wide  # noqa: E402
from peers import Batch, save, take, versions  # noqa: E402

COMMITS = {
    **groups.COMMITS,
    "sail-sg/oat": "c1a074c320ff5ca9fe9a4f669bf05208e2f310be",
    "liziniu/ReMax": "536ba49cc2f9a1a76941045388a44757e2533e75",
}
torch.set_num_threads(1)


class ActorConfig(NS):
    """Settings of verl's actor, which it also reads as of a dictionary."""

    def get(self, name, default):
        return getattr(self, name, default)


verl = take(
    PEERS, "verl", "verl/trainer/ppo/core_algos.py", ["agg_loss", "compute_policy_loss_vanilla", "compute_policy_loss_gspo"],
    verl_F=NS(**masks), ActorConfig=ActorConfig, AlgoConfig=type(None),
)
mean = take(PEERS, "openrlhf", "openrlhf/models/utils.py", ["masked_mean"])["masked_mean"]
ORLHF = take(PEERS, "openrlhf", "openrlhf/models/loss.py", ["aggregate_loss", "PolicyLoss"], masked_mean=mean)["PolicyLoss"]
ops = clone("sail-sg/oat", "oat/utils/ops.py", "f0adee13009c1073ed55da1558d1ef732f2902a1", ["masked_sum", "masked_mean"])
aggregates = dict(functools=functools, masked_sum=ops["masked_sum"], masked_mean=ops["masked_mean"])
# Without its shuffle of the rows, which the mean over them does not feel.
OAT = clone(
    "sail-sg/oat", "oat/algorithms/ppo.py", "a734b4c5198101fb7ae670a6299db3f8f792f5dd", ["PPOLearner"],
    RLLearner=type("RLLearner", (), dict(_init=nothing)), TransitionDataset=None, defaultdict=collections.defaultdict, gc=gc,
    logging=logging, time=time, np=NS(random=NS(permutation=np.arange), mean=np.mean), **aggregates,
)["PPOLearner"]
DR_GRPO = learner(OAT, load_from_disk=lambda _: {}, **aggregates)
RLHF = "step3_rlhf_finetuning/remax_trainer.py"
# The ratios of whole rows are nearer to 1 than those of tokens.
APART = (0.4, 0.4, -0.4, -0.1)
LENGTHS = [6, 1, 9, 3]


class Rows:
    """Rows of log-probabilities whose ratios leave the clip range both ways, at tokens and as sequences."""

    def __init__(self, seed, drift=0.5, shifts=(0.2, 0.4, -0.1, -0.3)):
        b = self.batch = Batch(LENGTHS, seed)
        self.mask = b.mask.double()
        # Far enough from 0 that they remain logarithms of probabilities.
        self.old, self.ref = ((x - self.mask).float().double() for x in (b.logprobs(), b.logprobs()))
        moved = (self.old + b.normal(drift) + torch.tensor(shifts)[:, None]) * b.mask
        assert (moved <= 0).all()
        self.logprobs = moved.float().double().requires_grad_()
        self.per_token = b.normal()
        self.per_row = torch.tensor([1.25, -0.75, -1.5, 0.5]).double()

    def case(self, name, peer, settings, loss, advantages=None, also=(), note=None, ref=False, old=True, **reported):
        """`also` are peers that computed the same loss and gradient."""
        gradient = torch.autograd.grad(loss, self.logprobs)[0] + 0.0  # without the sign of a zero
        assert not gradient[~self.batch.mask].any()
        for other, its_settings, its_loss in also:
            close(its_loss.item(), loss.item(), 1e-7)
            close(torch.autograd.grad(its_loss, self.logprobs)[0].tolist(), gradient.tolist(), 1e-7)
        cut, advantages = self.batch.cut, self.per_row if advantages is None else advantages
        out = dict(name=name, peer=peer, settings=settings)
        if also:
            out["also"] = [dict(peer=other, settings=its_settings) for other, its_settings, _ in also]
        if note:
            out["note"] = note
        out.update(
            logprobs=cut(self.logprobs), old_logprobs=cut(self.old) if old else None, ref_logprobs=cut(self.ref) if ref else None,
            advantages=advantages.tolist() if advantages.dim() == 1 else cut(advantages), loss=loss.item(),
            gradient=cut(gradient), **reported,
        )
        return out


def trl_grpo(
    r, loss_type, beta=0.0, level="token", low=0.2, high=0.2, delta=None, bias_correction=False, old=True, items=None, windows=1
):
    metrics = dict(train=collections.defaultdict(list))
    trainer = bare(
        GRPO, accelerator=ACCELERATOR, model=NS(training=True), aux_loss_enabled=False, top_entropy_quantile=1.0,
        off_policy_mask_threshold=None, importance_sampling_level=level, beta=beta, loss_type=loss_type, epsilon_low=low,
        epsilon_high=high, use_vllm=False, vllm_importance_sampling_correction=False, max_completion_length=16,
        current_gradient_accumulation_steps=windows, _entropy_bonus_enabled=False, _metrics=metrics,
        args=NS(use_bias_correction_kl=bias_correction, delta=delta, steps_per_generation=windows),
        _get_per_token_logps_and_entropies=lambda *_, **__: (r.logprobs, torch.zeros_like(r.mask), None),
    )
    ids, prompt = r.batch.mask.long(), torch.ones(len(LENGTHS), 1).long()
    inputs = dict(
        prompt_ids=prompt, prompt_mask=prompt, completion_ids=ids, completion_mask=ids, advantages=r.per_row,
        ref_per_token_logps=r.ref, num_items_in_batch=torch.tensor(items or sum(LENGTHS)),
    )
    if old:
        inputs["old_per_token_logps"] = r.old
    with wide():
        loss = trainer._compute_loss(None, inputs)
    seen = {k: v[0] for k, v in metrics["train"].items()}
    reported = dict(
        clip_fraction=seen["clip_ratio/region_mean"], clip_fraction_low=seen["clip_ratio/low_mean"],
        clip_fraction_high=seen["clip_ratio/high_mean"],
    )
    if beta:
        reported["kl"] = seen["kl"]
    settings = dict(
        loss_type=loss_type, importance_sampling_level=level, beta=beta, epsilon=low, epsilon_high=high, delta=delta,
        use_bias_correction_kl=bias_correction,
    )
    if loss_type == "dr_grpo":
        settings["max_completion_length"] = trainer.max_completion_length
    if loss_type == "dapo":
        settings["num_items_in_batch"] = inputs["num_items_in_batch"].item()
    return loss, settings, reported


def verl_loss(r, function, advantages, mode, low=0.2, high=0.2, dual_clip=1e6, scale=None):
    info = {} if scale is None else dict(loss_scale_factor=scale)
    config = ActorConfig(
        clip_ratio=low, clip_ratio_low=low, clip_ratio_high=high, clip_ratio_c=dual_clip, global_batch_info=info
    )
    if advantages.dim() == 1:
        advantages = advantages[:, None] * r.mask
    with wide():
        loss, seen = verl[function](r.old, r.logprobs, advantages, r.mask, mode, config)
    settings = dict(loss_agg_mode=mode, clip_ratio_low=low, clip_ratio_high=high)
    if function == "compute_policy_loss_vanilla":
        settings["clip_ratio_c"] = dual_clip
    if mode == "seq-mean-token-sum-norm":
        settings["loss_scale_factor"] = scale
    reported = dict(clip_fraction=seen["actor/pg_clipfrac"], mean_negative_log_ratio=seen["actor/ppo_kl"])
    if dual_clip < 1e6:
        reported["dual_clip_fraction"] = seen["actor/pg_clipfrac_lower"]
    return loss, settings, reported


def openrlhf_loss(r, advantages, **settings):
    settings = dict(clip_eps_low=0.2, clip_eps_high=0.2) | settings
    if advantages.dim() == 1:
        advantages = advantages[:, None] * r.mask
    return ORLHF(**settings)(r.logprobs, r.old, advantages, r.mask)[0], settings


def trl_cases():
    def run(name, *args, also=(), rows=None, note=None, **kwargs):
        sequence = kwargs.get("level") == "sequence"
        r = rows or (Rows(1205, shifts=APART) if sequence else Rows(1205))
        loss, settings, reported = trl_grpo(r, *args, **kwargs)
        assert kwargs.get("old") is False or reported["clip_fraction_low"] > 0 and reported["clip_fraction_high"] > 0, name
        return r.case(
            name, "trl GRPOTrainer", settings, loss, also=[peer(r) for peer in also], note=note, ref="kl" in reported,
            old=kwargs.get("old", True), **reported,
        )

    def by_verl(mode, function="compute_policy_loss_vanilla", **kwargs):
        def peer(r):
            loss, settings, _ = verl_loss(r, function, r.per_row, mode, **kwargs)
            return f"verl {function}", settings, loss

        return peer

    def by_openrlhf(**settings):
        def peer(r):
            loss, its = openrlhf_loss(r, r.per_row, **settings)
            return "openrlhf PolicyLoss", its, loss

        return peer

    everyone = {
        "grpo": (by_verl("seq-mean-token-mean"), by_openrlhf(token_level_loss=False)),
        "bnpo": (by_verl("token-mean"), by_openrlhf(token_level_loss=True)),
        "dr_grpo": (by_verl("seq-mean-token-sum-norm", scale=16),),
        "dapo": (by_verl("token-mean"), by_openrlhf(token_level_loss=True)),
    }
    for loss_type, also in everyone.items():
        yield run(loss_type, loss_type, also=also)
        yield run(f"{loss_type}_kl", loss_type, beta=0.04)
    yield run("dapo_part", "dapo", items=40, windows=2, note="40 tokens in the two halves of a batch, of which this is one")
    yield run("dapo_clip_higher", "dapo", high=0.28, also=(by_verl("token-mean", high=0.28), by_openrlhf(clip_eps_high=0.28)))
    yield run("dapo_clip_higher_kl", "dapo", high=0.28, beta=0.04)
    near = Rows(1202, 3e-4, (1e-3, -1.5e-3, -1e-4, 1e-4))
    for name, rows, clip in (("gspo", None, {}), ("gspo_narrow", near, dict(low=3e-4, high=4e-4))):
        names = dict(clip_eps_low=clip.get("low", 0.2), clip_eps_high=clip.get("high", 0.2))
        also = (
            by_verl("seq-mean-token-mean", "compute_policy_loss_gspo", **clip), by_openrlhf(policy_loss_type="gspo", **names),
        )
        yield run(name, "grpo", level="sequence", also=also, rows=rows, note="clip fractions over the rows", **clip)
    yield run("gspo_kl", "grpo", level="sequence", beta=0.04, note="clip fractions over the rows")
    for beta in (0.0, 0.04):
        # Ratios above delta at negative advantages.
        far = Rows(1201, shifts=(0.3, 0.8, 0.2, 0.0))
        assert trl_grpo(far, "grpo", beta)[0] > trl_grpo(far, "grpo", beta, delta=1.5)[0] + 0.01
        yield run("grpo_delta" + "_kl" * (beta > 0), "grpo", delta=1.5, beta=beta, rows=far)
    for level in ("token", "sequence"):
        note = "the KL of each token times its ratio, which has a gradient" if level == "token" else \
            "the KL of each token times the ratio of its row, which has a gradient; clip fractions over the rows"
        name = "grpo_kl_corrected" if level == "token" else "gspo_kl_corrected"
        yield run(name, "grpo", beta=0.04, level=level, bias_correction=True, note=note)
    yield run("grpo_on_policy", "grpo", beta=0.04, old=False, note="the old log-probabilities are the new ones")


def verl_cases():
    vanilla, sequence = "compute_policy_loss_vanilla", "compute_policy_loss_gspo"

    def run(name, function, advantages, mode, also=(), rows=None, note=None, **kwargs):
        r = rows or (Rows(1210, shifts=APART) if function == sequence else Rows(1210))
        loss, settings, reported = verl_loss(r, function, getattr(r, advantages), mode, **kwargs)
        assert reported["clip_fraction"] > 0
        also = [("openrlhf PolicyLoss", its, openrlhf_loss(r, getattr(r, advantages), **its)[0]) for its in also]
        return r.case(name, f"verl {function}", settings, loss, getattr(r, advantages), also, note, **reported)

    yield run("ppo_token_mean", vanilla, "per_token", "token-mean", [dict(token_level_loss=True)])
    yield run("ppo_seq_mean_token_sum", vanilla, "per_token", "seq-mean-token-sum")
    yield run("ppo_seq_mean_token_mean", vanilla, "per_token", "seq-mean-token-mean", [dict(token_level_loss=False)])
    yield run("ppo_seq_mean_token_sum_norm", vanilla, "per_token", "seq-mean-token-sum-norm", scale=16)
    note = "without a factor it divides by the width of the padded batch, 9"
    yield run("ppo_seq_mean_token_sum_norm_width", vanilla, "per_token", "seq-mean-token-sum-norm", note=note)
    yield run("ppo_clip_higher", vanilla, "per_token", "token-mean", [dict(clip_eps_high=0.28)], high=0.28)
    note = "an advantage per token, times the ratio of the row, which has the gradient of that token alone"
    yield run("gspo_per_token", sequence, "per_token", "seq-mean-token-mean", note=note)
    yield run("gspo_token_mean", sequence, "per_row", "token-mean")
    for mode, token_level in (("token-mean", True), ("seq-mean-token-mean", False)):
        far = Rows(1211, 1.0, (0.0, 1.5, 0.5, 1.2))
        also = [dict(dual_clip=3.0, token_level_loss=token_level)]
        row = run(f"ppo_dual_clip_{mode.replace('-', '_')}", vanilla, "per_token", mode, also, far, dual_clip=3.0)
        assert row["dual_clip_fraction"] > 0
        yield row


def dr_grpo_loss(r, kind, beta, rewards):
    """The learner's step over one batch of one prompt; a token of prompt stands before each response."""
    seen, advantages = [], []
    first = torch.ones(len(LENGTHS), 1).long()
    ids = torch.cat([first, r.batch.mask.long()], 1)
    args = NS(
        eval_data=None, test_split="all", critic_type=kind, generate_max_length=16, num_samples=len(LENGTHS), reward_scale=1.0,
        train_batch_size_per_device=len(LENGTHS), temperature=1.0, kl_penalty_coef=0.0, beta=beta, num_ppo_epochs=1,
        reinforce_update=False, cliprange=0.2, tis_c=None,
    )
    trainer = bare(DR_GRPO, model="model", ref_model="ref" if beta else None, optimizer=None, scheduler=None)
    trainer._init(args, [])
    trainer.strategy = NS(
        grad_acc_step=1, backward=lambda loss, *_: seen.append(loss), optimizer_step=nothing, get_gradient_norm=lambda _: 0.0
    )

    def logps(model, compute_entropy, **_):
        new = r.logprobs if compute_entropy else r.old
        return (new if model == "model" else r.ref), torch.zeros_like(r.mask)

    trainer.get_batch_logps = logps
    inner = trainer.compute_monte_carlo_advantages
    trainer.compute_monte_carlo_advantages = lambda *args: advantages.append(inner(*args)) or advantages[0]
    trajectory = dict(
        input_ids=ids, attention_mask=ids, rewards=[[x] for x in rewards], prompt_ids_lens=[1] * len(LENGTHS),
        action_logprobs=r.batch.cut(r.old), loss_masks=[1.0] * len(LENGTHS),
    )
    with wide(), unittest.mock.patch("torch.cuda.current_device", lambda: "cpu"):
        info = trainer.learning_step(trajectory)
    reported = dict(rewards=rewards, clip_fraction_of_rows=info["pg_clipfrac"].item())
    if beta:
        reported["kl_loss"] = info["reg_loss"].item()
    settings = dict(critic_type=kind, num_samples=len(LENGTHS), beta=beta, cliprange=0.2)
    if kind == "drgrpo":
        settings["generate_max_length"] = args.generate_max_length
    return seen[0], advantages[0], settings, reported


def dr_grpo_cases():
    for kind, loss_type, beta in (("drgrpo", "dr_grpo", 0.0), ("drgrpo", "dr_grpo", 0.04), ("grpo", "grpo", 0.04)):
        r = Rows(1220)
        loss, r.per_row, settings, reported = dr_grpo_loss(r, kind, beta, [1.25, -0.75, -1.5, 0.5])
        other, its_settings, _ = trl_grpo(r, loss_type, beta=beta)
        yield r.case(
            f"understand_r1_zero_{kind}" + "_kl" * (beta > 0), "sail-sg/understand-r1-zero ZeroMathLearner", settings, loss,
            also=[("trl GRPOTrainer", its_settings, other)], ref=beta > 0, **reported,
        )


def rloo_cases():
    for normalize, beta in ((False, 0.0), (False, 0.05), (True, 0.05)):
        r = Rows(1230, 0.08, (0.12, 0.3, -0.1, -0.02))
        rewards = [1.25, -0.75, -1.5, 0.5]
        batch = groups.scored(
            RLOO, torch.tensor(rewards).double()[:, None], 2, LENGTHS, logprobs=r.old, ref=r.ref, beta=beta,
            normalize_advantages=normalize,
        )
        metrics = dict(train=collections.defaultdict(list))
        trainer = bare(
            RLOO, accelerator=ACCELERATOR, model=NS(training=True), aux_loss_enabled=False, epsilon_low=0.2, epsilon_high=0.2,
            _metrics=metrics,
            _get_per_token_logps_and_entropies=lambda *_, **__: (r.logprobs, torch.zeros_like(r.mask), None),
        )
        with wide():
            loss = trainer._compute_loss(None, batch)
        seen = {k: v[0] for k, v in metrics["train"].items()}
        assert seen["clip_ratio/low_mean"] > 0 and seen["clip_ratio/high_mean"] > 0
        settings = dict(num_generations=2, normalize_advantages=normalize, beta=beta, epsilon=0.2)
        yield r.case(
            "rloo" + "_kl" * (beta > 0) + "_normalized" * normalize, "trl RLOOTrainer", settings, loss, batch["advantages"],
            note="one ratio per row, of the sums of its log-probabilities; clip fractions over the rows", ref=beta > 0,
            rewards=rewards, clip_fraction=seen["clip_ratio/region_mean"], clip_fraction_low=seen["clip_ratio/low_mean"],
            clip_fraction_high=seen["clip_ratio/high_mean"],
        )


def remax_cases():
    # The rewards minus the baselines leave the range of 5 twice.
    rewards, baselines = [1.25, -6.0, 0.5, 7.5], [0.5, 0.25, 0.75, -0.5]
    for gamma, kl_coef in ((1.0, 0.0), (1.0, 0.1), (0.95, 0.1)):
        r = Rows(1240)
        cls = clone(
            "liziniu/ReMax", RLHF, "1cf0f6fb99bd828b5d66f2f179a461565def6d25", ["DeepSpeedReMaxTrainer"],
            gather_log_probs=lambda *_: r.logprobs,
        )["DeepSpeedReMaxTrainer"]
        first = torch.ones(len(LENGTHS), 1).long()
        ids = torch.cat([first, r.batch.mask.long()], 1)
        engine = NS(
            actor=lambda **_: NS(logits=torch.zeros(*ids.shape, 1)), ref=None, reward=None,
            tokenizer=lambda _: dict(input_ids=[1]),
        )
        args = NS(
            max_answer_seq_len=max(LENGTHS), end_of_conversation_token="", actor_zero_stage=0, reference_zero_stage=0,
            kl_ctl=kl_coef, gamma=gamma,
        )
        trainer = cls(engine, args)
        inputs = dict(
            prompts=first, logprobs=r.old, ref_logprobs=r.ref, rewards=torch.tensor(rewards).double(),
            baseline_rewards=torch.tensor(baselines).double(), attention_mask=ids, input_ids=ids,
        )
        with wide():
            loss, returns, _ = trainer.compute_loss(inputs)
        yield r.case(
            f"remax_{gamma}_{kl_coef}", "liziniu/ReMax DeepSpeedReMaxTrainer",
            dict(kl_ctl=kl_coef, gamma=gamma, clip_reward_value=trainer.clip_reward_value), loss, returns,
            note="the advantages are its returns", ref=True, rewards=rewards, baseline_rewards=baselines,
        )


if __name__ == "__main__":
    makers = (trl_cases, verl_cases, dr_grpo_cases, rloo_cases, remax_cases)
    save(HERE / "policy_gradient.json", dict(
        versions={**versions("trl", "verl", "openrlhf"), **COMMITS}, cases=[c for make in makers for c in make()]
    ))
