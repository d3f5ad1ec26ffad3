"""ONNX Runtime's own session loop: for every count on standard input, time that many
runs of the model and print the nanoseconds of each.

Usage: loop.py MODEL.onnx INPUT.f32 THREADS
"""

import sys
import time

import numpy
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
image = numpy.fromfile(sys.argv[2], numpy.float32).reshape(session.get_inputs()[0].shape)
print(onnxruntime.__version__, flush=True)
for line in sys.stdin:
    taken = []
    for _ in range(int(line)):
        start = time.perf_counter_ns()
        session.run(["logits"], {"input": image})
        taken.append(time.perf_counter_ns() - start)
    print(*taken, flush=True)
