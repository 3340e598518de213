"""A real HTTP server on 127.0.0.1 that answers by a function, and survey files for it."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from hifrac import conf

Answers = Callable[[str, dict[str, str]], tuple[int, bytes]]


class Service:
    """Answers ``answers(path, params)``; what was asked is in ``asked``."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": self}))
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    service: Service
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(dict(line.partition("=")[::2] for line in body.splitlines()))

    def do_GET(self):
        self._answer(dict(parse_qsl(urlsplit(self.path).query)))

    def _answer(self, params):
        parts = urlsplit(self.path)
        self.service.asked.append((parts.path, params))
        status, body = self.service.answers(parts.path, params)
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def finish(self):
        with contextlib.suppress(OSError, ValueError):
            super().finish()


@contextlib.contextmanager
def answering(answers: Answers) -> Iterator[Service]:
    """Run a `Service` in a thread."""
    service = Service(answers)
    thread = threading.Thread(target=service.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.httpd.shutdown()
        service.httpd.server_close()
        thread.join(5)


def failing_first(answers: Answers, status: int = 503) -> Answers:
    """The same answers, after one failure."""
    failures = iter([True])

    def answer(path, params):
        return (status, b"busy") if next(failures, False) else answers(path, params)

    return answer


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Settings with which failures come soon."""
    with (
        conf.set_temp("retry_backoff", 0.01),
        conf.set_temp("retries", 2),
        conf.set_temp("max_rate", 0),
        conf.set_temp("patience", 0),
        conf.set_temp("timeout", 5),
    ):
        yield


def only_cutout(source, ra: float, dec: float):
    """The cutout of one position."""
    (cutout,) = source.fetch(np.array([ra]), np.array([dec]))
    return cutout


def sky_header(ra: float, dec: float, width: int, scale: float, offset: tuple[float, float] = (0, 0)):
    """Header of a picture with north up whose centre lies ``offset`` pixels off the position."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = (width + 1) / 2 + offset[0], (width + 1) / 2 + offset[1]
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    return wcs.to_header()


def star_plane(header, ra: float, dec: float, width: int, flux: float, noise: float = 0.01) -> np.ndarray:
    """Noise and one star of a width of two pixels at a position; rows as FITS has them."""
    x, y = WCS(header).all_world2pix(ra, dec, 0)
    row, column = np.mgrid[:width, :width]
    star = np.exp(-0.5 * ((row - y) ** 2 + (column - x) ** 2) / 4) / (8 * np.pi)
    return (flux * star + noise * np.random.default_rng(1).normal(size=(width, width))).astype("f4")


def fits_file(data: np.ndarray, header, **cards) -> bytes:
    """A FITS file as bytes."""
    hdu = fits.PrimaryHDU(data, header)
    hdu.header.update(cards)
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def brightest(pixels: np.ndarray, channel: int) -> tuple[float, float]:
    """Column and row of the light's centre in a channel, far above the sky."""
    light = pixels[..., channel].astype(float)
    light = np.maximum(light - 0.5 * light.max(), 0.0)
    row, column = np.mgrid[: light.shape[0], : light.shape[1]]
    return (light * column).sum() / light.sum(), (light * row).sum() / light.sum()
