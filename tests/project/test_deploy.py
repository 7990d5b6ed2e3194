"""A team's servers as deploy/ describes them; they run in containers, which no test starts."""

import re
import subprocess

from helpers.project import ROOT
from ruamel.yaml import YAML

DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
IMAGE = re.compile(r"[a-z0-9/]+:v?\d+\.\d+[\w.-]*")
"""An image whose tag is a version, not one that moves from one to the next."""


def services() -> dict[str, dict[str, object]]:
    """Return the services, with the values of the example."""
    filled = re.sub(r"\$\{(\w+):\?\}", lambda found: EXAMPLE[found[1]], COMPOSE)
    assert "$" not in filled
    return dict(YAML(typ="safe").load(filled)["services"])


def test_the_example_names_what_is_to_be_filled_in() -> None:
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == EXAMPLE.keys()
    assert {name for name, value in EXAMPLE.items() if value} == {"SERVER_ADDRESS", "SERVER_NAME"}


def test_only_this_machine_is_let_in_unless_told_otherwise() -> None:
    published = {port for service in services().values() for port in service.get("ports", [])}
    assert published == {"127.0.0.1:3900:3900", "127.0.0.1:5000:5000"}


def test_every_service_has_a_check_and_starts_again() -> None:
    assert services().keys() == {"postgres", "store", "mlflow"}
    for service in services().values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"
    assert set(services()["mlflow"]["depends_on"]) == {"postgres", "store"}


def test_images_have_versions_and_mlflow_that_of_the_tests() -> None:
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
