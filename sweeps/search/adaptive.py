"""Samplers that look back: Optuna's TPE and NSGA-II, asked for configurations and told what they came to, in batches.

Optuna sees each axis as its unit 0..1 (`Axis.from_unit`): the whole-number distributions of its TPE take three times
as long. Asking costs, with 6 axes on a core that others share: TPE 7 to 17 ms a configuration, whatever it was told
before (its history is bounded, see `HISTORY_MAX`; unbounded: 35 ms after 2,000), NSGA-II 1 ms, 3 after 2,000.
"""

from collections import deque
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from sweeps.search.candidates import check_axes
from sweeps.search.space import FloatArray, SearchSpace

HISTORY_MAX = 1_000  # finished trials that TPE looks at; where there are more, it goes on with the next two numbers
HISTORY_BEST = 100  # four times as many as it ever takes for good ones ...
HISTORY_RECENT = 400  # ... and those it would weigh most of the others: its weights fall linearly with age
ATTEMPTS_MAX = 1_000  # candidates in a row that relations exclude

_EXCLUDED_VIOLATION = 1e9  # worse than any constraint missed


class AdaptiveSearch:
    """Configurations of a space that Optuna thinks worth trying after those it was told of.

    The first max(32, 8 x axes) are random; this is also the population of NSGA-II (a generation is over when so many
    of its children have been told), and what is asked before anything is told is random too. TPE is multivariate and
    keeps away from what is asked and not told yet. In a small space of lists a configuration may be asked twice.
    The same seed and the same calls give the same configurations.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: Literal["tpe", "nsga2"],
        seed: int,
        directions: tuple[Literal["maximize", "minimize"], ...],
    ) -> None:
        """Raises ValueError for an empty space, no objective, or several objectives of TPE, which follows one."""
        check_axes(space)
        if not directions or (sampler == "tpe" and len(directions) > 1):
            wanted = "one objective" if sampler == "tpe" else "one objective or more"
            raise ValueError(f"sampler {sampler} takes {wanted}, not {len(directions)}: nsga2 takes several")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._sampler, self._seed, self._directions = space, sampler, seed, directions
        self._population = max(32, 8 * len(space.axes))
        self._distributions: dict[str, BaseDistribution] = {key: FloatDistribution(0.0, 1.0) for key in space.keys}
        self._asked: deque[Any] = deque()  # trials asked and not told, oldest first
        self._study = self._make_study(0)
        self._renewals = 0

    def ask(self, count: int) -> FloatArray:
        """Return `count` allowed configurations to try next, float64[count, axes].

        Raises ValueError where relations exclude `ATTEMPTS_MAX` candidates in a row.
        """
        values = np.empty((count, len(self._space.axes)))
        for row in range(count):
            values[row] = self._ask_allowed()
        return values

    def tell(self, objectives: FloatArray, violations: FloatArray) -> None:
        """Say what the oldest n configurations asked and not yet told came to, in the order in which they were asked.

        Parameters
        ----------
        objectives : float64[n, directions]
            A row with a NaN is told as failed: nothing is learnt from it.
        violations : float64[n]
            By how much constraints are missed, > 0: any configuration that meets them is better, and one that misses
            less; <= 0: met. NaN: failed.
        """
        assert objectives.shape == (len(violations), len(self._directions)), objectives.shape
        assert len(violations) <= len(self._asked), f"told {len(violations)} of {len(self._asked)} asked"
        for values, violation in zip(objectives.tolist(), violations.tolist(), strict=True):
            trial = self._asked.popleft()
            if np.isnan([*values, violation]).any():
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                trial.set_constraint("violation", violation)
                self._study.tell(trial, values)

    def _ask_allowed(self) -> FloatArray:
        for _ in range(ATTEMPTS_MAX):
            finished = len(self._list_finished())
            if self._sampler == "tpe" and finished > HISTORY_MAX:
                self._forget()
            trial = self._study.ask(self._distributions)
            row = np.array([float(axis.from_unit(trial.params[axis.key])) for axis in self._space.axes])
            if self._space.find_allowed(row[np.newaxis])[0]:
                self._asked.append(trial)
                return row
            # While the start is random nothing is to be learnt: told as pruned, it would count as a start.
            trial.set_constraint("relations", _EXCLUDED_VIOLATION)
            self._study.tell(trial, state=TrialState.FAIL if finished < self._population else TrialState.PRUNED)
        raise ValueError(
            f"relations of {self._space.strategy} excluded {ATTEMPTS_MAX:,} candidates of {self._sampler} in a row: "
            "loosen them or narrow the ranges to where they hold"
        )

    def _make_study(self, seed_offset: int) -> optuna.Study:
        seed = (self._seed + seed_offset) % 2**32
        sampler = (
            optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=self._population)
            if self._sampler == "tpe"
            else optuna.samplers.NSGAIISampler(seed=seed, population_size=self._population)
        )
        return optuna.create_study(directions=self._directions, sampler=sampler)

    def _list_finished(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _forget(self) -> None:
        # TPE weighs every finished trial each time it is asked: a new study takes over those that matter most, and the
        # trials under way.
        def worth(trial: FrozenTrial) -> tuple[float, float]:
            missed = sum(violation for violation in trial.constraints.values() if violation > 0.0)
            value = trial.value if trial.value is not None else 0.0  # an excluded one: it is last anyway
            return (missed, -value if self._directions[0] == "maximize" else value)

        finished = self._list_finished()
        older, recent = finished[:-HISTORY_RECENT], finished[-HISTORY_RECENT:]
        best = sorted(sorted(older, key=worth)[:HISTORY_BEST], key=lambda trial: trial.number)
        self._renewals += 1
        self._study = self._make_study(self._renewals)
        self._study.add_trials(best + recent)
        for _ in range(len(self._asked)):
            self._study.enqueue_trial(self._asked.popleft().params)
            self._asked.append(self._study.ask(self._distributions))
