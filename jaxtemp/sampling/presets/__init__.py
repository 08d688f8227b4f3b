"""Chains that reproduce the samplers of other systems: order, boundaries and ties.

The same numbers mean different distributions in different systems. A preset takes the
arguments of one system under their names there, with its defaults, and gives the chain
that keeps the same tokens with the same probabilities; the random numbers are JAX's.

A number that switches its step off leaves the step out; an array, which may be traced,
always has one. So `top_p=jax.numpy.float32(1.0)` makes a chain whose structure stays
the same when the number changes.

Tokens and `prompt_length` are given to the chain, as for `chain`. Beam search,
grammars, watermarks and stop conditions are no part of a preset.
"""

from ._huggingface import huggingface as huggingface
from ._llama_cpp import llama_cpp as llama_cpp
from ._sglang import sglang as sglang
from ._vllm import vllm as vllm

__all__ = ["huggingface", "llama_cpp", "sglang", "vllm"]
