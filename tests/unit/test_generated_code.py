"""The protobuf code is what the pinned compiler makes of the .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "module_gateway" / "protocol"


def test_generated_code_is_current(tmp_path: Path) -> None:
    protos = sorted(path.relative_to(ROOT) for path in FOLDER.glob("*.proto"))
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-I."),
            *(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *map(str, protos)),
        ],
        cwd=ROOT,
        check=True,
        timeout=150,
    )
    fresh = {path.name: path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    present = {path.name: path.read_text() for path in FOLDER.glob("*_pb2.py*")}

    assert sorted(present) == sorted(fresh)
    assert [name for name, text in fresh.items() if present[name] != text] == []
    assert len(protos) * 2 == len(present)
