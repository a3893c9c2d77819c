"""`trireme sweep --address`: the same command as a job of a cluster, followed from here."""

from pathlib import Path

import click

from trireme.interrupts import interruptible
from trireme.settings import DEFAULT_PATH, read_settings

SPEC_NAME, SETTINGS_NAME = "spec.yaml", "trireme.yaml"


def submit_sweep(
    address: str,
    spec_path: Path | None,
    resume: Path | None,
    out: Path | None,
    catalog: Path | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Submit a sweep to the job server at `address`, follow it to its end and return its exit code.

    Specification and settings travel with the job; `out`, `resume` and `catalog` are directories of the node where its
    driver runs, which is one that wears fast_compute. An interrupt stops following: the sweep runs on.
    Raises ValueError for a bad specification, a path that would vanish with the job, and as `cluster.jobs.submit` does.
    """
    from cluster.jobs import JobLostError, follow, submit
    from trireme.main import EXIT_FAILED, EXIT_PARTLY

    files, command = {}, ["trireme", "sweep"]
    if spec_path is not None:
        _check_spec(spec_path, catalog)
        files[SPEC_NAME] = spec_path.read_text(encoding="utf-8")
        command += ["--spec", SPEC_NAME]
    settings_path = config or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    if settings_path is not None:
        read_settings(settings_path)
        files[SETTINGS_NAME] = settings_path.read_text(encoding="utf-8")
    for option, path in (("--resume", resume), ("--out", out), ("--catalog", catalog)):
        if path is not None and not path.is_absolute():
            raise ValueError(f"{option} {path} must be an absolute path with --address: it lies on the cluster's node")
        if path is not None:
            command += [option, str(path)]
    if resume is None and out is None:
        raise ValueError("--address needs --out, an absolute path on the cluster's node: results stay there")
    job = submit(address, [*command, "--json"] if as_json else command, files)
    click.echo(f"job {job.job_id} runs; to follow it again: {job.how_to_follow}", err=True)
    try:
        with interruptible():
            return follow(job, click.echo, lambda line: click.echo(line, err=True))
    except KeyboardInterrupt:
        click.echo(f"stopped following, job {job.job_id} runs on: {job.how_to_follow}", err=True)
        return EXIT_PARTLY
    except JobLostError as error:
        click.echo(f"error: {error}", err=True)
        return EXIT_FAILED


def _check_spec(spec_path: Path, catalog: Path | None) -> None:
    # Before it travels: what is wrong with it is told here, and a relative catalog would be looked for in vain.
    from sweeps.spec_file import read_spec

    source = read_spec(spec_path).source
    if catalog is None and source.catalog is not None and not source.catalog.is_absolute():
        raise ValueError(
            f"{spec_path}: data.catalog {source.catalog} must be an absolute path with --address, or give --catalog"
        )
