"""How alike representations, attention maps or gradients of two models are: measures of arrays.

Rows of two matrices belong together: the same position of the same item.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr

# Of the largest singular value: what lies below is rounding of float32, or the zero sum of a LayerNorm without scale.
_RANK_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Basis:
    """A centred matrix of rank r, `(rows, columns)`, by its singular value decomposition.

    Args:
        directions: orthonormal columns, `(rows, r)`.
        scales: singular values, largest first, `(r,)`.
        loadings: each direction in terms of the columns, `(r, columns)`.
    """

    directions: np.ndarray
    scales: np.ndarray
    loadings: np.ndarray

    def kept(self, variance: float) -> int:
        """How many directions hold that share of the variance."""
        held = np.cumsum(self.scales**2) / np.sum(self.scales**2)
        return min(int(np.searchsorted(held, variance - 1e-12)) + 1, len(self.scales))

    def reordered(self, order: np.ndarray) -> Basis:
        """The decomposition of the same rows in another order."""
        return Basis(self.directions[order], self.scales, self.loadings)


def basis(rows: Any) -> Basis:
    """The decomposition of a matrix of shape `(rows, columns)` after its column means are taken off, in float64.

    Directions below 1e-5 of the largest singular value are rounding, and left out.

    Raises:
        ValueError: not a matrix of two rows or more; a value that is not finite; no column varies.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) < 2:
        raise ValueError(f"representations have shape {matrix.shape}; needed: (rows, columns) with two rows or more")
    if not np.isfinite(matrix).all():
        raise ValueError("representations hold a value that is not finite")
    centred = matrix - matrix.mean(axis=0)
    directions, scales, loadings = np.linalg.svd(centred, full_matrices=False)
    if scales[0] <= 1e-12 * max(1.0, np.abs(matrix).max()):
        raise ValueError("representations are the same in every row: nothing varies that could be compared")
    rank = int((scales > _RANK_TOLERANCE * scales[0]).sum())
    return Basis(directions[:, :rank], scales[:rank], loadings[:rank])


def linear_cka(a: Basis, b: Basis) -> float:
    """Linear centred kernel alignment, 0 to 1. Rotation, reflection and scaling of either side leave it as it is.

    Other linear maps change it. It is not corrected for bias: for independent rows it is above 0, more so with few
    rows for each column. Compare it with the value for rows in another order.

    Source: Kornblith et al. 2019, arXiv 1905.00414, equation 3 with linear kernels.
    """
    inner = a.directions.T @ b.directions  # (rank of a, rank of b)
    shared = np.square(a.scales[:, None] * inner * b.scales[None, :]).sum()
    return float(shared / np.sqrt(np.sum(a.scales**4) * np.sum(b.scales**4)))


def canonical_correlations(a: Basis, b: Basis, variance: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlations of two matrices, largest first, and the weight of each; weights sum to 1.

    A weight is how much a canonical variate accounts for in the matrix with fewer directions (in `a` if both have as
    many): the sum of its absolute inner products with that matrix's columns. Further directions of the other matrix
    have no weight.

    Args:
        variance: only the directions that hold this share of each side's variance, above 0 and up to 1, are compared,
            as in SVCCA (Raghu et al. 2017).

    Source: Morcos et al. 2018, arXiv 1806.05759, section 2.2; the choice of the matrix follows the article's code.

    Raises:
        ValueError: no more rows than directions, which would correlate whatever they hold.
    """
    kept_a, kept_b = a.kept(variance), b.kept(variance)
    if len(a.directions) <= kept_a + kept_b:
        raise ValueError(
            f"{len(a.directions)} positions are too few for canonical correlations of {kept_a} and {kept_b} "
            "directions: some would be 1 whatever was learned. Take more items or positions, or a lower variance"
        )
    inner = a.directions[:, :kept_a].T @ b.directions[:, :kept_b]
    left, correlations, right = np.linalg.svd(inner, full_matrices=False)
    variates, side, kept = (left.T, a, kept_a) if kept_a <= kept_b else (right, b, kept_b)
    weights = np.abs(variates @ (side.scales[:kept, None] * side.loadings[:kept])).sum(axis=1)
    return np.clip(correlations, 0.0, 1.0), weights / weights.sum()


def pwcca(a: Basis, b: Basis, variance: float = 1.0) -> float:
    """Projection-weighted canonical correlation, 0 to 1: the weighted mean of [`canonical_correlations`].

    With `variance` 1 an invertible linear map of the side that does not define the weights leaves it as it is. It is
    also near 1 if one side contains the other.
    """
    correlations, weights = canonical_correlations(a, b, variance)
    return float(correlations @ weights)


def order_within(groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An order of rows that puts another row of the same group in each row's place, `(rows,)`.

    A row that is alone in its group stays.
    """
    order = np.arange(len(groups))
    for group in np.unique(groups):
        rows = generator.permutation(np.flatnonzero(groups == group))
        order[rows] = np.roll(rows, 1)
    return order


def head_divergences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits, 0 to 1, of every head of `a` from every head of `b`, mean over queries.

    Args:
        a: attention of each head from each query to the keys, `(heads, queries, keys)`; sums to 1 over keys, with 0
            for padding.
        b: the same queries and keys, `(other heads, queries, keys)`.
    """
    entropies = [entr(maps).sum(axis=2, dtype=np.float64).mean(axis=1) for maps in (a, b)]
    mixed = np.array([[entr((x + y) / 2).sum(axis=1, dtype=np.float64).mean() for y in b] for x in a])
    return np.clip((mixed - (entropies[0][:, None] + entropies[1][None, :]) / 2) / np.log(2), 0.0, 1.0)


def pair_cosines(inner: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of vectors, `(pairs,)`, from their inner products, `(vectors, vectors)`.

    Raises:
        ValueError: a vector of length zero, which has no direction.
    """
    lengths = np.sqrt(np.diag(inner))
    if not (lengths > 0).all():
        raise ValueError(f"gradient {int(np.argmin(lengths))} is zero: it has no direction to compare")
    first, second = np.triu_indices(len(inner), k=1)
    return np.clip(inner[first, second] / (lengths[first] * lengths[second]), -1.0, 1.0)


def gradient_confusion(cosines: np.ndarray) -> dict[str, float]:
    """Minimum, quantiles and share below 0 of the cosines between gradients of different mini-batches.

    Source: Sankararaman et al. 2020, arXiv 1904.06963: the minimum bounds how far one mini-batch's step undoes that of
    another.
    """
    quantiles = np.quantile(cosines, [0.05, 0.25, 0.5, 0.75, 0.95])
    names = ("quantile_05", "quantile_25", "median", "quantile_75", "quantile_95")
    return {
        "minimum": float(cosines.min()),
        **{name: float(value) for name, value in zip(names, quantiles, strict=True)},
        "share_negative": float((cosines < 0).mean()),
    }
