"""Evolution strategies: weights are perturbed, and those whose returns are high weigh most. No gradient is needed.

- `badger.learners.evolution.strategies`: `Evolution`, one outer step, of whole or of truncated episodes.
- `badger.learners.evolution.members`: how the members of a population play, as one batched computation.
- `badger.learners.evolution.share`: the members of one process, in chunks.
- `badger.learners.evolution.perturbations`: dense and low-rank noise.
- `badger.learners.evolution.low_rank`: members that share a matrix and differ in a product of narrow ones.
- `badger.learners.evolution.ranks`: ranks in place of returns.
- `badger.learners.evolution.cma_es`: `CMAES`, which adapts a covariance matrix, for some hundred weights.
- `badger.learners.evolution.member_act`: members that differ in their output head alone, as rows of one batch.
"""
