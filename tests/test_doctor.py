"""What ``hifrac doctor`` says of an installation, and of services on this computer and on the network."""

import io
import shutil
from email.message import Message
from importlib import metadata

import pytest
from astropy.io import votable
from astropy.table import Table
from astroquery import sdss
from commands import call
from pictures import encode, galaxy
from spec_files import spec_file
from survey_services import answering, impatience

from hifrac import _doctor, conf
from hifrac._doctor import ABSENT, BROKEN, GALAXY, OK, REDSHIFT, SERVICES, examine
from hifrac.catalogs import _remote
from hifrac.models import registry


def run(*options):
    result = call("doctor", *options, catch_exceptions=True)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def findings(**options):
    return {finding.what: finding for finding in examine(**options)}


def test_a_sound_installation(monkeypatch):
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    result = run()
    lines = result.output.splitlines()
    assert result.exit_code == 0, result.output
    assert lines[0].startswith("ok      hifrac ")
    assert lines[-2].startswith("ok      an estimate")
    assert lines[-1].split(maxsplit=2) == [
        "absent",
        "services",
        "not asked; --network asks each for one galaxy",
    ]
    assert {line.split()[0] for line in lines} == {OK, ABSENT}
    models = [line.split()[2] for line in lines if line.split()[1] == "model"]
    assert models == list(registry.bundled_models())


def test_what_is_missing_or_old_is_named(monkeypatch):
    facts = Message()
    for line in ("numpy>=1", "astropy>=99", "no-such-package", "click>=8; extra == 'here'"):
        facts["Requires-Dist"] = line
    facts["Requires-Dist"] = "no-such-package; extra == 'there'"
    facts["Requires-Dist"] = "elsewhere; extra == 'here' and sys_platform == 'none'"
    for extra in ("here", "there", "test", "test-base"):
        facts["Provides-Extra"] = extra
    monkeypatch.setattr(_doctor.metadata, "metadata", lambda _: facts)
    packages, here, there = _doctor._requirements()
    version = metadata.version("astropy")
    assert packages.state == BROKEN
    assert packages.facts == f"astropy {version}, but >=99 is needed; no-such-package is missing"
    assert (here.what, here.state) == ("extra here", OK)
    assert (there.state, there.facts) == (ABSENT, "without no-such-package: pip install 'hifrac[there]'")


def test_a_damaged_model_is_broken_and_stops_nothing(monkeypatch, tmp_path):
    folder = tmp_path / "damaged"
    models = registry.bundled_models()
    shutil.copytree(models["gas-classes"], folder)
    with (folder / "model.pt").open("ab") as file:
        file.write(b"more")
    monkeypatch.setattr(registry, "bundled_models", lambda: {"damaged": folder, **models})
    result = run()
    assert result.exit_code == 1
    (line,) = (line for line in result.output.splitlines() if line.startswith(BROKEN))
    assert "model.pt is not the file that its card describes" in line
    assert "ok      an estimate" in result.output
    assert "1 of these are broken" in result.output


def test_a_model_that_cannot_be_loaded_is_broken():
    with conf.set_temp("model", "no-such-model"):
        assert findings()["an estimate"].state == BROKEN


def test_the_store_and_the_data_directory(tmp_path, monkeypatch, quick_service):
    from hifrac import SkyServerCutouts

    list(SkyServerCutouts().fetch([1.0, 2.0, 179.0], [0.0, 0.0, 0.0]))
    assert ": 1 stores, 2 pictures, 0.0 MB" in _doctor._store()
    monkeypatch.setenv("HIFRAC_DATA_DIR", str(tmp_path / "nowhere"))
    assert _doctor._data().state == BROKEN
    monkeypatch.setenv("HIFRAC_DATA_DIR", str(tmp_path))
    assert _doctor._data() == _doctor.Finding("data directory", OK, str(tmp_path))


# Services.

XGASS_ROWS = 1179


def xgass(n_rows):
    tree = votable.tree.VOTableFile()
    resource = votable.tree.Resource(name="J/MNRAS/476/875")
    tree.resources.append(resource)
    resource.tables.append(votable.tree.TableElement.from_table(tree, Table({"z": [0.03] * n_rows})))
    stream = io.BytesIO()
    tree.to_xml(stream)
    return stream.getvalue()


def world(z=REDSHIFT, n_rows=XGASS_ROWS):
    """Answers of all services but Pan-STARRS, which is down."""

    def answers(path, params):
        if path.endswith("ps1filenames.py"):
            return 404, b"down"
        if path.endswith("cutout.jpg"):
            return 200, encode(galaxy(1, int(params["size"])))
        if path.endswith(("getjpeg", "hips2fits")):
            return 200, encode(galaxy(1, int(params["width"])))
        if path.endswith("x_results.aspx"):
            assert f"plate = {GALAXY['plate']} AND mjd = {GALAXY['mjd']}" in params["cmd"]
            return 200, f"#Table1\nz\n{z}\n".encode()
        if path.endswith("votable"):
            return 200, xgass(n_rows)
        assert path.endswith("spec-0343-51692-0129.fits"), path
        return 200, spec_file(PLATE=343, MJD=51692, FIBERID=129, Z=z)

    return answers


@pytest.fixture
def services(monkeypatch):
    """Run a world of services on this computer in place of those that are configured."""
    monkeypatch.setattr(_remote, "QUERIES_PER_SECOND", 10_000.0)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    def states(answers):
        with (
            impatience(),
            answering(answers) as service,
            conf.set_temp("skyserver_url", f"{service.url}/getjpeg"),
            conf.set_temp("legacy_url", service.url),
            conf.set_temp("panstarrs_url", service.url),
            conf.set_temp("hips2fits_url", f"{service.url}/hips2fits"),
            conf.set_temp("vizier_url", service.url),
            sdss.conf.set_temp("skyserver_baseurl", service.url),
            sdss.conf.set_temp("sas_baseurl", service.url),
        ):
            return {name: _doctor._judged(name, ask) for name, ask in SERVICES.items()}, len(service.asked)

    return states


def test_services_that_answer_as_expected(services, tmp_path):
    found, n_asked = services(world())
    down = found.pop("Pan-STARRS pictures")
    assert (down.state, "404" in down.facts) == (BROKEN, True)
    assert {finding.state for finding in found.values()} == {OK}, found
    assert n_asked <= 8  # one galaxy each
    assert ": 128 x 128 pixels, " in found["SDSS pictures"].facts
    assert found["SDSS spectra"].facts.endswith(f"z = {REDSHIFT}")
    assert not (tmp_path / "cache").exists()  # nothing is kept


def test_answers_of_another_shape_are_broken(services):
    found, _ = services(world(z=0.2, n_rows=3))
    assert found["SkyServer SQL"].facts.startswith(f"ValueError: one redshift of {REDSHIFT} was expected")
    assert found["VizieR"].facts.endswith(f"should have {XGASS_ROWS} rows, and has [3]")
    assert found["SDSS spectra"].facts == "ValueError: a galaxy at z = 0.2 came"
    found, _ = services(lambda _path, _params: (200, b"<html>Maintenance</html>"))
    assert {finding.state for finding in found.values()} == {BROKEN}


def test_offline_says_so(services, monkeypatch):
    with conf.set_temp("offline", True):
        assert findings(network=True)["services"].facts == "not asked: conf.offline is set"


def test_the_command_asks_every_service(monkeypatch):
    monkeypatch.setattr(_doctor, "SERVICES", {"here": lambda: f"in {conf.timeout} s", "there": lambda: 1 / 0})
    result = run("--network")
    assert result.exit_code == 1
    here, there = result.stdout.splitlines()[-2:]
    assert here.split() == ["ok", "here", "in", "20.0", "s"]
    assert there.split(maxsplit=2) == [BROKEN, "there", "ZeroDivisionError: division by zero"]


@pytest.mark.remote_data
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_on_the_network_answers_as_expected(name):
    assert SERVICES[name]()
