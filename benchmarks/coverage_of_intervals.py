"""How often the intervals of ``stripe.analysis.evidence`` hold the truth, on simulated attention whose truth is known.

Prints one JSON line: for each number the share of the repetitions whose 95 % interval holds the true value, which
should lie between 90 and 99 %.

    python benchmarks/coverage_of_intervals.py [--repetitions 200] [--images 60] [--resamples 1000]
"""

import argparse
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stripe.analysis.bootstrap import draw_counts, replicates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Attention v = level of the channel + effect of the image + effect of the class in a channel + noise.

    The map's square is w = u · (1 + tilt · effect of the image)², with u of the channel, so that a gate is large where
    the map is.
    """

    level: Floats
    of_image: float
    of_class: Floats
    noise: Floats
    map_square: Floats
    tilt: float

    @classmethod
    def drawn(cls, channels: int, *, spread: float, seed: int) -> "Population":
        """A population of four classes; ``spread`` is the standard deviation of the channels' levels."""
        random = np.random.default_rng(seed)
        of_class = random.standard_normal((4, channels)) * 0.03
        of_class -= of_class.mean(axis=0)
        of_class -= of_class.mean(axis=1, keepdims=True)
        return cls(
            level=0.5 + spread * random.standard_normal(channels),
            of_image=0.04,
            of_class=of_class,
            noise=random.uniform(0.02, 0.08, channels),
            map_square=random.uniform(0.2, 2.0, channels),
            tilt=2.0,
        )

    def sample(self, images: int, random: np.random.Generator) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Attention, root mean square of the map and class of some images."""
        members = random.integers(0, len(self.of_class), images)
        image = self.of_image * random.standard_normal((images, 1))
        noise = self.noise * random.standard_normal((images, len(self.level)))
        values = self.level + image + self.of_class[members] + noise
        return values, np.sqrt(self.map_square) * np.abs(1 + self.tilt * image), members

    def truth(self, images: int) -> dict[str, float]:
        """The numbers of infinitely many images; of the stripe index, which depends on their number, of so many."""
        channels = len(self.level)
        noise, classes, image = (self.noise**2).mean(), (self.of_class**2).mean(), self.of_image**2
        interaction = noise + classes * channels / (channels - 1)
        of_image = image + (noise - interaction) / channels
        channel = self.level.var(ddof=1)
        total = channel + of_image + interaction
        off = image + classes + noise
        between = self.level.var() + (off - image - noise / channels) / images
        return {
            "channel_share": channel / total,
            "image_share": of_image / total,
            "interaction_share": interaction / total,
            "class_share": classes / off,
            "stripe_index": between / (self.level.var() + off),
            "constant_error": np.sqrt(off / ((self.level**2).mean() + off)),
            "output_error": self._output_error(),
        }

    def _output_error(self) -> float:
        """By the moments of a normal effect of the image, E[i²] = s and E[i⁴] = 3 s²."""
        s, t = self.of_image**2, self.tilt
        rest = (self.of_class**2).mean(axis=0) + self.noise**2
        one, linear, square = 1 + t**2 * s, 2 * t * s, s + 3 * t**2 * s**2
        off = square + one * rest
        size = one * self.level**2 + 2 * self.level * linear + off
        return float(np.sqrt((self.map_square * off).sum() / (self.map_square * size).sum()))


def coverage(population: Population, images: int, repetitions: int, resamples: int, seed: int = 0) -> dict[str, float]:
    """The share of the repetitions in which a 95 % interval holds the truth, for each number."""
    random, truth = np.random.default_rng(seed), population.truth(images)
    hits = dict.fromkeys(truth, 0)
    for repetition in range(repetitions):
        values, size, members = population.sample(images, random)
        counts = draw_counts(images, resamples, seed=repetition)
        found, _ = replicates([(values, size)], counts, members)
        for name, true in truth.items():
            low, high = np.quantile(found[name][1:], [0.025, 0.975])
            hits[name] += bool(low <= true <= high)
    return {name: count / repetitions for name, count in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    found = {
        f"spread {spread:g}": coverage(
            Population.drawn(options.channels, spread=spread, seed=1),
            options.images,
            options.repetitions,
            options.resamples,
        )
        for spread in (0.2, 0.02)  # clear stripes, and hardly any
    }
    print(json.dumps({"benchmark": "coverage", **vars(options), "target": [0.9, 0.99], "coverage": found}))


if __name__ == "__main__":
    main()
