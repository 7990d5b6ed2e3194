"""The configuration of a team's servers in deploy/. No test starts the containers."""

import re
import subprocess

from helpers.project import ROOT
from ruamel.yaml import YAML

DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
IMAGE = re.compile(r"[a-z0-9/]+:v?\d+\.\d+[\w.-]*")
"""An image with a fixed version tag."""


def services() -> dict[str, dict[str, object]]:
    """Return the services, with the values of the example inserted."""
    text = re.sub(r"\$\{(\w+):\?\}", lambda match: EXAMPLE[match[1]], COMPOSE)
    assert "$" not in text
    return dict(YAML(typ="safe").load(text)["services"])


def test_the_example_has_all_variables_without_secrets() -> None:
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == EXAMPLE.keys()
    assert {name for name, value in EXAMPLE.items() if value} == {"SERVER_ADDRESS", "SERVER_NAME"}


def test_by_default_ports_are_published_only_on_localhost() -> None:
    published = {port for service in services().values() for port in service.get("ports", [])}
    assert published == {"127.0.0.1:3900:3900", "127.0.0.1:5000:5000"}


def test_every_service_has_a_health_check_and_restarts() -> None:
    assert services().keys() == {"postgres", "store", "mlflow"}
    for service in services().values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"
    assert set(services()["mlflow"]["depends_on"]) == {"postgres", "store"}


def test_images_have_fixed_versions_and_packages_are_pinned() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    images = [service["image"] for service in services().values() if "image" in service]
    (base,) = re.findall(r"^FROM (\S+)$", dockerfile, re.MULTILINE)
    for image in [*images, base]:
        assert IMAGE.fullmatch(image), image
    (installed,) = re.findall(r"pip install --no-cache-dir -c /tmp/constraints\.txt ([\w -]+) &&", dockerfile)
    pinned = dict(
        re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"mlflow", "boto3", "psycopg2-binary"} == set(installed.split()) <= pinned.keys()


def test_passwords_are_not_committed() -> None:
    subprocess.run(["git", "check-ignore", "--quiet", "deploy/.env"], cwd=ROOT, check=True)
