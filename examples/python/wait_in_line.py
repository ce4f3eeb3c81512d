"""Waits in the queue of a lock, says its place, and holds the lock until it is interrupted.

The call is simply made again until it says "acquired": the cell keeps the place, also when its master
changes meanwhile.

    python wait_in_line.py 127.0.0.1:7400
"""

import time
import uuid

from start import say, start, until_interrupted

LOCK = "/ls/local/python/line"
LEASE_MS = 10_000


def main():
    cell, m = start()
    acquire = m.AcquireRequest(
        path=LOCK,
        request_id=uuid.uuid4().hex,
        lease_ms=LEASE_MS,
        create=m.LIFETIME_PERMANENT,
    )
    while True:
        sent = time.monotonic()
        answer = cell.call("Locks", "Acquire", acquire)
        if answer.WhichOneof("result") == "acquired":
            break
        say("queued, place", answer.queued.place)
    lock = answer.acquired
    safe_until = sent + lock.safe_ms / 1000
    say("acquired, token", lock.token)

    stop = until_interrupted()
    while not stop.wait(timeout=LEASE_MS / 4000):
        sent = time.monotonic()
        renewed = cell.call("Locks", "Renew", m.RenewRequest(lock_id=lock.lock_id))
        assert time.monotonic() < safe_until, "the lock was not safe any more"
        safe_until = sent + renewed.safe_ms / 1000
        say("renewed, waiters", renewed.waiters)
    cell.call("Locks", "Release", m.ReleaseRequest(lock_id=lock.lock_id))
    say("released")


if __name__ == "__main__":
    main()
