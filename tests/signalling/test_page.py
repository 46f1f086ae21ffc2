import re

import httpx2
import pytest

from voicegate.signalling.page import PageFiles

FILES = PageFiles(agent_name="<parrot>")
INDEX = bytes(FILES.index().body).decode()
LOADED = re.findall(r'(?:src|href)="([^"]+)"', INDEX)


async def test_the_page_and_all_it_loads_are_served(http: httpx2.AsyncClient) -> None:
    page = await http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    types = {"js": "javascript", "css": "text/css", "svg": "image/svg+xml"}
    for path in LOADED:
        response = await http.get(path)
        assert response.status_code == 200
        assert types[path.rpartition(".")[2]] in response.headers["content-type"]


@pytest.mark.parametrize("name", ["app.js", "call.js", "messages.js", "meter.js", "timeline.js"])
def test_scripts_import_only_what_is_served(name: str) -> None:
    script = FILES.static(name)
    assert script is not None
    for imported in re.findall(r'from "\./([^"]+)"', bytes(script.body).decode()):
        assert FILES.static(imported) is not None


def test_nothing_comes_from_elsewhere_or_inline() -> None:
    assert all(path.startswith("/static/") for path in LOADED)
    assert not re.search(r"<style|<script(?![^>]* src=)| style=| on\w+=", INDEX)


def test_the_name_of_the_agent_is_escaped() -> None:
    assert '<meta name="voicegate-agent" content="&lt;parrot&gt;">' in INDEX
    assert "{{" not in INDEX
