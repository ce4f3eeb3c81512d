"""What the programs here begin with. Their arguments: [--reflection] ENDPOINT[,ENDPOINT...]"""

import signal
import sys
import threading

import generated
import reflected
from calls import Cell


def start():
    """Returns the cell and its messages."""
    *options, endpoints = sys.argv[1:]
    endpoints = endpoints.split(",")
    if "--reflection" in options:
        messages = reflected.describe(endpoints)
        return Cell(endpoints, reflected.invoker(messages)), messages
    return Cell(endpoints, generated.invoke), generated.generate()


def say(*words):
    """Prints a line at once."""
    print(*words, flush=True)


def until_interrupted():
    """Returns an event that Control-C sets."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    return stop
