"""What a sampler that does not look back tries, by number: a pure function of space and seed, drawn piece by piece.

Candidates are numbered from 0; those that the space does not allow are no configurations and are skipped wherever they
are drawn. So no list of configurations exists anywhere, and a grid of a million needs no more memory than one of ten.
"""

from dataclasses import dataclass

from sweeps.search.space import FloatArray, SearchSpace


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one round."""

    space: SearchSpace
    sampler: str  # "grid", "random" or "sobol"
    seed: int
    count: int  # candidates, those included that are not allowed
    configs: int  # allowed ones among them, >= 1

    def draw(self, start: int, stop: int) -> FloatArray:
        """Return the candidates start..stop - 1, float64[stop - start, axes]; the same whatever was drawn before."""
        raise NotImplementedError
