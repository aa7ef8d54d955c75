"""What all requests share: the model, those who work with it, and the settings."""

from cpu1.judging.judge import Judge
from cpu1.runtime.archive import fingerprint_of
from cpu1.runtime.model import Model
from cpu1.server.metrics import Metrics
from cpu1.server.readers import Readers
from cpu1.server.settings import Settings
from cpu1.server.writer import Writer


class Service:
    """A model that is served. Made and used on the event loop."""

    def __init__(self, model: Model, name: str, settings: Settings) -> None:
        """`name`: what clients call the model."""
        self.model, self.name, self.settings = model, name, settings
        self.judge = Judge(model)
        self.fingerprint = f"{fingerprint_of(model.path).hex()}-{model.arithmetic}"
        self.writer = Writer(model, settings)
        self.readers = Readers(max(1, settings.threads), settings.queue)
        self.metrics = Metrics(self.writer)
        self.closing = False

    def close(self) -> None:
        """No more work is taken; what is being done goes on."""
        self.closing = True
        self.writer.close()

    def end(self) -> None:
        """All work ends now."""
        self.readers.close()
        self.writer.end()
