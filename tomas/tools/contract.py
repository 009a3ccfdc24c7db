"""The runner contract: what goes into a tool and what may come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tomas.errors import ToolContractError
from tomas.schema import Artifact, Tool, media_type_matches

__all__ = ["check_inputs", "check_outputs"]


def check_inputs(tool: Tool, inputs: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """Absolute paths of existing files per port.

    :raises ToolContractError: a port is unknown, a required one is empty, or a file is missing.
    """
    files: dict[str, list[Path]] = {}
    for name, paths in inputs.items():
        if tool.input(name) is None:
            raise ToolContractError(
                f"Tool {tool.name} has no input port {name!r}.",
                remedy=f"Its ports: {', '.join(port.name for port in tool.inputs)}.",
            )
        files[name] = [Path(path).absolute() for path in paths]
        for path in files[name]:
            if not path.is_file():
                raise ToolContractError(
                    f"Tool {tool.name}, input {name}: {path} is not a file on this machine.",
                    remedy="Check that the file exists and that this worker can read it.",
                )
    for port in tool.inputs:
        if port.required and not files.get(port.name):
            raise ToolContractError(
                f"Tool {tool.name}, input {port.name}: no file was given.",
                remedy=f"Bind at least one file of type {port.type}.",
            )
    return files


def check_outputs(tool: Tool, outputs: Sequence[Mapping[str, Any]], output_dir: Path) -> list[Artifact]:
    """The outputs as artifacts, every ``uri`` an absolute path.

    :raises ToolContractError: an undeclared port, a type that does not fit its port, a file that is missing
        or (symbolic links followed) outside ``output_dir``, or a required port without a file.
    """
    root = output_dir.resolve()
    artifacts: list[Artifact] = []
    for item in outputs:
        name, media_type, uri = str(item["name"]), str(item["type"]), str(item["uri"])
        port = tool.output(name)
        if port is None:
            raise ToolContractError(
                f"Tool {tool.name} returned the output {name!r}, which it does not declare.",
                remedy=f"Declare the port, or return one of: {', '.join(port.name for port in tool.outputs)}.",
            )
        if not media_type_matches(media_type, port.type):
            raise ToolContractError(
                f"Tool {tool.name}, output {name}: the type {media_type} does not fit the declared {port.type}.",
                remedy="Return the declared type.",
            )
        path = Path(uri)
        path = path if path.is_absolute() else output_dir / path
        if not path.is_file():
            raise ToolContractError(
                f"Tool {tool.name}, output {name}: {uri} does not exist.",
                remedy="Write the file before returning it.",
            )
        if not path.resolve().is_relative_to(root):
            raise ToolContractError(
                f"Tool {tool.name}, output {name}: {uri} lies outside the output folder.",
                remedy="Write every output into output_dir.",
            )
        artifacts.append(Artifact(name=name, type=media_type, uri=str(path.absolute())))
    for port in tool.outputs:
        if port.required and not any(artifact.name == port.name for artifact in artifacts):
            raise ToolContractError(
                f"Tool {tool.name} returned nothing for its output {port.name}.",
                remedy="Return at least one file for every required output.",
            )
    return artifacts
