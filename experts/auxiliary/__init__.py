"""Auxiliary losses as wrappers around any core; the learner adds them to its own loss by name.

contrastive_predictive.py   `Predictive`: contrastive predictive coding, loss `cpc` (van den Oord et al. 2018)
reconstruction.py           `Reconstruction` of the current input, loss `reconstruction` (Fortunato et al. 2019)
"""
