"""Rows and classes split over eight devices that one processor plays.

    python docs/examples/sharded.py

A line `== name` goes before what the part of that name prints.
"""

# --8<-- [start:mesh]
import re

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxtemp
from jaxtemp import losses

jax.config.update("jax_num_cpu_devices", 8)  # before the first use of a device
mesh = jax.make_mesh(
    (2, 4),
    ("rows", "classes"),
    axis_types=(AxisType.Auto,) * 2,
    devices=jax.devices("cpu"),
)
logits = 3 * jax.random.normal(jax.random.key(0), (8, 32_768))
tau = jnp.linspace(0.5, 2.0, 8)


def travels(f, *arguments):
    """Lists what devices exchange, read from the compiled program."""
    text = jax.jit(f).lower(*arguments).compile().as_text()
    kinds = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    found = re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", text)
    return [(kind, re.findall(r"\w+\[[\d,]*\]", shapes)) for shapes, kind in found]


# --8<-- [end:mesh]

print("== rows")
# --8<-- [start:rows]
by_rows = jax.device_put((logits, tau), NamedSharding(mesh, P(("rows", "classes"))))
print(jax.jit(jaxtemp.softmax)(*by_rows).sharding.spec)
print("travels:", travels(jaxtemp.softmax, *by_rows))
# --8<-- [end:rows]

print("== classes")
# --8<-- [start:classes]
split, row = P("rows", "classes"), P("rows")
z = jax.device_put(logits, NamedSharding(mesh, split))
t = jax.device_put(tau, NamedSharding(mesh, row))


@jax.shard_map(mesh=mesh, in_specs=(split, row), out_specs=(split, row))
def here(z, t):
    p = jaxtemp.softmax(z, t, axis_name="classes")
    return p, jaxtemp.entropy(z, t, axis_name="classes")


p, entropy = jax.jit(here)(z, t)
print("softmax", p.sharding.spec)
print("entropy", *(f"{x:.4f}" for x in entropy))
print("on one ", *(f"{x:.4f}" for x in jaxtemp.entropy(logits, tau)))
for kind, shapes in travels(here, z, t):
    print("travels:", kind, *shapes)
# --8<-- [end:classes]

print("== gradient")
# --8<-- [start:gradient]
labels = jnp.arange(8) * 4000  # they count over all devices


@jax.shard_map(mesh=mesh, in_specs=(split, row, row), out_specs=row)
def loss(z, labels, t):
    return losses.cross_entropy(z, labels, t, axis_name="classes")


def of_tau(t):
    return loss(z, labels, t).mean()


def of_tau_on_one(t):
    return losses.cross_entropy(logits, labels, t).mean()


for name, f in (("split ", of_tau), ("on one", of_tau_on_one)):
    value, slope = jax.jit(jax.value_and_grad(f))(tau)
    print(f"{name} loss {value:.5f}  dL/dτ", *(f"{x:.4f}" for x in slope))
# --8<-- [end:gradient]

print("== draw")
# --8<-- [start:draw]
keys = jax.random.split(jax.random.key(1), 8)


@jax.shard_map(mesh=mesh, in_specs=(row, split, row), out_specs=row)
def draw(keys, z, t):
    return jaxtemp.categorical(keys, z, t, axis_name="classes")


print("split ", jax.jit(draw)(keys, z, t))
print("on one", jaxtemp.categorical(keys, logits, tau))
# --8<-- [end:draw]
