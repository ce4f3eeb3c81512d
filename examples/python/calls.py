"""How to call a cell of Cotter from a program of your own: the whole of the retry rules.

There is no client library behind this, only gRPC. Copy it, or write the same in your language.

* Every change has a request id, the same in every attempt. So a call whose answer was lost may simply
  be made again, at any replica: it is done once.
* UNAVAILABLE and a passed deadline mean: make the same call again. The replica that is not the master
  says in the metadata "cotter-master" who is; a replica that does not answer is passed over.
* RESOURCE_EXHAUSTED may be repeated only if the answer says when ("grpc-retry-pushback-ms").
* Whatever else comes is decided. Its reason is a typed detail of the status: see refusal().
"""

import time

import grpc
from grpc_status import rpc_status

ATTEMPT_SECONDS = 2.0
PAUSE_SECONDS = 0.1


class Cell:
    """Calls whichever replica is the master.

    `invoke(channel, service, method, request, timeout)` makes one attempt: with generated stubs
    (generated.py) or without (reflected.py).
    """

    def __init__(self, endpoints, invoke):
        self._endpoints = endpoints
        self._invoke = invoke
        self._connect(endpoints[0])

    def _connect(self, address):
        self._address = address
        self._channel = grpc.insecure_channel(address)

    def call(self, service, method, request, patience=60.0):
        """Makes a call until it is answered, for at most `patience` seconds."""
        give_up = time.monotonic() + patience
        while True:
            try:
                return self._invoke(self._channel, service, method, request, ATTEMPT_SECONDS)
            except grpc.RpcError as error:
                pause = repeat_after(error)
                if pause is None or time.monotonic() > give_up:
                    raise
                self._move_on(error)
                time.sleep(pause)

    def _move_on(self, error):
        """Goes where the master is said to be, or else to the next replica."""
        if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return
        known = self._endpoints
        after = known.index(self._address) + 1 if self._address in known else 0
        self._channel.close()
        self._connect(metadata(error).get("cotter-master", known[after % len(known)]))


def repeat_after(error):
    """Returns after how many seconds the same call may be made again; None if it may not."""
    push_back = metadata(error).get("grpc-retry-pushback-ms")
    if push_back is not None:
        return int(push_back) / 1000 if int(push_back) >= 0 else None
    lost = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    # A replica that says no by such a code says why. Without a reason, it is the network that speaks.
    return PAUSE_SECONDS if error.code() in lost and rpc_status.from_call(error) is None else None


def metadata(error):
    """Returns what a status carries beside its code and text."""
    return {key: value for key, value in error.trailing_metadata() or () if not key.endswith("-bin")}


def refusal(error, messages):
    """Returns the kind of a refusal, such as "stale_sequencer", and its fields; or None."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        refused = messages.Refusal()
        if detail.type_url.endswith("/cotter.v1.Refusal"):
            refused.ParseFromString(detail.value)
            kind = refused.WhichOneof("kind")
            return kind, getattr(refused, kind)
    return None
