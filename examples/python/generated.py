"""Cotter's messages and services from the .proto files alone, by grpcio-tools.

A program of yours generates them once, when it is built:

    python -m grpc_tools.protoc -I proto/proto --python_out=OUT --grpc_python_out=OUT \
        proto/proto/cotter/v1/*.proto
"""

import importlib
import pathlib
import sys
import tempfile

from grpc_tools import protoc

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto" / "proto"
MODULES = ("cell", "locks", "nodes", "lock", "node", "operation", "refusal", "session", "status")


class Messages:
    """All messages of cotter.v1, and its enumerations' values, by their names."""


def generate():
    """Generates the stubs into a directory that lives as long as the program, and imports them."""
    directory = tempfile.TemporaryDirectory(prefix="cotter-stubs-")
    files = [str(file) for file in sorted(PROTOS.glob("cotter/v1/*.proto"))]
    out = [f"--python_out={directory.name}", f"--grpc_python_out={directory.name}"]
    if protoc.main(["protoc", f"-I{PROTOS}", *out, *files]) != 0:
        raise SystemExit("the .proto files do not compile")
    sys.path.insert(0, directory.name)
    messages = Messages()
    messages.directory = directory
    for name in MODULES:
        vars(messages).update(vars(importlib.import_module(f"cotter.v1.{name}_pb2")))
    return messages


def invoke(channel, service, method, request, timeout):
    """Makes one call through the generated stub."""
    stubs = importlib.import_module(f"cotter.v1.{service.lower()}_pb2_grpc")
    stub = getattr(stubs, f"{service}Stub")(channel)
    return getattr(stub, method)(request, timeout=timeout)
