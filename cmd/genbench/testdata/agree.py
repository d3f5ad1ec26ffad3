#!/usr/bin/env python3
"""Hold genbench's latencies to ONNX Runtime's own Python session loop.

Usage: agree.py path/to/genbench [--pairs N]

For each network both time the same ONNX file with the same library version,
thread count and input, in turn, A B B A: genbench in a fresh process over its C loop,
Python over time.perf_counter around InferenceSession.run. Prints the ratio of the
medians with its range over pairs, and exits 1 if the middle ratio is off by more
than 1 %. Needs numpy and onnxruntime in the version that genbench opens; they are
installed with pip into a throw-away environment where they are missing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv

NETWORKS = ["genet-small", "resnet-18", "mobilenetv2-1.0"]
LIMIT = 0.01
SAMPLES = 60


def python_median(model):
    """The child: one process, one session, the median of SAMPLES runs in ns."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    image = numpy.random.default_rng(1).uniform(-1, 1, shape).astype(numpy.float32)
    end = time.perf_counter() + 1.5
    while time.perf_counter() < end:
        session.run(["logits"], {"input": image})
    samples = []
    for _ in range(SAMPLES):
        start = time.perf_counter_ns()
        session.run(["logits"], {"input": image})
        samples.append(time.perf_counter_ns() - start)
    print(statistics.median(samples))


def genbench_median(genbench, network, directory):
    """One launch of `genbench run`: the median of the newest clean round."""
    out = tempfile.mkdtemp(dir=directory)
    subprocess.run(
        [genbench, "run", "--models", network, "--engines", "onnxruntime", "--batches", "1",
         "--threads", str(os.cpu_count()), "--launches", "1", "--max-steal", "1", "--max-foreign", "99",
         "--out", os.path.join(out, "run")],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(out, "run", "run.jsonl")) as journal:
        rounds = [r for r in map(json.loads, journal) if r["type"] == "round" and r["status"] == "ok"]
    return statistics.median(rounds[-1]["device_ns"])


def environment(genbench, directory):
    """A Python that has the library version genbench opens."""
    engines = json.loads(subprocess.check_output([genbench, "list", "engines", "--json"]))
    version = next(e["version"] for e in engines if e["name"] == "onnxruntime")
    venv.create(directory, with_pip=True)
    python = os.path.join(directory, "bin", "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime==" + version], check=True)
    return python, version


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("genbench")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        python_median(args.child)
        return
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        python, version = environment(args.genbench, os.path.join(directory, "venv"))
        print(f"ONNX Runtime {version}, {os.cpu_count()} threads, batch 1, {args.pairs} pairs in turn")
        for network in NETWORKS:
            model = os.path.join(directory, network + ".onnx")
            subprocess.run([args.genbench, "export", network, "-o", model], check=True, stdout=subprocess.DEVNULL)
            ratios, latencies = [], []
            for pair in range(args.pairs):
                def theirs():
                    return float(subprocess.check_output([python, os.path.abspath(__file__), args.genbench, "--child", model]))

                def ours():
                    return genbench_median(args.genbench, network, directory)

                if pair % 2 == 0:
                    a, b = ours(), theirs()
                else:
                    b, a = theirs(), ours()
                ratios.append(a / b)
                latencies.append(a)
            middle = statistics.median(ratios)
            verdict = "agrees" if abs(middle - 1) <= LIMIT else "DIFFERS"
            failed |= verdict == "DIFFERS"
            print(f"{network:18} {statistics.median(latencies) / 1e6:8.3f} ms   genbench / Python: "
                  f"{middle:.4f} [{min(ratios):.4f}, {max(ratios):.4f}]  {verdict}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
