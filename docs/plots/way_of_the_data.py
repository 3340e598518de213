"""The way of the data through the rooms of the package."""

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# Name of the box: centre, what it holds.
BOXES = {
    "input": (1.0, 3.0, "Table, SkyCoord,\ncoordinates"),
    "core": (3.0, 3.0, "positions,\nredshifts, masses"),
    "cutouts": (5.0, 3.0, "bytes or pixels\nof one recipe"),
    "images": (7.0, 3.0, "RGB arrays,\nstretch, WCS"),
    "models": (9.0, 3.0, "network, calibration,\ndetection, flags"),
    "result": (11.0, 3.0, "QTable with\nflags and meta"),
    "attribution": (9.0, 1.2, "heat maps on\nthe sky"),
    "environment": (5.0, 1.2, "1 + delta5 of a\nreference catalogue"),
    "catalogs": (3.0, 4.8, "HI surveys, SDSS:\nharmonised tables"),
    "training": (9.0, 4.8, "weights, card,\nheld-out figures"),
    "reproduce": (11.0, 4.8, "figures and tables\nof the paper"),
    "relations": (11.0, 1.2, "literature\nestimators"),
    "visualization": (13.0, 3.0, "figures, pages;\nsamp: TOPCAT, Aladin"),
}
ARROWS = (
    ("input", "core"),
    ("core", "cutouts"),
    ("cutouts", "images"),
    ("images", "models"),
    ("models", "result"),
    ("result", "visualization"),
    ("models", "attribution"),
    ("core", "environment"),
    ("environment", "result"),
    ("relations", "result"),
    ("catalogs", "training"),
    ("images", "training"),
    ("training", "models"),
    ("training", "reproduce"),
)
HALF_WIDTH, HALF_HEIGHT = 0.84, 0.52

figure, axes = plt.subplots(figsize=(12.8, 4.6))
axes.add_patch(
    FancyBboxPatch((1.95, 2.25), 8.1, 1.4, boxstyle="round,pad=0.1", facecolor="#EAF2F8", edgecolor="none")
)
axes.text(2.0, 3.78, "estimator", fontsize=9, style="italic", color="#0072B2")
for name, (x, y, holds) in BOXES.items():
    is_room = name not in ("input", "result")
    axes.add_patch(
        FancyBboxPatch(
            (x - HALF_WIDTH, y - HALF_HEIGHT),
            2 * HALF_WIDTH,
            2 * HALF_HEIGHT,
            boxstyle="round,pad=0.02",
            facecolor="white",
            edgecolor="#0072B2" if is_room else "0.4",
        )
    )
    axes.text(x, y + 0.25, name, ha="center", va="center", fontsize=9.5, weight="bold" if is_room else None)
    axes.text(x, y - 0.17, holds, ha="center", va="center", fontsize=7.5, color="0.25")
for start, end in ARROWS:
    (x0, y0, _), (x1, y1, _) = BOXES[start], BOXES[end]
    if y0 == y1:
        begin, tip = (x0 + HALF_WIDTH + 0.03, y0), (x1 - HALF_WIDTH - 0.03, y1)
    elif x0 == x1:
        way = 1 if y1 > y0 else -1
        begin, tip = (x0, y0 + way * (HALF_HEIGHT + 0.03)), (x1, y1 - way * (HALF_HEIGHT + 0.03))
    else:
        way = 1 if y1 > y0 else -1
        begin, tip = (
            (x0 + 0.55, y0 + way * (HALF_HEIGHT + 0.03)),
            (x1 - 0.55, y1 - way * (HALF_HEIGHT + 0.03)),
        )
    axes.add_patch(FancyArrowPatch(begin, tip, arrowstyle="-|>", mutation_scale=11, color="0.35"))
axes.set(xlim=(0, 14), ylim=(0.5, 5.5), aspect="equal")
axes.set_axis_off()
plt.show()
