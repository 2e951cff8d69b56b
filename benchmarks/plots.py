"""Time of our heatmap, 1,000 × 2,048 with a colour bar at the resolution of a screen, compared with seaborn's.

The script prints one JSON line. The target is at most 1 s, and 10 × faster than seaborn. The time is that of drawing,
from the matrix to pixels; compression into a PNG takes equally long for both and is left out.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stripe.plots.heatmap import heatmap

ROWS, COLUMNS, REPEATS = 1000, 2048, 7


def seconds(draw: Callable[[Figure], object]) -> float:
    start = time.perf_counter()
    figure = Figure(figsize=(6.9, 4), dpi=150)
    canvas = FigureCanvasAgg(figure)
    draw(figure)
    canvas.draw()
    return time.perf_counter() - start


def main() -> None:
    values = np.random.default_rng(0).random((ROWS, COLUMNS), dtype=np.float32)

    def ours(figure: Figure) -> None:
        figure.colorbar(heatmap(figure.subplots(), values, limits=(0, 1)))

    def theirs(figure: Figure) -> None:
        sns.heatmap(values, vmin=0, vmax=1, cmap="viridis", ax=figure.subplots())

    seconds(ours), seconds(theirs)  # fonts and colour maps are loaded once
    runs = [(seconds(ours), seconds(theirs)) for _ in range(REPEATS)]  # taking turns, as load comes and goes
    mine, other = (statistics.median(side) for side in zip(*runs, strict=True))
    result = {
        "benchmark": "plots",
        "shape": [ROWS, COLUMNS],
        "heatmap_s": round(mine, 3),
        "seaborn_s": round(other, 3),
        "ratio": round(other / mine, 1),
        "target": "heatmap_s <= 1 and ratio >= 10",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
