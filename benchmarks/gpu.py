"""How fast the package is on a GPU, and what limits it: training, networks, decoding, and all of it together.

``python benchmarks/gpu.py -o FOLDER`` takes less than eight minutes on one GPU and writes ``gpu.ecsv``; with
``--toy`` it does the same things in seconds on a CPU, where its numbers mean nothing. Pictures are simulated.
A part that fails or takes too long is a row of the table, and the others are measured still.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from gpu_bench import (
    FULL,
    TOY,
    Bench,
    Report,
    archive_of,
    batches,
    decoded,
    draw_galaxy,
    facts_of,
    time_limit,
)
from models import LARGEST, RMS
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hifrac import HIFractionEstimator, LocalCutouts, images, load_model
from hifrac.models import Model
from hifrac.models.runtimes import HalfPrecision
from hifrac.training.cnn.batches import PictureData
from hifrac.training.cnn.module import PictureNetwork
from hifrac.training.cnn.module import build as build_network
from hifrac.training.cnn.trainer import fit_network
from hifrac.training.config import TrainingConfig, read_config
from hifrac.training.data import LabelledPictures

#: What is asked of one GPU: pictures per second of an xresnet34 at 224 pixels, and seconds of its training.
RATE, TRAINING_SECONDS = 15_000.0, 120.0
TRAINING = "the paper's training"


def draw(bench: Bench) -> None:
    """Draw simulated galaxies, and give each an invented HI fraction that its light tells of."""
    rng = np.random.default_rng(0)
    n = bench.size.drawn
    light = np.stack([rng.uniform(14, 17.5, n), rng.uniform(0.3, 1.3, n), rng.uniform(0.2, 1, n)], 1)
    rows = [(number, bench.size.side, *row) for number, row in enumerate(light.tolist())]
    start = time.perf_counter()
    bench.jpegs = list(bench.pool.map(draw_galaxy, rows, chunksize=4))
    bench.pixels = np.stack([images.decode(data) for data in bench.jpegs])
    bench.target = 0.3 - 1.2 * (light[:, 1] - 0.8) + 0.2 * (light[:, 0] - 15.5)
    seconds = time.perf_counter() - start
    bench.report.add("pictures", "galaxies drawn", n, "", f"{seconds:.1f} s, {bench.size.side} px")


def measure_machine(bench: Bench) -> None:
    """Measure what nothing can exceed: arithmetic in 16 and 32 bits, memory, and the way from the host."""
    size, device, add = bench.size, bench.device, bench.report.add
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "fp16"), (torch.float32, "float32")):
        first, second = (torch.randn(size.matrix, size.matrix, device=device, dtype=dtype) for _ in range(2))
        seconds = bench.seconds(lambda first=first, second=second: first @ second)
        add("machine", f"matrix product, {name}", 2 * size.matrix**3 / seconds / 1e12, "TFLOP/s")
    source = torch.empty(size.copied, dtype=torch.uint8, device=device).random_()
    aim = torch.empty_like(source)
    seconds = bench.seconds(lambda: aim.copy_(source))
    add("machine", "copy in memory, read and written", 2 * size.copied / seconds / 1e12, "TB/s")
    if device.type == "cuda":
        for pinned in (False, True):
            host = torch.empty(2**28, dtype=torch.uint8, pin_memory=pinned)
            seconds = bench.seconds(lambda host=host: host.to(device, non_blocking=True))
            add("machine", f"host to device, {'pinned' if pinned else 'pageable'}", 2**-2 / seconds, "GiB/s")


def training_config(bench: Bench, epochs: int, **run: str) -> TrainingConfig:
    """Return the paper's configuration, in 16 bits where it matters, of so many epochs."""
    size = bench.size
    return read_config("paper").changed(
        network={"architecture": size.architecture},
        optimizer={"epochs": epochs, "batch_size": size.step},
        run={"accelerator": bench.device.type, "precision": size.precision, **run},
    )


def fit(bench: Bench, config: TrainingConfig, steps: int | None = None) -> tuple[PictureNetwork, float, int]:
    """Train by the package's own trainer; return the network, the seconds and the number of pictures.

    Of a few steps, or of all pictures.
    """
    torch.manual_seed(config.run.seed)
    options = config.optimizer
    count = bench.size.training if steps is None else steps * options.batch_size
    rows = np.arange(count) % len(bench.pixels)
    unknown = np.full(count, np.nan)
    pictures = LabelledPictures(
        name=np.arange(count).astype(str),
        pixels=torch.from_numpy(bench.pixels[rows]).permute(0, 3, 1, 2).contiguous(),
        target=bench.target[rows],
        is_limit=np.zeros(count, dtype=bool),
        ra=unknown,
        dec=unknown,
    )
    bench.wait()
    start = time.perf_counter()
    data = PictureData(pictures, None, batch_size=options.batch_size, seed=config.run.seed)
    module = PictureNetwork(build_network(config.network), config.network, options)
    fit_network(module, data, config)
    bench.wait()
    return module, time.perf_counter() - start, options.epochs * count


def measure_training(bench: Bench) -> None:
    """Train the paper's network as the package does, and keep it."""
    size, add = bench.size, bench.report.add
    config = training_config(bench, size.epochs)
    fit(bench, training_config(bench, 1), steps=8)  # loads and chooses kernels
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    module, seconds, count = fit(bench, config)
    note = f"{size.epochs} epochs of {size.training} pictures, {size.architecture}, {size.precision}"
    add("training", TRAINING, seconds, "s", f"{note}; asked: {TRAINING_SECONDS:.0f}")
    add("training", f"{TRAINING}, rate", count / seconds, "pictures/s", f"batches of {size.step}")
    if bench.device.type == "cuda":
        add("training", "memory at most", torch.cuda.max_memory_allocated() / 2**30, "GiB")
    network = module.network.eval().to(bench.device)
    with torch.inference_mode():
        answers = network(bench.on_device(min(256, size.drawn)))[:, 0].cpu().numpy()
    error = float(np.sqrt(np.mean((answers - bench.target[: len(answers)]) ** 2)))
    add("training", "RMSE of what it was trained on", error, "dex")
    bench.keep(network)


def measure_options(bench: Bench) -> None:
    """Measure what other settings of the training would bring, by two epochs each."""
    plain = training_config(bench, 2)
    larger = plain.changed(optimizer={"batch_size": 4 * bench.size.step})
    variants = {
        "as above": (plain, nullcontext()),
        "kernels chosen by trial": (plain, cudnn(benchmark=True)),
        "four times the batch": (larger, nullcontext()),
        "single precision": (training_config(bench, 2, precision="32-true"), nullcontext()),
    }
    for name, (config, setting) in variants.items():
        with setting:
            fit(bench, config.changed(optimizer={"epochs": 1}), steps=5)
            _, seconds, count = fit(bench, config)
        bench.report.add("options", f"training, 2 epochs, {name}", count / seconds, "pictures/s")


def profile_training(bench: Bench) -> None:
    """Count what the GPU does in a step of the training, and how often it is waited for."""
    few, many, add = 5, 25 if bench.size is FULL else 7, bench.report.add
    first, second = events_of(bench, few), events_of(bench, many)  # to leave out what is done once

    def in_a_step(name: str, column: int) -> float:
        return (second[name][column] - first.get(name, (0, 0.0))[column]) / (many - few)

    for name in ("cudaLaunchKernel", "cudaStreamSynchronize", "cudaMemcpyAsync", "aten::nonzero"):
        add("profile", f"{name} in a step", in_a_step(name, 0) if name in second else 0, "")
    kernels = {name: in_a_step(name, 1) for name, (_, seconds) in second.items() if seconds}
    busy = sum(kernels.values())
    if not busy:
        return
    add("profile", "time of the kernels of a step", 1e3 * busy, "ms", f"{bench.size.step} pictures")
    rate = bench.report.value(f"{TRAINING}, rate")
    add("profile", "share of the training in which the GPU computes", busy * rate / bench.size.step, "")
    for name in sorted(kernels, key=lambda name: -kernels[name])[:8]:
        note = f"{in_a_step(name, 0):.1f} times"
        add("profile", f"kernel {name[:48]}", kernels[name] / busy, "of a step", note)


def events_of(bench: Bench, steps: int) -> dict[str, tuple[int, float]]:
    """Return the counts of what a training of so many steps does, and seconds on the GPU, by names."""
    with torch.profiler.profile() as profiler:
        fit(bench, training_config(bench, 1), steps=steps)
    events: dict[str, tuple[int, float]] = {}
    for event in profiler.key_averages():
        is_kernel = event.device_type == torch.autograd.DeviceType.CUDA
        # What is between two calls of Python is shown among the kernels, and is none.
        if is_kernel and event.key.startswith(("Mem", "Optimizer", "##", "ProfilerStep")):
            continue
        count, seconds = events.get(event.key, (0, 0.0))
        more = event.self_device_time_total / 1e6 if is_kernel else 0.0
        events[event.key] = count + event.count, seconds + more
    return events


@contextmanager
def cudnn(**settings: bool) -> Iterator[None]:
    """Set flags of cuDNN for a time."""
    before = {name: getattr(torch.backends.cudnn, name) for name in settings}
    for name, value in settings.items():
        setattr(torch.backends.cudnn, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(torch.backends.cudnn, name, value)


def variants(bench: Bench) -> dict[str, Callable[[], nn.Module]]:
    """Return the ways to run the network, by what makes each."""
    folder, device = bench.trained(), str(bench.device)

    def eager() -> nn.Module:
        return load_model(folder, device=device, runtime="eager").network

    def half(dtype: torch.dtype) -> nn.Module:
        if bench.device.type == "cuda" and dtype == torch.float16:
            return load_model(folder, device=device, runtime="half").network
        return HalfPrecision(eager(), dtype)

    return {
        "eager": eager,
        "torchscript": lambda: load_model(folder, device=device, runtime="torchscript").network,
        "eager, channels last": lambda: eager().to(memory_format=torch.channels_last),
        "half, bf16": lambda: half(torch.bfloat16),
        "half, fp16": lambda: half(torch.float16),
    }


def measure_networks(bench: Bench) -> None:
    """Measure the network in its ways to run, alone: the pictures lie in the memory of the device."""
    size, part = bench.size, "network"
    largest = bench.on_device(size.batches[-1])
    with torch.inference_mode():
        for name, make in variants(bench).items():
            network = make()
            counts = size.batches if name in ("eager", "half, fp16") else size.batches[-2:]
            for count in counts:
                pictures = largest[:count]
                action = lambda network=network, pictures=pictures: network(pictures)  # noqa: E731
                bench.rate(part, f"{name}, batches of {count}", count, action)
        count = size.batches[-2]
        network = variants(bench)["eager"]()
        with cudnn(allow_tf32=False):  # which has 19 bits, and is the default
            bench.rate(part, f"eager, no tf32, batches of {count}", count, lambda: network(largest[:count]))
    fastest = "half" if bench.device.type == "cuda" else "eager"
    model = load_model(bench.trained(), device=str(bench.device), runtime=fastest)
    for count in size.batches[-3:]:
        pixels = bench.batch(count)
        action = lambda pixels=pixels: model.run(pixels)  # noqa: E731
        bench.rate(part, f"Model.run, {fastest}, batches of {count}", count, action, "from the host")


def measure_precision(bench: Bench) -> None:
    """Measure by how much each way to run the network changes the estimates, against single precision."""
    pictures = bench.on_device(bench.size.compared)
    parts = pictures.split(256)

    def estimates(network: nn.Module) -> np.ndarray:
        with torch.inference_mode():
            return torch.cat([network(part) for part in parts])[:, 0].double().cpu().numpy()

    with cudnn(allow_tf32=False):  # which has 19 bits, and is the default
        reference = estimates(variants(bench)["eager"]())
    note = f"{len(reference)} pictures, estimates {reference.mean():.2f} +- {reference.std():.2f}"
    bench.report.add("precision", "standard deviation of the estimates", float(reference.std()), "dex", note)
    for name, make in variants(bench).items():
        change = estimates(make()) - reference
        rms, largest = float(np.sqrt(np.mean(change**2))), float(np.abs(change).max())
        verdict = "admitted" if rms <= RMS and largest <= LARGEST else "not admitted"
        note = f"largest {largest:.2g}; {verdict}: asked {RMS} rms, {LARGEST} largest"
        bench.report.add("precision", f"{name}, rms change", rms, "dex", note)


def measure_limits(bench: Bench) -> None:
    """State the least time of a picture, from arithmetic and memory, and how far the network is from it."""
    add = partial(bench.report.add, "limit")
    network = HalfPrecision(variants(bench)["eager"](), torch.float16)
    pictures = bench.on_device(2)
    elements = [0]
    hooks = [
        module.register_forward_hook(
            lambda _, given, made: elements.append(elements.pop() + given[0].numel() + made.numel())
        )
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(pictures)
    for hook in hooks:
        hook.remove()
    operations, traffic = counter.get_total_flops() / len(pictures), 2 * elements[0] / len(pictures)
    add("operations of a picture", operations / 1e9, "GFLOP", bench.size.architecture)
    add("least traffic of a picture", traffic / 1e6, "MB", "each convolution reads and writes 16 bits once")
    per_second = 1e12 * bench.report.value("matrix product, fp16")
    memory = 1e12 * bench.report.value("copy in memory, read and written")
    add("rate if arithmetic alone took time", per_second / operations, "pictures/s")
    add("rate if memory alone took time", memory / traffic, "pictures/s")
    note = "the arithmetic of a training is three times that of an answer"
    add("training, if arithmetic alone took time", per_second / operations / 3, "pictures/s", note)
    rates = [row[2] for row in bench.report.rows if row[0] == "network" and row[3] == "pictures/s"]
    best = max((rate for rate in rates if np.isfinite(rate)), default=float("nan"))
    add("best rate of the network", best, "pictures/s", f"asked: {RATE:.0f}")
    add("best rate over the limit", best * max(operations / per_second, traffic / memory), "")


def measure_decoding(bench: Bench) -> None:
    """Measure decoding of JPEGs: on the CPU by the package and by torchvision, and on the GPU."""
    from torchvision.io import decode_jpeg

    rate, side = partial(bench.rate, "decoding"), bench.size.side
    files = list(itertools.islice(itertools.cycle(bench.jpegs), bench.size.files))
    few, chunks, workers = files[: max(len(files) // 8, 8)], batches(files, 64), os.cpu_count() or 1
    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    parts = batches(encoded, 64)
    rate(f"hifrac.images.decode, {side} px, one thread", len(few), lambda: decoded(few))
    rate(f"the same, {workers} processes", len(files), lambda: list(bench.pool.map(_decode, chunks)))
    with ThreadPoolExecutor(workers) as threads:
        rate(f"the same, {workers} threads", len(files), lambda: list(threads.map(decoded, chunks)))
        what = f"torchvision on the CPU, {workers} threads"
        rate(what, len(files), lambda: list(threads.map(decode_jpeg, parts)))
    if bench.device.type == "cuda":
        for count in (64, 512, 2048):
            parts = batches(encoded, count)
            action = lambda parts=parts: [decode_jpeg(part, device=bench.device) for part in parts]  # noqa: E731
            rate(f"torchvision on the GPU, batches of {count}", len(files), action)
        compare_decoders(bench, encoded[: bench.size.compared])


def compare_decoders(bench: Bench, encoded: list[Tensor]) -> None:
    """Measure by how much pictures that the GPU decoded differ, and estimates from them."""
    from torchvision.io import decode_jpeg

    add = partial(bench.report.add, "decoding")
    theirs, mine = torch.stack(decode_jpeg(encoded, device=bench.device)), bench.on_device(len(encoded))
    counts = (theirs.int() - mine.int()).abs().float()
    add("GPU against CPU, mean difference", float(counts.mean()), "of 255")
    add("GPU against CPU, largest difference", float(counts.max()), "of 255")
    network = variants(bench)["eager"]()
    with torch.inference_mode():
        pairs = zip(theirs.split(250), mine.split(250), strict=True)
        change = torch.cat([network(first) - network(second) for first, second in pairs])
    add("GPU against CPU, rms of the estimates", float(change.square().mean().sqrt()), "dex")


def _decode(data: Sequence[bytes]) -> int:
    return len(decoded(data))


def measure_all_the_way(bench: Bench) -> None:
    """Measure the way from JPEGs to estimates: the package's, with more threads, and decoding on the GPU."""
    rate, size, device = partial(bench.rate, "end to end"), bench.size, bench.device
    files = list(itertools.islice(itertools.cycle(bench.jpegs), size.files))
    runtime, workers = "half" if device.type == "cuda" else "eager", os.cpu_count() or 1
    model = load_model(bench.trained(), device=str(device), runtime=runtime)
    count = size.batches[-2]
    with archive_of(files) as (path, table):
        for batch_size in (64, count):
            estimator = HIFractionEstimator(
                model, cutouts=LocalCutouts(path, name="objid"), batch_size=batch_size
            )
            what = f"predict of a zip, {runtime}, batches of {batch_size}"
            rate(what, len(files), lambda estimator=estimator: estimator.predict(table))
    with ThreadPoolExecutor(workers) as threads:

        def overlapped() -> list[object]:
            waiting = [threads.submit(decoded, some) for some in batches(files, size.batches[-3])]
            return [model.run(pixels.result()) for pixels in waiting]

        rate(f"decoding in {workers} threads, Model.run, {runtime}", len(files), overlapped)
    if device.type == "cuda":
        action = lambda: through_gpu(bench, model.network, files, 1024)  # noqa: E731
        rate(f"decoding on the GPU, {runtime}", len(files), action)


def through_gpu(bench: Bench, network: nn.Module, files: list[bytes], size: int) -> Tensor:
    """Decode on the GPU while the network works on the pictures before."""
    from torchvision.io import decode_jpeg

    def pictures(some: Sequence[bytes]) -> Tensor:
        with torch.cuda.stream(torch.cuda.Stream()):
            data = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in some]
            made = torch.stack(decode_jpeg(data, device=bench.device))
            torch.cuda.current_stream().synchronize()
            made.record_stream(torch.cuda.default_stream())  # which reads it when this one is elsewhere
        return made

    with ThreadPoolExecutor(1) as decoder, torch.inference_mode():
        waiting = [decoder.submit(pictures, some) for some in batches(files, size)]
        return torch.cat([network(made.result()) for made in waiting]).cpu()


def measure_default(bench: Bench) -> None:
    """Measure the default model: its network alone, and what is worked out around it on the CPU."""
    rate, device, count = partial(bench.rate, "default"), str(bench.device), bench.size.batches[-1]
    few = list(
        bench.pool.map(draw_galaxy, [(number, 128, 15.0, 0.8, 0.6) for number in range(min(count, 64))])
    )
    pixels = np.stack([images.decode(data) for data in few])[np.arange(count) % len(few)]
    models = {name: load_model("default", device=device, runtime=name) for name in ("eager", "torchscript")}
    for name, model in models.items():
        first = bench.once(lambda model=model: [model.run(pixels) for _ in range(3)])
        bench.report.add("default", f"{name}, the first three batches of {count}", first, "s")
        for some in (count // 8, count):
            pictures = torch.from_numpy(pixels[:some]).to(device).permute(0, 3, 1, 2).contiguous()
            with torch.inference_mode():
                action = lambda model=model, pictures=pictures: model.network(pictures)  # noqa: E731
                rate(f"{name}, network alone, batches of {some}", some, action)
    ebv = np.full(count, 0.03)
    outputs = model.run(pixels, ebv)
    for what, action in {
        "Model.run": lambda: model.run(pixels, ebv),
        "Model.answer": lambda: model.answer(pixels, ebv),
        "its inspection of the pictures": lambda: model.inspect(pixels),
        "its distributions": lambda: model.interpret(outputs, ebv),
    }.items():
        rate(f"{what}, batches of {count}", count, action)
    compare_devices(bench, model, pixels[: bench.size.compared])
    with archive_of(list(itertools.islice(itertools.cycle(few), bench.size.files))) as (path, table):
        for size in (64, 512):
            estimator = HIFractionEstimator(model, cutouts=LocalCutouts(path, name="objid"), batch_size=size)
            what = f"predict of a zip, torchscript, batches of {size}"
            rate(what, len(table), lambda estimator=estimator: estimator.predict(table))


def compare_devices(bench: Bench, model: Model, pixels: np.ndarray) -> None:
    """Measure by how much the default model answers otherwise than on the CPU."""
    on_cpu = load_model("default", device="cpu", runtime=model.runtime)
    change = np.abs(model.answer(pixels).estimate - on_cpu.answer(pixels).estimate)
    note = f"largest {change.max():.2g}, {len(pixels)} pictures"
    bench.report.add(
        "default", "estimates against the CPU, rms", float(np.sqrt(np.mean(change**2))), "dex", note
    )


def measure_compiled(bench: Bench) -> None:
    """Measure what ``torch.compile`` brings; the compilation is timed apart."""
    count = bench.size.batches[-2]
    pictures = bench.on_device(count)
    with torch.inference_mode():
        for name in ("half, fp16", "eager"):
            network = variants(bench)[name]()
            compile_and_time(bench, "network", f"{name}, compiled, batches of {count}", network, pictures)
        network = load_model("default", device=str(bench.device), runtime="eager").network
        pictures = torch.nn.functional.interpolate(pictures.float(), (128, 128), mode="bilinear")
        pictures = pictures.round().to(torch.uint8).contiguous()
        compile_and_time(bench, "default", f"eager, compiled, batches of {count}", network, pictures)


def compile_and_time(bench: Bench, part: str, what: str, network: nn.Module, pictures: Tensor) -> None:
    """Compile a network for one size of batches, and measure it."""
    plain = first_output(network(pictures))
    compiled = torch.compile(network, dynamic=False, backend="inductor" if bench.size is FULL else "eager")
    try:
        start = time.perf_counter()
        change = first_output(compiled(pictures)) - plain
        note = f"{time.perf_counter() - start:.1f} s for the first batch"
    except TimeoutError:  # of the whole part
        raise
    except Exception as error:
        bench.failed(part, what, error)
        return
    note += f"; rms change {float(change.square().mean().sqrt()):.2g} dex"
    bench.rate(part, what, len(pictures), lambda: compiled(pictures), note)


def first_output(answer: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the estimates of what a network gives."""
    return answer[:, 0] if isinstance(answer, Tensor) else answer[0]


#: Parts, and the seconds after which each is given up.
PARTS: dict[str, tuple[Callable[[Bench], None], int]] = {
    "pictures": (draw, 60),
    "machine": (measure_machine, 30),
    "training": (measure_training, 180),
    "networks": (measure_networks, 60),
    "precision": (measure_precision, 30),
    "decoding": (measure_decoding, 60),
    "all the way": (measure_all_the_way, 60),
    "default": (measure_default, 90),
    "profile": (profile_training, 40),
    "options": (measure_options, 90),
    "limits": (measure_limits, 20),
    "compiled": (measure_compiled, 150),
}


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the table.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--part", "parts", type=click.Choice(list(PARTS)), multiple=True, help="Only these.")
@click.option("--minutes", default=8.0, show_default=True, help="No part goes on after so long.")
@click.option("--toy", is_flag=True, help="A few small pictures: to see that all of it works.")
def main(output: Path, device: str, parts: tuple[str, ...], minutes: float, toy: bool) -> None:
    """Measure, print a table and write it; the exit status is 1 if something failed."""
    place = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if device == "cuda" and place.type != "cuda":
        raise click.UsageError("--device: PyTorch finds no CUDA device here")
    output.mkdir(parents=True, exist_ok=True)
    report = Report(output, {})
    with ProcessPoolExecutor() as pool, tempfile.TemporaryDirectory() as folder:
        bench = Bench(report, TOY if toy else FULL, place, pool, Path(folder))
        for name, (measure, seconds) in PARTS.items():
            if parts and name not in (*parts, "pictures"):
                continue
            left = 60 * minutes - report.elapsed
            try:
                with time_limit(min(seconds, left)):
                    measure(bench)
            except Exception as error:
                bench.failed(name, name, error)
            # Not before the first part: processes are forked before there is a CUDA context.
            report.facts = facts_of(place)
            path = report.write()
            click.echo(f"-- {name}: after {report.elapsed:.1f} s")
    click.echo(f"{path}: {report.facts}")
    if report.failed:
        raise click.ClickException("; ".join(report.failed))


if __name__ == "__main__":
    main()
