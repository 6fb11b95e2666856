"""The files under export/: what a machine reads of them is what it should be, and the scripts run."""

import pathlib
import runpy
import sys

import pytest
import serving_tiny
import tiny
import tiny_people
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

import tfface
from tfface import models
from tfface.data import manifest
from tfface.face import MorphableModel
from tfface.serving import metrics

ROOT = pathlib.Path(__file__).parents[1]
EXPORT = ROOT / "export"
CONFIGS = ("models.config", "batching.config", "monitoring.config")


def _documents(path: pathlib.Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _arguments(command: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in command)


def test_the_model_configuration_is_one():
    config = text_format.Parse((EXPORT / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    (entry,) = config.model_config_list.config
    assert (entry.name, entry.base_path) == ("faces", "/models/faces")
    assert entry.model_version_policy.latest.num_versions == 2


def test_the_configuration_in_the_cluster_is_that_of_the_files():
    (config,) = _documents(EXPORT / "kubernetes" / "config.yaml")
    assert config["data"] == {name: (EXPORT / name).read_text() for name in CONFIGS}


def test_monitoring_is_where_the_scrapers_look():
    assert f'path: "{metrics.PATH}"' in (EXPORT / "monitoring.config").read_text()
    (scraping,) = _documents(EXPORT / "prometheus.yaml")
    assert scraping["scrape_configs"][0]["metrics_path"] == metrics.PATH
    (deployment,) = _documents(EXPORT / "kubernetes" / "deployment.yaml")
    assert deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"] == metrics.PATH


def test_docker_and_the_cluster_start_the_same_command():
    (compose,) = _documents(EXPORT / "compose.yaml")
    (deployment,) = _documents(EXPORT / "kubernetes" / "deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    arguments = _arguments(compose["services"]["serving"]["command"])
    assert arguments == _arguments(container["args"])
    for name in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        folder, _, file = arguments[name].rpartition("/")
        assert folder == "/config"
        assert (EXPORT / file).is_file()
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["serving"]["ports"])


def test_the_parts_of_the_cluster_fit_together():
    (kustomization,) = _documents(EXPORT / "kubernetes" / "kustomization.yaml")
    files = {path.name for path in (EXPORT / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    documents = {document["kind"]: document for name in files for document in _documents(EXPORT / "kubernetes" / name)}
    deployment = documents["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert documents["Service"]["spec"]["selector"] == labels
    assert documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert documents["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert documents["Namespace"]["metadata"]["name"] == kustomization["namespace"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in documents["Service"]["spec"]["ports"]} == ports
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/v1/models/faces/metadata"
    assert container["livenessProbe"]["grpc"]["port"] == 8500


def _run(script: str, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(EXPORT / script), run_name="__main__")


def test_the_load_test_measures_a_server(monkeypatch, capsys):
    with serving_tiny.serving(serving_tiny.exported(), rest_port=-1) as running:
        address = f"--server=127.0.0.1:{running.port}"
        common = (address, f"--model={serving_tiny.MODEL}", "--clients=2", "--seconds=0.3")
        _run("load_test.py", monkeypatch, *common)
        printed = capsys.readouterr().out
        assert "faces/s over" in printed
        assert "statuses: OK " in printed
        with pytest.raises(SystemExit) as ended:
            _run("load_test.py", monkeypatch, *common, "--p99_ms=0.001")
        assert ended.value.code == 1


def test_fine_tuning_gains_on_other_people(tmp_path, monkeypatch, capsys):
    records = tiny_people.records_folder()
    face_model = MorphableModel.load(records / manifest.FACE_MODEL_NAME)
    model = models.single_view(face_model, image_size=tiny.IMAGE_SIZE, hidden_units=8, encoder_output="block3_pool")
    model.save(tmp_path / "model.keras")
    _run(
        "fine_tune.py",
        monkeypatch,
        f"--model={tmp_path}/model.keras",
        f"--records={records}",
        f"--output={tmp_path}/tuned.keras",
        "--steps=25",
        "--learning_rate=1e-3",
        "--train_from=block3_conv3",
    )
    rows = [
        line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith(("| before", "| after"))
    ]
    before, after = (float(row[2]) for row in rows)
    assert after < 0.8 * before
    tuned = tfface.load(tmp_path / "tuned.keras")
    frozen = "block1_conv1"
    same = (models.FaceModel(each).encoder.get_layer(frozen).get_weights()[0] for each in (model, tuned))
    assert (next(same) == next(same)).all()
