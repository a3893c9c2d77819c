"""Settings: every fault is one line that names file, line and key."""

import enum
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from cluster.config import ROLES, ClusterConfig, RayConfig, Section, load_section, read_yaml, setting


class Mode(enum.StrEnum):
    PAPER = "paper"
    LIVE = "live"


@dataclass(frozen=True)
class Inner:
    half_life_days: float = setting(30.0, low=0.0)


@dataclass(frozen=True)
class Outer:
    nodes: int = setting(low=1, high=3)
    mode: Mode = setting(Mode.PAPER)  # noqa: RUF009
    names: tuple[str, ...] = setting((), choices=("a", "b"))
    inner: Inner = field(default_factory=Inner)
    ports: dict[str, int] = setting({}, low=1)  # noqa: RUF009
    path: Path | None = setting(None)  # noqa: RUF009
    is_on: bool = setting(False)


def load(tmp_path: Path, text: str) -> Outer:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    return load_section(read_yaml(path), Outer)


def test_a_whole_file_becomes_one_frozen_record(tmp_path: Path) -> None:
    text = "nodes: 3\nmode: live\nnames: [a, b]\ninner:\n  half_life_days: 1e-3\nports: {x: 80}\n"
    text += "path: /var/t\nis_on: yes\n"
    assert load(tmp_path, text) == Outer(3, Mode.LIVE, ("a", "b"), Inner(0.001), {"x": 80}, Path("/var/t"), True)
    assert load(tmp_path, "nodes: 1") == Outer(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: 1\nnods: 2\n", r"t.yaml:2: unknown key 'nods', did you mean 'nodes'\?"),
        ("nodes: 1\ninner:\n  halflife: 2\n", r"t.yaml:3: unknown key 'halflife', did you mean 'half_life_days'\?"),
        ("nodes: 1\nzzz: 2\n", r"t.yaml:2: unknown key 'zzz', known are: nodes, mode"),
        ("mode: paper\n", r"t.yaml:1: key 'nodes' is missing"),
        ("nodes: 1\nnodes: 2\n", r"t.yaml:2: key 'nodes' is given twice, first at .*t.yaml:1"),
        ("nodes: two\n", r"t.yaml:1: nodes is 'two', must be a whole number"),
        ("nodes: true\n", r"t.yaml:1: nodes is True, must be a whole number"),
        ("nodes: 1.0\n", r"t.yaml:1: nodes is 1.0, must be a whole number"),
        ("nodes: 0\n", r"t.yaml:1: nodes is 0, must be at least 1"),
        ("nodes: 4\n", r"t.yaml:1: nodes is 4, must be at most 3"),
        ("nodes: 1\nmode: lve\n", r"t.yaml:2: mode is 'lve', must be one of: paper, live"),
        ("nodes: 1\nnames: [a, c]\n", r"t.yaml:2: names\[1\] is 'c', must be one of: a, b"),
        ("nodes: 1\nnames: a\n", r"t.yaml:2: names is 'a', must be a list"),
        ("nodes: 1\ninner: 5\n", r"t.yaml:2: inner is 5, must be 'key: value' lines"),
        ("nodes: 1\ninner:\n  half_life_days: .nan\n", r"t.yaml:3: inner.half_life_days is not a number \(NaN\)"),
        ("nodes: 1\ninner:\n  half_life_days: soon\n", r"t.yaml:3: inner.half_life_days is 'soon', must be a number"),
        ("nodes: 1\ninner:\n  half_life_days: -1\n", r"t.yaml:3: inner.half_life_days is -1.0, must be at least 0.0"),
        ("nodes: 1\nports: {x: 0}\n", r"t.yaml:2: ports.x is 0, must be at least 1"),
        ("nodes: 1\nports: 80\n", r"t.yaml:2: ports is 80, must be 'key: value' lines"),
        ("nodes: 1\nis_on: 1\n", r"t.yaml:2: is_on is 1, must be true or false"),
        ("nodes: 1\n  mode: live\n", r"t.yaml:2: not valid YAML"),
        ("nodes: [1\n", r"t.yaml:2: not valid YAML"),
        ("nodes: !!python/object:os.system {}\n", r"t.yaml:1: key|not valid YAML|must be"),
        ("- 1\n", r"t.yaml:1: expected 'key: value' lines"),
        ("nodes: \x00\n", r"t.yaml:1: not valid YAML"),
    ],
)
def test_faults_name_their_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        load(tmp_path, text)
    assert "\n" not in str(raised.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    with pytest.raises(ValueError, match=r"latin.yaml: cannot be read: not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == Section()


def test_plain_mappings_serve_too() -> None:
    with pytest.raises(ValueError, match=r"^unknown key 'nods', did you mean 'nodes'\?$"):
        load_section({"nods": 1}, Outer)


def test_cluster_defaults_are_the_embedded_machine_wearing_all_roles() -> None:
    config = load_section({}, ClusterConfig)
    assert config.ray == RayConfig()
    assert config.ray.roles == ROLES
    with pytest.raises(ValueError, match="did you mean 'live_trading'"):
        load_section({"ray": {"roles": ["live_tradin"]}}, ClusterConfig)


def test_the_cluster_file_names_every_role_with_its_label() -> None:
    path = Path(__file__).parents[3] / "ray_config.yaml"
    cluster = yaml.safe_load(path.read_text())
    assert set(cluster["metadata"]["roles"].values()) == set(ROLES)
    head = cluster["provider"]["head_ip"]
    assert cluster["metadata"]["roles"][head] == "live_trading"
    assert set(cluster["metadata"]["roles"]) == {head, *cluster["provider"]["worker_ips"]}
    starts = cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]
    assert all("--labels=$ROLE=true" in start and "RAY_AUTH_MODE=token" in start for start in starts)
