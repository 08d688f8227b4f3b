"""Boltzmann exploration of a gridworld with a near reward, a far one and a cliff.

    python docs/examples/gridworld.py

It learns under three plans for the temperature and prints what each of them finds.
"""

from __future__ import annotations

import functools

# --8<-- [start:world]
import jax
import jax.numpy as jnp
import numpy as np

from jaxtemp.learning import schedules
from jaxtemp.policies import Boltzmann

WORLD = """
..1.....
........
........
S######9
"""
PAYS = {".": 0.0, "S": 0.0, "1": 1.0, "9": 10.0, "#": -10.0}
MOVES = [[-1, 0], [0, 1], [1, 0], [0, -1]]

cells = np.array([list(line) for line in WORLD.split()])
places = np.argwhere(cells != "")  # row and column of each state
targets = places[:, None] + MOVES
inside = ((targets >= 0) & (targets < cells.shape)).all(axis=-1)
targets = np.where(inside[..., None], targets, 0)

LEGAL = jnp.array(inside)
NEXT = jnp.array(targets @ [cells.shape[1], 1])
REWARD = jnp.array([PAYS[cell] for cell in cells.flat])
START = int(np.flatnonzero(cells == "S")[0])
# --8<-- [end:world]

STEPS = 20_000
PLANS = {
    "τ = 0.1": jnp.full(STEPS, 0.1),
    "τ = 1": jnp.full(STEPS, 1.0),
    "τ from 1 to 0": schedules.linear(1.0, 0.0, steps=STEPS)(jnp.arange(STEPS)),
}


# --8<-- [start:learn]
@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))  # plans
@functools.partial(jax.vmap, in_axes=(None, 0))  # seeds
def learn(plan, key):
    """Action values after all steps of a plan, and the reward of each step."""

    def step(carry, now):
        q, state = carry
        tau, key = now
        action = Boltzmann(q[state], tau, where=LEGAL[state]).sample(key)
        new = NEXT[state, action]
        reward, ends = REWARD[new], REWARD[new] != 0
        ahead = Boltzmann(q[new], tau, where=LEGAL[new]).probs() @ q[new]
        expected = reward + 0.95 * jnp.where(ends, 0, ahead)
        q = q.at[state, action].add(0.2 * (expected - q[state, action]))
        return (q, jnp.where(ends, START, new)), reward

    begin = jnp.zeros(LEGAL.shape), START
    inputs = plan, jax.random.split(key, len(plan))
    (q, _), rewards = jax.lax.scan(step, begin, inputs)
    return q, rewards


# --8<-- [end:learn]


@jax.jit
@jax.vmap
@jax.vmap
def greedy_path(q):
    """The states that the greedy policy goes through, the last one repeated."""
    best = Boltzmann(q, where=LEGAL).mode()

    def step(state, _):
        ends = REWARD[state] != 0
        return jnp.where(ends, state, NEXT[state, best[state]]), state

    return jax.lax.scan(step, START, length=len(LEGAL))[1]


def drawn(path) -> str:
    """The world with a star on each state of a path."""
    on_path = np.isin(np.arange(cells.size), path).reshape(cells.shape)
    return "\n".join("".join(line) for line in np.where(on_path, "*", cells))


def report(q, rewards):
    """Print what every plan has found, and a path of the last."""
    paths = greedy_path(q)
    for name, path, runs in zip(PLANS, paths, rewards, strict=True):
        share = (REWARD[path[:, -1]] == PAYS["9"]).mean()
        late = runs[:, -1000:].mean(axis=1)
        interval = 1.96 * late.std() / len(late) ** 0.5
        print(f"{name:14} the greedy path ends at 9 for {share:4.0%} of the seeds;")
        print(
            f"{'':14} the last 1000 steps pay {late.mean():.3f} ± {interval:.3f} each"
        )
    print(drawn(paths[-1, 0]))


if __name__ == "__main__":
    keys = jax.random.split(jax.random.key(1), 200)
    report(*learn(jnp.stack([*PLANS.values()]), keys))
