"""The rules for modules: which may import which, when, and how large files and folders may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ("engine", "spice_explorer", "pages")

# Room → our modules that its files may import. A file may always import from its own room, except in
# engine.stages, where only upstream modules are allowed.
ALLOWED = {
    "engine/errors.py": set(),
    "engine/events.py": set(),
    "engine/config.py": {"engine.errors"},
    "engine/presets.py": {"engine.config", "engine.errors"},
    "engine/heavy.py": set(),
    "engine/shares.py": set(),
    "engine/terms.py": set(),
    "engine/blas.py": set(),
    "engine/memory.py": set(),
    "engine/npy.py": set(),
    "engine/leftovers.py": set(),
    "engine/checksums.py": set(),
    "engine/one_file.py": set(),
    "engine/jobs.py": {"engine.errors", "engine.events"},
    "engine/metrics.py": {"engine.errors"},
    "engine/formats": {"engine.errors", "engine.memory"},
    "engine/data": {"engine.checksums", "engine.config", "engine.errors", "engine.formats", "engine.npy"},
    "engine/views": {"engine.config", "engine.errors"},
    "engine/space": {"engine.blas", "engine.config", "engine.errors", "engine.leftovers", "engine.npy"},
    "engine/sources": {
        "engine.data",
        "engine.errors",
        "engine.formats",
        "engine.jobs",
        "engine.leftovers",
        "engine.npy",
    },
    "engine/networks": {"engine.config", "engine.errors"},
    "engine/stages": {
        "engine.config",
        "engine.data.batches",
        "engine.errors",
        "engine.events",
        "engine.networks",
        "engine.space",
        "engine.views",
    },
    "engine/curate": {
        "engine.blas",
        "engine.data",
        "engine.errors",
        "engine.leftovers",
        "engine.space.vectors",
        "engine.stages.clustering",
        "engine.stages.reliable",
    },
    "engine/health": {
        "engine.blas",
        "engine.curate",
        "engine.data",
        "engine.errors",
        "engine.formats",
        "engine.jobs",
        "engine.npy",
        "engine.sources",
        "engine.space",
    },
    "engine/runs": {
        "engine.checksums",
        "engine.config",
        "engine.curate",
        "engine.data",
        "engine.errors",
        "engine.events",
        "engine.heavy",
        "engine.jobs",
        "engine.leftovers",
        "engine.metrics",
        "engine.networks",
        "engine.npy",
        "engine.shares",
        "engine.sources",
        "engine.space",
        "engine.stages",
    },
    "engine/exports": {
        "engine.curate",
        "engine.data",
        "engine.errors",
        "engine.events",
        "engine.formats",
        "engine.health",
        "engine.jobs",
        "engine.leftovers",
        "engine.npy",
        "engine.runs",
        "engine.sources",
        "engine.space.vectors",
        "engine.stages",
    },
    "engine/models": {
        "engine.config",
        "engine.curate",
        "engine.data",
        "engine.errors",
        "engine.exports",
        "engine.formats",
        "engine.metrics",
        "engine.networks",
        "engine.runs",
        "engine.sources",
        "engine.stages",
        "engine.views.tone",
        "engine.shares",
    },
    "engine/lesson": {
        "engine.config",
        "engine.data",
        "engine.errors",
        "engine.events",
        "engine.jobs",
        "engine.metrics",
        "engine.one_file",
        "engine.presets",
        "engine.runs",
        "engine.shares",
        "engine.space",
        "engine.stages",
        "engine.views",
    },
    "engine/report": {
        "engine.config",
        "engine.curate",
        "engine.data",
        "engine.errors",
        "engine.events",
        "engine.health",
        "engine.lesson.bundle",
        "engine.lesson.scripts",
        "engine.metrics",
        "engine.one_file",
        "engine.runs",
        "engine.shares",
        "engine.sources.originals",
        "engine.space.vectors",
        "engine.stages",
        "engine.terms",
    },
    "engine/forecast": {
        "engine.config",
        "engine.data",
        "engine.errors",
        "engine.events",
        "engine.jobs",
        "engine.leftovers",
        "engine.memory",
        "engine.metrics",
        "engine.runs",
        "engine.space",
        "engine.stages",
    },
    "engine/__main__.py": {"engine"},
    "spice_explorer/addresses.py": set(),
    "spice_explorer/browsers.py": {"engine.curate", "engine.errors"},
    "spice_explorer/palette.py": set(),
    "spice_explorer/present": {"engine", "spice_explorer.palette"},
    "spice_explorer/charts.py": {"engine.shares", "spice_explorer.palette", "spice_explorer.present"},
    "spice_explorer/queries": {
        "engine",
        "spice_explorer.addresses",
        "spice_explorer.palette",
        "spice_explorer.present",
    },
    "spice_explorer/lifecycle.py": {"engine"},
    "spice_explorer/session.py": {"engine", "spice_explorer.browsers", "spice_explorer.queries"},
    "spice_explorer/web": {
        "engine",
        "spice_explorer.addresses",
        "spice_explorer.browsers",
        "spice_explorer.present",
        "spice_explorer.queries",
    },
    "spice_explorer/components": {
        "engine",
        "spice_explorer.web",
        "spice_explorer.palette",
        "spice_explorer.present",
        "spice_explorer.session",
    },
    "spice_explorer/sections": {
        "engine",
        "spice_explorer.charts",
        "spice_explorer.components",
        "spice_explorer.web",
        "spice_explorer.palette",
        "spice_explorer.present",
        "spice_explorer.queries",
        "spice_explorer.session",
    },
    "pages": {"spice_explorer.sections", "spice_explorer.session"},
}
NEVER = {
    "engine": {"streamlit", "plotly", "spice_explorer", "pages"},
    "engine/events.py": {"torch"},
    "engine/jobs.py": {"torch"},
    "spice_explorer/present": {"streamlit", "torch"},
    "pages": {"torch", "faiss", "umap", "engine"},
}
# The order of the flow inside engine/stages: a module may import only from those before it.
UPSTREAM = [
    "loop",
    "frames",
    "encoder",
    "clustering",
    "compute",
    "contrast",
    "encoder_file",
    "features",
    "frozen_features",
    "decided_labels",
    "prototypes",
    "heads",
    "reliable",
    "thresholds",
    "joint_probe",
    "joint",
]
# Libraries that are slow to import. Only modules that import one of them may be imported inside functions,
# so that the first page and the command line's help do not wait for them.
HEAVY = {
    "PIL",
    "faiss",
    "huggingface_hub",
    "numba",
    "pandas",
    "plotly",
    "safetensors",
    "scipy",
    "sklearn",
    "streamlit",
    "timm",
    "torch",
    "torchvision",
    "tqdm",
    "umap",
}
# Each command imports its modules itself: most need few.
LAZY = {
    "engine.__main__",
    "engine.exports.command",
    "engine.exports.return_command",
    "engine.models.command",
    "engine.report.command",
}
MOST_LINES, MOST_FILES = 450, 16
# Settings and commands are long lists, better read in one place.
LONG = {"engine/config.py", "engine/__main__.py"}


@dataclass
class Module:
    """What a module imports: our modules at once (when it is imported) or later, and heavy libraries."""

    at_once: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    heavy: set[str] = field(default_factory=set)


def named(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def modules() -> dict[str, Module]:
    """All our modules, without imports for type checkers only."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for room in HOUSE
        for path in sorted((ROOT / room).rglob("*.py"))
    }
    found = {}
    for name, path in paths.items():
        found[name] = module = Module()
        for imported, inside in _imports(ast.parse(path.read_text("utf-8")), inside=False):
            top = imported.split(".")[0]
            if top in HEAVY and not inside:
                module.heavy.add(top)
            own = next((one for one in (imported, imported.rpartition(".")[0]) if one in paths), None)
            if own is not None and own != name:
                (module.later if inside else module.at_once).add(own)
    return found


def _imports(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
    """Dotted names that are imported at run time, and whether inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ((f"{child.module}.{alias.name}", inside) for alias in child.names)
        yield from _imports(child, inside or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))


def python_files(room: str) -> list[Path]:
    path = ROOT / room
    return [path] if path.suffix else sorted(path.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """All modules that `path` imports anywhere, as written."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def below(module: str, roots: set[str]) -> bool:
    return any(module == root or module.startswith(root + ".") for root in roots)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_from_the_rooms_it_may(room: str) -> None:
    own = room.removesuffix(".py").replace("/", ".")
    allowed = ALLOWED[room] | {own}
    for path in python_files(room):
        ours = {name for name in imports(path) if below(name, set(HOUSE))}
        # "from engine import metrics" names both engine and engine.metrics: the second decides.
        ours -= {name for name in ours if any(other.startswith(name + ".") for other in ours)} - allowed
        strangers = {name for name in ours if not below(name, allowed)}
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


def test_every_file_is_in_a_room_with_rules() -> None:
    ruled = {path for room in ALLOWED for path in python_files(room)}
    entries = {ROOT / "spice_explorer" / "app.py"}
    found = {path for room in HOUSE for path in (ROOT / room).rglob("*.py") if path.read_text().strip()}
    bare = {path for path in found - ruled - entries if path.name != "__init__.py"}
    assert not bare


@pytest.mark.parametrize("room", NEVER)
def test_a_room_never_imports_what_it_must_not_know(room: str) -> None:
    for path in python_files(room):
        assert not {name for name in imports(path) if below(name, NEVER[room])}, path


@pytest.mark.parametrize("stage", UPSTREAM)
def test_a_stage_imports_only_from_upstream(stage: str) -> None:
    later = {f"engine.stages.{name}" for name in UPSTREAM[UPSTREAM.index(stage) + 1 :]}
    found = imports(ROOT / "engine" / "stages" / f"{stage}.py")
    assert not {name for name in found if below(name, later)}


def test_every_stage_has_its_place_in_the_flow() -> None:
    names = {path.stem for path in (ROOT / "engine" / "stages").glob("*.py")} - {"__init__"}
    assert names == set(UPSTREAM)


def test_no_module_imports_itself_by_a_detour() -> None:
    """Not even inside functions: a circular import means that two rooms should be one, or three."""
    graph = {name: module.at_once | module.later for name, module in modules().items()}
    left = dict(graph)
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"among these are circles: {sorted(left)}"


def brought(name: str) -> set[str]:
    """The heavy libraries that importing the module imports."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in seen and one in modules():
            seen.add(one)
            waiting += [*modules()[one].at_once, *([one.rpartition(".")[0]] if "." in one else [])]
    return {library for one in seen for library in modules()[one].heavy}


def test_only_what_takes_long_is_imported_within_functions() -> None:
    needless = {
        f"{name} could import {wanted} at its top"
        for name, module in modules().items()
        for wanted in module.later
        if name not in LAZY and not brought(wanted) - brought(name)
    }
    assert not needless


def test_a_run_folder_is_opened_without_waiting_for_anything() -> None:
    assert brought("engine.runs.folder") == set()


def test_files_are_short_and_folders_not_crowded() -> None:
    for room in (*HOUSE, "benchmarks"):
        for path in (ROOT / room).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES or name in LONG, name
    for room in HOUSE:
        for folder in [ROOT / room, *(path for path in (ROOT / room).rglob("*") if path.is_dir())]:
            files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(files) <= MOST_FILES, folder


@pytest.mark.parametrize("module", ["engine.stages.joint", "engine.stages.heads"])
def test_stages_reach_neither_truth_nor_metrics_even_indirectly(module: str) -> None:
    code = f"import sys, {module}; print([n for n in sys.modules if n.startswith('engine.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "engine.data.truth" not in loaded
    assert "engine.metrics" not in loaded


def test_the_command_line_explains_itself_without_torch() -> None:
    code = (
        "import sys\nfrom engine.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([n for n in ('torch', 'sklearn', 'faiss', 'umap') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.rstrip().endswith("[]")


@pytest.mark.parametrize("room", ["spice_explorer", "pages"])
def test_the_app_works_in_the_background_only_by_jobs_that_end_with_the_server(room: str) -> None:
    for path in python_files(room):
        assert not [text for text in ("Thread(", "Timer(", "PoolExecutor(") if text in path.read_text("utf-8")], path
