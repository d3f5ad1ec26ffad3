"""Times networks with PyTorch as a yardstick for genbench's cudnn: torch_loop.py MODE...

One JSON object a line: network, batch, precision, mode and the median time between
CUDA events in nanoseconds. Modes are "eager" with cuDNN's benchmark, "graph", which
replays a captured CUDA graph, and "compile", torch.compile with CUDA graphs. Tensors
are channels_last. Networks are timm's, or torchvision's where timm is not installed,
by genbench's names and at its resolutions; weights are random, which latency does not
depend on. Only networks that both define alike are taken.
"""
import json
import statistics
import sys

import torch

# genbench's name: timm's, torchvision's, resolution.
NETWORKS = {
    "genet-large": ("gernet_l", None, 256),
    "resnet-50": ("resnet50", "resnet50", 224),
    "efficientnet-b0": ("efficientnet_b0", "efficientnet_b0", 224),
}
PRECISIONS = {"fp16": torch.float16}
BATCHES = 1, 64
WARM, SAMPLES = 20, 50


def build(timm_name, torchvision_name):
    """Gives a network with random weights, or None where no library has it."""
    try:
        import timm
    except ImportError:
        if torchvision_name is None:
            return None
        import torchvision

        return getattr(torchvision.models, torchvision_name)(weights=None)
    return timm.create_model(timm_name, pretrained=False)


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


def measure(model, image, mode):
    if mode == "compile":
        torch.compiler.reset()
        model = torch.compile(model, mode="reduce-overhead")
    with torch.inference_mode():
        call = lambda: model(image)
        return median_ns(replayed(call) if mode == "graph" else call)


def main(modes):
    torch.backends.cudnn.benchmark = True
    # fp32 means fp32: genbench's tf32 is a precision of its own.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    print(json.dumps({
        "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "gpu": torch.cuda.get_device_name(),
    }))
    failed = False
    for precision, dtype in PRECISIONS.items():
        for name, (timm_name, torchvision_name, resolution) in NETWORKS.items():
            model = build(timm_name, torchvision_name)
            if model is None:
                print(json.dumps({"network": name, "skipped": "timm is not installed"}), flush=True)
                continue
            model = model.eval().cuda().to(dtype=dtype, memory_format=torch.channels_last)
            for batch in BATCHES:
                image = torch.randn(batch, 3, resolution, resolution, device="cuda", dtype=dtype)
                image = image.contiguous(memory_format=torch.channels_last)
                for mode in modes:
                    row = {"network": name, "batch": batch, "precision": precision, "mode": mode}
                    try:
                        row["device_ns"] = measure(model, image, mode)
                    except Exception as error:  # one mode that fails leaves the others
                        row["error"] = (str(error).splitlines() or [type(error).__name__])[0]
                        failed = failed or mode != "compile"
                    print(json.dumps(row), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["eager", "graph"]))
