"""Every Kubernetes manifest against the published schemas (no unknown field), and what a schema cannot say: names that must meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
VARIANTS = sorted(path.parent for path in KUBERNETES.glob("*/kustomization.yaml"))
VERSION = "1.36"
"""A current minor version; the manifests use nothing newer than 1.30 (preStop sleep)."""
KUSTOMIZE = "kustomize.config.k8s.io/v1beta1"

by_variant = pytest.mark.parametrize("folder", [pytest.param(folder, id=folder.name) for folder in VARIANTS])


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def resources(folder: Path) -> list[dict[str, Any]]:
    kustomization = documents(folder / "kustomization.yaml")[0]
    return [document for name in kustomization["resources"] for document in documents(folder / name)]


def one(folder: Path, kind: str, name: str | None = None) -> dict[str, Any]:
    found = [it for it in resources(folder) if it["kind"] == kind and name in {None, it["metadata"]["name"]}]
    assert len(found) == 1, f"{kind} {name} stands {len(found)} times in {folder.name}"
    return found[0]


def containers(folder: Path) -> list[dict[str, Any]]:
    return one(folder, "Deployment")["spec"]["template"]["spec"]["containers"]


def test_both_ways_to_run_it_are_there():
    assert [folder.name for folder in VARIANTS] == ["ingress", "sidecar"]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        pytest.param(path, document, id=f"{path.parent.name}/{path.name}")
        for path in sorted(KUBERNETES.glob("*/*.yaml"))
        for document in documents(path)
        if path.name not in {"gateway.yaml", "kustomization.yaml"}
    ],
)
def test_a_manifest_obeys_its_schema(path, document):
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as refused:
        pytest.fail(f"{path.name}: {refused}")


@by_variant
def test_the_kustomization_names_every_file_beside_it(folder):
    kustomization = documents(folder / "kustomization.yaml")[0]
    assert (kustomization["apiVersion"], kustomization["kind"]) == (KUSTOMIZE, "Kustomization")
    generated = [name for generator in kustomization["configMapGenerator"] for name in generator["files"]]
    named = {*kustomization["resources"], *generated, "kustomization.yaml", "secret.example.yaml"}
    assert named == {path.name for path in folder.iterdir()}


@by_variant
def test_a_pod_has_the_least_rights(folder):
    pod = one(folder, "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}


@by_variant
def test_the_kubelet_reaches_the_probes(folder):
    gateway = containers(folder)[0]
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    settings = yaml.safe_load((folder / "gateway.yaml").read_text())
    assert settings["admin"]["listen"] == f"0.0.0.0:{ports['admin']}"
    assert settings["server"]["listen"] == f"0.0.0.0:{ports['public']}"
    probed = {name: gateway[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probed == {
        "startupProbe": {"path": "/livez", "port": "admin"},
        "livenessProbe": {"path": "/livez", "port": "admin"},
        "readinessProbe": {"path": "/readyz", "port": "admin"},
    }


@by_variant
def test_the_pod_outlives_the_drain(folder):
    pod = one(folder, "Deployment")["spec"]["template"]["spec"]
    grace = int(yaml.safe_load((folder / "gateway.yaml").read_text())["server"]["shutdown_grace"].removesuffix("s"))
    assert pod["terminationGracePeriodSeconds"] > pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + grace


@by_variant
def test_names_that_must_meet_meet(folder):
    pod = one(folder, "Deployment")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    policy = one(folder, "NetworkPolicy")["spec"]
    service = next(it for it in resources(folder) if it["kind"] == "Service")["spec"]
    assert one(folder, "Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert service["selector"] == labels
    assert service["ports"][0]["targetPort"] == "public"
    assert policy["podSelector"]["matchLabels"] == labels
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [8080]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    generated = [generator["name"] for generator in documents(folder / "kustomization.yaml")[0]["configMapGenerator"]]
    assert volumes["config"]["configMap"]["name"] in generated
    example = documents(folder / "secret.example.yaml")[0]
    assert volumes["secrets"]["secret"]["secretName"] == example["metadata"]["name"]
    mount = next(it["mountPath"] for it in pod["spec"]["containers"][0]["volumeMounts"] if it["name"] == "secrets")
    text = (folder / "gateway.yaml").read_text()
    assert {f"{mount}/{key}" for key in example["stringData"]} == {
        line.split("file:")[1].strip("{}[] ") for line in text.splitlines() if "{file:" in line
    }


def test_the_sidecars_service_leads_to_the_gateway_and_its_route_into_the_pod():
    folder = KUBERNETES / "sidecar"
    route = yaml.safe_load((folder / "gateway.yaml").read_text())["routes"][0]
    assert route["upstream"].startswith("http://127.0.0.1:")
    assert route["upstream"].rsplit(":", 1)[1] in containers(folder)[1]["args"]


def test_the_ingress_asks_the_gateways_service_and_takes_its_four_headers():
    folder = KUBERNETES / "ingress"
    prefix = "nginx.ingress.kubernetes.io/"
    notes = one(folder, "Ingress", "app")["metadata"]["annotations"]
    service = next(it for it in resources(folder) if it["kind"] == "Service")
    namespace = documents(folder / "kustomization.yaml")[0]["namespace"]
    address = f"{service['metadata']['name']}.{namespace}.svc.cluster.local:{service['spec']['ports'][0]['port']}"
    assert notes[prefix + "auth-url"] == f"http://{address}/oauth2/auth"
    settings = yaml.safe_load((folder / "gateway.yaml").read_text())
    assert notes[prefix + "auth-signin"] == f"{settings['server']['public_url']}/oauth2/start?rd=$escaped_request_uri"
    assert notes[prefix + "auth-response-headers"].split(",") == [
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Preferred-Username",
    ]
    assert notes[prefix + "auth-proxy-set-headers"] == f"{namespace}/{one(folder, 'ConfigMap')['metadata']['name']}"
    assert set(one(folder, "ConfigMap")["data"].values()) == {""}


def test_the_gateways_own_pages_are_not_behind_the_question():
    ingress = one(KUBERNETES / "ingress", "Ingress", "gateway")
    assert "annotations" not in ingress["metadata"]
    assert [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]] == ["/oauth2"]
