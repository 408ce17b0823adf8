"""Answers when /slow?ms=N asks for it; tells each request that it begins by a byte in the file SEEN."""

import os
import time
from urllib.parse import parse_qs

SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND)


def wsgi(environ, start_response):
    os.write(SEEN, b".")
    time.sleep(int(parse_qs(environ["QUERY_STRING"]).get("ms", "0")[0]) / 1000)
    body = b"Hello from pid %d, a thread\n" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
