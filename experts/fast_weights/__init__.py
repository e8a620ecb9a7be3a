"""Fast weights: memories that are written by changing weights within an episode.

neural_memory.py      `NeuralMemory`, metalearned neural memory (Munkhdalai et al. 2019)
write_rules.py        its feed-forward network and its two write rules, local and gradient
reversible_write.py   its step as one function, whose backward pass undoes the write
deferred_matmul.py    products with one matrix, whose gradient is computed once for all of them
plastic.py            `Plastic`: a recurrent network with differentiable plasticity (Miconi et al. 2018)
hebbian_rules.py      the Hebbian rules of its trace
low_rank_sum.py       a decaying sum of outer products, kept as factors for some steps
"""
