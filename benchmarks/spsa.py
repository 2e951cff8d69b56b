"""Time of SPSA on maps of 14×14 to 112×112 positions, relative to the number of positions.

The script prints one JSON line. SPSA's paper says that its time grows linearly with the number of pixels, unlike that
of self-attention: the time per position on the largest maps, over that on maps of 28×28, is to be about 1, as is that
of the slowest size to that of the fastest. The sizes take turns, as load comes and goes. By default there are 256
channels of 32 images, since on few and small maps the fixed cost of each call outweighs that of the positions.
"""

import argparse
import json
import statistics
import time

import torch
from machine import describe, interval, wait

from stripe.attention import attention
from stripe.devices import pick_device

SIDES = (14, 28, 56, 112)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--device")
    args = parser.parse_args()
    device = pick_device(args.device)
    module = attention("spsa", args.channels).to(device).eval()
    maps = {side: torch.randn(args.batch_size, args.channels, side, side, device=device) for side in SIDES}
    times: dict[int, list[float]] = {side: [] for side in SIDES}
    with torch.inference_mode():
        for repeat in range(args.repeats + 2):
            for side, x in maps.items():
                wait(device)
                start = time.perf_counter()
                module(x)
                wait(device)
                if repeat >= 2:  # the first rounds warm up
                    times[side].append((time.perf_counter() - start) / side**2)
    median = {side: statistics.median(each) for side, each in times.items()}
    ratios = [large / small for large, small in zip(times[112], times[28], strict=True)]
    result = {
        "benchmark": "spsa",
        **describe(device),
        "channels": args.channels,
        "batch_size": args.batch_size,
        "ns_per_position": {side: round(1e9 * each, 1) for side, each in median.items()},
        "ratio_112_to_28": round(statistics.median(ratios), 2),
        "range": [round(each, 2) for each in interval(ratios)],
        "ratio_slowest_to_fastest": round(max(median.values()) / min(median.values()), 2),
        "target": "about 1: linear",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
