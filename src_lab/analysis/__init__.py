"""What sleep does to a network, in numbers: networks and activations in, tables and arrays out."""

from src_lab.analysis.activations import activations
from src_lab.analysis.pca import OrderedPca, class_ordered_pca, pca_importance, task_overlap
from src_lab.analysis.ranks import activation_ranks, components_for, effective_rank, stable_rank, weight_ranks
from src_lab.analysis.replay import Replay, replay
from src_lab.analysis.similarity import class_correlation, hidden_difference
from src_lab.analysis.sparseness import sparseness
from src_lab.analysis.spikes import rate_histogram, reactivation
from src_lab.analysis.weights import weight_changes, weight_histogram

__all__ = [
    "OrderedPca",
    "Replay",
    "activation_ranks",
    "activations",
    "class_correlation",
    "class_ordered_pca",
    "components_for",
    "effective_rank",
    "hidden_difference",
    "pca_importance",
    "rate_histogram",
    "reactivation",
    "replay",
    "sparseness",
    "stable_rank",
    "task_overlap",
    "weight_changes",
    "weight_histogram",
    "weight_ranks",
]
