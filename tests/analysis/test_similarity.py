"""The measures on arrays whose answer is known."""

import numpy as np
import pytest

from hf_bertx.analysis.similarity import (
    basis,
    canonical_correlations,
    gradient_confusion,
    head_divergences,
    linear_cka,
    order_within,
    pair_cosines,
    pwcca,
)

ROWS, COLUMNS = 2000, 12


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def rows(generator: np.random.Generator) -> np.ndarray:
    """Columns of unlike variance, and means that are not zero."""
    return generator.normal(size=(ROWS, COLUMNS)) * np.arange(1, COLUMNS + 1) + 7.0


def rotation(generator: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(generator.normal(size=(COLUMNS, COLUMNS)))[0]


def test_a_matrix_is_like_itself_moved_rotated_and_scaled(rows: np.ndarray, generator: np.random.Generator) -> None:
    for other in (rows, rows + 3.0, rows @ rotation(generator), -0.01 * rows, rows[:, ::-1]):
        assert linear_cka(basis(rows), basis(other)) == pytest.approx(1.0, abs=1e-9)
        assert pwcca(basis(rows), basis(other)) == pytest.approx(1.0, abs=1e-9)


def test_an_invertible_map_leaves_canonical_correlations_at_1(
    rows: np.ndarray, generator: np.random.Generator
) -> None:
    other = rows @ (rotation(generator) * np.geomspace(1, 30, COLUMNS) @ rotation(generator))
    correlations, weights = canonical_correlations(basis(rows), basis(other))
    assert correlations == pytest.approx(np.ones(COLUMNS), abs=1e-9)
    assert weights.sum() == pytest.approx(1.0)
    assert pwcca(basis(rows), basis(other)) == pytest.approx(1.0, abs=1e-9)
    assert linear_cka(basis(rows), basis(other)) < 0.9


def test_cka_is_what_its_definition_gives_with_kernels(rows: np.ndarray, generator: np.random.Generator) -> None:
    x, y = rows[:40], rows[:40, :5] + generator.normal(size=(40, 5))
    centre = np.eye(40) - 1 / 40
    k, l = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre  # noqa: E741
    expected = np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))
    assert 0.05 < expected < 0.95
    assert linear_cka(basis(x), basis(y)) == pytest.approx(expected, abs=1e-9)


def test_a_correlation_that_was_built_in_comes_out(generator: np.random.Generator) -> None:
    """Two columns, of which one correlates with 0.6 and the other not; by what they weigh the mean is 0.54 or 0.06."""
    x, noise = generator.normal(size=(50000, 2)), generator.normal(size=(50000, 2))
    y = np.stack([0.6 * x[:, 0] + 0.8 * noise[:, 0], noise[:, 1]], axis=1)
    correlations, _ = canonical_correlations(basis(x), basis(y))
    assert correlations == pytest.approx([0.6, 0.0], abs=0.02)
    assert pwcca(basis(x * [9, 1]), basis(y)) == pytest.approx(0.54, abs=0.02)  # (9 x 0.6 + 1 x 0) / 10
    assert pwcca(basis(x * [1, 9]), basis(y * [9, 1])) == pytest.approx(0.06, abs=0.02)  # as many: the first weighs


def test_the_matrix_with_fewer_directions_weighs(generator: np.random.Generator) -> None:
    """Of three columns one is shared: all of the narrow matrix is in the wide one, and not the other way round."""
    x = generator.normal(size=(50000, 3)) * [1, 9, 9]
    for a, b in ((x[:, :1], x), (x, x[:, :1])):
        assert pwcca(basis(a), basis(b)) == pytest.approx(1.0, abs=1e-6)
        assert linear_cka(basis(a), basis(b)) < 0.02


def test_the_share_of_variance_decides_what_is_compared(generator: np.random.Generator) -> None:
    """Noise of its own in a weak column of each side counts without truncation and does not with it."""
    shared = generator.normal(size=(5000, 3)) * 10
    x, y = (np.hstack([shared, generator.normal(size=(5000, 5)) * 0.1]) for _ in range(2))
    kept, _ = canonical_correlations(basis(x), basis(y), variance=0.99)
    assert kept == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)
    every, _ = canonical_correlations(basis(x), basis(y))
    assert len(every) == 8
    assert every[-1] < 0.1
    assert basis(np.diag([3.0, 2.0, 1.0, 0.0])).kept(1.0) == 3


def test_columns_that_depend_on_others_change_nothing(rows: np.ndarray, generator: np.random.Generator) -> None:
    """As after a LayerNorm: the sum of columns is constant, up to the rounding of float32."""
    deficient = (rows - rows.mean(axis=1, keepdims=True)).astype(np.float32)
    assert len(basis(deficient).scales) == COLUMNS - 1
    wide = np.hstack([rows, rows @ generator.normal(size=(COLUMNS, 20))]).astype(np.float32)
    assert len(basis(wide).scales) == COLUMNS
    assert pwcca(basis(rows), basis(wide)) == pytest.approx(1.0, abs=1e-4)


def test_too_few_rows_are_refused_and_not_called_alike(generator: np.random.Generator) -> None:
    a, b = (basis(generator.normal(size=(20, 12))) for _ in range(2))
    with pytest.raises(ValueError, match="20 positions are too few for canonical correlations of 12 and 12"):
        pwcca(a, b)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((5, 3), 2.0), "the same in every row"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), "not finite"),
        (np.zeros(4), "shape \\(4,\\)"),
    ],
)
def test_what_is_no_representation_is_refused(bad: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        basis(bad)


def test_rows_change_places_within_their_group_alone(generator: np.random.Generator) -> None:
    groups = np.array([0, 1, 0, 2, 1, 0])
    order = order_within(groups, generator)
    assert sorted(order.tolist()) == list(range(6))
    assert (groups[order] == groups).all()
    assert [i for i in range(6) if order[i] == i] == [3]  # alone in its group


def attention(generator: np.random.Generator, heads: int, queries: int = 30, keys: int = 9) -> np.ndarray:
    maps = generator.dirichlet(np.full(keys, 0.3), size=(heads, queries))
    maps[:, :10, -2:] = 0.0  # padding
    return (maps / maps.sum(axis=2, keepdims=True)).astype(np.float32)


def test_permuted_heads_are_found_again(generator: np.random.Generator) -> None:
    a = attention(generator, 8)
    order = generator.permutation(8)
    divergences = head_divergences(a, a[order])
    assert order[divergences.argmin(axis=1)].tolist() == list(range(8))
    assert divergences.min(axis=1).max() < 1e-6
    assert np.median(divergences) > 0.2


def test_the_divergence_of_maps_without_a_common_key_is_one_bit() -> None:
    a, b = np.zeros((1, 3, 4)), np.zeros((1, 3, 4))
    a[..., 0], b[..., 1] = 1.0, 1.0
    assert head_divergences(a, b)[0, 0] == pytest.approx(1.0)
    b[..., 0], b[..., 1] = 0.5, 0.5
    # H(3/4, 1/4) - (0 + 1) / 2 = 0.811278 - 0.5
    assert head_divergences(a, b)[0, 0] == pytest.approx(0.311278, abs=1e-6)


def test_cosines_of_opposite_equal_and_orthogonal_gradients() -> None:
    gradients = np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 5.0], [3.0, 0.0]])
    cosines = pair_cosines(gradients @ gradients.T)
    assert cosines.tolist() == [-1.0, 0.0, 1.0, 0.0, -1.0, 0.0]  # 01 02 03 12 13 23
    shares = gradient_confusion(cosines)
    assert (shares["minimum"], shares["median"], shares["share_negative"]) == (-1.0, 0.0, pytest.approx(2 / 6))
    assert shares["quantile_75"] == 0.0
    with pytest.raises(ValueError, match="gradient 1 is zero"):
        pair_cosines(np.diag([1.0, 0.0]))
