"""Writes groups.json by running verl, TRL, OpenRLHF and the learner of Dr. GRPO.

    python groups.py PEERS REPOS    # PEERS as `peers.py` describes; REPOS/sail-sg+understand-r1-zero/train_zero_math.py
                                    # as it was in the commit of COMMITS
"""

import ast
import collections
import contextlib
import hashlib
import itertools
import math
import pathlib
import sys
import textwrap
import types
import typing

import numpy as np
import torch
from peers import Batch, save, strip_annotations, take, versions

HERE = pathlib.Path(__file__).resolve().parent
PEERS, REPOS = sys.argv[1], pathlib.Path(sys.argv[2])
COMMITS = {"sail-sg/understand-r1-zero": "dfca49dd460ee7cc8e4a5a162c876a7fd6993b87"}
NS = types.SimpleNamespace
torch.set_num_threads(1)


def clone(repo, file, blob, names, **more):
    """As `take`, from a checked-out file of a repository, whose git blob tells that it is the file of the commit."""
    data = (REPOS / repo.replace("/", "+") / file).read_bytes()
    assert hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == blob, f"{repo} {file} is of another commit"
    wanted = [n for n in ast.parse(data).body if getattr(n, "name", None) in names]
    assert {n.name for n in wanted} == set(names), f"{file}: {names}"
    for node in wanted:
        strip_annotations(node)
    scope = {"torch": torch, "np": np, "nn": torch.nn, "F": torch.nn.functional, **more}
    scope.update({name: getattr(typing, name) for name in ("Any", "Dict", "List", "Optional", "Tuple")})
    exec(compile(ast.Module(body=wanted, type_ignores=[]), file, "exec"), scope)
    return scope


@contextlib.contextmanager
def wide():
    """Casts to float32 and tensors of the default type stay float64, for the peers that make some in between."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        del torch.Tensor.float
        torch.set_default_dtype(torch.float32)


def nothing(*_, **__):
    return contextlib.nullcontext()


def bare(cls, **attributes):
    """A trainer without its constructor."""
    trainer = cls.__new__(cls)
    trainer.__dict__.update(attributes)
    return trainer


def same(x, **_):
    return x


# One process.
ACCELERATOR = NS(device="cpu", gather=same, gather_for_metrics=same, reduce=same, process_index=0, num_processes=1)

masks = take(PEERS, "verl", "verl/utils/torch_functional.py", ["masked_sum", "masked_mean", "masked_var", "masked_whiten"])
grouping = take(
    PEERS, "verl", "verl/utils/groupwise.py",
    ["_resolve_device", "_to_1d_numpy_object_array", "as_torch_index", "group_mean_std"],
)
verl = take(
    PEERS, "verl", "verl/trainer/ppo/core_algos.py",
    ["compute_grpo_outcome_advantage", "compute_grpo_vectorized_outcome_advantage", "compute_grpo_passk_outcome_advantage",
     "compute_reinforce_plus_plus_baseline_outcome_advantage", "compute_rloo_outcome_advantage",
     "compute_rloo_vectorized_outcome_advantage", "compute_opo_outcome_advantage",
     "compute_reinforce_plus_plus_outcome_advantage", "compute_remax_outcome_advantage", "compute_rewards"],
    verl_F=NS(**masks), defaultdict=collections.defaultdict, as_torch_index=lambda x, **_: grouping["as_torch_index"](x, "cpu"),
    group_mean_std=grouping["group_mean_std"],
)
DAPO = take(
    PEERS, "verl", "verl/workers/reward_manager/dapo.py", ["DAPORewardManager"], AbstractRewardManager=object,
    defaultdict=collections.defaultdict,
)["DAPORewardManager"]
punishment = take(
    PEERS, "trl", "trl/rewards/other_rewards.py", ["get_soft_overlong_punishment", "_SoftOverlongPunishment"],
)["get_soft_overlong_punishment"]
utils = take(PEERS, "trl", "trl/trainer/utils.py", ["pad", "nanstd", "nanmin", "nanmax"])
trl = {k: utils[k] for k in ("pad", "nanstd", "nanmin", "nanmax")}
trl.update(
    _BaseTrainer=object, disable_gradient_checkpointing=nothing, gather_object=same, gather=same, math=math, textwrap=textwrap,
    profiling_decorator=same,
)
GRPO = take(PEERS, "trl", "trl/trainer/grpo_trainer.py", ["GRPOTrainer"], **trl)["GRPOTrainer"]
RLOO = take(PEERS, "trl", "trl/trainer/rloo_trainer.py", ["RLOOTrainer"], **trl)["RLOOTrainer"]
penalties = take(
    PEERS, "openrlhf", "openrlhf/trainer/ppo_utils/length_penalty.py",
    ["apply_overlong_penalty", "apply_stop_properly_penalty", "apply_length_penalties"],
)
MAKER = take(
    PEERS, "openrlhf", "openrlhf/trainer/ppo_utils/experience_maker.py", ["RemoteExperienceMaker"], itertools=itertools,
    apply_length_penalties=penalties["apply_length_penalties"],
    compute_reward=take(PEERS, "openrlhf", "openrlhf/models/utils.py", ["compute_reward"])["compute_reward"],
)["RemoteExperienceMaker"]


def learner(base, **more):
    """The learner of Dr. GRPO, over the class that it extends."""
    return clone(
        "sail-sg/understand-r1-zero", "train_zero_math.py", "98a6ca5ab7b0bc15e5457fde11362dd963144ce9", ["ZeroMathLearner"],
        PPOLearner=base, **more,
    )["ZeroMathLearner"]


def scored(cls, rewards, num_generations, lengths, training=True, beta=0.0, logprobs=None, ref=None, **settings):
    """What TRL's trainer makes of `rewards` [responses, reward functions] after it generated, up to the loss."""
    n, model = len(rewards), NS(training=training)
    ids = [[1] * k for k in lengths]
    trainer = bare(
        cls, accelerator=ACCELERATOR, model=model, ref_model=NS(), environment_factories=None, environments=None, tools=None,
        _tokenizer=NS(pad_token_id=0, eos_token_id=1), pad_to_multiple_of=None, mask_truncated_completions=False,
        args=NS(
            per_device_train_batch_size=n, per_device_eval_batch_size=n, gradient_checkpointing_kwargs=None,
            steps_per_generation=1, gradient_accumulation_steps=1,
        ),
        num_iterations=1, use_vllm=False, vllm_importance_sampling_correction=False, beta=beta, chat_template_kwargs={},
        processing_class=NS(batch_decode=lambda rows, **_: [""] * len(rows)), num_generations=num_generations,
        num_generations_eval=num_generations, reward_weights=torch.ones(rewards.shape[1]).double(),
        multi_objective_aggregation="sum_then_normalize", reward_func_names=["f"] * rewards.shape[1], log_multimodal=False,
        reward_funcs=[None] * rewards.shape[1], _pending_extra_logs={}, _pending_metrics={},
        _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
        _logs=collections.defaultdict(list, rewards=collections.defaultdict(list)), reward_clip_range=None,
        _calculate_rewards=lambda *_: rewards,
        _get_per_token_logps_and_entropies=lambda m, *_, **__: (logprobs if m is model else ref, None, None),
    )
    trainer.__dict__.update(settings)
    generated = [[[1]] * n, ids, None, [""] * n, None, {}, None, None] if cls is GRPO else [[[1]] * n, ids, [""] * n]
    trainer._generate = lambda _: generated
    return trainer._generate_and_score_completions([dict(prompt="")] * n)


# Sixteenths, so that equal rewards have an exact mean: groups of four, three, two equal ones and, last, one alone.
UNEVEN = dict(
    rewards=[1.25, -0.5, 0.0, 0.625, 2.0, 0.3125, 0.625, 0.25, -1.0, 0.75], groups=[0, 1, 0, 2, 1, 0, 2, 1, 0, 3],
    lengths=[4, 2, 1, 3, 1, 2, 4, 6, 3, 5],
)
# In order and of one size, as TRL and OpenRLHF want them; the second group has equal rewards.
EVEN = dict(
    rewards=[1.25, -0.5, 0.0, 0.625, 0.625, 0.625, 0.75, 2.0, 0.3125, -1.0, 0.25, -3.5], groups=[i // 3 for i in range(12)],
    lengths=[4, 2, 1, 3, 5, 1, 2, 4, 6, 3, 2, 1],
)


class Responses:
    """Rewards, all of them at the last tokens, and a KL per token where the peer takes one."""

    def __init__(self, rewards, groups, lengths, seed=0):
        self.inputs = dict(rewards=rewards, groups=groups, lengths=lengths)
        self.batch = Batch(lengths, seed)
        self.mask, self.index = self.batch.mask.double(), np.array(groups)
        self.outcome = torch.tensor(rewards).double()
        self.scores = torch.zeros(self.mask.shape).double()
        self.scores[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = self.outcome
        self.kl = self.batch.normal(0.5, 0.25)

    def per_response(self, advantages):
        """One number per row, of advantages that are the same at each token of a row."""
        rows = self.batch.cut(advantages)
        assert all(set(row) == {row[0]} for row in rows)
        return [row[0] for row in rows]

    def case(self, name, peer, settings, advantages, note=None, **more):
        row = dict(name=name, peer=peer, settings=settings)
        if note:
            row["note"] = note
        return dict(**row, **self.inputs, **more, advantages=advantages)

    def with_kl(self):
        return dict(kl=self.batch.cut(self.kl))


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(torch.tensor(a).double(), torch.tensor(b).double(), rtol=tolerance, atol=tolerance)


def verl_cases():
    everyone, grouped = Responses(**UNEVEN), Responses(**{k: v[:-1] for k, v in UNEVEN.items()})

    def run(r, name, function, settings, note=None, **arguments):
        with wide():
            advantages, _ = verl[function](r.scores.clone(), r.mask, index=r.index, **arguments)
        return r.case(name, f"verl {function}", settings, r.per_response(advantages), note)

    for std in (True, False):
        settings = dict(norm_adv_by_std_in_grpo=std, epsilon=1e-6)
        row = run(
            everyone, "grpo_std" if std else "grpo_mean", "compute_grpo_outcome_advantage", settings,
            "the group of one keeps its reward" + " / (1 + epsilon)" * std, norm_adv_by_std_in_grpo=std,
        )
        function = "compute_grpo_vectorized_outcome_advantage"
        other = run(everyone, None, function, settings, norm_adv_by_std_in_grpo=std)["advantages"]
        close(other, row["advantages"], 1e-6)  # it computes in float32
        row["also"] = [dict(peer=f"verl {function}", settings=settings)]
        yield row
    yield run(everyone, "rloo", "compute_rloo_outcome_advantage", {}, "the group of one keeps its reward")
    yield run(everyone, "rloo_vectorized", "compute_rloo_vectorized_outcome_advantage", {}, "the group of one has 0")
    yield run(everyone, "opo", "compute_opo_outcome_advantage", {}, "the group of one keeps its reward")
    yield run(
        everyone, "reinforce_plus_plus_baseline", "compute_reinforce_plus_plus_baseline_outcome_advantage", {},
        "reward minus the mean of the group, where the group of one keeps its reward, whitened over the tokens of the batch",
    )
    for std in (True, False):
        settings = dict(norm_adv_by_std_in_grpo=std, epsilon=1e-6)
        yield run(
            grouped, "passk_std" if std else "passk_mean", "compute_grpo_passk_outcome_advantage", settings, config=settings
        )


def verl_token_cases():
    for seed, (gamma, kl_coef) in enumerate([(1.0, 0.0), (1.0, 0.05), (0.95, 0.05)]):
        r = Responses(**EVEN, seed=10 + seed)
        rewards = verl["compute_rewards"](r.scores, r.kl, 0.0, kl_coef)
        advantages, returns = verl["compute_reinforce_plus_plus_outcome_advantage"](rewards, r.mask, config=NS(gamma=gamma))
        yield r.case(
            f"reinforce_plus_plus_{gamma}_{kl_coef}", "verl compute_reinforce_plus_plus_outcome_advantage",
            dict(gamma=gamma, kl_coef=kl_coef), r.batch.cut(advantages), "whitened over the tokens of the batch", **r.with_kl(),
            returns=r.batch.cut(returns),
        )
    for seed, kl_coef in enumerate((0.0, 0.05)):
        r = Responses(**EVEN, seed=20 + seed)
        baselines = [0.5, 0.5, 0.25, -0.125, 0.625, 0.0, 1.0, 2.0, -0.3125, 0.75, 0.25, -3.0]
        rewards = verl["compute_rewards"](r.scores, r.kl, 0.0, kl_coef)
        advantages, returns = verl["compute_remax_outcome_advantage"](rewards, torch.tensor(baselines).double(), r.mask)
        yield r.case(
            f"remax_{kl_coef}", "verl compute_remax_outcome_advantage", dict(kl_coef=kl_coef), r.batch.cut(advantages),
            **r.with_kl(), reward_baselines=baselines, returns=r.batch.cut(returns),
        )


def trl_cases():
    def run(name, cls, settings, rewards=EVEN["rewards"], size=3, note=None, **more):
        n = len(rewards)
        column = torch.tensor([math.nan if x is None else x for x in rewards]).double()[:, None]
        r = Responses([0.0 if x is None else x for x in rewards], [i // size for i in range(n)], EVEN["lengths"][:n], seed=30)
        r.inputs["rewards"] = rewards
        # The log-probabilities are such that their difference is the KL.
        out = scored(cls, column, size, r.inputs["lengths"], logprobs=r.kl, ref=torch.zeros(r.kl.shape), **settings, **more)
        kl = r.with_kl() if settings.get("beta") else {}
        return r.case(name, f"trl {cls.__name__}", settings, out["advantages"].tolist(), note, **kl)

    for scale in ("group", "batch", "none"):
        yield run(f"trl_grpo_{scale}", GRPO, dict(scale_rewards=scale))
    note = "groups of one, at evaluation"
    yield run("trl_grpo_alone", GRPO, dict(scale_rewards="group"), [1.25, -0.5], 1, note, training=False)
    missing = [None if i in (1, 2, 8) else x for i, x in enumerate(EVEN["rewards"])]
    note = "null: no reward function gave one; such a response has 0 and does not count, nor has one alone in its group anything"
    yield run("trl_grpo_missing", GRPO, dict(scale_rewards="group"), missing, note=note)
    for normalize in (False, True):
        yield run(f"trl_rloo{'_normalized' * normalize}", RLOO, dict(normalize_advantages=normalize))
    yield run("trl_rloo_kl", RLOO, dict(normalize_advantages=False, beta=0.05))
    yield run("trl_rloo_clip", RLOO, dict(normalize_advantages=False, beta=0.05, reward_clip_range=(-2.0, 1.0)))
    yield run("trl_rloo_missing", RLOO, dict(normalize_advantages=False), missing, note=note)


def openrlhf_cases():
    def run(estimator, kl_coef=0.0, clip_range=None, gamma=1.0, no_std_norm=False):
        r = Responses(**EVEN, seed=40)
        args = NS(
            algo=NS(advantage=NS(estimator=estimator, gamma=gamma, no_std_norm=no_std_norm)),
            rollout=NS(n_samples_per_prompt=3), reward=NS(clip_range=clip_range),
        )
        experience = NS(
            rewards=r.outcome.clone(), index=list(range(len(r.outcome))), kl=r.kl, action_mask=r.batch.mask, info={},
        )
        maker = bare(MAKER, strategy=NS(args=args), kl_ctl=NS(value=kl_coef), advantage_estimator=estimator)
        with wide():
            (out,) = maker.compute_advantages_and_returns([experience])
        settings = dict(estimator=estimator, kl_coef=kl_coef, clip_range=clip_range, gamma=gamma, no_std_norm=no_std_norm)
        name = f"openrlhf_{estimator}" + "_kl" * (kl_coef > 0) + "_clip" * (clip_range is not None)
        name += "_mean_only" * no_std_norm + f"_{gamma}" * (gamma < 1)
        return r.case(
            name, "openrlhf RemoteExperienceMaker", settings, r.batch.cut(out.advantages), **r.with_kl(),
            returns=r.batch.cut(out.returns),
        )

    for estimator in ("rloo", "group_norm", "dr_grpo", "flash_reinforce", "reinforce_baseline", "reinforce"):
        yield run(estimator)
    yield run("rloo", kl_coef=0.05)
    yield run("group_norm", kl_coef=0.05, clip_range=(-1.0, 1.0))
    yield run("reinforce_baseline", kl_coef=0.05)
    yield run("reinforce_baseline", kl_coef=0.05, no_std_norm=True)
    yield run("reinforce", kl_coef=0.05, gamma=0.95)


def dr_grpo_cases():
    for kind in ("drgrpo", "grpo"):
        r = Responses(**EVEN)
        trainer = bare(learner(object), args=NS(num_samples=3, critic_type=kind))
        advantages = trainer.compute_monte_carlo_advantages(r.scores, r.mask)
        yield r.case(
            f"understand_r1_zero_{kind}", "sail-sg/understand-r1-zero ZeroMathLearner", dict(critic_type=kind),
            advantages.tolist(),
        )


class Overlong:
    """The data that the reward manager of verl reads: one token of prompt, and responses of the given lengths."""

    def __init__(self, lengths):
        b = Batch(lengths, 0)
        self.batch = dict(responses=b.mask.long())
        attention = torch.cat([torch.ones(len(lengths), 1).long(), b.mask.long()], 1)
        self.rows = [
            NS(
                batch=dict(prompts=torch.ones(1).long(), responses=ids, attention_mask=mask),
                non_tensor_batch=dict(reward_model=dict(ground_truth=""), data_source=""),
            )
            for ids, mask in zip(b.mask.long(), attention)
        ]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def verl_overlong(lengths, longest, buffer, factor):
    manager = DAPO(
        NS(decode=lambda *_, **__: "", eos_token="</s>"), 0, compute_score=lambda **_: 0.0, max_resp_len=longest,
        overlong_buffer_cfg=NS(enable=True, len=buffer, penalty_factor=factor, log=True),
    )
    manager._extract_reward_from_rm_scores = lambda *_: None
    with wide():
        extra = manager(Overlong(lengths), return_dict=True)["reward_extra_info"]
    return [float(x) + 0.0 for x in extra["overlong_reward"]]


def openrlhf_overlong(lengths, longest, buffer, factor):
    experience = NS(response_length=torch.tensor(lengths), rewards=torch.zeros(len(lengths)).double())
    penalties["apply_overlong_penalty"]([experience], longest, buffer, factor)
    return experience.rewards.tolist()


def overlong():
    lengths = [1, 11, 12, 13, 14, 18, 19, 20, 21, 25]
    trl_name, openrlhf_name = "trl get_soft_overlong_punishment", "openrlhf apply_overlong_penalty"

    def case(name, peer, settings, punishments, **more):
        return dict(name=name, peer=peer, settings=settings, **more, lengths=lengths, punishments=punishments)

    for longest, buffer in ((20, 8), (20, 1), (20, 20)):
        soft = punishment(longest, buffer)([[1] * n for n in lengths])
        close(soft, openrlhf_overlong(lengths, longest, buffer, 1.0))
        settings = dict(max_length=longest, buffer=buffer, factor=1.0)
        also = [dict(peer=openrlhf_name, settings=settings)]
        yield case(f"overlong_{longest}_{buffer}", trl_name, settings, soft, also=also)
    settings = dict(max_length=20, buffer=8, factor=0.5)
    yield case("overlong_half", openrlhf_name, settings, openrlhf_overlong(lengths, 20, 8, 0.5))
    for factor in (1.0, 0.5):
        settings = dict(max_length=20, buffer=8, factor=factor)
        note = "goes on falling beyond max_length"
        fallen = verl_overlong(lengths, 20, 8, factor)
        yield case(f"overlong_verl_{factor}", "verl DAPORewardManager", settings, fallen, note=note)


if __name__ == "__main__":
    makers = (verl_cases, verl_token_cases, trl_cases, openrlhf_cases, dr_grpo_cases)
    save(HERE / "groups.json", dict(
        versions={**versions("verl", "trl", "openrlhf"), **COMMITS}, cases=[c for make in makers for c in make()],
        overlong=list(overlong()),
    ))
