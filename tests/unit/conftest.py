"""Unit tests run without Ray."""

import pytest


@pytest.fixture(autouse=True)
def forbid_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `ray.init` raise: what needs a cluster belongs to tests/cluster."""
    import ray

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a unit test started Ray: move it to tests/cluster")

    monkeypatch.setattr(ray, "init", refuse)
