from pathlib import Path

import attrs
import pytest

from voicegate.access import hash_key
from voicegate.config import Config
from voicegate.config.load import load_values
from voicegate.config.show import Setting, list_settings

SECRET = "correct horse battery staple"


def show(path: Path | None, environment: dict[str, str]) -> dict[str, Setting]:
    config = Config.load(path, environment=environment)
    loaded = load_values(attrs.fields_dict(Config), path, environment=environment)
    return {setting.key: setting for setting in list_settings(config, loaded)}


def test_each_key_has_its_value_and_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(
        'http = "127.0.0.1:1"\ncluster = 3\nmax_calls = "auto"\n[regions.fra]\nlocation = [1, 2]\n'
    )
    shown = show(file, {"VOICEGATE_CLUSTER": "4", "VOICEGATE_API_KEYS": "a-key-of-many-letters"})
    assert list(shown) == [field.name for field in attrs.fields(Config)]
    assert shown["http"][1:] == ('"127.0.0.1:1"', str(file))
    assert shown["cluster"][1:] == ("4", "VOICEGATE_CLUSTER")
    assert shown["workers"][1:] == ("1", "default")
    assert shown["peer"][1:] == ("", "default")
    assert shown["max_calls"].origin == f"auto, {file}"
    assert shown["keys"].origin == "VOICEGATE_API_KEYS"
    assert shown["regions"].value.startswith("{fra = {location = [1.0, 2.0], countries = []")


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    shown = show(None, {"VOICEGATE_REGIONS": "fra = {default = true}", "VOICEGATE_GEO": '{database = "x"}'})
    file = tmp_path / "again.toml"
    file.write_text("".join(f"{key} = {value}\n" for key, value, _ in shown.values() if value))
    assert Config.load(file) == Config(regions={"fra": {"default": True}}, geo={"database": "x"})


@pytest.mark.parametrize(
    "text",
    [
        'secrets = "HIDDEN {secret}"',
        '[[keys]]\nname = "web"\nhash = "{hash}"',
        'directory = "redis://user:HIDDEN@10.0.0.1/1"',
        '[[ice_servers]]\nurls = ["turn:a"]\nusername = "u"\ncredential = "HIDDEN"',
        '[agents.a]\nuse = "ws://user:HIDDEN@agents.example/?token=HIDDEN"',
        '[agents.a]\nuse = "cascade"\napi_key = "HIDDEN"\n[agents.a.chat]\nheaders = ["X: HIDDEN"]',
        '[agents.a]\nuse = "cascade"\n[agents.a.chat.headers]\nAuthorization = "HIDDEN"',
        'agent = "ws://user:HIDDEN@agents.example/?token=HIDDEN"',
    ],
)
def test_nothing_secret_is_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(text.replace("{secret}", SECRET).replace("{hash}", hash_key("HIDDEN")))
    said = repr(show(file, {}))
    assert "HIDDEN" not in said
    assert hash_key("HIDDEN") not in said
    assert "***" in said
