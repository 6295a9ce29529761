"""The house's rules: who may import whom, and what may be imported at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Room → modules of ours that its files may import. A file may always import its own room, except
# in engine.stages, where only what lies upstream is allowed.
ALLOWED = {
    "engine/errors.py": set(),
    "engine/config.py": {"engine.errors"},
    "engine/events.py": set(),
    "engine/jobs.py": {"engine.errors", "engine.events"},
    "engine/metrics.py": {"engine.data", "engine.errors"},
    "engine/data": {"engine.config", "engine.errors"},
    "engine/views": {"engine.config", "engine.errors"},
    "engine/space": {"engine.config", "engine.errors"},
    "engine/stages": {
        "engine.config",
        "engine.errors",
        "engine.events",
        "engine.data.batches",
        "engine.views",
        "engine.space",
    },
    "engine/curate": {"engine.data", "engine.errors", "engine.stages.clustering", "engine.stages.reliable"},
    "engine/runs": {"engine"},
    "engine/__main__.py": {"engine"},
    "spice_explorer": {"engine"},
    "pages": {"spice_explorer"},
}
NEVER = {
    "engine": {"streamlit", "plotly", "spice_explorer", "pages"},
    "engine/events.py": {"torch"},
    "engine/jobs.py": {"torch"},
    "pages": {"torch", "faiss", "umap", "engine"},
}
# Flow order inside engine/stages: a module may import only from those before it.
UPSTREAM = [
    "loop",
    "frames",
    "encoder",
    "clustering",
    "compute",
    "contrast",
    "pretrained",
    "trained",
    "features",
    "fixed",
    "prototypes",
    "heads",
    "reliable",
    "thresholds",
    "xray",
    "joint",
]


def python_files(room: str) -> list[Path]:
    path = ROOT / room
    return [path] if path.suffix else sorted(path.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that `path` imports, anywhere in it, as written."""
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
        ours = {name for name in imports(path) if below(name, {"engine", "spice_explorer", "pages"})}
        # "from engine import metrics" names both engine and engine.metrics: the second decides.
        ours -= {"engine", "engine.data", "engine.stages"} - allowed
        strangers = {name for name in ours if not below(name, allowed)}
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


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
