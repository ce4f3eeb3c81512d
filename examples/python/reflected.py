"""Cotter's messages and services from a running cell alone, by reflection, as grpcurl does it.

No .proto file and no generated code: the cell describes itself.
"""

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICES = ("cotter.v1.Cell", "cotter.v1.Locks", "cotter.v1.Nodes")


class Messages:
    """All messages of cotter.v1, and its enumerations' values, by their names."""


def describe(endpoints):
    """Asks the first replica that answers what the cell speaks."""
    for endpoint in endpoints:
        try:
            with grpc.insecure_channel(endpoint) as channel:
                return read(ProtoReflectionDescriptorDatabase(channel))
        except grpc.RpcError as error:
            print(f"no description from {endpoint}: {error.code().name}", flush=True)
    raise SystemExit("no replica describes itself")


def read(database):
    """Reads all files that the services need."""
    served = set(database.get_services())
    assert served.issuperset(SERVICES), served
    pool = descriptor_pool.DescriptorPool(database)
    messages = Messages()
    pending = [pool.FindServiceByName(name).file for name in SERVICES]
    pending.append(pool.FindFileByName("cotter/v1/refusal.proto"))
    while pending:
        file = pending.pop()
        for name, message in file.message_types_by_name.items():
            setattr(messages, name, message_factory.GetMessageClass(message))
        for enumeration in file.enum_types_by_name.values():
            for value in enumeration.values:
                setattr(messages, value.name, value.number)
        pending.extend(file.dependencies)
    messages.pool = pool
    return messages


def invoker(messages):
    """Returns what makes one call without a stub: a path, and how to write and read."""

    def invoke(channel, service, method, request, timeout):
        described = messages.pool.FindServiceByName(f"cotter.v1.{service}").FindMethodByName(method)
        answer = message_factory.GetMessageClass(described.output_type)
        call = channel.unary_unary(
            f"/cotter.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=timeout)

    return invoke
