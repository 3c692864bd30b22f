from __future__ import annotations

import numpy as np
import pytest

from evaluate.metrics.sorting import falling_order

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    "values",
    [
        np.empty(0),
        np.array([0.5]),
        np.array([0.0, -0.0, 1.0, -1.0, 0.0, 5e-324, -5e-324]),
        np.array([np.inf, 1e308, -np.inf, -1e308, 0.1, np.nextafter(0.1, 1)]),
        RANDOM.uniform(size=5000),
        RANDOM.uniform(size=5000).round(2),
        RANDOM.normal(size=5000).round(1),
    ],
    ids=["none", "one", "zeros", "extremes", "distinct", "ties", "signs and ties"],
)
def test_same_as_a_stable_comparison_sort(values):
    assert falling_order(values).tolist() == np.argsort(-values, kind="stable").tolist()
