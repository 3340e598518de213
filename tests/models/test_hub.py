"""Models from the network: servers on this computer, of plain files and as the Hugging Face Hub speaks."""

import contextlib
import hashlib
import json
import os
import ssl
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from commands import call

from hifrac import conf, load_model
from hifrac.core.config import cache_dir
from hifrac.core.exceptions import ModelError, ModelIntegrityError, ServiceError
from hifrac.core.files import file_sha256
from hifrac.models import export_model
from hifrac.models.registry import bundled_models

yaml = pytest.importorskip("yaml")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model as it is published, and the sha256 of its card."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    export_model("gas-classes", folder, hub=True)
    return folder, file_sha256(folder / "card.json")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        owner = self.server.owner
        owner.asked.append((self.command, self.path))
        status, body, headers = owner.answer(self.path)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            with contextlib.suppress(OSError):
                self.wfile.write(body)


class Files:
    """Serves files by their names; ``changed`` has other answers."""

    def __init__(self, folder):
        self.folder, self.asked, self.changed, self.url = folder, [], {}, ""

    def answer(self, path):
        name = path.rpartition("/")[2]
        if "/nothing/" in path:
            return 404, b"none", {"X-Error-Code": "RepoNotFound"}
        if name in self.changed:
            return self.changed[name]
        if not (self.folder / name).is_file():
            return 404, b"none", {}
        body = (self.folder / name).read_bytes()
        return 200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}


@contextlib.contextmanager
def serving(folder, context=None):
    owner = Files(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.owner, server.daemon_threads = owner, True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    owner.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield owner
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def service(exported, tmp_path, monkeypatch):
    """The published model on an address by https."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with (
        warnings.catch_warnings(),
        conf.set_temp("retries", 1),
        conf.set_temp("retry_backoff", 0.01),
        serving(exported[0], context) as owner,
    ):
        warnings.simplefilter("ignore", ResourceWarning)  # the server leaves sockets to the collector
        yield owner


def test_a_model_by_https_is_fetched_once_and_is_the_one_that_was_exported(service, exported):
    folder, digest = exported
    model = load_model(f"{service.url}/models/mine/", sha256=digest.upper(), device="cpu")
    assert [path for _, path in service.asked] == [
        "/models/mine/card.json",
        "/models/mine/weights.safetensors",
    ]
    assert model.folder == cache_dir() / "models" / digest
    assert sorted(path.name for path in model.folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert model.runtime == "eager"
    width = model.card.recipe.width
    pixels = np.random.default_rng(1).integers(0, 256, (2, width, width, 3), dtype=np.uint8)
    expected = load_model(folder, device="cpu", sha256=digest).run(pixels)
    answers = model.run(pixels)
    assert {name: values.tolist() for name, values in answers.items()} == {
        name: values.tolist() for name, values in expected.items()
    }
    with conf.set_temp("offline", True):  # it is in the store
        load_model(f"{service.url}/models/mine#sha256={digest}", device="cpu")
    assert len(service.asked) == 2


def test_what_was_damaged_in_the_store_is_fetched_again(service, exported):
    address = f"{service.url}/m#sha256={exported[1]}"
    folder = load_model(address, device="cpu").folder
    (folder / "weights.safetensors").write_bytes(b"damaged")
    load_model(address, device="cpu")
    assert len(service.asked) == 4


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors"])
def test_other_files_than_those_wanted_are_refused_and_not_kept(service, exported, name):
    body = (exported[0] / name).read_bytes()
    service.changed[name] = 200, body.replace(b"a", b"b", 1), {}
    with pytest.raises(ModelIntegrityError, match=rf"{name} of https://\S+ is not what was asked for"):
        load_model(f"{service.url}/m", sha256=exported[1])
    assert not (cache_dir() / "models").exists()


def test_a_card_of_the_right_sha256_that_is_none_is_refused(service):
    body = b"{}"
    service.changed["card.json"] = 200, body, {}
    with pytest.raises(ModelError, match="not a model card"):
        load_model(f"{service.url}/m", sha256=hashlib.sha256(body).hexdigest())


def test_an_answer_without_end_is_refused(service, exported, monkeypatch):
    monkeypatch.setattr("hifrac.models.hub._MOST", {"card.json": 1000, "weights.safetensors": 1000})
    with pytest.raises(ModelError, match=r"card\.json is longer than 1000 bytes"):
        load_model(f"{service.url}/m", sha256=exported[1])


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 2)])
def test_trouble_of_the_service_is_told_and_repeated_if_it_may_pass(service, exported, status, requests):
    service.changed["card.json"] = status, b"no", {}
    with pytest.raises(ServiceError, match=rf"no card\.json: \S+ answered {status} ") as caught:
        load_model(f"{service.url}/m", sha256=exported[1])
    assert (caught.value.status, len(service.asked)) == (status, requests)


def test_a_redirect_to_where_it_is_less_safe_is_not_followed_to_the_end(service, exported):
    with serving(exported[0]) as plain:
        service.changed["card.json"] = 302, b"", {"Location": f"{plain.url}/card.json"}
        with pytest.raises(ModelError, match="which is not by https"):
            load_model(f"{service.url}/m", sha256=exported[1])
    assert not (cache_dir() / "models").exists()


def test_a_redirect_by_https_is_followed(service, exported):
    service.changed["card.json"] = 302, b"", {"Location": f"{service.url}/elsewhere/moved.json"}
    service.changed["moved.json"] = 200, (exported[0] / "card.json").read_bytes(), {}
    assert load_model(f"{service.url}/m", sha256=exported[1], device="cpu").folder.is_dir()


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors"])
def test_an_answer_that_is_cut_off_is_asked_for_again_and_not_kept(service, exported, name):
    body = (exported[0] / name).read_bytes()
    service.changed[name] = 200, body[:100], {"Content-Length": str(len(body)), "Connection": "close"}
    with pytest.raises(ServiceError, match=rf"no {name}: \S+ gave no complete answer"):
        load_model(f"{service.url}/m", sha256=exported[1])
    assert [path.rpartition("/")[2] for _, path in service.asked].count(name) == 2
    assert not (cache_dir() / "models").exists()


A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("hf://owner/name@main", {}, "is loaded only if the sha256 of its card.json is given"),
        ("https://example.org/m", {}, "is loaded only if the sha256 of its card.json is given"),
        ("https://example.org/m", {"sha256": "abc"}, "sha256 must be 64 hexadecimal digits"),
        (f"https://example.org/m#sha256={A}", {"sha256": B}, "names another one"),
        ("hf://owner/name", {"sha256": A}, "model must be hf://OWNER/NAME@REVISION"),
        ("http://example.org/m", {"sha256": A}, "must be an address by https"),
        ("https://me:secret@example.org/m", {"sha256": A}, "must be an address by https"),
        ("https://example.org/m?token=x", {"sha256": A}, "must be an address by https"),
        ("HTTP://example.org/m", {"sha256": A}, "must be an address by https"),
        ("https://[::1/m", {"sha256": A}, "the host or port of this one is none"),
        ("https://example.org:port/m", {"sha256": A}, "the host or port of this one is none"),
        ("https://example.org/m", {"sha256": A, "runtime": "torchscript"}, "no script is fetched"),
    ],
)
def test_bad_input_is_named_before_anything_is_asked(model, options, message):
    with pytest.raises(ValueError, match=message):
        load_model(model, **options)


@pytest.mark.parametrize("options", [{}, {"sha256": A}])
@pytest.mark.parametrize(
    "address",
    ["https://me:letmein@example.org/m", "https://me:let/letmein@example.org/m", "https://b.org/m?t=letmein"],
)
def test_no_message_has_a_secret_of_the_address(address, options):
    with pytest.raises(ValueError, match="must be an address by https") as caught:
        load_model(address, **options)
    assert "let" not in str(caught.value)


def test_offline_nothing_is_asked(service, exported):
    with conf.set_temp("offline", True), pytest.raises(ModelError, match="offline, and https://"):
        load_model(f"{service.url}/m", sha256=exported[1])
    assert service.asked == []


def test_the_card_of_a_folder_or_a_bundled_model_can_be_asked_for_too(exported):
    digest = file_sha256(bundled_models()["gas-classes"] / "card.json")
    load_model("gas-classes", sha256=digest, device="cpu")
    for model in ("gas-classes", exported[0]):
        with pytest.raises(ModelIntegrityError, match=r"card\.json is not what was asked for"):
            load_model(model, sha256=A)


# The Hugging Face Hub.

_FETCH = """
import sys
from hifrac.core.exceptions import ServiceError
from hifrac.models.hub import fetched

address, digest = sys.argv[1:]
print(fetched(address, digest))
try:
    fetched(address.replace("gas-classes", "nothing"), "a" * 64)
except ServiceError as error:
    print(error)
"""


def fetch_from_hub(url, *arguments, tmp_path):
    """Run `_FETCH` with the hub at an address, which huggingface_hub reads when it is imported."""
    pytest.importorskip("huggingface_hub")
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    settings |= {"NO_PROXY": "127.0.0.1", "HIFRAC_CACHE_DIR": str(cache_dir())}
    return subprocess.run(
        [sys.executable, "-c", _FETCH, *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_model_of_the_hub_is_fetched_at_its_revision(exported, tmp_path):
    folder, digest = exported
    address = "hf://someone/gas-classes@v1.0"
    with serving(folder) as hub:
        done = fetch_from_hub(hub.url, address, digest, tmp_path=tmp_path)
        assert done.returncode == 0, done.stderr
        assert {path for _, path in hub.asked if "nothing" not in path} == {
            f"/someone/gas-classes/resolve/v1.0/{name}" for name in ("card.json", "weights.safetensors")
        }
    model = load_model(f"{address}#sha256={digest}", device="cpu")  # from the store
    place, refusal = done.stdout.strip().split("\n", 1)
    assert str(model.folder) == place
    assert sorted(path.name for path in model.folder.iterdir()) == ["card.json", "weights.safetensors"]
    assert refusal.startswith("no card.json of hf://someone/nothing@v1.0: ")


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'hifrac\[hub\]'"):
        load_model("hf://owner/name@main", sha256=A)


def test_the_folder_for_the_hub_has_a_card_in_its_form(tmp_path):
    folder = tmp_path / "out"
    result = call("export", "gas-classes", "-o", folder, "--hub")
    assert result.exit_code == 0, result.output
    digest = file_sha256(folder / "card.json")
    assert f"{digest}  card.json\n" in result.output
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "card.json", "weights.safetensors"]
    assert list(json.loads((folder / "card.json").read_text())["files"]) == ["weights.safetensors"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, facts, page = text.split("---\n", 2)
    assert yaml.safe_load(facts)["license"] == "bsd-3-clause"
    assert yaml.safe_load(facts)["library_name"] == "hifrac"
    card = load_model(folder, device="cpu").card
    assert f"# {card.name}\n\n{card.summary}\n" in page
    assert f'sha256="{digest}"' in page
    assert all(reference in page for reference in card.references)
    refused = call("export", "gas-classes", "-o", tmp_path / "x", "--hub", "--format", "export")
    assert refused.output.startswith("Error: --hub does not go with --format")
