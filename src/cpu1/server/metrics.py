"""What the server did, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from cpu1.server.writer import Writer

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts of one server."""

    def __init__(self, writer: Writer) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "cpu1_requests", "Requests by path and status", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "cpu1_request_seconds",
            "Seconds until a request was answered whole",
            ["path"],
            registry=self._registry,
            buckets=SECONDS,
        )
        self._left = Counter("cpu1_left", "Requests whose client left before the answer", registry=self._registry)
        gauges = {
            "cpu1_streams": ("Texts being written", lambda: writer.streams),
            "cpu1_waiting": ("Texts that wait for their turn", lambda: writer.waiting),
            "cpu1_written_bytes": ("Bytes written since the start", lambda: writer.written),
        }
        for name, (about, value) in gauges.items():
            Gauge(name, about, registry=self._registry).set_function(value)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def left(self) -> None:
        """A client left early."""
        self._left.inc()

    def response(self) -> Response:
        """All figures."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
