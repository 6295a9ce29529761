"""gpu.md: the figures of a sitting as tables."""

from __future__ import annotations

from typing import Any

from benchmarks.report import table

# The goals for a GPU: the figure, the goal, and whether more is better.
GOALS = (
    ("stage 1, BYOL, images/s", 20_000, True),
    ("stage 1, BYOL, share of peak", 0.25, True),
    ("times one image at a time", 10, True),
    ("forecast of the preset, minutes", 13, False),
)


def page(about: dict[str, Any]) -> str:
    """The page, with the results so far."""
    parts = [
        "# One sitting at a GPU" if _on_gpu(about) else "# A rehearsal without a GPU",
        f"{about['date']}, commit {about['commit']}, {about['device']}, Python {about['python']}, "
        + ", ".join(f"{name} {version}" for name, version in about["libraries"].items() if version)
        + (f"; {', '.join(about['settings'])}" if about["settings"] else "")
        + ".",
    ]
    for name, show in (("machine", _machine), ("check", _check), ("speed", _speed), ("run", _run)):
        if name in about:
            parts += show(about[name], about)
    return "\n\n".join(parts) + "\n"


def _on_gpu(about: dict[str, Any]) -> bool:
    return "machine" in about


def _machine(found: dict[str, Any], _: dict[str, Any]) -> list[str]:
    memory = found["memory"]
    free = memory["free"] / memory["total"]
    text = f"GPU memory: {memory['free'] / 2**30:.0f} of {memory['total'] / 2**30:.0f} GiB were free."
    return [text if free > 0.9 else text + " **Other work ran on it: ignore the figures of speed.**"]


def _check(found: dict[str, Any], _: dict[str, Any]) -> list[str]:
    def row(name: str, one: dict[str, Any]) -> list[str]:
        if "value" not in one:
            return [name, "–", "–", one.get("error") or f"skipped: {one['skipped']}"]
        return [name, f"{one['value']:.2g}", f"≤ {one['limit']:g}", "passed" if one["passed"] else "**missed**"]

    rows = [row(name, one) for name, one in found.items()]
    return ["## Does it compute the same as a CPU?", table(["", "value", "limit", ""], rows)]


def _speed(found: dict[str, Any], about: dict[str, Any]) -> list[str]:
    parts = ["## How fast is it?"]
    if "bfloat16" in (top := found.get("peak", {})):
        parts.append(
            f"Peak of a large matrix product: {top['bfloat16']:,.3g} TFLOP/s (bfloat16), {top['float32']:,.3g} "
            f"(float32); copy {top['copy']:,.0f} GB/s."
        )
    paces = {name: one for name, one in found.items() if "images_per_second" in one}
    rows = [
        [
            name,
            f"{one['images_per_second']:,.0f}",
            f"{one['share']:.0%}" if "share" in one else "–",
            f"{one['megabytes']:,}" if "megabytes" in one else "–",
        ]
        for name, one in paces.items()
    ]
    parts.append(table(["", "images/s", "share of peak", "memory, MB"], rows))
    left_out = [
        f"{name}: {one.get('error') or one['skipped']}"
        for name, one in found.items()
        if {"error", "skipped"} & one.keys()
    ]
    parts += [f"Not measured: {'; '.join(left_out)}."] if left_out else []
    if "minutes" in (ahead := found.get("forecast", {})):
        parts.append(
            "At these speeds, the preset takes on 50,000 images: "
            + ", ".join(f"{name} {ahead[name]:.1f}" for name in ("stage 1", "stage 2", "stage 3"))
            + f", together {ahead['minutes']:.1f} minutes (without k-means, frames and scores)."
        )
    if _on_gpu(about):
        parts.append(_goals(found))
    if "kernels" in (taken := found.get("profile", {})):
        parts += [
            f"A step of BYOL takes {taken['milliseconds']:.1f} ms; the device is busy for {taken['busy']:.0%} of it. "
            "The slowest kernels:",
            table(["kernel", "ms per step", "calls per step"], taken["kernels"]),
        ]
    return parts


def _goals(found: dict[str, Any]) -> str:
    byol, slow = found.get("stage 1, BYOL", {}), found.get("one image at a time", {})
    values = (
        byol.get("images_per_second"),
        byol.get("share"),
        slow.get("ratio"),
        found.get("forecast", {}).get("minutes"),
    )
    rows = []
    for (name, goal, more), value in zip(GOALS, values, strict=True):
        met = value is not None and (value >= goal if more else value <= goal)
        shown = "not measured" if value is None else f"{value:,g}"
        rows.append([name, shown, f"{'≥' if more else '≤'} {goal:,g}", "met" if met else "**missed**"])
    return table(["figure", "value", "goal", ""], rows)


def _run(found: dict[str, Any], _: dict[str, Any]) -> list[str]:
    parts = ["## CIFAR-10 (JPEG q92) through three stages"]
    if plan := found.get("schedule"):
        parts.append(
            f"{plan['images']:,} training images, scored on test images; no label was used in training or "
            "selection. Schedule chosen from the measured speed ("
            + ", ".join(f"{pace:,.0f} images/s in {stage}" for stage, pace in plan["paces"].items() if pace)
            + f") for {plan['seconds']:,} s: "
            + ", ".join(f"{name} = {value:,}" for name, value in plan.items() if "." in name)
            + "."
        )
    rows = [
        [name, *(f"{one[score]:.4f}" if score in one else "–" for score in ("acc", "nmi", "ari", "neighbors"))]
        for name in ("stage 1", "stage 2", "stage 3", "stopped")
        if (one := found.get(name))
    ]
    parts.append(table(["test images", "ACC", "NMI", "ARI", "20 neighbours' vote"], rows))
    if said := found.get("summary"):
        parts.append(_said(said))
    if curve := found.get("curve"):
        parts += [
            "Stage 1 during training, on training images, in the 32 leading directions of its features:",
            table(
                ["step", "k-means ACC", "20 neighbours' vote"],
                [[f"{one['step']:,}", f"{one['acc']:.3f}", f"{one['neighbors']:.3f}"] for one in curve],
            ),
        ]
    return parts


def _said(said: dict[str, Any]) -> str:
    """How long the stages took, and the reliable set."""
    seconds = ", ".join(f"{name} {value:,.0f} s" for name, value in said["seconds"].items() if value)
    reliable, purity = said.get("reliable"), said.get("truth", {}).get("reliable_purity")
    text = f"The run {said['state']}: {seconds}, including frames but not scores."
    if reliable:
        text += f" The reliable set has {reliable['count']:,} images ({reliable['fraction']:.0%})"
        text += f", {purity:.1%} of them in the cluster of their class." if purity is not None else "."
    return text
