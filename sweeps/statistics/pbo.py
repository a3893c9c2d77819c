"""Probability of backtest overfitting: how often the best in one half of the days is mediocre in the other.

Source: Bailey, Borwein, Lopez de Prado and Zhu, "The probability of backtest overfitting", Journal of Computational
Finance 20(4), 2017: combinatorially symmetric cross-validation (CSCV).
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sweeps.records import FloatArray, IntArray
from sweeps.statistics.blocks import ReturnsArray, keep_best, read_blocks
from sweeps.statistics.sharpe import share_to_sharpe

CSCV_BLOCKS_MAX = 20  # 184,756 splits
EVALUATIONS_MAX = 400_000_000  # configurations x splits: about five seconds
BATCH_PAIRS = 128  # splits whose two halves are measured at once
WHOLE_MAX = 2.0**48  # sums over at most 20 blocks stay below 2^53


class Pbo(NamedTuple):
    """What CSCV found."""

    pbo_frac: float  # splits whose chosen configuration is not above the median of the other half
    degradation_slope: float | None  # of out-of-sample on in-sample Sharpe; None: all in-sample ones are equal
    loss_prob: float  # splits whose chosen configuration loses in the other half
    logits: FloatArray  # float64[splits], increasing; <= 0: not above the median


OVERFITTED = Pbo(1.0, None, 1.0, np.empty(0))  # where nothing can be said: NaN among the returns


def count_splits(configs: int, blocks: int) -> int:
    """Return how many splits are evaluated: all, unless configurations x splits exceed `EVALUATIONS_MAX`.

    >>> count_splits(26_166, 16), count_splits(1_000_000, 16)
    (12870, 400)
    """
    return min(math.comb(blocks, blocks // 2), max(2, EVALUATIONS_MAX // configs // 2 * 2))


def compute_pbo(returns: ReturnsArray, blocks: int) -> Pbo | None:
    """Return how often choosing the best Sharpe ratio of one half of the days fails in the other.

    The record, less the oldest days beyond a multiple of `blocks`, is cut into equal blocks; a split takes half of
    them in sample. If there are more than `count_splits`, evenly picked ones stand for all, in pairs with their
    mirror images.

    Ties: of several best in sample the worst out of sample is taken, and an equal one out of sample counts as better.
    Configurations without a return in a half have Sharpe 0 there. The result is the same to the bit for any order of
    configurations and any size of the blocks they are read in.

    None: there is nothing to choose (one configuration), or a block has fewer than two days. NaN: `OVERFITTED`.
    Raises ValueError if `blocks` is odd or not in 2..20.
    """
    if blocks % 2 or not 2 <= blocks <= CSCV_BLOCKS_MAX:
        raise ValueError(f"cscv_blocks is {blocks}, must be even and 2..{CSCV_BLOCKS_MAX}")
    configs, days = returns.shape
    if configs < 2 or days // blocks < 2:
        return None
    pairs_count = count_splits(configs, blocks) // 2
    halves = _pick_halves(blocks, pairs_count)
    chosen_in, chosen_out = np.full((2, pairs_count), -np.inf), np.full((2, pairs_count), np.inf)
    for pairs, shares in _measure_halves(returns, blocks, halves):
        for side in range(2):
            keep_best(chosen_in[side, pairs], chosen_out[side, pairs], shares[side], shares[1 - side])
    if not np.isfinite(chosen_in).all():
        return OVERFITTED
    worse = np.zeros((2, pairs_count), np.int64)
    for pairs, shares in _measure_halves(returns, blocks, halves):
        for side in range(2):
            is_worse = shares[1 - side] < chosen_out[side, pairs, np.newaxis]
            worse[side, pairs] += np.count_nonzero(is_worse, axis=1)
    unit, half_days = WHOLE_MAX * blocks / 2, days // blocks * blocks // 2
    sharpe_in, sharpe_out = (share_to_sharpe(chosen.ravel() / unit, half_days) for chosen in (chosen_in, chosen_out))
    return _conclude(worse.ravel(), sharpe_in, sharpe_out, configs)


def _pick_halves(blocks: int, pairs: int) -> IntArray:
    # int64[2, pairs]: the splits that hold block 0, as bits: of the first blocks // 2 blocks, and of the others. Their
    # mirror images are the other splits.
    rest = list(itertools.combinations(range(1, blocks), blocks // 2 - 1))
    picked = [rest[index] for index in np.arange(pairs) * len(rest) // pairs]
    codes = np.array([1 + sum(1 << block for block in others) for others in picked], np.int64)
    return np.stack([codes % (1 << blocks // 2), codes >> blocks // 2])


def _measure_halves(
    returns: ReturnsArray, blocks: int, halves: IntArray
) -> Iterator[tuple[slice, tuple[FloatArray, FloatArray]]]:
    # Yields columns of `halves` and sign(sum) * sum^2 / (sum of squares) over each half, float64[columns, some
    # configs]: it orders configurations as the Sharpe ratio does (see sharpe.share_to_sharpe), at the price of one
    # division. A half's sums are one row of a table of all sums over the first blocks plus one over the others.
    for returns_block in read_blocks(returns):
        parts = _sum_blocks(returns_block, blocks)
        first, other = _sum_subsets(parts[:, : blocks // 2]), _sum_subsets(parts[:, blocks // 2 :])
        total = first[:, -1:] + other[:, -1:]
        for start in range(0, halves.shape[1], BATCH_PAIRS):
            pairs = slice(start, min(start + BATCH_PAIRS, halves.shape[1]))
            inside = first[:, halves[0, pairs]] + other[:, halves[1, pairs]]
            yield pairs, (_divide(*inside), _divide(*(total - inside)))


def _divide(sums: FloatArray, squares: FloatArray) -> FloatArray:
    return np.abs(sums) * sums / squares


def _sum_subsets(parts: FloatArray) -> FloatArray:
    # Sums over every subset of blocks, float64[2, 2^blocks, configs]; bit i of the index: block i is in.
    sums = np.zeros((len(parts), 1, parts.shape[2]))
    for block in range(parts.shape[1]):
        sums = np.concatenate([sums, sums + parts[:, block : block + 1]], axis=1)
    return sums


def _sum_blocks(returns_block: FloatArray, blocks: int) -> FloatArray:
    # Sums and sums of squares per block of days, float64[2, blocks, configs], each configuration in its own unit and
    # rounded to whole numbers: then sums over blocks are exact, whatever order they are added in. The unit makes
    # sum^2 / squares come out as WHOLE_MAX * sum^2 / (block days * sum of squares). No square is 0: 0/0 would be NaN.
    days = returns_block.shape[1] // blocks
    cut = returns_block[:, returns_block.shape[1] - blocks * days :].reshape(-1, blocks, days)
    squares = np.einsum("cbt,cbt->bc", cut, cut)
    largest = squares.max(axis=0)
    largest[largest == 0.0] = 1.0
    sums = np.rint(cut.sum(axis=2).T * (WHOLE_MAX / np.sqrt(days * largest)))
    return np.stack([sums, np.floor(squares * (WHOLE_MAX / largest)) + 1.0])


def _conclude(worse: IntArray, chosen_in: FloatArray, chosen_out: FloatArray, configs: int) -> Pbo:
    # worse: configurations below the chosen one out of sample; its Sharpe ratios in and out; one value per split.
    rank_frac = (worse + 1.0) / (configs + 1.0)
    logits = np.sort(np.log(rank_frac / (1.0 - rank_frac)))
    distance_in = chosen_in - chosen_in.mean()
    spread = float((distance_in * distance_in).sum())  # not a dot product, whose bits depend on threads
    return Pbo(
        pbo_frac=float((logits <= 0.0).mean()),
        degradation_slope=float((distance_in * chosen_out).sum()) / spread if spread > 0.0 else None,
        loss_prob=float((chosen_out < 0.0).mean()),
        logits=logits,
    )
