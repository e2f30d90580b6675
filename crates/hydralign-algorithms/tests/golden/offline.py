"""Writes offline.json by running the losses of trlX (ILQL) and XQL, and the weights of AWR.

    python offline.py PEERS REPOS   # PEERS as `peers.py` of hydralign-advantage describes; REPOS/<owner>+<name>/<path>
                                    # holds the files that are cloned below, as they were in the commits of COMMITS
"""

import collections
import dataclasses
import functools
import os
import pathlib
import sys

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "hydralign-advantage" / "tests" / "golden"))
from groups import NS, bare, clone, same, wide  # noqa: E402
from peers import save, versions  # noqa: E402

COMMITS = {
    "CarperAI/trlx": "3340c2f3a56d1d14fdd5f13ad575121fa26b6d92",
    "Div99/XQL": "dff09afb893fe782be259c2420903f8dfb50ef2c",
    "xbpeng/awr": "831442fb8d4c24bd200667cbc5e458c7657effc2",
}
torch.set_num_threads(1)
VOCAB = 7

# Shapes in annotations, and parents that hold nothing of the losses.
trlx = dict(
    TensorType=collections.defaultdict(object), dataclass=dataclasses.dataclass, register_method=same, MethodConfig=object,
    BaseRolloutStore=object, reduce=functools.reduce, os=os, MutableMapping=dict,
    pad_sequence=pad_sequence,
)
TRLX = "CarperAI/trlx"
trlx.update(
    clone(TRLX, "trlx/data/ilql_types.py", "9d75249e909eec921f8e6c326eb973276f8097c1", ["ILQLElement", "ILQLBatch"], **trlx)
)
trlx.update(clone(
    TRLX, "trlx/utils/modeling.py", "aa9bba52516ae0173189115daa10f907696b5cb7", ["get_tensor_stats", "flatten_dict"], **trlx
))
trlx.update(clone(
    TRLX, "trlx/pipeline/offline_pipeline.py", "fa978da003b006deaa89b0680b4931592e314504",
    ["DialogMessage", "ILQLRolloutStorage", "ilql_collate_fn"], **trlx,
))
trlx.update(clone(
    TRLX, "trlx/models/modeling_ilql.py", "e3c0d3f2e5a803e4aa7bb3bd69fcf4963a0ffa9b",
    ["ILQLConfig", "ILQLHeads", "batched_index_select"], **trlx,
))
trlx.update(clone(
    TRLX, "trlx/trainer/accelerate_ilql_trainer.py", "b2aae2929fc0b47d4709e2fd0a2294f970830d3a", ["make_experience"], **trlx
))


class Jnp:
    """The functions of jax.numpy that the losses of XQL call, by torch."""

    exp, where = torch.exp, torch.where

    @staticmethod
    def minimum(x, y):
        return torch.minimum(x, torch.as_tensor(y, dtype=x.dtype))

    @staticmethod
    def max(x, axis):
        return torch.amax(x, axis)

    @staticmethod
    def mean(x, axis, keepdims):
        return torch.mean(x, axis, keepdim=keepdims)


jax = NS(lax=NS(stop_gradient=torch.Tensor.detach), random=NS(split=lambda _: (None, None)))
xql = clone(
    "Div99/XQL", "offline/critic.py", "25deae0faa7a580001a5ee945b32e595d1932815",
    ["gumbel_rescale_loss", "gumbel_log_loss", "grad_gumbel", "expectile_loss", "update_v"], jnp=Jnp, jax=jax,
)
xql_actor = clone("Div99/XQL", "offline/actor.py", "e38125fb871e3180485e6b395c2e604a570fd387", ["update"], jnp=Jnp)
AWR = clone(
    "xbpeng/awr", "learning/awr_agent.py", "78b522e0559134ee7c74ddcdde60e8aaeef0f7d3", ["AWRAgent"],
    rl_agent=NS(RLAgent=object),
)["AWRAgent"]


def dialogues(*phrases):
    """Dialogues from the lengths of their phrases, of which every second one is the model's."""
    token = iter(range(10**6))
    return [
        [
            trlx["DialogMessage"](i % 2 == 1, tuple((3 * next(token) + 1) % VOCAB for _ in range(n)))
            for i, n in enumerate(lengths)
        ]
        for lengths in phrases
    ]


def gradient(loss, *leaves):
    # Without the sign of a zero.
    return [g + 0.0 for g in torch.autograd.grad(loss, leaves)]


def ilql(name, seed, two_qs=True, given=False, phrases=((2, 2), (1, 1), (1, 1, 1, 2)), **settings):
    """`given`: a reward at each action, in place of the returns that trlX whitens and puts at the last actions."""
    rng = torch.Generator().manual_seed(seed)
    samples = dialogues(*phrases)
    returns = [1.0, -0.5, 0.75][: len(samples)]
    store = trlx["make_experience"](samples, returns, verbose=False)
    rows = [store[i] for i in range(len(samples))]
    if given:
        for row in rows:
            row.rewards = torch.randn(row.rewards.shape, generator=rng)
    batch = trlx["ilql_collate_fn"](rows)
    batch.rewards = batch.rewards.double()
    actions, tokens = [len(row.actions_ixs) for row in rows], [len(row.input_ids) for row in rows]
    states = [n + 1 for n in actions]

    def draw(lengths, *shape):
        x = torch.randn(len(lengths), max(lengths), *shape, generator=rng)
        for row, n in zip(x, lengths):
            row[n:] = 0.0
        return x.double()

    def cut(x, lengths):
        return [row[:n].tolist() for row, n in zip(x.detach(), lengths)]

    heads = ("q1", "q2") if two_qs else ("q1",)
    qs = [draw(actions, VOCAB).requires_grad_() for _ in heads]
    targets = [draw(actions, VOCAB) for _ in heads]
    v, logits = draw(states, 1).requires_grad_(), draw(tokens, VOCAB).requires_grad_()
    config = trlx["ILQLConfig"](two_qs=two_qs, alpha=0.001, steps_for_target_q_sync=1, gen_kwargs={}, **settings)
    loss, stats = config.loss((logits, (qs, targets, v)), batch)
    *q_gradients, v_gradient, logits_gradient = gradient(loss, *qs, v, logits)
    out = dict(name=name, peer="CarperAI/trlx ILQLConfig", settings=dict(two_qs=two_qs, **settings))
    if not given:
        out["returns"] = returns
    out.update(
        tokens=[row.input_ids.tolist() for row in rows], actions_ixs=[row.actions_ixs.tolist() for row in rows],
        states_ixs=[row.states_ixs.tolist() for row in rows], dones=[row.dones.tolist() for row in rows],
        rewards=[row.rewards.tolist() for row in rows],
    )
    out.update({k: cut(x, actions) for k, x in zip(heads, qs)})
    out.update({f"target_{k}": cut(x, actions) for k, x in zip(heads, targets)})
    out.update(v=cut(v[..., 0], states), logits=cut(logits, tokens))
    out.update({k: stats[f"losses/{k}"] for k in ("loss", "loss_q", "loss_v", "loss_cql", "loss_awac")})
    out.update({f"gradient_{k}": cut(x, actions) for k, x in zip(heads, q_gradients)})
    out.update(gradient_v=cut(v_gradient[..., 0], states), gradient_logits=cut(logits_gradient, tokens))
    return out


def ilql_cases():
    return [
        ilql("ilql_defaults", 1300, tau=0.7, gamma=0.99, cql_scale=0.1, awac_scale=1.0, beta=0.0),
        ilql("ilql_weighted", 1301, given=True, tau=0.7, gamma=0.9, cql_scale=0.1, awac_scale=0.5, beta=1.0),
        ilql("ilql_high", 1302, given=True, tau=0.95, gamma=1.0, cql_scale=0.5, awac_scale=1.0, beta=0.5),
        ilql("ilql_one_q", 1303, two_qs=False, given=True, tau=0.3, gamma=0.99, cql_scale=1.0, awac_scale=1.0, beta=2.0),
        ilql("ilql_q_and_v", 1304, given=True, tau=0.7, gamma=0.5, cql_scale=0.0, awac_scale=0.0, beta=1.0),
        ilql("ilql_one_action", 1305, given=True, phrases=((1, 1),), tau=0.7, gamma=0.9, cql_scale=0.1, awac_scale=1.0, beta=1.0),
    ]


def sync():
    rng = torch.Generator().manual_seed(1310)
    for alpha in (0.001, 0.25, 1.0):
        head, target = torch.nn.Linear(2, 3).double(), torch.nn.Linear(2, 3).double()
        for p in (head.weight, head.bias, target.weight, target.bias):
            p.data = torch.randn(p.shape, generator=rng).double()
        flat = lambda m: [*m.weight.data.flatten().tolist(), *m.bias.data.tolist()]  # noqa: E731
        row = dict(peer="CarperAI/trlx ILQLHeads", alpha=alpha, q=flat(head), target=flat(target))
        trlx["ILQLHeads"]._sync_target_q_heads(NS(q_heads=[head], target_q_heads=[target]), alpha)
        yield dict(**row, synced=flat(target))


DIFFS = [-3.0, -1.5, -0.75, -0.125, 0.25, 0.5, 1.25, 2.5, 4.0]


def value_loss(diff, vanilla=False, expectile=None, loss_temp=1.0, max_clip=None):
    """XQL's update of V where Q is `diff` and V is 0."""
    zero = torch.zeros(diff.shape).double()
    value = NS(apply=lambda *_: zero, apply_gradient=lambda loss: (loss(None)[0], None))
    args = NS(sample_random_times=0, noise=False, log_loss=False, max_clip=max_clip)
    batch = NS(observations=None, actions=None)
    with wide():
        return xql["update_v"](lambda *_: (diff, diff), value, batch, expectile, loss_temp, True, vanilla, None, args)[0]


def xql_cases():
    def case(name, peer, settings, run, diffs=DIFFS, note=None):
        diff = torch.tensor(diffs).double().requires_grad_()
        loss = run(diff)
        row = dict(name=name, peer=f"Div99/XQL {peer}", settings=settings)
        if note:
            row["note"] = note
        return dict(**row, diff=diffs, loss=loss.item(), gradient=gradient(loss, diff)[0].tolist())

    def rescaled(name, diffs=DIFFS, note=None, **settings):
        return case(name, "gumbel_rescale_loss", settings, lambda diff: value_loss(diff, **settings), diffs, note)

    yield rescaled("gumbel", loss_temp=1.0, max_clip=None)
    yield rescaled("gumbel_clip_far", loss_temp=1.0, max_clip=7.0, note="no z is clipped")
    yield rescaled("gumbel_clip", loss_temp=1.0, max_clip=2.0)
    yield rescaled("gumbel_clip_all", loss_temp=1.0, max_clip=-4.0, note="every z is clipped: no gradient")
    yield rescaled("gumbel_warm", loss_temp=5.0, max_clip=7.0)
    yield rescaled("gumbel_cold", loss_temp=0.5, max_clip=7.0, note="the largest z is clipped")
    low = [x - 6.0 for x in DIFFS]
    yield rescaled("gumbel_low", low, "the largest z is below -1, and -1 stands in its place", loss_temp=1.0, max_clip=7.0)
    yield rescaled("gumbel_one", [0.5], loss_temp=1.0, max_clip=7.0)
    note = "the gradient is that of log(mean(exp(z) - z)), where z is cut at 7 but keeps its gradient; the loss has no meaning"
    for name, diffs, temp in (("log", DIFFS, 1.0), ("log_warm", DIFFS, 5.0), ("log_cut", DIFFS, 0.5), ("log_low", low, 1.0)):
        run = lambda diff: xql["gumbel_log_loss"](diff, alpha=temp).mean()  # noqa: E731
        yield case(f"gumbel_{name}", "gumbel_log_loss", dict(loss_temp=temp), run, diffs, note)
    for tau in (0.7, 0.9):
        run = lambda diff: value_loss(diff, vanilla=True, expectile=tau)  # noqa: E731
        yield case(f"expectile_{tau}", "expectile_loss", dict(expectile=tau), run)


def actor():
    """The actor's loss of XQL, whose gradient is minus its weight over the number of samples."""
    rng = torch.Generator().manual_seed(1320)
    for temperature in (0.5, 3.0):
        q1, q2, v = (torch.randn(6, generator=rng).double() for _ in range(3))
        q1[0] = q2[0] = 4.0
        logprobs = (-3.0 * torch.rand(6, generator=rng)).double().requires_grad_()
        policy = NS(
            apply=lambda *_, **__: NS(log_prob=lambda _: logprobs), apply_gradient=lambda loss: (loss(None)[0], None)
        )
        batch = NS(observations=None, actions=None)
        loss, _ = xql_actor["update"](None, policy, lambda *_: (q1, q2), lambda _: v, batch, temperature, True)
        yield dict(
            peer="Div99/XQL update of the actor", temperature=temperature, q1=q1, q2=q2, v=v, logprobs=logprobs, loss=loss.item(),
            gradient=gradient(loss, logprobs)[0],
        )


def awr():
    advantages = np.array([-2.5, -0.75, 0.0, 0.125, 1.0, 2.75, 3.25, 4.5])
    everyone = np.ones(len(advantages), bool)
    for temp in (1.0, 0.5, 2.0):
        agent = bare(AWR, _temp=temp, _weight_clip=20)
        weights, mean, low, high = agent._calc_adv_weights(advantages, everyone)
        yield dict(
            peer="xbpeng/awr AWRAgent._calc_adv_weights", temp=temp, weight_clip=20, advantages=advantages, weights=weights,
            unclipped_mean=float(mean), unclipped_min=float(low), unclipped_max=float(high),
        )
    # The ends of paths, which are states without an action, count neither in the mean nor in the deviation.
    rng = np.random.RandomState(1330)
    vals, new_vals = (rng.randn(9).astype(np.float32).astype(float) for _ in range(2))
    valid = np.array([1, 1, 0, 1, 1, 1, 0, 1, 0], bool)
    new_vals[4] += 8.0
    agent = bare(AWR, _temp=0.5, _weight_clip=20)
    _, normalised, mean, deviation = agent._calc_adv(new_vals, vals, valid)
    weights, *_ = agent._calc_adv_weights(normalised, valid)
    assert weights[valid].max() == 20
    yield dict(
        peer="xbpeng/awr AWRAgent._calc_adv and _calc_adv_weights", temp=0.5, weight_clip=20, values=vals[valid],
        returns=new_vals[valid], advantages_mean=float(mean), advantages_deviation=float(deviation), epsilon=AWR.ADV_EPS,
        advantages=normalised[valid], weights=weights[valid],
    )


if __name__ == "__main__":
    save(HERE / "offline.json", dict(
        versions={**versions(), **COMMITS}, cases=ilql_cases(), sync=list(sync()), xql=list(xql_cases()), actor=list(actor()),
        awr=list(awr()),
    ))
