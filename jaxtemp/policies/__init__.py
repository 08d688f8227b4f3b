r"""Boltzmann policies: how an agent acts on action values at a temperature.

$$\pi(a) \propto e^{Q_a / \tau}$$

[`Boltzmann`][jaxtemp.policies.Boltzmann] is the policy. It draws actions, and has
their log-probabilities, its entropy, its greedy action and the soft value
$\tau \log \sum_a e^{Q_a/\tau}$. The functions make policies to explore with and compare
them:

| function | gives |
|---|---|
| `with_entropy(logits, target_entropy)` | the Boltzmann policy of that entropy |
| `mix(policy, epsilon)` | the policy with a share ε of uniform actions |
| `kl_divergence(p, q)` | how far policy p is from q |

The ε-greedy policy is `mix(Boltzmann(q, 0.0), epsilon)`. All is exact at $\tau = 0$,
which is uniform over the best actions, and at $\tau = \infty$, uniform over the allowed
ones. Derivatives in logits and temperature follow the rules of `jaxtemp.softmax`.
"""

from ._boltzmann import Boltzmann as Boltzmann
from ._divergence import kl_divergence as kl_divergence
from ._exploration import mix as mix
from ._exploration import with_entropy as with_entropy
