// The mathematics of the widgets: what jaxtemp computes, for one row of logits.

const ROUNDING = 1e-9; // ten shares of 0.1 do not quite add up to 1

const sum = (values) => values.reduce((total, value) => total + value, 0);

// p = softmax(z / τ) over the classes of a mask, with the limits at τ = 0 and τ = ∞.
export function softmax(logits, tau, mask = logits.map(() => true)) {
  const top = Math.max(...logits.filter((_, i) => mask[i]));
  const weights = logits.map((z, i) => (mask[i] ? weight(z - top, tau) : 0));
  const total = sum(weights);
  return weights.map((w) => w / total);
}

function weight(below, tau) {
  if (below === 0 || tau === Infinity) return 1; // 0 / 0 has no value
  return Math.exp(below / tau);
}

// Free energy, mean energy, entropy and heat capacity, with energies E = -z.
export function thermodynamics(logits, tau) {
  const p = softmax(logits, tau);
  const top = Math.max(...logits);
  const mean = sum(p.map((x, i) => x * (logits[i] - top)));
  const variance = sum(p.map((x, i) => x * (logits[i] - top - mean) ** 2));
  const entropy = -sum(p.map((x) => (x > 0 ? x * Math.log(x) : 0)));
  // F = U - τ S; where τ is 0 or infinite, S / τ and τ S are what they tend to.
  const free = tau === Infinity ? -Infinity : -top - mean - tau * entropy;
  const capacity = variance > 0 ? variance / tau ** 2 : 0;
  return { free, mean: -top - mean, entropy, capacity };
}

// The filters take and return masks. Classes stand in the order of their logits, the
// lowest index first among equals.
const order = (logits) => logits.map((_, i) => i).sort((i, j) => logits[j] - logits[i] || i - j);

export function topK(logits, mask, k) {
  const kept = new Set(order(logits).filter((i) => mask[i]).slice(0, k || logits.length));
  return mask.map((_, i) => kept.has(i));
}

export function topP(logits, tau, mask, p) {
  if (p >= 1) return mask;
  const share = softmax(logits, tau, mask);
  const kept = new Set();
  let before = 0;
  for (const i of order(logits).filter((i) => mask[i])) {
    if (kept.size > 0 && before >= p - ROUNDING) break;
    kept.add(i);
    before += share[i];
  }
  return mask.map((_, i) => kept.has(i));
}

export function minP(logits, tau, mask, p) {
  const share = softmax(logits, tau, mask);
  const least = p * Math.max(...share);
  return mask.map((allowed, i) => allowed && share[i] >= least);
}

// Random numbers in (0, 1) from a seed: Marsaglia's xorshift of 32 bits.
export function uniforms(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 0.5) / 2 ** 32;
  };
}

export const gumbel = (uniform) => -Math.log(-Math.log(uniform()));
