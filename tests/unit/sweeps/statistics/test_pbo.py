"""Against CSCV written out from the paper, step by step and slowly."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sweeps.statistics import blocks, pbo
from sweeps.statistics.pbo import OVERFITTED, compute_pbo, count_splits


def compute_literally(returns: np.ndarray, block_count: int) -> tuple[float, float, float, np.ndarray]:
    """Bailey et al., section 2.2: M is split in rows, J is a choice of halves, omega is a relative rank."""
    matrix = returns.astype(np.float64).T  # T x N
    length = len(matrix) // block_count
    parts = np.split(matrix[len(matrix) - length * block_count :], block_count)
    logits, pairs = [], []
    for chosen in itertools.combinations(range(block_count), block_count // 2):
        rest = [block for block in range(block_count) if block not in chosen]
        train, test = (np.concatenate([parts[block] for block in half]) for half in (chosen, rest))
        sharpe_in, sharpe_out = (m.mean(axis=0) / m.std(axis=0, ddof=1) * math.sqrt(365.0) for m in (train, test))
        best = int(np.argmax(sharpe_in))
        omega = (1 + (sharpe_out < sharpe_out[best]).sum()) / (matrix.shape[1] + 1)
        logits.append(math.log(omega / (1.0 - omega)))
        pairs.append((sharpe_in[best], sharpe_out[best]))
    inside, outside = np.array(pairs).T
    slope = float(np.polyfit(inside, outside, 1)[0])
    return float(np.mean(np.array(logits) <= 0.0)), slope, float((outside < 0.0).mean()), np.sort(logits)


@pytest.mark.parametrize(("seed", "configs", "days", "block_count"), [(0, 7, 64, 4), (1, 40, 203, 8), (2, 25, 100, 10)])
def test_it_is_the_paper_s(seed: int, configs: int, days: int, block_count: int) -> None:
    rng = np.random.default_rng(seed)
    returns = (rng.standard_t(4, (configs, days)) * rng.uniform(1e-4, 1.0, (configs, 1))).astype("f4")
    found = compute_pbo(returns, block_count)
    assert found is not None
    pbo_frac, slope, loss_prob, logits = compute_literally(returns, block_count)
    assert (found.pbo_frac, found.loss_prob) == (pbo_frac, loss_prob)
    assert found.degradation_slope == pytest.approx(slope)
    np.testing.assert_allclose(found.logits, logits)


def test_noise_is_a_coin_and_an_edge_is_seen() -> None:
    noise = np.random.default_rng(3).standard_normal((200, 640)).astype("f4")
    found = compute_pbo(noise, 16)
    assert found is not None
    assert len(found.logits) == 12_870
    assert 0.2 < found.pbo_frac < 0.8
    assert found.degradation_slope is not None
    assert found.degradation_slope < 0.0
    noise[17] += 0.25
    with_edge = compute_pbo(noise, 16)
    assert with_edge is not None
    assert with_edge.pbo_frac < 0.01
    assert with_edge.loss_prob < 0.01


FEW = st.sampled_from([0.0, 0.01, -0.02, 0.03])  # many ties, zeros and constant rows


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(2, 9), st.integers(12, 30)), elements=FEW), st.randoms())
def test_neither_order_nor_blocks_change_a_bit(returns: np.ndarray, random: np.random.Generator) -> None:
    whole = compute_pbo(returns, 6)
    assert whole is not None
    order = list(range(len(returns)))
    random.shuffle(order)  # type: ignore[arg-type]
    for rows in (1, 2, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK_VALUES", rows * returns.shape[1])
            patch.setattr(pbo, "BATCH_PAIRS", rows)
            again = compute_pbo(returns[order], 6)
        assert again is not None
        assert again[:3] == whole[:3]
        assert np.array_equal(again.logits, whole.logits)


def test_ties_count_against_the_chosen() -> None:
    copies = np.tile(np.random.default_rng(4).standard_normal(60), (10, 1)).astype("f4")
    found = compute_pbo(copies, 6)
    assert found is not None
    assert found.pbo_frac == 1.0
    idle = compute_pbo(np.zeros((3, 60), "f4"), 6)
    assert idle is not None
    assert idle[:3] == (1.0, None, 0.0)


def test_a_subsample_of_splits_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = np.random.default_rng(5).standard_normal((50, 320)).astype("f4")
    returns[3] += 0.1
    whole = compute_pbo(returns, 16)
    monkeypatch.setattr(pbo, "EVALUATIONS_MAX", 50 * 1000)
    part = compute_pbo(returns, 16)
    assert whole is not None
    assert part is not None
    assert len(part.logits) == count_splits(50, 16) == 1000
    assert part.pbo_frac == pytest.approx(whole.pbo_frac, abs=0.03)
    assert part.loss_prob == pytest.approx(whole.loss_prob, abs=0.03)


def test_nothing_to_choose_is_none_and_nan_is_the_worst() -> None:
    returns = np.random.default_rng(6).standard_normal((3, 100)).astype("f4")
    assert compute_pbo(returns[:1], 16) is None
    assert compute_pbo(returns[:, :31], 16) is None
    returns[1, 50] = np.nan
    assert compute_pbo(returns, 16) is OVERFITTED


@pytest.mark.parametrize("block_count", [0, 5, 22])
def test_block_counts_out_of_range_are_refused(block_count: int) -> None:
    with pytest.raises(ValueError, match=r"must be even and 2\.\.20"):
        compute_pbo(np.zeros((3, 100), "f4"), block_count)
