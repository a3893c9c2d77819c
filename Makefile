# The front door. `make run` and `make test` need only Python 3.11, make and the package registries.
PYTHON ?= python3.11
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/.ready
OTHERS := .venv-others/.ready

BENCHMARKS := strategies_decide governor ledger lanes backtest_peers sweep venues

.PHONY: run test check bench clean

run: $(READY)
	$(BIN)/trireme demo

test: check $(OTHERS)
	$(BIN)/pytest --numprocesses 2 --dist loadfile tests/simulation tests/venues
	$(BIN)/pytest tests/cluster

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest --numprocesses 2 --dist loadfile tests/tidy tests/unit tests/scenarios tests/parity

bench: $(READY)
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

# uv lives in its own environment, so that `uv sync` may rebuild ours from the lock file at will.
.venv-uv/bin/uv:
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install --quiet uv==$(UV_VERSION)

$(READY): pyproject.toml uv.lock .venv-uv/bin/uv
	env -u VIRTUAL_ENV .venv-uv/bin/uv sync --frozen --quiet --compile-bytecode --python $(PYTHON)
	touch $(READY)

# Clients written by others, whose dependencies exclude ours; without them their tests skip and say so.
$(OTHERS): tests/venues/others/requirements.txt .venv-uv/bin/uv
	env -u VIRTUAL_ENV .venv-uv/bin/uv venv --quiet --clear --python $(PYTHON) .venv-others
	env -u VIRTUAL_ENV .venv-uv/bin/uv pip sync --quiet --compile-bytecode --python .venv-others/bin/python $< \
		&& touch $@ || echo "no clients of others: $< did not install" >&2

clean:
	rm -rf .venv .venv-uv .venv-bench-* .venv-others runs
