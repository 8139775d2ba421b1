"""Starts MiniStack, the local AWS, the way this project needs it.

Two things differ from its own start. AWS is only ever spoken to over TLS, and the bucket's policy
refuses anything else; here requests cross the loopback in plain HTTP, so they are counted as TLS.
And with --end-with-stdin it ends, with every function process it started, as soon as whoever
started it is gone, however that one ended.
"""

import os
import signal
import sys
import threading

import ministack.app


def count_requests_as_tls():
    """Makes the condition key aws:SecureTransport true, as it is for any client of AWS."""
    pin = getattr(ministack.app, "pin_request_origin", None)
    if pin is None:
        sys.exit(
            "This release of MiniStack pins the origin of a request elsewhere, so requests cannot be "
            "counted as TLS. Use the release pinned in tests/setup/engine-requirements.txt."
        )
    ministack.app.pin_request_origin = lambda source_address, _secure: pin(source_address, True)


def end_with_stdin():
    """Ends the whole process group once standard input closes."""
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.argv = sys.argv[:1]
    count_requests_as_tls()
    if "--end-with-stdin" in arguments:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    ministack.app.main()
