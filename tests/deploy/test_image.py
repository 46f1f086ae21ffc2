"""The Dockerfile, read as a builder would: there is none on every machine."""

import re
import tomllib
from typing import Final

import pytest

from tests.deploy.dockerfile import Stage, is_sent, read_stages
from tests.deploy.program import parse_command, paths_of
from tests.deploy.rendering import ROOT, container, ours, pod, render
from voicegate.config import Config

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILD, FINAL = read_stages((ROOT / "Dockerfile").read_text())
IGNORED: Final = (ROOT / ".dockerignore").read_text()


def named(requirement: str) -> str:
    """Return the normal name of a requirement."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pinned(name: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins."""
    text = (ROOT / "requirements" / name).read_text()
    return {
        named(line): line.partition("==")[2].split()[0]
        for line in text.splitlines()
        if re.match(r"[A-Za-z0-9]", line)
    }


@pytest.mark.parametrize("stage", [BUILD, FINAL], ids=["build", "final"])
def test_its_base_is_a_pinned_python_that_is_supported(stage: Stage) -> None:
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", stage.base)
    assert found is not None
    assert f"Programming Language :: Python :: {found[1]}" in PROJECT["classifiers"]


def test_both_stages_have_the_same_base() -> None:
    assert BUILD.base == FINAL.base


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    for instruction in BUILD.of("COPY"):
        for source in instruction.arguments[:-1]:
            assert (ROOT / source).exists(), source
            assert is_sent(source, IGNORED), source


@pytest.mark.parametrize(
    "path", [".git", ".venv", "tests", "deploy", "cluster-secret", "requirements/test.txt", "build"]
)
def test_nothing_else_is_sent(path: str) -> None:
    assert not is_sent(path, IGNORED)


@pytest.mark.parametrize("path", ["voicegate/cli/__init__.py", "voicegate/signalling/web/index.html"])
def test_all_of_the_package_is_sent(path: str) -> None:
    assert (ROOT / path).exists()
    assert is_sent(path, IGNORED)


def test_what_mypyc_left_beside_the_sources_is_not() -> None:
    assert not is_sent("voicegate/srtp/session.cpython-311-x86_64-linux-gnu.so", IGNORED)


def test_the_final_image_takes_one_folder_from_the_build() -> None:
    (copied,) = FINAL.of("COPY")
    assert copied.options == {"from": BUILD.name}
    source, target = copied.arguments
    assert source == target
    assert f"{target}/bin:" in FINAL.only("ENV").text


def test_the_final_image_has_neither_compiler_nor_installer() -> None:
    run = FINAL.only("RUN").text
    installed = re.search(r"apt-get install [-\w ]*?((?: [a-z0-9]+)+)\s+&&", run)
    assert installed is not None
    assert installed[1].split() == ["libopus0", "tini"]
    assert "pip" not in run
    assert "--without-pip" in BUILD.of("RUN")[-1].text


def test_all_that_is_installed_is_hashed() -> None:
    commands = " && ".join(instruction.text for instruction in BUILD.of("RUN")).split("&&")
    asking = [command for command in commands if re.search(r"pip (wheel|install)|python install", command)]
    assert len(asking) == 5
    for command in asking:
        own = "--no-deps" in command and ("--no-index" in command or command.rstrip().endswith(" ."))
        assert own or "--require-hashes" in command


def test_the_package_is_compiled_as_in_the_makefile() -> None:
    assert "HATCH_BUILD_HOOKS_ENABLE=1" in BUILD.of("RUN")[-1].text
    assert "HATCH_BUILD_HOOKS_ENABLE=1" in (ROOT / "Makefile").read_text()


def test_the_image_can_join_a_cluster_and_has_every_ready_agent() -> None:
    wanted = [*PROJECT["dependencies"]]
    for extra in ("fleet", "cascade"):
        wanted += PROJECT["optional-dependencies"][extra]
    assert {named(each) for each in wanted} <= set(pinned("image.txt"))


def test_what_builds_the_wheel_is_what_it_will_run_with() -> None:
    image, wheel = pinned("image.txt"), pinned("wheel.txt")
    both = image.keys() & wheel.keys()
    assert {name: image[name] for name in both} == {name: wheel[name] for name in both}
    assert {"hatch-mypyc", "mypy", "hatchling"} <= wheel.keys()


@pytest.mark.slow
def test_it_runs_as_nobody_in_particular_and_as_the_same_everywhere() -> None:
    user, group = map(int, FINAL.only("USER").text.split(":"))
    assert user == group > 0
    assert f"--uid {user} " in FINAL.only("RUN").text
    for workload in ours(render("single-region")).values():
        assert pod(workload)["securityContext"]["runAsUser"] == user
        assert pod(workload)["securityContext"]["runAsGroup"] == group


@pytest.mark.slow
def test_arguments_are_the_programs() -> None:
    *init, program = FINAL.only("ENTRYPOINT").words
    assert init == ["tini", "--"]
    assert program in PROJECT["scripts"]
    assert parse_command(FINAL.only("CMD").words) == "serve"
    for workload in ours(render("single-region")).values():
        assert "command" not in container(workload)


def test_it_ends_by_the_signal_that_drains() -> None:
    assert FINAL.only("STOPSIGNAL").text == "SIGTERM"


def test_it_exposes_the_ports_of_the_defaults() -> None:
    config = Config()
    exposed = set(FINAL.only("EXPOSE").words)
    assert exposed == {f"{config.udp[0].port}/udp", f"{config.udp[0].port}/tcp", f"{config.http.port}/tcp"}


def test_its_health_is_asked_where_every_role_answers() -> None:
    health = FINAL.only("HEALTHCHECK").text
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", health)
    assert found is not None
    assert int(found[1]) == Config().http.port
    assert all(found[2] in paths_of(role) for role in ("serve", "relay", "transceiver"))


def test_a_dockerfile_with_an_instruction_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="ADD"):
        read_stages("FROM python\nADD https://example.com/file /")
