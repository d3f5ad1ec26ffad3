"""Sets genbench's latencies beside PyTorch's: torch_ratios.py GENBENCH.json TORCH.txt...

GENBENCH.json is a report of `genbench report --format json`, a TORCH.txt what
torch_loop.py printed. PyTorch's time is the fastest mode, averaged over the files; a
ratio above 1 says that genbench's engine is the faster.
"""
import json
import statistics
import sys


def torch_times(paths):
    """Gives nanoseconds by network, batch, precision and mode, one for each file."""
    times = {}
    for path in paths:
        with open(path) as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # a library's warning
                if isinstance(row, dict) and "device_ns" in row:
                    key = row["network"], row["batch"], row["precision"]
                    times.setdefault(key, {}).setdefault(row["mode"], []).append(row["device_ns"])
    return times


def main(report, paths):
    times = torch_times(paths)
    with open(report) as text:
        points = json.load(text)
    print(f"{'network':18} {'batch':>5} {'precision':>9} {'submitted':>9} {'genbench ms':>11} {'torch ms':>9} {'mode':>6} {'ratio':>6}")
    for point in points:
        median = point["latency_ms"]["median"]
        modes = times.get((point["model"], point["batch"], point["precision"]))
        if median is None or not modes:
            continue
        mode, nanoseconds = min(((m, statistics.mean(t)) for m, t in modes.items()), key=lambda pair: pair[1])
        print(f"{point['model']:18} {point['batch']:5} {point['precision']:>9} {point.get('graph') or '-':>9} "
              f"{median:11.4f} {nanoseconds / 1e6:9.4f} {mode:>6} {nanoseconds / 1e6 / median:6.3f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
