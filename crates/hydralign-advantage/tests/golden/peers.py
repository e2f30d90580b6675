"""Runs functions of released wheels unchanged, without importing the packages around them.

`pip install --no-deps --target PEERS/<name> <name>==<version>` puts a wheel into its own folder; `take` then executes the
named top-level functions and classes of one of its files and nothing else, so that a trainer's imports (Ray, DeepSpeed,
vLLM) are not needed to call a twelve-line function.
"""

import ast
import json
import pathlib
import typing

import numpy as np
import torch

VERSIONS = {"verl": "0.9.1", "torchtune": "0.6.1", "trl": "1.12.0", "openrlhf": "0.11.2", "stable_baselines3": "2.9.2"}


def take(peers, package, file, names, **more):
    """The named definitions of PEERS/<package>/<file>, executed as they are. Checks the version of the wheel."""
    home = pathlib.Path(peers) / package
    version = VERSIONS[package]
    assert list(home.glob(f"{package}-{version}.dist-info")), f"{home} does not hold {package} {version}"
    tree = ast.parse((home / file).read_text())
    wanted = [n for n in tree.body if getattr(n, "name", None) in names]
    assert {n.name for n in wanted} == set(names), f"{file}: {names}"
    for node in wanted:
        # Registries and deprecation notes of the package; torch's own decorators stay.
        if hasattr(node, "decorator_list"):
            node.decorator_list = [d for d in node.decorator_list if "no_grad" in ast.unparse(d)]
        strip_annotations(node)
    scope = {"torch": torch, "np": np, "nn": torch.nn, "F": torch.nn.functional, "typing": typing, **more}
    scope.update({name: getattr(typing, name) for name in ("Any", "Callable", "Optional", "Tuple", "Union")})
    exec(compile(ast.Module(body=wanted, type_ignores=[]), file, "exec"), scope)
    return scope


def strip_annotations(node):
    """Types in signatures name classes that are not imported here."""
    for n in ast.walk(node):
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)):
            n.returns = None
            for a in [*n.args.args, *n.args.kwonlyargs, *n.args.posonlyargs]:
                a.annotation = None


def versions(*packages):
    found = {p: VERSIONS[p] for p in packages}
    return {**found, "torch": torch.__version__.split("+")[0], "numpy": np.__version__}


def rounded(value):
    """Numbers with ten significant digits: more than f32 holds, without the noise of the last bits."""
    if isinstance(value, torch.Tensor):
        value = value.detach().tolist()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.10g}")
    return value


def save(path, content):
    pathlib.Path(path).write_text(json.dumps(rounded(content), indent=None, separators=(",", ":")) + "\n")


class Batch:
    """Ragged rows of f32 numbers, padded for the peers and cut again for the file.

    The peers compute in float64 on inputs that float32 represents exactly.
    """

    def __init__(self, lengths, seed):
        self.lengths = lengths
        self.width = max(lengths)
        self.mask = torch.arange(self.width)[None] < torch.tensor(lengths)[:, None]
        self.rng = torch.Generator().manual_seed(seed)

    def normal(self, scale=1.0, shift=0.0):
        x = torch.randn(len(self.lengths), self.width, generator=self.rng) * scale + shift
        return (x * self.mask).double()

    def logprobs(self):
        x = -(torch.rand(len(self.lengths), self.width, generator=self.rng) * 3 + 0.05)
        return (x * self.mask).double()

    def cut(self, x):
        return [row[:n].tolist() for row, n in zip(x.detach(), self.lengths)]
