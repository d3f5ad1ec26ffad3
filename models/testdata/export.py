"""PyTorch's own export: for every line on standard input, "EXPORTER FILE", write
torchvision's ResNet-50 to the file and print the nanoseconds that took.

EXPORTER is dynamo, which torch.onnx.export uses unless told otherwise, or torchscript.
"""

import logging
import sys
import time
import warnings

import torch
import torchvision

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
model = torchvision.models.resnet50(weights=None).eval()
image = torch.zeros(1, 3, 224, 224)
print(torch.__version__, torchvision.__version__, flush=True)
for line in sys.stdin:
    exporter, file = line.split()
    start = time.perf_counter_ns()
    torch.onnx.export(
        model,
        (image,),
        file,
        input_names=["input"],
        output_names=["logits"],
        dynamo=exporter == "dynamo",
        external_data=False,
        verbose=False,
    )
    print(time.perf_counter_ns() - start, flush=True)
