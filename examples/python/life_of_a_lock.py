"""The life of a lock: acquire, write under it, renew, release; and a write that comes too late.

It writes one number after the other until it is interrupted, and lives through whatever happens to the
cell meanwhile. Run it, kill the master, and press Control-C:

    python life_of_a_lock.py 127.0.0.1:7400
"""

import time
import uuid

import grpc
from calls import refusal
from start import say, start, until_interrupted

LOCK = "/ls/local/python/lock"
DATA = "/ls/local/python/data"
LEASE_MS = 10_000


def main():
    cell, m = start()

    # A node to write to. The request id makes it safe to repeat.
    create = m.CreateRequest(path=DATA, parents=True, request_id=uuid.uuid4().hex)
    first = cell.call("Nodes", "Create", create).stat.content_generation

    # Acquire. What may be believed of the lease is counted from before the call is sent.
    acquire = m.AcquireRequest(
        path=LOCK,
        request_id=uuid.uuid4().hex,
        wait_ms=0,
        lease_ms=LEASE_MS,
        create=m.LIFETIME_PERMANENT,
        holder=m.SessionMetadata(name="life of a lock"),
    )
    sent = time.monotonic()
    lock = cell.call("Locks", "Acquire", acquire).acquired
    safe_until = sent + lock.safe_ms / 1000
    say("acquired, token", lock.token)

    # Write, as long as the lock is safe, and renew in good time.
    stop = until_interrupted()
    writes = 0
    while not stop.is_set():
        if safe_until - time.monotonic() < LEASE_MS / 2000:
            sent = time.monotonic()
            renewed = cell.call("Locks", "Renew", m.RenewRequest(lock_id=lock.lock_id))
            safe_until = sent + renewed.safe_ms / 1000
            assert renewed.token == lock.token
        assert time.monotonic() < safe_until, "the lock is not safe any more"
        write = m.SetRequest(
            path=DATA,
            contents=str(writes).encode(),
            request_id=uuid.uuid4().hex,
            sequencer=lock.sequencer,
        )
        generation = cell.call("Nodes", "Set", write).stat.content_generation
        writes += 1
        assert generation == first + writes, "a write was made twice, or not at all"
        say("wrote", writes)

    # The same acquire, and the same write, made again: found, not done again.
    again = cell.call("Locks", "Acquire", acquire).acquired
    assert (again.lock_id, again.token) == (lock.lock_id, lock.token)
    assert cell.call("Nodes", "Set", write).stat.content_generation == generation
    explained = cell.call("Locks", "Explain", m.ExplainRequest(path=LOCK)).explanation
    assert [holder.token for holder in explained.holders] == [lock.token]
    say("held by token", explained.holders[0].token)

    # Release; a second time does no harm.
    for _ in range(2):
        cell.call("Locks", "Release", m.ReleaseRequest(lock_id=lock.lock_id))
    say("released")

    # A write that comes too late is refused by the cell.
    check = m.CheckSequencerRequest(sequencer=lock.sequencer)
    assert not cell.call("Locks", "CheckSequencer", check).current
    late = m.SetRequest(
        path=DATA, contents=b"late", request_id=uuid.uuid4().hex, sequencer=lock.sequencer
    )
    try:
        cell.call("Nodes", "Set", late)
        raise SystemExit("a late write was made")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        kind, stale = refusal(error, m)
        assert (kind, stale.token) == ("stale_sequencer", lock.token), error
        say("late write refused:", error.details())
    node = cell.call("Nodes", "Get", m.GetRequest(path=DATA))
    assert node.contents == str(writes - 1).encode()
    assert node.stat.content_generation == first + writes

    # Whoever comes next has a larger token.
    acquire.request_id = uuid.uuid4().hex
    later = cell.call("Locks", "Acquire", acquire).acquired
    assert later.token > lock.token
    cell.call("Locks", "Release", m.ReleaseRequest(lock_id=later.lock_id))
    say("next token", later.token)


if __name__ == "__main__":
    main()
