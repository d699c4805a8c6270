"""Figures of audits."""

from __future__ import annotations

import matplotlib as mpl
import pytest

import lipgd
from lipgd import plotting
from lipgd.lipschitz import audit

mpl.use("agg")


def test_a_ladder_ends_at_its_bounds() -> None:
    found = audit(lipgd.Network.create([3, 10, 2]), effort="fast")
    ax = plotting.lipschitz_ladder(found, ax=plotting.panels(1)[1][0])
    ends = [line.get_xdata()[-1] for line in ax.get_lines()]
    assert ends == [found["product"].value, found["closed_form"].value, found.lower.value]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["product of norms", "closed form"]
    with pytest.raises(ValueError, match="found is not certified"):
        plotting.lipschitz_ladder(audit(lipgd.Network([[[1e200]], [[1e200]]])))


def test_bounds_against_the_width() -> None:
    audits = {w: audit(lipgd.Network.create([3, w, 2]), effort="fast") for w in (20, 5)}
    ax = plotting.lipschitz_by_width(audits, ax=plotting.panels(1)[1][0])
    product = ax.get_lines()[0]
    assert list(product.get_xdata()) == [5, 20]
    assert list(product.get_ydata()) == [audits[w]["product"].value for w in (5, 20)]
    with pytest.raises(ValueError, match="audits is empty"):
        plotting.lipschitz_by_width({})
