"""A ring of io_uring(7): one system call that sends the same bytes to hundreds of sockets.

A ring is two queues in memory that Python and the kernel share: of what is to be done, and of what
came of it. Nothing goes on beside this thread: each send is tried once and never waits
(``MSG_DONTWAIT``), so all results are there when the system call returns.

Sockets are registered first (io_uring_register(2), ``IORING_REGISTER_FILES``). A place of that
table is this very socket, whatever becomes of the number of its descriptor; the kernel lets go of
the socket once it has left the table, too.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from array import array
from socket import MSG_DONTWAIT

#: Sends in one system call, a power of two.
ENTRIES = 512
#: The most bytes that are sent to each socket.
LARGEST = 64 * 1024

# linux/io_uring.h; the numbers of the calls are the same on all architectures.
_SETUP, _ENTER, _REGISTER = 425, 426, 427
_REGISTER_FILES, _UNREGISTER_FILES, _REGISTER_FILES_UPDATE = 2, 3, 6
_OFF_RINGS, _OFF_SQES = 0, 0x10000000
_FEAT_SINGLE_MMAP = 1
_OP_SEND, _SQE_FIXED_FILE = 26, 1

#: ``struct io_uring_params`` as words: the number of entries of both queues, flags, two words that
#: are not used here, features, four more, and where the parts of each queue are, ten words each.
_Params = ctypes.c_uint32 * 30
#: ``struct io_uring_sqe`` up to ``user_data``, and its size: opcode, flags, ioprio, fd, off, addr,
#: len, msg_flags, user_data.
_SQE, _SQE_SIZE = struct.Struct("=BBHiQQIIQ"), 64
#: ``struct io_uring_cqe``: user_data, res, flags.
_CQE_SIZE = 16
_WORD = 0xFFFFFFFF


class _Update(ctypes.Structure):
    """``struct io_uring_files_update``."""

    _fields_ = (
        ("offset", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("fds", ctypes.c_uint64),
    )


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.argtypes, _syscall.restype = [ctypes.c_long] * 7, ctypes.c_long


class Ring:
    """Sends to the sockets that are in a table of ``size`` places. Raises OSError if the kernel
    gives no such ring."""

    def __init__(self, size: int) -> None:
        params = _Params()
        self._fd = _call(_SETUP, ENTRIES, ctypes.addressof(params))
        try:
            nobody = (ctypes.c_int32 * size)(*[-1] * size)
            _call(_REGISTER, self._fd, _REGISTER_FILES, ctypes.addressof(nobody), size)
            self._map(params)
        except BaseException:
            os.close(self._fd)
            raise
        #: Places of the table: all of them, those that were ever used, those that are free again.
        self._places, self._used = size, 0
        self._free: list[int] = []
        #: Sends so far: the head and the tail of both queues, between two calls.
        self._sent = 0
        #: Bytes of the data that the submissions are for.
        self._size = 0
        #: Whether it is closed, or the kernel did not do what it should.
        self.closed = False

    def _map(self, params: ctypes.Array[ctypes.c_uint32]) -> None:
        submissions, completions, sq, cq = params[0], params[1], params[10:20], params[20:]
        if submissions != ENTRIES or not params[5] & _FEAT_SINGLE_MMAP:
            raise OSError("a kernel before 5.4")
        size = max(sq[6] + submissions * 4, cq[5] + completions * _CQE_SIZE)
        rings = memoryview(mmap.mmap(self._fd, size, offset=_OFF_RINGS))
        sqes = mmap.mmap(self._fd, submissions * _SQE_SIZE, offset=_OFF_SQES)
        self._data = mmap.mmap(-1, LARGEST)
        data = ctypes.addressof(ctypes.c_char.from_buffer(self._data))
        for number in range(ENTRIES):
            struct.pack_into("=I", rings, sq[6] + number * 4, number)
            sqe = (_OP_SEND, _SQE_FIXED_FILE, 0, 0, 0, data, 0, MSG_DONTWAIT, number)
            _SQE.pack_into(sqes, number * _SQE_SIZE, *sqe)
        self._words = rings[: size // 4 * 4].cast("I")
        self._sq_tail, self._cq_head, self._cq_tail = sq[1] // 4, cq[0] // 4, cq[1] // 4
        entries = memoryview(sqes).cast("i")
        self._sqe_fds, self._sqe_lens = entries[1::16], entries[6::16]
        results = rings[cq[5] : cq[5] + completions * _CQE_SIZE].cast("i")
        self._cqe_numbers, self._cqe_results = results[0::4], results[2::4]
        self._completions = completions

    def close(self) -> None:
        """Let go of all sockets, and of the ring."""
        self.closed = True
        fd, self._fd = self._fd, -1
        _syscall(_REGISTER, fd, _UNREGISTER_FILES, 0, 0, 0, 0)  # closing alone takes longer
        os.close(fd)
        del self._words, self._sqe_fds, self._sqe_lens, self._cqe_numbers, self._cqe_results

    def add(self, descriptor: int) -> int:
        """Put a socket into the table, and return its place. Raises OSError if there is none."""
        if self._free:
            place = self._free.pop()
        elif self._used < self._places:
            place, self._used = self._used, self._used + 1
        else:
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
        try:
            self._register(place, descriptor)
        except OSError:
            self._free.append(place)
            raise
        return place

    def remove(self, place: int) -> None:
        """Take the socket at ``place`` out of the table. Closes the ring if the kernel does not."""
        if self.closed:
            return
        try:
            self._register(place, -1)
        except OSError:
            self.close()
        else:
            self._free.append(place)

    def _register(self, place: int, descriptor: int) -> None:
        fd = ctypes.c_int32(descriptor)
        update = _Update(place, 0, ctypes.addressof(fd))
        _call(_REGISTER, self._fd, _REGISTER_FILES_UPDATE, ctypes.addressof(update), 1)

    def send(self, places: array[int], data: bytes) -> list[tuple[int, int]]:
        """Send ``data``, at most `LARGEST` bytes, to the sockets at ``places``. Returns who did not
        take all of it, as an index of ``places``, and how many bytes each of these took. Closes
        the ring if the kernel does not even try all of them."""
        size, short, first = len(data), [], 0
        self._data[:size] = data
        if self._size != size:
            self._size = size
            self._sqe_lens[:] = memoryview(array("i", [size]) * ENTRIES)
        while first < len(places):
            part = places[first : first + ENTRIES - self._sent % ENTRIES]
            results = self._submit(part)
            if results.count(size) != len(part):
                short += [(first + k, max(n, 0)) for k, n in enumerate(results) if n != size]
            first += len(results)
            if len(results) != len(part):
                self.close()
                return short + [(index, 0) for index in range(first, len(places))]
        return short

    def _submit(self, places: array[int]) -> list[int]:
        """Send to ``places``, whose entries follow one another in the queue. Returns how many bytes
        each took, or the negative number of an error; fewer if not all were tried."""
        count, at, first = len(places), self._sent % ENTRIES, self._sent % self._completions
        self._sqe_fds[at : at + count] = places
        self._words[self._sq_tail] = end = self._sent + count & _WORD
        _syscall(_ENTER, self._fd, count, 0, 0, 0, 0)
        came = self._words[self._cq_head] = self._words[self._cq_tail]
        done = slice(first, first + (came - self._sent & _WORD))
        self._sent = end
        results: list[int] = self._cqe_results[done].tolist()
        if results.count(self._size) == count:
            return results
        return [n for _, n in sorted(zip(self._cqe_numbers[done].tolist(), results, strict=True))]


def _call(number: int, *arguments: int) -> int:
    """A system call. Raises OSError."""
    result: int = _syscall(number, *arguments, *(0,) * (6 - len(arguments)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
