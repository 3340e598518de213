"""Heat maps of three bundled simulated galaxies by the default model."""

import matplotlib.pyplot as plt

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.demo import PICTURES, sample_table

table = sample_table()[[2, 10, 21]]
estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
figure = plt.figure(figsize=(9, 8.6), layout="constrained")
for number, one in enumerate(estimator.explain(table)):
    axes = [figure.add_subplot(3, 3, 3 * number + panel, projection=one.map.wcs) for panel in (1, 2, 3)]
    one.plot(ax=axes)
    axes[0].set_title(table["name"][number], fontsize=9)
plt.show()
