"""Fixed layers that measure a galaxy: the first half of the structure network and of the metallicity network.

With a few hundred labelled pictures, layers whose weights are learned from
pixels lose to layers that are written down: apertures, moments and filters.
So these are fixed and differentiable almost everywhere, and only the heads that networks add (and the
distance from the training set) are trained. All of it is one `torch.nn.Module`, and scripts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional

from hifrac.models.photometry import bound
from hifrac.models.texture import N_TEXTURE, texture


class Ellipse(NamedTuple):
    """An elliptical coordinate system per picture."""

    radius: Tensor  # (n, pixels): elliptical radius, 1 on the one-sigma ellipse
    major: Tensor  # (n,): sigma along the major axis, in pixels
    minor: Tensor  # (n,): sigma along the minor axis, in pixels


def smoothing_matrix(sigma: float, width: int) -> Tensor:
    """Return S such that S @ image @ S.T is the image under a Gaussian, borders reflected."""
    half = max(1, math.ceil(3 * sigma))
    offset = torch.arange(-half, half + 1)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    column = torch.arange(width)[:, None] + offset
    column = torch.where(column < 0, -column, column)
    column = torch.where(column >= width, 2 * (width - 1) - column, column)
    matrix = torch.zeros(width, width)
    return matrix.scatter_add(1, column, (kernel / kernel.sum()).expand(width, -1))


def _smooth(image: Tensor, matrix: Tensor) -> Tensor:
    """Smooth images (n, c, h, w); dense products beat depthwise convolutions on a CPU."""
    return matrix @ image @ matrix.t()


def _ellipse(second: Tensor, basis: Tensor, center: Tensor) -> Ellipse:
    """Return the elliptical coordinates of second moments (n, 3) = (xx, yy, xy) about a centre (n, 2)."""
    a, b, c = second[:, 0:1], second[:, 1:2], second[:, 2:3]
    mean = 0.5 * (a + b)
    spread = torch.sqrt(0.25 * (a - b) ** 2 + c * c + 1e-8)
    # What is thinner than the seeing is so only by noise: the axes have a floor.
    major = torch.sqrt((mean + spread).clamp(min=0.08))[:, 0]
    minor = torch.sqrt((mean - spread).clamp(min=0.08))[:, 0]
    det = (a * b - c * c).clamp(min=1e-3)
    x, y = center[:, 0:1], center[:, 1:2]
    # b (X-x)^2 - 2c (X-x)(Y-y) + a (Y-y)^2, as one product with (1, X, Y, XX, YY, XY).
    quadratic = torch.cat(
        [b * x * x - 2 * c * x * y + a * y * y, 2 * (c * y - b * x), 2 * (c * x - a * y), b, a, -2 * c], 1
    )
    squared = (quadratic / det) @ basis
    return Ellipse(torch.sqrt(squared.clamp_(min=1e-6)), major, minor)


class MeasuringNet(nn.Module):
    """Measures colour, size, shape and texture of the galaxy in the middle of a picture.

    Parameters
    ----------
    width : int
        Side of the square pictures in pixels; at least 64 and a multiple of 4.

    Notes
    -----
    The measurements are

    * mean red, green and blue in circular annuli;
    * in annuli of the galaxy's own ellipse (adaptive second moments, Bernstein
      & Jarvis 2002, AJ 123, 583, section 3.1.2): brightness, two colours, the
      curve of growth;
    * size, axis ratio, total flux;
    * asymmetry under half a turn and clumpiness after a Gaussian smoothing
      (Conselice 2003, ApJS 147, 1) at several scales;
    * the distribution of colour over the galaxy's isophotal segment;
    * the texture of sky and edges (``hifrac.models.texture``), for the distance alone;
    * what no picture shows: the reddening by the Milky Way, which stellar masses and colours of the
      training set were corrected for.

    Fluxes undo the asinh stretch of the picture (Lupton et al. 2004, PASP 116,
    133); the softening was chosen so that they follow catalogue magnitudes.
    Neighbours are suppressed by taking the fainter of each pair of pixels that
    face each other across the centre. What is symmetric so is computed for the upper half of the picture.

    Thresholds act on integer sums of pixel values, which floating point adds
    exactly, so that neither batch size nor threads can flip a pixel.
    """

    CIRCLES = (0.0, 1.5, 3.0, 4.5, 6.0, 8.0, 10.0, 12.0, 15.0, 18.0, 22.0, 27.0, 33.0, 40.0, 64.0)
    ELLIPSES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)
    QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

    #: The measurements in their order: name and number of columns.
    GROUPS = (
        ("circles", 42),
        ("profile", 36),
        ("ellipse", 4),
        ("growth", 11),
        ("flux", 3),
        ("aperture_colours", 6),
        ("asymmetry", 3),
        ("clumpiness", 8),
        ("segment_shape", 3),
        ("segment_flux", 1),
        ("segment_clumpiness", 6),
        ("colour_quantiles", 10),
        ("texture", N_TEXTURE),
        ("reddening", 1),
    )

    #: Alterations of a picture that the distance is made sensitive to, see `distances`.
    N_ALTERATIONS = 7

    if TYPE_CHECKING:  # TorchScript reads no annotations that are text
        rings: Tensor
        basis: Tensor
        exponents: Tensor
        sums: Tensor
        smooth1: Tensor
        smooth2: Tensor
        places: Tensor
        ellipses: Tensor
        quantiles: Tensor
        center: Tensor
        scale: Tensor
        typical: Tensor
        spread: Tensor
        location: Tensor
        whitening_shape: Tensor
        whitening_texture: Tensor
        alterations: Tensor
        alterations_offset: Tensor
        edge: Tensor

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        if width < 64 or width % 4:
            raise ValueError(f"width must be a multiple of 4 and at least 64, got {width}")
        if width > 1024:  # its constants grow with the square
            raise ValueError(f"width must be at most 1024, got {width}")
        self.width = width
        self.isophote = 14.0  # counts of 255, mean of the three channels
        axis = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
        rho = torch.hypot(axis[None, :], axis[:, None])
        circles = torch.tensor(self.CIRCLES)[:, None, None]
        rings = ((rho >= circles[:-1]) & (rho < circles[1:])).float()
        rings = rings / rings.sum((1, 2), keepdim=True)
        self.register_buffer("rings", rings.flatten(1).t().contiguous(), persistent=False)
        # Everything else is measured on the picture binned two by two, in pixels of that.
        half = width // 2
        axis = torch.arange(half, dtype=torch.float32) - (half - 1) / 2
        yy, xx = torch.meshgrid(axis, axis, indexing="ij")
        basis = torch.stack([torch.ones_like(xx), xx, yy, xx * xx, yy * yy, xx * yy])
        self.register_buffer("basis", basis.flatten(1), persistent=False)
        # Of the upper half: what makes the exponent of a Gaussian, and its moments in the whole picture.
        one, xx, yy, xy = basis[[0, 3, 4, 5], : half // 2].flatten(1)
        self.register_buffer("exponents", torch.stack([-0.5 * yy, -0.5 * xx, xy]), persistent=False)
        self.register_buffer("sums", 2 * torch.stack([one, xx, yy, xy]), persistent=False)
        self.register_buffer("smooth1", smoothing_matrix(1.0, half), persistent=False)
        self.register_buffer("smooth2", smoothing_matrix(2.0, half), persistent=False)
        self.register_buffer("places", torch.arange(16, dtype=torch.int16)[:, None], persistent=False)
        self.register_buffer("ellipses", torch.tensor(self.ELLIPSES), persistent=False)
        self.register_buffer("quantiles", torch.tensor(self.QUANTILES), persistent=False)
        with torch.no_grad():
            n = self.measure(torch.zeros(1, 3, width, width)).shape[1]
        n_features = n + 1  # the reddening comes with the picture
        if n_features != sum(size for _, size in self.GROUPS):
            raise RuntimeError(f"GROUPS does not list the {n_features} measurements")
        self.n_features = n_features
        self.n_measured = n
        self.n_shape = n - N_TEXTURE
        # The learned part.
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("typical", torch.zeros(n))
        self.register_buffer("spread", torch.ones(n))
        self.register_buffer("location", torch.zeros(n))
        self.register_buffer("whitening_shape", torch.eye(self.n_shape))
        self.register_buffer("whitening_texture", torch.eye(N_TEXTURE))
        self.register_buffer("alterations", torch.zeros(n, self.N_ALTERATIONS))
        self.register_buffer("alterations_offset", torch.zeros(self.N_ALTERATIONS))
        self.register_buffer("edge", torch.ones(2 + self.N_ALTERATIONS))

    @classmethod
    def columns(cls, names: tuple[str, ...]) -> list[int]:
        """Return the columns of the measurements that belong to the named groups."""
        chosen: list[int] = []
        start = 0
        for name, size in cls.GROUPS:
            if name in names:
                chosen.extend(range(start, start + size))
            start += size
        if unknown := set(names) - {name for name, _ in cls.GROUPS}:
            raise ValueError(f"names: no measurements are called {', '.join(sorted(unknown))}")
        return chosen

    def forward(self, pixels: Tensor, ebv: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (scripts)
        """Read a batch of pictures.

        Parameters
        ----------
        pixels : Tensor of uint8, shape (n, 3, width, width)
            Red, green and blue as decoded, 0 to 255.
        ebv : Tensor, shape (n,), optional
            Galactic reddening E(B-V) in mag; where it is NaN or not given, that of the training set.

        Returns
        -------
        output : Tensor, shape (n, outputs)
            The outputs of the network, in the order of its card.
        """
        # Not the named tuple: TorchScript makes a class anew for each one that it gives to Python, and
        # classes stay in memory until Python looks for garbage among all that is old.
        return torch.stack(self.forward_head(self.forward_features(pixels, ebv)), 1)

    def forward_head(self, features: Tensor) -> tuple[Tensor, ...]:
        """Apply the heads, which a network adds, to the measurements."""
        raise NotImplementedError

    def forward_features(self, pixels: Tensor, ebv: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (scripts)
        """Return the measurements, the reddening last: shape (n, features)."""
        whole = pixels.to(self.center.dtype, memory_format=torch.contiguous_format)
        return self.with_reddening(self.measure(whole), ebv)

    def with_reddening(self, features: Tensor, ebv: Optional[Tensor]) -> Tensor:  # noqa: UP045 (scripts)
        """Append the reddening, that of the training set where it is unknown."""
        typical = self.center[-1].expand(features.shape[0])
        reddening = typical
        if ebv is not None:
            reddening = torch.where(torch.isfinite(ebv), ebv.to(features.dtype), typical)
        return torch.cat([features, reddening[:, None]], 1)

    def standardise(self, features: Tensor) -> Tensor:
        """Return what the heads read: measurements in units of their spread over the detections, bounded."""
        return bound((features - self.center) / self.scale)

    def compress(self, measured: Tensor) -> Tensor:
        """Return measurements in units of their spread, the tails compressed: the space of the distances."""
        return torch.asinh((measured - self.typical) / self.spread) - self.location

    def distances(self, features: Tensor) -> Tensor:
        """Return distances from the training set, shape (n, 9), before each is divided by its edge.

        Of the picture alone: ``features`` may have the reddening or not.

        Mahalanobis distances of the shape and colour of the galaxy, and of the texture of
        the picture; and for each kind of alteration (bands swapped, pixel scale doubled or halved)
        its log odds, which softplus keeps from being negative.
        """
        parts = self.compress(features[:, : self.n_measured])
        shape = torch.linalg.vector_norm(parts[:, : self.n_shape] @ self.whitening_shape, dim=1)
        sky = torch.linalg.vector_norm(parts[:, self.n_shape :] @ self.whitening_texture, dim=1)
        altered = functional.softplus(parts @ self.alterations + self.alterations_offset)
        return torch.cat([shape[:, None], sky[:, None], altered], 1)

    def distance(self, features: Tensor) -> Tensor:
        """Return the distance from the training set, shape (n,): 1 is its edge."""
        return (self.distances(features) / self.edge).amax(1)

    def measure(self, pixels: Tensor) -> Tensor:
        """Measure pictures (n, 3, width, width) of values 0 to 255: (n, features)."""
        # By rows, then by columns: several times faster than pooling.
        rows = pixels[:, :, 0::2] + pixels[:, :, 1::2]
        binned = rows[..., 0::2] + rows[..., 1::2]
        image = binned / (4 * 255.0)
        counts = _over_channels(binned)
        grey = counts / (3 * 4 * 255.0)
        circles = pixels.reshape(-1, self.rings.shape[0]) @ self.rings / 255.0
        residuals: list[tuple[Tensor, Tensor]] = []
        for matrix in (self.smooth1, self.smooth2):
            residual = (image - _smooth(image, matrix)).flatten(2)
            residuals.append((residual, residual.abs()))
        profiles = self._profiles(image, residuals)
        segment = self._segment_features(self._segment(counts), image, grey, residuals)
        return torch.cat(
            [circles.view(-1, 3 * self.rings.shape[1]), profiles, segment, texture(pixels, grey)], dim=1
        )

    def _adaptive_moments(self, light: Tensor) -> Tensor:
        """Fit the second moments (n, 3) of the elliptical Gaussian that matches the light it weights.

        Of the upper half of a picture whose light (n, pixels) faces the same across the centre. Twelve damped
        steps; the centre is the picture's, which is the galaxy's by construction of the cutout.
        """
        zero = torch.zeros_like(light[:, :1])
        second = torch.cat([zero + 9.0, zero + 9.0, zero], 1)
        for _ in range(12):
            a, b, c = second[:, 0:1], second[:, 1:2], second[:, 2:3]
            det = (a * b - c * c).clamp(min=1e-3)
            weight = ((second / det) @ self.exponents).clamp_(min=-60.0).exp_()
            moments = (light * weight) @ self.sums.t()
            # A Gaussian seen through itself has half its variance.
            seen = 2.0 * moments[:, 1:] / moments[:, :1].clamp(min=1e-6)
            size = 0.5 * (seen[:, 0:1] + seen[:, 1:2])
            seen = seen * size.clamp(0.75**2, 7.0**2) / size.clamp(min=1e-4)
            second = 0.5 * (second + seen)
        return second

    def _profiles(self, image: Tensor, residuals: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Measure brightness, colours, growth, size, asymmetry and clumpiness in the galaxy's own ellipse."""
        upper, lower = image.flatten(2).chunk(2, 2)
        lower = lower.flip(2)
        facing, odd = torch.minimum(upper, lower), (upper - lower).abs_()
        flux = _linear(facing)
        second = self._adaptive_moments(_over_channels(flux) / 3)
        ellipse = _ellipse(second, self.basis[:, : flux.shape[2]], torch.zeros_like(second[:, :2]))
        geometric = torch.sqrt(ellipse.major * ellipse.minor)
        softness = 0.75 * geometric[:, None]  # edges as soft as a binned pixel
        depth = (0.5 + softness * self.ellipses)[..., None] - (softness * ellipse.radius)[:, None]
        inside = depth.clamp_(0.0, 1.0)
        bright = 2 * _rings(inside @ facing.transpose(1, 2))
        profile = bright / (2 * _rings(inside.sum(2, keepdim=True))).clamp(min=1e-3)
        growth = 2 * (inside @ flux.transpose(1, 2))
        total = growth.mean(2)
        log_growth = _log10(growth)[:, 3::4]
        ratio = ellipse.minor / ellipse.major
        aperture = inside[:, 9]
        disc = aperture - inside[:, 0]
        disc = torch.cat([disc, disc.flip(1)], 1)
        asymmetry = 2 * _weighted(odd, aperture)
        light = 2 * _weighted(facing, aperture) + 0.5 * asymmetry + 1e-3
        features = [
            profile.mean(2),
            profile[:, :, 0] - profile[:, :, 2],
            profile[:, :, 0] - profile[:, :, 1],
            torch.stack([torch.log10(ellipse.major), torch.log10(geometric), ratio, ratio**2], 1),
            _log10(total[:, :-1] / total[:, -1:].clamp(min=1e-4)),
            _log10(growth[:, -1]),
            log_growth[:, :, 2] - log_growth[:, :, 0],
            log_growth[:, :, 1] - log_growth[:, :, 0],
            asymmetry / light,
        ]
        for residual, size in residuals:
            rough = _weighted(size, disc)
            bright = _positive(_weighted(residual, disc), rough) / light
            features += [rough / light, bright[:, 0:1] - bright[:, 2:3]]
        return torch.cat(features, 1)

    def _segment(self, counts: Tensor) -> Tensor:
        """Mask the pixels (n, h, w) above a threshold that connect to the centre.

        ``counts`` are sums over twelve integer pixel values; sums over three by
        three of them stay below 2^24, where float32 is exact.
        """
        wide = functional.pad(counts, (1, 1, 1, 1))
        rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
        above = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] > self.isophote * 12 * 9
        n, side = above.shape[0], above.shape[1]
        middle = side // 2
        # A picture with nothing in the middle has a segment still.
        above[:, middle - 2 : middle + 2, middle - 2 : middle + 2] = True
        # Each bit of a word is a picture; words stand in a line, where a border ends each row and column.
        size = self.places.shape[0]
        words = functional.pad(above.flatten(1).to(torch.int16), (0, 0, 0, -n % size))
        words = words.view((n + size - 1) // size, size, side * side) << self.places
        words = words.sum(1, dtype=torch.int16).view(-1, side, side)
        above = functional.pad(words, (2, 2, 2, 2))
        mask = torch.zeros_like(above)
        mask[:, middle : middle + 4, middle : middle + 4] = -1  # all bits: the border is of two pixels
        above, grown = above.flatten(), mask.flatten()
        border = 2 + 2 * (side + 4)
        for _ in range(16):
            # Growth by two pixels under the mask; enough steps for the corners.
            near = _any_of_five(_any_of_five(grown, 1), side + 4)
            grown[border:-border] = near & above[border:-border]
        words = grown.view(-1, 1, side + 4, side + 4)[..., 2:-2, 2:-2].flatten(2)
        return ((words >> self.places) & 1).flatten(0, 1)[:n].view(n, side, side).to(counts.dtype)

    def _segment_features(
        self, mask: Tensor, image: Tensor, grey: Tensor, residuals: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Measure size, shape, colour distribution and texture of the isophotal segment."""
        moments = (grey * mask).flatten(1) @ self.basis.t()
        total = moments[:, :1].clamp(min=1e-3)
        center = moments[:, 1:3] / total
        x, y = center[:, 0], center[:, 1]
        second = moments[:, 3:] / total - torch.stack([x * x, y * y, x * y], 1)
        round_floor = torch.tensor([0.08, 0.08, 0.0], dtype=second.dtype, device=second.device)
        ellipse = _ellipse(second + round_floor, self.basis, center)
        ratio = ellipse.minor / ellipse.major
        size = torch.stack([torch.log(mask.sum((1, 2))), torch.log(ellipse.major), ratio], 1)
        features = [size, torch.log(total)]
        depth = 0.75 * ellipse.major[:, None] * (ellipse.radius - 0.5)
        outer = (0.5 + depth).clamp_(0.0, 1.0) * mask.flatten(1)
        for residual, size in residuals:
            bright = _positive(_weighted(residual, outer), _weighted(size, outer))
            rough = torch.stack([_over_channels(residual) / 3, residual[:, 0] - residual[:, 2]], 1).abs_()
            rough = _weighted(rough, outer)
            features.append(
                torch.cat([rough[:, :1], bright[:, 2:3] - bright[:, 0:1], rough[:, 1:]], 1) / total
            )
        colour = image[:, 0] - image[:, 2]
        features.append(_masked_quantiles(colour, mask, self.quantiles, 1.0, 256))
        features.append(_masked_quantiles(colour / (grey + 0.05), mask, self.quantiles, 3.0, 768))
        return torch.cat(features, 1)


def _over_channels(image: Tensor) -> Tensor:
    """Sum the three channels (n, 3, ...); a sum over dimensions takes thrice as long."""
    return image[:, 0] + image[:, 1] + image[:, 2]


def _any_of_five(bits: Tensor, step: int) -> Tensor:
    """Return the bits of each five words in a line that are so far apart, at the place of the first."""
    pair = bits[:-step] | bits[step:]
    four = pair[: -2 * step] | pair[2 * step :]
    return four[:-step] | bits[4 * step :]


def _linear(image: Tensor) -> Tensor:
    """Undo the asinh stretch: light that is proportional to flux, colours kept."""
    light = (image - 0.02).clamp_(min=0.0)  # 0.02: the sky level of the pictures
    mean = (_over_channels(light) / 3)[:, None]
    softening = 3.0
    # The difference of exponentials is sinh, six times as fast.
    stretched = softening * mean
    sinh = 0.5 * (torch.exp(stretched) - torch.exp(-stretched))
    return light * (sinh / softening / mean.clamp(min=1e-3))


def _weighted(image: Tensor, weight: Tensor) -> Tensor:
    """Sum images (n, c, pixels) under the weight (n, pixels): (n, c)."""
    # Transposed, for the rows of both are read along the pixels then.
    return (image @ weight[:, None].transpose(1, 2))[..., 0]


def _positive(total: Tensor, absolute: Tensor) -> Tensor:
    """Return the sum of what is positive, from the sums of all and of all absolute values."""
    return 0.5 * (total + absolute)


def _rings(apertures: Tensor) -> Tensor:
    """Return what lies in the rings between nested apertures (n, k, c); the first is a disc."""
    return torch.cat([apertures[:, :1], apertures[:, 1:] - apertures[:, :-1]], 1)


def _log10(value: Tensor) -> Tensor:
    return torch.log10(value.clamp(min=1e-4))


def _masked_quantiles(values: Tensor, mask: Tensor, quantiles: Tensor, reach: float, bins: int) -> Tensor:
    """Return quantiles (n, q) of values (n, h, w), within +-reach, where the never empty mask is one.

    From a histogram, in half the time that sorting takes: each value is shared between the two
    nearest nodes, so that nothing jumps when a value crosses the border of a bin.
    """
    at = ((values.flatten(1) + reach) * (bins / (2 * reach))).clamp(0.0, bins - 0.01)
    low = at.floor()
    node, weight = low.long(), mask.flatten(1)
    empty = torch.zeros(values.shape[0], bins, dtype=values.dtype, device=values.device)
    total = empty.scatter_add(1, node, weight)
    upper = empty.scatter_add(1, node, weight * (at - low))
    counts = functional.pad(total - upper, (0, 1)) + functional.pad(upper, (1, 0))
    below = functional.pad(counts.cumsum(1), (1, 0))
    wanted = below[:, -1:] * quantiles
    right = torch.searchsorted(below, wanted).clamp(1, bins + 1)
    left = below.gather(1, right - 1)
    share = (wanted - left) / (below.gather(1, right) - left).clamp(min=1e-6)
    # What stands at a node is spread over half a bin on either side.
    at_quantile = (right.to(values.dtype) - 1.5 + share) * (2 * reach / bins) - reach
    return at_quantile.clamp(-reach, reach)
