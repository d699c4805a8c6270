"""What an installation carries: levels, paths, versions."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lipgd
from lipgd import _core, _threads

ROOT = Path(__file__).resolve().parents[1]


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True
    )


def test_config_says_which_level_and_why() -> None:
    config = lipgd.show_config()
    assert config.level == _core.build_info["level"] == _core.level
    assert config.level in config.available
    assert set(config.available) <= set(config.built) <= set(_core.LEVELS)
    text = str(config)
    for part in (config.version, f"{config.level}: {config.reason}", config.compiler, config.numpy):
        assert part in text
    assert config.threads >= 1


def test_the_best_available_level_is_the_default() -> None:
    run = python("-c", "from lipgd import _core; print(_core.level)", LIPGD_ISA="")
    assert run.stdout.strip() == _core.available()[-1]


@pytest.mark.parametrize("level", _core.available())
def test_the_environment_selects_a_level(level: str) -> None:
    script = "from lipgd import _core; print(_core.build_info['level'], _core.level, _core.reason)"
    run = python("-c", script, LIPGD_ISA=level)
    assert run.stdout.split(maxsplit=2) == [level, level, "set by LIPGD_ISA\n"]


@pytest.mark.parametrize("value", ["v9", "V4", "avx2", "_cpu"])
def test_a_level_that_is_not_there_is_an_error(value: str) -> None:
    run = python("-c", "import lipgd", LIPGD_ISA=value)
    assert run.returncode == 1
    here = ", ".join(_core.available())
    assert run.stderr.strip().splitlines()[-1] == (
        f"ImportError: LIPGD_ISA is '{value}', "
        f"expected one of the levels that are available here ({here})"
    )


def test_a_level_beyond_the_cpu_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    built = _core.built()
    monkeypatch.setattr(_core._cpu, "supported", lambda: built[:1])
    assert _core.available() == built[:1]
    with pytest.raises(ImportError, match=rf"level is 'v9', expected .* \({built[0]}\)"):
        _core.load("v9")
    monkeypatch.setattr(_core._cpu, "supported", lambda: ())
    with pytest.raises(ImportError, match="no compiled level runs on this machine"):
        _core._choose()


def test_all_levels_live_in_one_process() -> None:
    infos = [_core.load(level).build_info for level in _core.available()]
    assert [info["level"] for info in infos] == list(_core.available())
    assert {info["version"] for info in infos} == {lipgd.__version__}


def test_all_levels_have_the_same_functions() -> None:
    assert len({tuple(dir(_core.load(level))) for level in _core.available()}) == 1


def test_the_version_has_one_source() -> None:
    text = Path(lipgd.get_include(), "lipgd", "version.hpp").read_text()
    version = ".".join(re.findall(r"#define LIPGD_VERSION_\w+ (\d+)", text))
    assert lipgd.__version__ == version
    assert importlib.metadata.version("lipgd") == version
    assert lipgd.show_config().version == version


def test_headers_and_cmake_package_are_installed() -> None:
    installed = Path(lipgd.get_include(), "lipgd")
    source = ROOT / "cpp" / "include" / "lipgd"
    names = {p.relative_to(source) for p in source.rglob("*.hpp")}
    assert names == {p.relative_to(installed) for p in installed.rglob("*.hpp")}
    assert Path(lipgd.get_cmake_dir(), "lipgdConfig.cmake").is_file()


@pytest.mark.parametrize(
    ("option", "function"),
    [("--includes", lipgd.get_include), ("--cmakedir", lipgd.get_cmake_dir)],
)
def test_the_command_prints_the_paths(option: str, function: Callable[[], str]) -> None:
    run = python("-m", "lipgd", option)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{function()}\n", "")


def test_typed_packages_are_marked() -> None:
    assert Path(lipgd.__file__).with_name("py.typed").is_file()


class TestUsableThreads:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
        monkeypatch.setattr(_threads, "_CGROUPS", tmp_path)
        monkeypatch.setattr(_threads, "_MEMBERSHIP", tmp_path / "self")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        _threads._quota.cache_clear()
        yield
        _threads._quota.cache_clear()

    def group(self, tmp_path: Path, membership: str, files: dict[str, str]) -> None:
        (tmp_path / "self").write_text(membership)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    def test_affinity_counts(self) -> None:
        assert _threads.usable_threads() == 8

    @pytest.mark.parametrize(
        ("stated", "threads"),
        [("1", 1), ("3,1", 3), ("99", 8), ("0", 8), ("", 8), ("many", 8), (" 2 ", 2)],
    )
    def test_the_limit_that_joblib_sets_in_its_workers(
        self, stated: str, threads: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
        assert _threads.usable_threads() == threads

    @pytest.mark.parametrize(
        ("files", "threads"),
        [
            ({"a/b/cpu.max": "150000 100000\n"}, 2),
            ({"a/b/cpu.max": "10000 100000\n"}, 1),
            ({"a/b/cpu.max": "max 100000\n"}, 8),
            ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
            ({"cpu.max": "400000 100000\n"}, 4),
            ({"a/b/cpu.max": "1600000 100000\n"}, 8),
            ({"a/b/cpu.max": "broken\n"}, 8),
        ],
    )
    def test_unified_groups(self, tmp_path: Path, files: dict[str, str], threads: int) -> None:
        self.group(tmp_path, "0::/a/b\n", files)
        assert _threads.usable_threads() == threads

    @pytest.mark.parametrize(("quota", "threads"), [("200000", 2), ("-1", 8)])
    def test_older_groups(self, tmp_path: Path, quota: str, threads: int) -> None:
        files = {"cpu/a/cpu.cfs_quota_us": quota, "cpu/a/cpu.cfs_period_us": "100000"}
        self.group(tmp_path, "5:memory:/x\n4:cpu,cpuacct:/a\n", files)
        assert _threads.usable_threads() == threads
