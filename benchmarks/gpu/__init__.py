"""One command for a short sitting at a GPU: are results correct, how fast is it, and what accuracy is reached?

    python -m benchmarks gpu --minutes 8 --out DIR [--only check,speed,run] [--commit C] [--from FILE]

It needs libraries that a training machine usually has: torch, torchvision, scikit-learn, scipy, pandas,
pillow, filelock, tqdm, safetensors. Each result is written to DIR as soon as it is known:

    log.txt       a log with the elapsed seconds
    gpu.json      every figure, with date, commit, device and versions; gpu.md has the same as tables
    stage1.npz    the encoder in bfloat16, for `--from`
    joint.npz     the model of stage 3; arrays.npz has its outputs for every image
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import torch

from benchmarks.cifar10_images import archive
from benchmarks.gpu import check, packed, run, speed
from benchmarks.gpu.render import page
from benchmarks.gpu.sitting import Sitting, Unfit
from benchmarks.pieces import WORK, Options, OutOfTime
from engine.errors import RunError, SettingError, SpiceError
from engine.runs.runner import choose_device

PARTS = {"check": check.run, "speed": speed.run, "run": run.run}


def measure(options: Options) -> None:
    """Runs the requested parts of the sitting, in their order.

    Raises:
        OutOfTime: if there was no time for a part; all earlier results are kept.
        SpiceError: if there is no GPU (and the CPU was not named), a part is unknown, the images are
            missing, the weights belong to another network, the folder cannot be written to, or, at
            the end, a check did not pass.
    """
    asked = asked_parts(options)
    device = chosen_device(options)
    sitting = Sitting(options, options.out or _new_folder(), device)
    sitting.render = page
    if "run" in asked:
        archive(options)
    if options.earlier is not None:
        run.check_network(sitting.config, packed.read(options.earlier)[1], options.earlier)
    if sitting.gpu:
        free, total = torch.cuda.mem_get_info(device)
        sitting.keep("machine", "memory", {"free": free, "total": total})
    ahead, left = run.decode_ahead(sitting), ""
    for name in asked:
        if name == "run" and ahead is not None:
            ahead.wait()
        try:
            PARTS[name](sitting)
        except Unfit as reason:
            left = str(reason)
            sitting.keep(name, "not begun", {"skipped": left})
    if ahead is not None:
        ahead.wait()
    if left:
        raise OutOfTime(left)
    missed = check.failed(sitting.found.get("check", {}))
    if missed:
        raise SpiceError(f"not passed: {'; '.join(missed)} (see {sitting.folder / 'gpu.md'})")


def _new_folder() -> Path:
    return WORK / f"gpu-{datetime.now():%Y%m%d-%H%M%S}"


def asked_parts(options: Options) -> list[str]:
    """The requested parts in their order; raises SettingError for an unknown one."""
    asked = [one.strip() for one in options.only.split(",") if one.strip()] or list(PARTS)
    unknown = [one for one in asked if one not in PARTS]
    if unknown:
        raise SettingError(f"--only {options.only}: there is no {unknown[0]!r}; choose from {', '.join(PARTS)}")
    return [name for name in PARTS if name in asked]


def chosen_device(options: Options) -> torch.device:
    """The GPU, or the device named by --device; raises RunError if no GPU works."""
    chosen = choose_device(options.device)
    if options.device == "auto" and chosen.device.type != "cuda":
        raise RunError(
            f"{chosen.note.partition(':')[0] or 'no NVIDIA GPU was found'}: this benchmark needs one; use "
            "--device cpu to rehearse it without"
        )
    return chosen.device
