"""Times torchvision's networks with PyTorch as a yardstick for genbench's cudnn.

One JSON object a line: network, batch, precision, mode and the median time between
CUDA events in nanoseconds. Modes are "eager" with cuDNN's benchmark, "graph", which
replays a captured CUDA graph, and "compile", torch.compile with CUDA graphs.
Tensors are channels_last. Only networks that torchvision defines as genbench does
are taken, by genbench's names; weights are random, which latency does not depend on.
"""
import json
import statistics
import sys

import torch
import torchvision

NETWORKS = {"resnet-50": "resnet50", "efficientnet-b0": "efficientnet_b0", "mobilenetv2-1.0": "mobilenet_v2"}
WARM, SAMPLES = 20, 50


def replayed(call):
    """Captures a call and gives one that replays it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def median_ns(call):
    for _ in range(WARM):
        call()
    torch.cuda.synchronize()
    times = []
    for _ in range(SAMPLES):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1e6)
    return round(statistics.median(times))


def main():
    torch.backends.cudnn.benchmark = True
    # fp32 means fp32: genbench's tf32 is a precision of its own.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    print(json.dumps({
        "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "gpu": torch.cuda.get_device_name(),
    }))
    failed = False
    for precision, dtype in {"fp16": torch.float16, "fp32": torch.float32}.items():
        for name, builder in NETWORKS.items():
            model = getattr(torchvision.models, builder)(weights=None).eval().cuda()
            model = model.to(dtype=dtype, memory_format=torch.channels_last)
            for batch in 1, 64:
                image = torch.randn(batch, 3, 224, 224, device="cuda", dtype=dtype)
                image = image.contiguous(memory_format=torch.channels_last)
                for mode in "eager", "graph", "compile":
                    row = {"network": name, "batch": batch, "precision": precision, "mode": mode}
                    try:
                        with torch.inference_mode():
                            if mode == "compile":
                                compiled = torch.compile(model, mode="reduce-overhead")
                                call = lambda: compiled(image)
                            else:
                                call = lambda: model(image)
                            row["device_ns"] = median_ns(replayed(call) if mode == "graph" else call)
                    except Exception as error:  # one mode that fails leaves the others
                        row["error"] = str(error).splitlines()[0]
                        failed = failed or mode != "compile"
                    print(json.dumps(row), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
