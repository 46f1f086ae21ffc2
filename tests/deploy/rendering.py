"""Manifests as `kubectl kustomize` renders them, and YAML that says each thing once."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
OVERLAYS: Final = ("single-region", "on-nodes", "multi-region/eu-central", "multi-region/us-east")

Manifest = dict[str, Any]


class StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a mapping that has a key twice, of which others take the last."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    own = [loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != MERGE_TAG]
    if len(own) != len(set(own)):
        raise yaml.constructor.ConstructorError(None, None, f"a key is there twice: {own}", node.start_mark)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


MERGE_TAG: Final = "tag:yaml.org,2002:merge"
StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_all(text: str) -> list[Any]:
    """Read every document of some YAML."""
    return [document for document in yaml.load_all(text, Loader=StrictLoader) if document is not None]


def render(overlay: str, *, patches: Sequence[str] = ()) -> list[Manifest]:
    """Render an overlay, with patches out of ``load-balancer`` as an operator adds them."""
    # Of what a patch deletes, an old kustomize leaves its namespace.
    return [each for each in read_all(_render(overlay, tuple(patches))) if "kind" in each]


@cache
def _render(overlay: str, patches: tuple[str, ...]) -> str:
    with TemporaryDirectory() as folder:
        copy = Path(folder, "kubernetes")
        shutil.copytree(KUBERNETES, copy)
        if patches:
            _add_patches(copy, overlay, patches)
        if _is_before_components():
            for path in copy.rglob("kustomization.yaml"):
                path.write_text(_in_old_words(path))
        done = subprocess.run(
            ["kubectl", "kustomize", str(copy / overlay_folder(overlay))],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        # A warning, such as of a field that is going out of use, is a fault as well.
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


def overlay_folder(overlay: str) -> Path:
    """Return where an overlay is, below all manifests."""
    return Path("overlays", overlay)


def _add_patches(copy: Path, overlay: str, patches: Sequence[str]) -> None:
    folder = copy / overlay_folder(overlay)
    path = folder / "kustomization.yaml"
    (kustomization,) = read_all(path.read_text())
    for patch in patches:
        shutil.copy(copy / "load-balancer" / patch, folder)
    kustomization["patches"] = [{"path": patch} for patch in patches]
    path.write_text(yaml.safe_dump(kustomization))


@cache
def _is_before_components() -> bool:
    """Tell whether kubectl is from before 1.21, as in Debian 12, where kustomize was two versions behind."""
    command = ["kubectl", "version", "--client", "--output", "json"]
    said = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    return "kustomizeVersion" not in json.loads(said)


def _in_old_words(path: Path) -> str:
    """Say the same to such a kustomize: folders were listed apart, and patches that merge, too."""
    (kustomization,) = read_all(path.read_text())
    resources = kustomization.pop("resources")
    folders = [each for each in resources if (path.parent / each).is_dir()]
    kustomization["bases"] = folders
    kustomization["resources"] = [each for each in resources if each not in folders]
    kustomization["patchesStrategicMerge"] = [each["path"] for each in kustomization.pop("patches", [])]
    return str(yaml.safe_dump({key: value for key, value in kustomization.items() if value}))


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Choose those of some kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def workloads(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    """Return what has pods, by the component that it is."""
    return {
        manifest["metadata"]["labels"]["app.kubernetes.io/component"]: manifest
        for manifest in of_kind(manifests, "Deployment", "StatefulSet", "DaemonSet")
    }


def ours(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    """Return those of which the pods are voicegate's, by role."""
    return {role: each for role, each in workloads(manifests).items() if role != "redis"}


def pod(workload: Manifest) -> dict[str, Any]:
    """Return the description of its pods."""
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> dict[str, Any]:
    """Return its one container."""
    (only,) = pod(workload)["containers"]
    assert isinstance(only, dict)
    return only


def labels_of(workload: Manifest) -> dict[str, str]:
    """Return the labels of its pods."""
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def yaml_files() -> list[Path]:
    """List all YAML there is."""
    return [ROOT / "compose.yaml", *sorted(DEPLOY.rglob("*.yaml"))]
