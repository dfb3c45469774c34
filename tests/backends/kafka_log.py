"""Files of a broker, to be corrupted."""

import struct

from aiokafka.record.util import calc_crc32c

from tests.backends.kafka_broker import KafkaBroker

_LENGTH, _CHECKSUM, _CHECKED, _CODEC = 8, 17, 21, 22  # where these stand in a batch


class PartitionLog:
    """The first segment of a partition."""

    def __init__(self, broker: KafkaBroker, topic: str, partition: int) -> None:
        folder = broker.directory / "data" / f"{topic}-{partition}"
        self._path = folder / f"{0:020}.log"

    def read(self) -> bytes:
        return self._path.read_bytes()

    def write(self, place: int, value: bytes) -> None:
        """Write from its beginning, or from its end where the place is negative."""
        with self._path.open("r+b") as segment:
            segment.seek(place, 0 if place >= 0 else 2)
            segment.write(value)


def with_codec(data: bytes, codec: int) -> bytes:
    """Return the first batch of a log as if it were compressed by that codec."""
    changed = bytearray(data)
    changed[_CODEC] = codec
    return with_checksum(bytes(changed))


def with_checksum(data: bytes) -> bytes:
    """Return the first batch of a log with its checksum corrected."""
    (length,) = struct.unpack_from(">i", data, _LENGTH)
    checksum = calc_crc32c(data[_CHECKED : _LENGTH + 4 + length])
    return data[:_CHECKSUM] + struct.pack(">I", checksum) + data[_CHECKED:]
