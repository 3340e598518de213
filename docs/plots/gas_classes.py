"""Evidence for gas-poor and gas-rich in three bundled simulated galaxies, Grad-CAM."""

import matplotlib.pyplot as plt

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.demo import PICTURES, sample_table

table = sample_table()[[2, 10, 21]]
estimator = HIFractionEstimator("gas-classes", cutouts=LocalCutouts(PICTURES, name="name"))
poor, rich = (estimator.explain(table, method="gradcam", target=name) for name in ("gas-poor", "gas-rich"))
figure = plt.figure(figsize=(9, 8.6), layout="constrained")
for number, (one, other) in enumerate(zip(poor, rich, strict=True)):
    axes = [figure.add_subplot(3, 3, 3 * number + panel, projection=one.map.wcs) for panel in (1, 2, 3)]
    one.plot(other, ax=axes, title="")
    axes[0].set_title(table["name"][number], fontsize=9)
plt.show()
