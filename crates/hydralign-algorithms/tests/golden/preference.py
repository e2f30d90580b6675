"""Writes preference.json by running TRL's trainers and the repositories that the losses come from.

    python preference.py PEERS REPOS    # PEERS as `peers.py` of hydralign-advantage describes; REPOS/<owner>+<name>/<path>
                                        # holds the files of SOURCES as they were in the commits of COMMITS
"""

import ast
import collections
import contextlib
import functools
import hashlib
import math
import pathlib
import sys
import textwrap
import types
import typing

import torch
import transformers
from transformers.loss.loss_utils import ForCausalLMLoss

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "hydralign-advantage" / "tests" / "golden"))
from peers import Batch, save, strip_annotations, take, versions  # noqa: E402

PEERS, REPOS = sys.argv[1], pathlib.Path(sys.argv[2])
COMMITS = {
    "eric-mitchell/direct-preference-optimization": "f8b8c0f49dc92a430bae41585f9d467d3618fe2f",
    "uclaml/SPIN": "a12ba808a51c23bb98c7cc892d261e9c2f71ff8e",
    "princeton-nlp/SimPO": "1b3e8f3528a23bce3da514a2dce8ea7490d4bc75",
    "xfactlab/orpo": "208d2d648068e700cbb1ae0e8320b1dc99b014ec",
    "ContextualAI/HALOs": "4831988636b4cbc1c30c0bce78df568cf0f8103b",
}
# Each file with its git blob, so that a folder of another commit is noticed.
SOURCES = {
    ("eric-mitchell/direct-preference-optimization", "trainers.py"): "a7ac2f69ee8a9647fae967d850db1dd573e4e169",
    ("eric-mitchell/direct-preference-optimization", "utils.py"): "d7516425c1e8567cf5f78f839feb0c48aa4e7d90",
    ("uclaml/SPIN", "spin/alignment/trainer.py"): "6dada812bb71a6fa257fe3d6148aca7a7559ffe0",
    ("princeton-nlp/SimPO", "scripts/simpo_trainer.py"): "25fe2edc50c3c35b1e85970cb5b3bfcfbb606236",
    ("xfactlab/orpo", "src/orpo_trainer.py"): "978a62d783468cea0b3ae271480cf4b1c4e33694",
    ("ContextualAI/HALOs", "train/trainers.py"): "2fbac44e7989e739d3bde974edb4ddb6ba49027b",
    ("ContextualAI/HALOs", "train/utils.py"): "3694d55230d289571ed58790515607f944ca5a80",
}
NS = types.SimpleNamespace
torch.set_num_threads(1)


class Trainer:
    """In place of transformers' Trainer, of which no loss here uses anything but this name."""

    push_to_hub = None


def clone(repo, file, names, **more):
    """As `take`, from a checked-out file of a repository."""
    data = (REPOS / repo.replace("/", "+") / file).read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert blob == SOURCES[repo, file], f"{repo} {file} is not the file of commit {COMMITS[repo]}"
    wanted = [n for n in ast.parse(data).body if getattr(n, "name", None) in names]
    assert {n.name for n in wanted} == set(names), f"{file}: {names}"
    for node in wanted:
        strip_annotations(node)
    scope = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "Trainer": Trainer, **more}
    scope.update({name: getattr(typing, name) for name in ("Dict", "List", "Literal", "Optional", "Tuple", "Union")})
    exec(compile(ast.Module(body=wanted, type_ignores=[]), file, "exec"), scope)
    return scope


nothing = lambda *_, **__: contextlib.nullcontext()  # noqa: E731
false = lambda *_: False  # noqa: E731
logits_of = take(PEERS, "trl", "trl/trainer/utils.py", ["selective_log_softmax", "entropy_from_logits"])
common = dict(
    selective_log_softmax=logits_of["selective_log_softmax"], entropy_from_logits=logits_of["entropy_from_logits"],
    disable_gradient_checkpointing=nothing, is_peft_model=false, is_torch_xla_available=false, _BaseTrainer=object,
    Trainer=Trainer, wraps=functools.wraps, math=math, textwrap=textwrap, Literal=typing.Literal,
    defaultdict=collections.defaultdict,
    pad_to_length=take(PEERS, "trl", "trl/experimental/utils.py", ["pad_to_length"])["pad_to_length"],
)
TRL_DPO = take(PEERS, "trl", "trl/trainer/dpo_trainer.py", ["DPOTrainer"], **common)["DPOTrainer"]
TRL_KTO = take(PEERS, "trl", "trl/trainer/kto_trainer.py", ["KTOTrainer"], **common)["KTOTrainer"]
TRL_CPO = take(PEERS, "trl", "trl/experimental/cpo/cpo_trainer.py", ["CPOTrainer"], **common)["CPOTrainer"]
TRL_ORPO = take(PEERS, "trl", "trl/experimental/orpo/orpo_trainer.py", ["ORPOTrainer", "log1mexp"], **common)["ORPOTrainer"]
DPO = "eric-mitchell/direct-preference-optimization"
ORIGINAL = clone(
    DPO, "trainers.py", ["preference_loss", "_get_batch_logps", "concatenated_inputs", "BasicTrainer"],
    **{k: v for k, v in clone(DPO, "utils.py", ["pad_to_length", "all_gather_if_needed"]).items() if not k.startswith("__")},
)["BasicTrainer"]
SPIN = clone(
    "uclaml/SPIN", "spin/alignment/trainer.py", ["SPINTrainer"], contextmanager=contextlib.contextmanager, print=nothing,
    pad_to_length=common["pad_to_length"],
)["SPINTrainer"]
SIMPO = clone(
    "princeton-nlp/SimPO", "scripts/simpo_trainer.py", ["SimPOTrainer"], wraps=functools.wraps,
    pad_to_length=common["pad_to_length"],
)["SimPOTrainer"]
ORPO = clone("xfactlab/orpo", "src/orpo_trainer.py", ["ORPOTrainer"], wandb=NS(log=nothing))["ORPOTrainer"]
HALOS = clone(
    "ContextualAI/HALOs", "train/trainers.py",
    ["BasicTrainer", "PairedPreferenceTrainer", "UnpairedPreferenceTrainer", "DPOTrainer", "CDPOTrainer", "IPOTrainer",
     "SimPOTrainer", "KTOTrainer"],
    AutoModelForCausalLM=None,
    **{k: v for k, v in clone("ContextualAI/HALOs", "train/utils.py", ["pad_to_length", "delete_dicts"]).items()
       if not k.startswith("__")},
)


class Wide(torch.Tensor):
    """Some peers cast to float32 or bfloat16 inside the loss; this tensor stays float64 there."""

    def float(self):
        return self if self.is_floating_point() else super().float()

    def to(self, *args, **kwargs):
        return self if self.is_floating_point() else super().to(*args, **kwargs)


class Rows:
    """Completions after a prompt of one token, as token ids, and a model of two tokens that gives them `logprobs`.

    Every token of a completion has the id 1; its logit is its log-probability, and that of the token 0 is the complement's,
    so that the log-softmax is the log-probability itself. The id of the prompt, which is never predicted, tells the model
    whose rows are asked for.
    """

    def __init__(self, mask, prompt=1):
        first = torch.zeros(len(mask), 1, dtype=torch.long)
        self.mask, self.completion = mask, torch.cat([first, mask.long()], 1)
        self.attention, self.ids = self.completion.clone(), self.completion.clone()
        self.attention[:, 0], self.ids[:, 0] = 1, prompt
        self.labels = torch.where(self.completion == 1, self.ids, -100)

    def logits(self, logprobs):
        x = torch.where(self.mask, logprobs, math.log(0.5))
        logits = torch.stack([torch.log(-torch.expm1(x)), x], -1)
        return torch.cat([logits, torch.zeros_like(logits[:, :1])], 1).as_subclass(Wide)


def model(*rows_and_logprobs):
    """Answers with the first rows for the prompt 1, with the second for the prompt 0."""
    def forward(input_ids=None, labels=None, **_):
        rows, logprobs = rows_and_logprobs[0 if input_ids[0, 0] == 1 else 1]
        assert input_ids.shape == rows.ids.shape
        logits = rows.logits(logprobs)
        # Transformers' own loss of causal models, which one trainer takes its likelihood term from.
        loss = None if labels is None else ForCausalLMLoss(logits, labels, 2)
        return NS(logits=logits, loss=loss)

    return forward


class Pairs:
    """Chosen rows over rejected rows, of one width as the peers stack them."""

    def __init__(self, chosen, rejected, seed):
        self.n = len(chosen)
        self.batch = Batch([*chosen, *rejected], seed)
        self.policy = self.batch.logprobs().requires_grad_()
        self.ref = self.batch.logprobs()
        self.rows = Rows(self.batch.mask)

    def inputs(self, chosen, rejected, middle=""):
        """The batch under a peer's names, such as chosen_input_ids."""
        out = {}
        for name, part in ((chosen, slice(0, self.n)), (rejected, slice(self.n, None))):
            out[f"{name}_{middle}input_ids"] = self.rows.ids[part]
            out[f"{name}_{middle}attention_mask"] = self.rows.attention[part]
            out[f"{name}_labels"] = self.rows.labels[part]
        return out

    def policy_model(self):
        return model((self.rows, self.policy))

    def ref_model(self):
        return model((self.rows, self.ref))

    def both(self, name, x):
        rows = self.batch.cut(x)
        return {name.format("chosen"): rows[: self.n], name.format("rejected"): rows[self.n:]}


def bare(cls, **attributes):
    """A trainer without its constructor."""
    trainer = cls.__new__(cls)
    trainer.__dict__.update(attributes)
    return trainer


def accelerator(seen):
    """One process; what is gathered for the metrics is kept in `seen`."""
    def gather(x):
        seen.append(x)
        return x

    return NS(
        device="cpu", gather=gather, gather_for_metrics=gather, reduce=lambda x, **_: x, autocast=nothing,
    )


def kept(trainer, method):
    """The results of a method, which its own caller goes on to use."""
    results, inner = [], getattr(trainer, method)

    def outer(*args, **kwargs):
        results.append(inner(*args, **kwargs))
        return results[-1]

    setattr(trainer, method, outer)
    return results


# A peer: its name, its settings and `run(pairs)`, which gives the loss and the rewards of chosen and rejected rows.
Peer = collections.namedtuple("Peer", "name settings run")


def trl_dpo(loss_type=("sigmoid",), loss_weights=(1.0,), beta=0.1, label_smoothing=0.0):
    def run(p):
        seen = []
        trainer = bare(
            TRL_DPO, model=NS(training=False), accelerator=accelerator(seen), args=NS(gradient_checkpointing_kwargs=None),
            ld_alpha=None, precompute_ref_logps=False, aux_loss_enabled=False, ref_model=p.ref_model(), use_weighting=False,
            f_divergence_type="reverse_kl", loss_types=loss_type, loss_weights=loss_weights, beta=beta,
            label_smoothing=label_smoothing, _metrics={"eval": collections.defaultdict(list)}, _total_train_tokens=0,
        )
        inputs = dict(input_ids=p.rows.ids, attention_mask=p.rows.attention, completion_mask=p.rows.completion)
        loss = trainer._compute_loss(p.policy_model(), inputs, False)
        chosen, rejected = [x for x in seen if x.shape == (p.n,)][:2]
        return loss, chosen, rejected

    settings = dict(loss_type=list(loss_type), loss_weights=list(loss_weights), beta=beta, label_smoothing=label_smoothing)
    return Peer("trl DPOTrainer", settings, run)


def original(name="dpo", beta=0.1, label_smoothing=0.0, reference_free=False):
    settings = dict(name=name, beta=beta)
    if name == "dpo":
        settings.update(label_smoothing=label_smoothing, reference_free=reference_free)

    def run(p):
        trainer = bare(ORIGINAL, policy=p.policy_model(), reference_model=p.ref_model(), rank=0, world_size=1)
        loss, metrics = trainer.get_batch_metrics(p.inputs("chosen", "rejected"), NS(**settings))
        return loss, metrics["rewards_train/chosen"], metrics["rewards_train/rejected"]

    return Peer("eric-mitchell/direct-preference-optimization preference_loss", settings, run)


@contextlib.contextmanager
def wide_constructor():
    """`torch.Tensor([...])`, through which HALOs sums its estimate of the KL, takes the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def halos_trainer(name, settings, policy, reference):
    return bare(
        HALOS[name], config=NS(loss=NS(**settings), humanline=False, cache_reference_logprobs=False), accelerator=accelerator([]),
        policy=policy, reference_model=reference, policy_dtype=torch.float64,
    )


def halos(name, **settings):
    def run(p):
        trainer = halos_trainer(name, settings, p.policy_model(), p.ref_model())
        with wide_constructor():
            loss, metrics = trainer.get_batch_metrics(p.inputs("chosen", "rejected", "combined_"))
        return loss, metrics["rewards_train/chosen"], metrics["rewards_train/rejected"]

    return Peer(f"ContextualAI/HALOs {name}", settings, run)


def spin(**settings):
    def run(p):
        trainer = bare(
            SPIN, is_encoder_decoder=False, label_pad_token_id=-100, padding_value=0, accelerator=accelerator([]),
            ref_model=p.ref_model(), **settings,
        )
        losses = kept(trainer, "spin_loss")
        loss, _ = trainer.get_batch_metrics(p.policy_model(), p.inputs("real", "generated"))
        return loss, *losses[0][1:]

    return Peer("uclaml/SPIN SPINTrainer", settings, run)


def simpo(loss_type="sigmoid", beta=2.0, gamma_beta_ratio=0.5, label_smoothing=0.0, sft_weight=0.0):
    settings = dict(
        loss_type=loss_type, beta=beta, gamma_beta_ratio=gamma_beta_ratio, label_smoothing=label_smoothing, sft_weight=sft_weight
    )

    def run(p):
        trainer = bare(
            SIMPO, is_encoder_decoder=False, label_pad_token_id=-100, padding_value=0, accelerator=accelerator([]), **settings
        )
        losses = kept(trainer, "simpo_loss")
        loss, _ = trainer.get_batch_loss_metrics(p.policy_model(), p.inputs("chosen", "rejected"))
        return loss, *losses[0][1:]

    return Peer("princeton-nlp/SimPO SimPOTrainer", settings, run)


def trl_cpo(loss_type="sigmoid", beta=0.1, cpo_alpha=1.0, label_smoothing=0.0, simpo_gamma=None):
    settings = dict(loss_type=loss_type, beta=beta, cpo_alpha=cpo_alpha, label_smoothing=label_smoothing)
    if simpo_gamma is not None:
        settings["simpo_gamma"] = simpo_gamma

    def run(p):
        seen = []
        trainer = bare(
            TRL_CPO, is_encoder_decoder=False, pad_token_id=0, accelerator=accelerator(seen), aux_loss_enabled=False, alpha=0.0,
            **settings,
        )
        loss, _ = trainer.get_batch_loss_metrics(p.policy_model(), p.inputs("chosen", "rejected"))
        return loss, *seen[:2]

    return Peer("trl CPOTrainer", settings, run)


def trl_orpo(beta):
    def run(p):
        seen = []
        trainer = bare(
            TRL_ORPO, is_encoder_decoder=False, padding_value=0, accelerator=accelerator(seen), aux_loss_enabled=False, beta=beta
        )
        loss, _ = trainer.get_batch_loss_metrics(p.policy_model(), p.inputs("chosen", "rejected"))
        return loss, *seen[:2]

    return Peer("trl ORPOTrainer", dict(beta=beta), run)


def orpo(alpha):
    def run(p):
        assert p.batch.mask.all(), "its average counts one token of padding"
        trainer = bare(
            ORPO, pad=0, alpha=alpha, loss_fct=torch.nn.CrossEntropyLoss(reduction="none"), disable_prompt_loss=False,
            label_smoother=None,
        )
        positive, negative = Rows(p.batch.mask[: p.n]), Rows(p.batch.mask[p.n:], prompt=0)
        prompt = torch.zeros_like(positive.ids)
        prompt[:, 0] = 1
        inputs = dict(
            attention_mask=prompt, positive_input_ids=positive.ids, positive_attention_mask=positive.attention,
            negative_input_ids=negative.ids, negative_attention_mask=negative.attention,
        )
        return trainer.compute_loss(model((positive, p.policy[: p.n]), (negative, p.policy[p.n:])), inputs), None, None

    return Peer("xfactlab/orpo ORPOTrainer", dict(alpha=alpha), run)


def gradient(loss, leaf):
    # Without the sign of a zero.
    return torch.autograd.grad(loss, leaf)[0] + 0.0


SHAPES = {
    1000: ([4, 1, 6, 3], [3, 5, 2, 1]),
    1001: ([2, 5, 1], [4, 1, 3]),
    1002: ([5, 5, 5, 5], [5, 5, 5, 5]),  # nothing is padded
    1003: ([1, 1, 1], [1, 1, 1]),
}


def case(name, seed, peer, *also, reference=True, note=None):
    """One loss of one batch by `peer`; `also` are peers that computed the same loss and gradients."""
    p = Pairs(*SHAPES[seed], seed)
    loss, chosen, rejected = peer.run(p)
    grad = gradient(loss, p.policy)
    for other in also:
        other_loss = other.run(p)[0]
        torch.testing.assert_close(other_loss.item(), loss.item(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(gradient(other_loss, p.policy), grad, rtol=1e-10, atol=1e-12)
    out = dict(name=name, peer=peer.name, settings=peer.settings)
    if also:
        out["also"] = [dict(peer=o.name, settings=o.settings) for o in also]
    if note:
        out["note"] = note
    out.update(p.both("{}", p.policy))
    out.update(p.both("ref_{}", p.ref) if reference else dict(ref_chosen=None, ref_rejected=None))
    out["loss"] = loss.item()
    out.update(p.both("gradient_{}", grad))
    if chosen is not None:
        out.update(chosen_rewards=[float(x) for x in chosen], rejected_rewards=[float(x) for x in rejected])
    return out


def preferences():
    cases = []

    def add(*args, **kwargs):
        cases.append(case(*args, **kwargs))

    for seed in (1000, 1001):
        for beta in (0.1, 0.5):
            add(f"dpo_sigmoid_{beta}_{seed}", seed, trl_dpo(beta=beta), original(beta=beta), halos("DPOTrainer", beta=beta))
    for seed in (1000, 1001):
        add(f"cdpo_{seed}", seed, original(beta=0.1, label_smoothing=0.1), halos("CDPOTrainer", beta=0.1, epsilon=0.1))
    add("robust_0.1", 1000, trl_dpo(("robust",), beta=0.1, label_smoothing=0.1))
    add("robust_0.3", 1001, trl_dpo(("robust",), beta=0.5, label_smoothing=0.3))
    add("hinge_0.1", 1000, trl_dpo(("hinge",), beta=0.1))
    add("hinge_0.5", 1000, trl_dpo(("hinge",), beta=0.5))
    for seed in (1000, 1001):
        add(f"ipo_mean_{seed}", seed, trl_dpo(("ipo",), beta=0.1), halos("IPOTrainer", tau=0.1),
            note="log-ratios are means over the tokens of a row")
        add(f"ipo_sum_{seed}", seed, original("ipo", beta=0.1), note="log-ratios are sums over the tokens of a row")
    add("reference_free", 1000, original(beta=0.1, reference_free=True), trl_cpo(beta=0.1, cpo_alpha=0.0),
        note="only the rewards use the reference")
    add("reference_free_smoothed", 1001, original(beta=0.5, label_smoothing=0.1, reference_free=True),
        trl_cpo(beta=0.5, cpo_alpha=0.0, label_smoothing=0.1), note="only the rewards use the reference")
    for seed, beta, ratio in ((1000, 2.0, 0.5), (1001, 10.0, 0.3)):
        add(f"simpo_{seed}", seed, simpo(beta=beta, gamma_beta_ratio=ratio),
            trl_cpo("simpo", beta=beta, cpo_alpha=0.0, simpo_gamma=beta * ratio),
            halos("SimPOTrainer", beta=beta, gamma_beta_ratio=ratio), reference=False)
    add("simpo_smoothed", 1000, simpo(label_smoothing=0.1),
        trl_cpo("simpo", beta=2.0, cpo_alpha=0.0, simpo_gamma=1.0, label_smoothing=0.1), reference=False)
    add("simpo_hinge", 1001, simpo("hinge"), reference=False)
    add("simpo_nll", 1000, simpo(sft_weight=0.25), trl_cpo("simpo", beta=2.0, cpo_alpha=0.25, simpo_gamma=1.0), reference=False)
    for seed in (1000, 1001):
        add(f"cpo_{seed}", seed, trl_cpo(beta=0.1, cpo_alpha=1.0), reference=False)
    add("cpo_smoothed", 1001, trl_cpo(beta=0.5, cpo_alpha=0.5, label_smoothing=0.1), reference=False)
    for seed in (1000, 1001):
        add(f"orpo_{seed}", seed, trl_orpo(0.1), reference=False)
    for seed in (1002, 1003):
        add(f"orpo_original_{seed}", seed, orpo(0.25), trl_orpo(0.25), reference=False)
    for seed in (1000, 1001):
        add(f"spin_sigmoid_{seed}", seed, spin(loss_type="sigmoid", beta=0.1), trl_dpo(beta=0.1))
    add("spin_hinge", 1001, spin(loss_type="hinge", beta=0.5), trl_dpo(("hinge",), beta=0.5))
    for seed, weight in ((1000, 1.0), (1001, 0.2)):
        add(f"dpo_nll_{seed}", seed, trl_dpo(("sigmoid", "sft"), (1.0, weight), beta=0.1),
            note="the second term is the mean over all chosen tokens of the batch, not over pairs")
    return cases


def kto_trl(p, settings):
    batch = dict(
        input_ids=p.rows.ids, attention_mask=p.rows.attention, completion_mask=p.rows.completion, KL_input_ids=p.kl_rows.ids,
        KL_attention_mask=p.kl_rows.attention, KL_completion_mask=p.kl_rows.completion, label=torch.arange(len(p.rows.ids)) < p.n,
    )
    metrics = {"eval": collections.defaultdict(list)}
    trainer = bare(
        TRL_KTO, model=NS(training=False), accelerator=accelerator([]), args=NS(gradient_checkpointing_kwargs=None),
        calculate_KL=True, use_liger_kernel=False, precompute_ref_logps=False, aux_loss_enabled=False, loss_type="kto",
        ref_model=model((p.rows, p.ref), (p.kl_rows, p.kl_ref)), _metrics=metrics, _total_train_tokens=0, **settings,
    )
    loss = trainer._compute_loss(model((p.rows, p.policy), (p.kl_rows, p.kl)), batch, False)
    return loss, metrics["eval"]["kl"][0]


def kto_halos(p, settings):
    batch = dict(
        target_combined_input_ids=p.rows.ids, target_combined_attention_mask=p.rows.attention, target_labels=p.rows.labels,
        KL_combined_input_ids=p.kl_rows.ids, KL_combined_attention_mask=p.kl_rows.attention, KL_labels=p.kl_rows.labels,
        status=["chosen" if i < p.n else "rejected" for i in range(len(p.rows.ids))],
    )
    policy, reference = model((p.rows, p.policy), (p.kl_rows, p.kl)), model((p.rows, p.ref), (p.kl_rows, p.kl_ref))
    trainer = halos_trainer("KTOTrainer", settings, policy, reference)
    with wide_constructor():
        loss, metrics = trainer.get_batch_metrics(batch)
    return loss, float(metrics["rewards_train/KL_estimate"])


def kto_case(name, desirable, undesirable, seed, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0, falls=False):
    """`falls`: the policy gives the mismatched completions less than the reference, and the estimate is cut at 0."""
    p = Pairs(desirable, undesirable, seed)
    # TRL gives each prompt the completion of the row before; the rows count as desirable first.
    lengths = [*desirable, *undesirable]
    kl = Batch([lengths[-1], *lengths[:-1]], seed + 50)
    p.kl_rows, p.kl, p.kl_ref = Rows(kl.mask, prompt=0), kl.logprobs(), kl.logprobs()
    if ((p.kl - p.kl_ref).sum() < 0) != falls:
        p.kl, p.kl_ref = p.kl_ref, p.kl
    settings = dict(beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight)
    loss, estimate = kto_trl(p, settings)
    assert (estimate == 0.0) == falls
    grad = gradient(loss, p.policy)
    other_loss, other_estimate = kto_halos(p, settings)
    torch.testing.assert_close([other_loss.item(), other_estimate], [loss.item(), estimate], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient(other_loss, p.policy), grad, rtol=1e-10, atol=1e-12)
    rows, ref, grad = (p.batch.cut(x) for x in (p.policy, p.ref, grad))
    return dict(
        name=name, peer="trl KTOTrainer", also=[dict(peer="ContextualAI/HALOs KTOTrainer", settings=settings)], settings=settings,
        desirable=rows[: p.n], ref_desirable=ref[: p.n], undesirable=rows[p.n:], ref_undesirable=ref[p.n:], kl=kl.cut(p.kl),
        ref_kl=kl.cut(p.kl_ref), loss=loss.item(), gradient_desirable=grad[: p.n], gradient_undesirable=grad[p.n:],
        kl_estimate=estimate,
    )


def kto():
    return [
        kto_case("kto_1100", [4, 1], [3, 5, 2], 1100),
        kto_case("kto_1101", [2, 6], [1, 3], 1101, beta=0.5),
        kto_case("kto_weights", [3, 1, 4], [5], 1102, desirable_weight=0.5, undesirable_weight=1.5),
        kto_case("kto_only_desirable", [4, 1, 2], [], 1103),
        kto_case("kto_only_undesirable", [], [2, 5, 1], 1104, beta=0.5, undesirable_weight=1.25),
        kto_case("kto_estimate_cut", [3, 2], [1, 4], 1105, falls=True),
        kto_case("kto_paired", [4, 1, 3], [2, 5, 1], 1106),
    ]


if __name__ == "__main__":
    found = {**versions("trl"), "transformers": transformers.__version__, **COMMITS}
    save(HERE / "preference.json", dict(versions=found, cases=preferences(), kto=kto()))
