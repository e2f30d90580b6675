"""Writes log_prob.json: log-probabilities, entropies and gradients of PyTorch's own operations in double precision.

    python log_prob.py
"""

import json
import pathlib

import torch

HERE = pathlib.Path(__file__).resolve().parent
# n, hidden, vocab, temperature, soft cap, entropies, factor of the weights
CASES = [
    (5, 7, 11, 1.0, None, False, 1.0),
    (5, 7, 11, 1.0, None, True, 1.0),
    (6, 4, 17, 0.7, None, True, 2.0),
    (7, 5, 13, 1.0, 3.0, False, 2.0),
    (4, 6, 9, 1.6, 2.0, True, 1.0),
    (3, 8, 33, 0.8, 30.0, True, 6.0),
]


def run(seed, n, hidden, vocab, temperature, cap, entropies, factor):
    random = torch.Generator().manual_seed(seed)

    def draw(*size):  # float32 numbers, so that both sides begin with the same
        return torch.randn(*size, generator=random).double()

    h, w = draw(n, hidden).requires_grad_(), (factor * draw(hidden, vocab)).float().double().requires_grad_()
    targets = torch.randint(vocab, (n,), generator=random)
    g, e = draw(n), draw(n)
    logits = h @ w
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    policy = torch.distributions.Categorical(logits=logits / temperature)
    loss = (g * policy.log_prob(targets)).sum()
    if entropies:
        loss = loss + (e * policy.entropy()).sum()
    loss.backward()
    numbers = {
        "hidden": h, "weight": w, "g": g, "e": e, "logprobs": policy.log_prob(targets),
        "entropies": policy.entropy(), "hidden_gradient": h.grad, "weight_gradient": w.grad,
    }
    return {
        "sizes": [n, hidden, vocab], "temperature": temperature, "softcap": cap, "with_entropies": entropies,
        "targets": targets.tolist(), **{name: x.detach().flatten().tolist() for name, x in numbers.items()},
    }


cases = [run(seed, *case) for seed, case in enumerate(CASES)]
text = json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":"))
(HERE / "log_prob.json").write_text(text + "\n")
