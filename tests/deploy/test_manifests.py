"""The Kubernetes manifests: they render, are valid, hang together, and speak of a program that exists."""

import ipaddress
import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest

from tests.deploy.program import API_KEY, load_config, parse_command, paths_of, write_secrets
from tests.deploy.rendering import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    Manifest,
    container,
    labels_of,
    of_kind,
    ours,
    pod,
    read_all,
    render,
    workloads,
    yaml_files,
)
from voicegate.config import Config
from voicegate.config.size import choose_sizes
from voicegate.machine import Machine

pytestmark = pytest.mark.slow

VERSIONS: Final = ("1.29", "1.32", "1.37")
"""An old Kubernetes that is still met, one in the middle, and the latest whose schemas we have."""

LOAD_BALANCERS: Final = sorted(path.name for path in (KUBERNETES / "load-balancer").glob("*.yaml"))
SECRET: Final = {
    "secrets": "",
    "api-keys": API_KEY,
    "directory": "redis://:password@voicegate-redis:6379",
    "redis-password": "password",
}
"""What docs/kubernetes.md has people put into the Secret."""

POD: Final = {"status.podIP": "10.10.3.4", "spec.nodeName": "node-3"}
"""What Kubernetes knows of a pod."""


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(request.param)


def environment_of(
    workload: Manifest, manifests: list[Manifest], folder: Path
) -> tuple[dict[str, str], dict[str, Path]]:
    """Return a container's environment and its volumes' folders, as a kubelet makes them."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(manifests, "ConfigMap")}
    secret = SECRET | {"secrets": write_secrets(folder / "all-secrets").read_text()}
    spec, mounts = container(workload), {}
    volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
    for mount in spec["volumeMounts"]:
        there = folder / mount["mountPath"].strip("/")
        there.mkdir(parents=True, exist_ok=True)
        mounts[mount["mountPath"]] = there
        match volumes[mount["name"]]:
            case {"configMap": {"name": name}}:
                files = maps[name]
            case {"secret": {"secretName": "voicegate", "items": items}}:
                files = {item["path"]: secret[item["key"]] for item in items}
            case {"emptyDir": _}:
                files = {}
            case other:
                raise AssertionError(other)
        for name, text in files.items():
            (there / name).write_text(text)
    environment: dict[str, str] = {}
    for source in spec.get("envFrom", []):
        environment |= maps[source["configMapRef"]["name"]]
    for variable in spec["env"]:
        match variable:
            case {"value": value}:
                text = re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], value)
            case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
                text = POD[path]
            case {"valueFrom": {"secretKeyRef": {"name": "voicegate", "key": key}}}:
                text = secret[key]
            case other:
                raise AssertionError(other)
        environment[variable["name"]] = text
    return environment, mounts


def config_of(role: str, manifests: list[Manifest], folder: Path) -> Config:
    """Load what a container would."""
    environment, mounts = environment_of(ours(manifests)[role], manifests, folder)
    moved = {
        name: next((f"{mounts[path]}{text[len(path) :]}" for path in mounts if text.startswith(path)), text)
        for name, text in environment.items()
    }
    for name in ("POD_IP", "NODE_NAME"):
        moved.pop(name, None)
    return load_config(role, moved)


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_mapping_says_a_thing_twice(path: Path) -> None:
    assert read_all(path.read_text())


def test_a_mapping_that_says_a_thing_twice_is_noticed() -> None:
    with pytest.raises(Exception, match="a key is there twice"):
        read_all("one: {two: 1, two: 2}")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_an_object_with_an_unknown_field_is_not() -> None:
    service = of_kind(render("single-region"), "Service")[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service | {"specs": {}}, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("patch", LOAD_BALANCERS)
def test_each_load_balancer_keeps_sources_and_carries_both_protocols(patch: str) -> None:
    manifests = render("single-region", patches=[patch])
    balanced = [each for each in of_kind(manifests, "Service") if each["spec"].get("type") == "LoadBalancer"]
    carried = [
        (port["protocol"], port["port"], port["targetPort"])
        for each in balanced
        for port in each["spec"]["ports"]
    ]
    assert sorted(carried) == [("TCP", 3478, "media-tcp"), ("UDP", 3478, "media-udp")]
    for service in balanced:
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)
        assert service["spec"]["externalTrafficPolicy"] == "Local"
        assert service["metadata"]["annotations"]


def test_no_two_objects_have_one_name(manifests: list[Manifest]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names))


def test_all_is_in_one_namespace_that_is_there(manifests: list[Manifest]) -> None:
    (namespace,) = of_kind(manifests, "Namespace")
    name = namespace["metadata"]["name"]
    assert {each["metadata"].get("namespace", name) for each in manifests} == {name}


def test_no_secret_is_among_them(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "Secret") == []
    for workload in workloads(manifests).values():
        plain = [each["name"] for each in container(workload)["env"] if "value" in each]
        assert not [name for name in plain if re.search("KEY|PASSWORD|SECRETS$|DIRECTORY", name)]


def test_all_have_both_roles(manifests: list[Manifest]) -> None:
    assert set(ours(manifests)) == {"relay", "transceiver"}


@pytest.mark.parametrize("role", ["relay", "transceiver"])
def test_the_program_takes_what_its_containers_are_given(
    manifests: list[Manifest], role: str, tmp_path: Path
) -> None:
    assert parse_command(container(ours(manifests)[role])["args"]) == role
    config = config_of(role, manifests, tmp_path)
    assert config.directory == SECRET["directory"]
    assert len(config.secrets) == 2
    assert len(config.keys) == 1


def test_all_tasks_of_a_cluster_meet(manifests: list[Manifest], tmp_path: Path) -> None:
    relay, transceiver = (config_of(role, manifests, tmp_path) for role in ("relay", "transceiver"))
    assert relay.region == transceiver.region
    assert relay.hop_networks == transceiver.hop_networks
    assert transceiver.peer is not None
    for address in (relay.hop, transceiver.hop, transceiver.peer):
        assert any(ipaddress.ip_address(address.host) in network for network in relay.hop_networks)


def test_regions_share_one_table_and_each_names_itself(tmp_path: Path) -> None:
    names = [overlay.partition("/")[2] for overlay in OVERLAYS if overlay.startswith("multi-region/")]
    for name in names:
        config = config_of("transceiver", render(f"multi-region/{name}"), tmp_path)
        assert config.region == name
        assert set(config.regions) == set(names)


def test_ports_of_containers_are_those_of_the_program(manifests: list[Manifest], tmp_path: Path) -> None:
    for role, workload in ours(manifests).items():
        config = config_of(role, manifests, tmp_path)
        ports = {
            each["name"]: (each.get("protocol", "TCP"), each["containerPort"])
            for each in container(workload)["ports"]
        }
        wanted = {"http": ("TCP", config.http.port), "hop": ("UDP", config.hop.port)}
        if role == "relay":
            wanted |= {"media-udp": ("UDP", config.udp[0].port), "media-tcp": ("TCP", config.udp[0].port)}
            assert config.tcp is None
        else:
            assert config.peer is not None
            wanted |= {"peer": ("TCP", config.peer.port)}
        assert ports == wanted


def test_probes_ask_what_the_program_answers(manifests: list[Manifest]) -> None:
    for role, workload in ours(manifests).items():
        spec = container(workload)
        probes = {name: spec[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        assert {probe["path"] for probe in probes.values()} <= paths_of(role)
        # Alive while it drains; ready only while it doesn't.
        assert probes["liveness"]["path"] == "/healthz"
        assert probes["readiness"]["path"] == "/readyz"
        assert {probe["port"] for probe in probes.values()} == {"http"}


def test_kubernetes_waits_longer_than_a_drain_takes(manifests: list[Manifest], tmp_path: Path) -> None:
    for role, workload in ours(manifests).items():
        grace = pod(workload)["terminationGracePeriodSeconds"]
        assert config_of(role, manifests, tmp_path).drain_seconds + 10 <= grace


def test_nothing_has_more_rights_than_it_needs(manifests: list[Manifest]) -> None:
    for workload in workloads(manifests).values():
        outer, inner = pod(workload)["securityContext"], container(workload)["securityContext"]
        assert outer["runAsNonRoot"]
        assert outer["runAsUser"] > 0
        assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
        assert inner == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod(workload)["automountServiceAccountToken"] is False


def test_only_relays_on_nodes_share_their_network(manifests: list[Manifest]) -> None:
    for workload in workloads(manifests).values():
        assert pod(workload).get("hostNetwork", False) == (workload["kind"] == "DaemonSet")


def test_no_variable_of_a_service_looks_like_a_setting(manifests: list[Manifest]) -> None:
    for workload in workloads(manifests).values():
        assert pod(workload)["enableServiceLinks"] is False


def test_sockets_have_a_place_where_nothing_else_is_writable(manifests: list[Manifest]) -> None:
    for workload in ours(manifests).values():
        (tmp,) = (each for each in pod(workload)["volumes"] if "emptyDir" in each)
        (mount,) = (each for each in container(workload)["volumeMounts"] if each["name"] == tmp["name"])
        assert mount["mountPath"] == "/tmp"
        assert tmp["emptyDir"]["sizeLimit"]


def test_limits_are_the_requests_so_that_nothing_is_throttled_in_a_frame(manifests: list[Manifest]) -> None:
    for workload in ours(manifests).values():
        resources = container(workload)["resources"]
        for what in ("cpu", "memory"):
            assert resources["requests"][what] == resources["limits"][what]
        assert resources["limits"]["cpu"].isdecimal()


def test_images_are_pinned_and_ours_is_this_version(manifests: list[Manifest]) -> None:
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for workload in workloads(manifests).values():
        tag = container(workload)["image"].partition(":")[2]
        assert re.match(r"\d+\.\d+\.\d+", tag)
    for workload in ours(manifests).values():
        assert container(workload)["image"] == f"registry.example.com/voicegate:{version}"


def test_selectors_match_the_pods_they_are_meant_for(manifests: list[Manifest]) -> None:
    labels = {name: labels_of(workload) for name, workload in workloads(manifests).items()}
    for name, workload in workloads(manifests).items():
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
        for constraint in pod(workload).get("topologySpreadConstraints", []):
            assert constraint["labelSelector"]["matchLabels"].items() <= labels[name].items()
    for manifest in of_kind(manifests, "Service", "PodDisruptionBudget", "NetworkPolicy"):
        wanted = _selected(manifest)
        matched = [name for name, own in labels.items() if wanted.items() <= own.items()]
        assert matched == [manifest["metadata"]["labels"]["app.kubernetes.io/component"]]


def _selected(manifest: Manifest) -> dict[str, str]:
    spec = manifest["spec"]
    match manifest["kind"]:
        case "Service":
            selected: dict[str, str] = spec["selector"]
        case "NetworkPolicy":
            selected = spec["podSelector"]["matchLabels"]
        case _:
            selected = spec["selector"]["matchLabels"]
    return selected


def test_services_and_ingresses_lead_to_ports_that_are_there(manifests: list[Manifest]) -> None:
    services = {each["metadata"]["name"]: each for each in of_kind(manifests, "Service")}
    for service in services.values():
        component = service["metadata"]["labels"]["app.kubernetes.io/component"]
        ports = {
            each["name"]: each.get("protocol", "TCP")
            for each in container(workloads(manifests)[component])["ports"]
        }
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port.get("protocol", "TCP")
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                names = [port["name"] for port in services[backend["name"]]["spec"]["ports"]]
                assert backend["port"]["name"] in names


def test_what_stateful_sets_are_served_by_is_there(manifests: list[Manifest]) -> None:
    names = {each["metadata"]["name"]: each["spec"] for each in of_kind(manifests, "Service")}
    for manifest in of_kind(manifests, "StatefulSet"):
        assert names[manifest["spec"]["serviceName"]]["clusterIP"] == "None"


def test_transceivers_have_no_public_port(manifests: list[Manifest]) -> None:
    public = [
        each for each in of_kind(manifests, "Service") if each["spec"].get("type", "ClusterIP") != "ClusterIP"
    ]
    assert all(_selected(each)["app.kubernetes.io/component"] == "relay" for each in public)
    assert "hostPort" not in str(ours(manifests)["transceiver"])


def test_the_autoscaler_keeps_a_third_of_what_a_pod_carries_free(manifests: list[Manifest]) -> None:
    (scaler,) = of_kind(manifests, "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    workload = ours(manifests)["transceiver"]
    assert (target["kind"], target["name"]) == (workload["kind"], workload["metadata"]["name"])
    assert "replicas" not in workload["spec"]
    limits = container(workload)["resources"]["limits"]
    memory = int(limits["memory"].removesuffix("Gi")) << 30
    sizes = choose_sizes({}, "transceiver", machine=Machine(cores=int(limits["cpu"]), memory=memory))
    (metric,) = scaler["spec"]["metrics"]
    assert int(metric["pods"]["target"]["averageValue"]) == sizes["max_calls"] * 2 // 3
    # One pod at a time, each with the time that its drain takes.
    (policy,) = scaler["spec"]["behavior"]["scaleDown"]["policies"]
    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert policy["periodSeconds"] >= pod(workload)["terminationGracePeriodSeconds"]


def test_each_port_is_open_only_to_those_who_need_it() -> None:
    manifests = render("single-region")
    assert _opened(manifests, "transceiver") == {
        ("UDP", 7000, 7063): {"relay"},
        ("TCP", 7443, 7443): {"transceiver"},
        ("TCP", 8080, 8080): {"namespace ingress-nginx", "namespace monitoring"},
    }
    assert _opened(manifests, "relay") == {
        ("UDP", 3478, 3478): {"everybody"},
        ("TCP", 3478, 3478): {"everybody"},
        ("UDP", 7000, 7063): {"transceiver"},
        ("TCP", 8080, 8080): {"namespace monitoring"},
    }
    assert _opened(manifests, "redis") == {("TCP", 6379, 6379): {"relay", "transceiver"}}


def test_other_regions_reach_the_hop_and_the_peers_and_nothing_else() -> None:
    regions = {"10.10.0.0/16", "10.20.0.0/16"}
    manifests = render("multi-region/eu-central")
    assert _opened(manifests, "transceiver") == {
        ("UDP", 7000, 7063): {"relay"} | regions,
        ("TCP", 7443, 7443): {"transceiver"} | regions,
        ("TCP", 8080, 8080): {"namespace ingress-nginx", "namespace monitoring"},
    }
    assert _opened(manifests, "relay")["UDP", 7000, 7063] == {"transceiver"} | regions


def test_relays_on_nodes_reach_the_hop_and_the_directory() -> None:
    manifests = render("on-nodes")
    assert _opened(manifests, "transceiver")["UDP", 7000, 7063] == {"relay", "10.0.0.0/16"}
    assert _opened(manifests, "redis") == {("TCP", 6379, 6379): {"relay", "transceiver", "10.0.0.0/16"}}


def test_enough_hop_ports_are_open_for_all_workers(manifests: list[Manifest], tmp_path: Path) -> None:
    for role in ours(manifests):
        hop = config_of(role, manifests, tmp_path).hop.port
        cores = int(container(ours(manifests)[role])["resources"]["limits"]["cpu"])
        opened = [(low, high) for protocol, low, high in _opened(manifests, role) if protocol == "UDP"]
        if role == "transceiver" or opened:
            assert any(low == hop and high - low >= cores for low, high in opened)


def _opened(manifests: list[Manifest], component: str) -> dict[tuple[str, int, int], set[str]]:
    """Return who may reach which ports of a component's pods, by protocol and range."""
    opened: dict[tuple[str, int, int], set[str]] = {}
    for policy in of_kind(manifests, "NetworkPolicy"):
        if _selected(policy)["app.kubernetes.io/component"] != component:
            continue
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        for rule in policy["spec"]["ingress"]:
            sources = set(map(_source, rule["from"])) if "from" in rule else {"everybody"}
            for port in rule["ports"]:
                key = port["protocol"], port["port"], port.get("endPort", port["port"])
                opened[key] = opened.get(key, set()) | sources
    return opened


def _source(source: dict[str, Any]) -> str:
    # Two selectors in one would be both at once, which nothing here means.
    ((kind, chosen),) = source.items()
    match kind, chosen:
        case "podSelector", {"matchLabels": labels}:
            return str(labels["app.kubernetes.io/component"])
        case "namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": name}}:
            return f"namespace {name}"
        case "ipBlock", {"cidr": cidr}:
            return str(cidr)
        case other:
            raise AssertionError(other)
