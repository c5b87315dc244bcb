"""What is kept of a command's output: enough to read, never enough to fill a disk."""

from __future__ import annotations

_SLACK = 1 << 16


class KeptOutput:
    """The beginning and the end of a stream, the end three times as long: that is where failures are summed up."""

    def __init__(self, cap: int) -> None:
        self.head_cap, self.tail_cap = cap - cap * 3 // 4, cap * 3 // 4
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.head_cap - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        self.tail += data
        if len(self.tail) > 2 * self.tail_cap + _SLACK:
            del self.tail[: len(self.tail) - self.tail_cap]

    @property
    def truncated(self) -> bool:
        return self.total > self.head_cap + self.tail_cap

    def value(self) -> bytes:
        if not self.truncated:
            return bytes(self.head + self.tail)
        missing = self.total - self.head_cap - self.tail_cap
        mark = f"\n[truncated: {missing} bytes of output are missing here]\n".encode()
        return bytes(self.head) + mark + bytes(self.tail[-self.tail_cap :] if self.tail_cap else b"")
