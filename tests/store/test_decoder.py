"""The bounded decoder: a file can read no other, and takes its own process with it at most."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from test_video import encode, noise, numbered

from bench.core.errors import BenchError
from bench.store import decoder
from bench.store.decoder import DECODER, Decoder, Limits, limits_of
from bench.store.video import VideoError, decode, encode_lossless, read_video, write_lossless

SECRET = (13, 201, 77)


def gif(width: int, height: int, frames: int = 1) -> bytes:
    """A GIF of a canvas whose frames are of one pixel: nothing is shorter, and each is to be shown in full."""
    frame = b"\x21\xf9\x04\x08\x01\0\0\0\x2c" + bytes(4) + b"\1\0\1\0\0\2\2\x44\1\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + frame * frames + b";"


@pytest.fixture
def secret(tmp_path):
    """A clip beside the others that nobody asked for."""
    path = tmp_path / "secret.mp4"
    write_lossless(path, np.tile(np.array(SECRET, np.uint8), (6, 32, 32, 1)), fps=3)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "gif", "webp", "apng", "npy"])
def test_texts_that_name_another_file_are_no_videos(tmp_path, secret, suffix):
    texts = (
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        f"{secret}\n",
    )
    path = tmp_path / f"clip.{suffix}"
    for text in texts:
        path.write_text(text)
        with pytest.raises(VideoError, match=r"begins like it"):
            read_video(path)


def test_a_film_whose_pixels_lie_in_another_file_is_refused(tmp_path, secret):
    content = secret.read_bytes()
    place = content.index(b"url \0\0\0\1")
    for name in (b"secret.mp4", str(secret).encode()):
        forged = bytearray(content)
        forged[place + 4 : place + 8 + len(name)] = b"\0\0\0\0" + name
        start = content.index(b"mdat") + 4
        forged[start : start + 400] = bytes(400)
        (tmp_path / "clip.mp4").write_bytes(forged)
        with pytest.raises(VideoError):
            read_video(tmp_path / "clip.mp4")


def test_name_and_content_must_agree(tmp_path):
    content = encode_lossless(noise(2, 16, 16), fps=3)
    for suffix in ("webm", "avi", "gif", "npy"):
        (tmp_path / f"a.{suffix}").write_bytes(content)
        with pytest.raises(VideoError, match=r"its first bytes mp4; name it \.mp4"):
            read_video(tmp_path / f"a.{suffix}")
    (tmp_path / "a.flv").write_bytes(content)
    with pytest.raises(VideoError, match=r"named '\.flv' are not read"):
        read_video(tmp_path / "a.flv")


def test_the_process_can_open_nothing():
    """In the state in which it serves, with the two descriptors that it is handed: no file, no socket, no program."""
    script = """
import os, socket, subprocess, sys
from bench.store import decoder_process, decoding
decoder_process.place_channel(os.dup(0))
decoder_process.lock()
handed = os.dup(0), os.dup(0)
said = []
for attempt in (lambda: open('/etc/hostname'), lambda: os.open('/dev/zero', os.O_RDONLY), socket.socket,
                lambda: decoding.av.open('/etc/hostname'), lambda: subprocess.run(['true']), os.pipe):
    try:
        attempt()
        said.append('opened')
    except OSError as error:
        said.append(error.errno)
os.write(3, repr(said).encode())
"""
    here, there = os.pipe()
    subprocess.run(
        [sys.executable, "-c", script.replace("os.dup(0))", f"{there})", 1)],
        pass_fds=[there], check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert os.read(here, 1000) == repr([24] * 6).encode()  # EMFILE
    os.close(here)
    os.close(there)


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    (tmp_path / "b.npy").symlink_to("/dev/zero")
    for name in ("a.mp4", "b.npy"):
        with pytest.raises(VideoError, match="no regular file"):
            read_video(tmp_path / name)


def kill_when_busy(number: int) -> threading.Thread:
    """Send a signal to the process as soon as it decodes."""

    def wait_and_kill() -> None:
        while True:
            process = DECODER.process
            if process is not None and DECODER.lock.locked():
                time.sleep(0.05)
                os.kill(process.pid, number)
                return
            time.sleep(0.001)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_whatever_ends_the_process_costs_one_clip(tmp_path, number):
    path = tmp_path / "long.gif"
    path.write_bytes(gif(2000, 2000, frames=25))
    write_lossless(tmp_path / "a.mp4", noise(2, 16, 16), fps=3)
    read_video(tmp_path / "a.mp4")
    thread = kill_when_busy(number)
    with pytest.raises(VideoError, match=f"its decoder was ended by {number.name}"):
        read_video(path)
    thread.join()
    assert len(read_video(tmp_path / "a.mp4")) == 2


def test_a_process_that_was_killed_between_two_clips_costs_none(tmp_path):
    write_lossless(tmp_path / "a.mp4", noise(2, 16, 16), fps=3)
    read_video(tmp_path / "a.mp4")
    os.kill(DECODER.process.pid, signal.SIGKILL)
    DECODER.process.wait()
    assert len(read_video(tmp_path / "a.mp4")) == 2


def test_time_and_memory_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "a.gif"
    path.write_bytes(gif(2000, 2000, frames=25))
    with decoder.open_file(path) as descriptor:
        limits = limits_of(0)
        short = Limits(pixels=limits.pixels, memory=limits.memory, seconds=0.05)
        with pytest.raises(decoder.Refused, match=r"more than 0\.1 s of processor time; raise BENCH_VIDEO_MEGABYTES"):
            DECODER.clip(descriptor, ".gif", short)
        narrow = Limits(pixels=limits.pixels, memory=2**20, seconds=5.0)
        with pytest.raises(decoder.Refused, match="cannot be decoded"):
            DECODER.clip(descriptor, ".gif", narrow)
        assert DECODER.clip(descriptor, ".gif", Limits(pixels=limits.pixels, memory=limits.memory, seconds=60.0)).shape
    assert limits_of(64 * 2**20).seconds == pytest.approx(limits_of(0).seconds + 16)  # a second for every 4 MiB
    monkeypatch.setenv("BENCH_VIDEO_MEGABYTES", "2000")
    assert limits_of(0).seconds == pytest.approx(4 * limits.seconds)
    assert limits_of(0).pixels == 4 * limits.pixels
    monkeypatch.setenv("BENCH_VIDEO_MEGABYTES", "2")  # less room does not make a processor faster
    assert limits_of(0).seconds == limits.seconds


def png(width: int, height: int) -> bytes:
    packed = zlib.compress(bytes(2**20))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in chunks
    )


def array(shape: tuple[int, ...]) -> bytes:
    head = str({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(999)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.gif", gif(65535, 65535), "1 frames of 65535×65535 are 12884.5 MB of pixels"),
        ("a.png", png(60000, 60000), "1 frames of 60000×60000"),
        ("a.npy", array((10**6, 480, 640, 3)), "no whole .npy"),
        ("b.npy", array((10**30, 480, 640, 3)), "no whole .npy"),
        ("c.npy", array((-1, 480, 640, 3)), "no whole .npy"),
    ],
)
def test_sizes_are_looked_at_before_pixels_are_made(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    read_video(encode(tmp_path / "whole.mp4", numbered(2), "libx264"))  # the process is there
    with pytest.raises(VideoError, match=words):
        read_video(tmp_path / name)
    assert DECODER.used < 0.5


def test_a_fork_starts_a_process_of_its_own(tmp_path):
    write_lossless(tmp_path / "a.mp4", noise(2, 16, 16), fps=3)
    script = f"""
import os, sys
from bench.store.decoder import DECODER
from bench.store.video import read_video
read_video({str(tmp_path / "a.mp4")!r})
first = DECODER.process.pid
if os.fork() == 0:
    read_video({str(tmp_path / "a.mp4")!r})
    os._exit(0 if DECODER.process.pid != first else 1)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
read_video({str(tmp_path / "a.mp4")!r})
assert DECODER.process.pid == first
print(first)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    time.sleep(0.2)
    with pytest.raises(ProcessLookupError):  # it ends with whoever asked
        os.kill(int(done.stdout), 0)


def test_answers_of_the_process_are_not_believed(monkeypatch):
    """A process that a file has taken over says that it made more pixels than there are, or no answer at all."""
    content = encode_lossless(noise(2, 16, 16), fps=3)
    for said in (
        {"used": 0.0, "count": 10**6, "height": 10**4, "width": 10**4},
        {"used": 0.0, "count": -1, "height": 16, "width": 16},
        {"used": 0.0, "count": "2", "height": 16, "width": 16},
        {"used": 0.0},
        {"used": "long"},
        ["used"],
    ):
        other = Decoder()
        monkeypatch.setattr("bench.store.video.DECODER", other)
        decode(content, "a")
        monkeypatch.setattr(decoder, "receive_line", answering(json.dumps(said).encode() + b"\n"))
        with pytest.raises(VideoError, match="cannot be decoded"):
            decode(content, "a")
        monkeypatch.undo()
        other.stop()


def answering(line: bytes):
    class Channel:
        def settimeout(self, seconds):
            pass

        def recv(self, count):
            return line

    whole = decoder.receive_line
    return lambda channel, deadline: whole(Channel(), deadline)


def test_a_process_that_does_not_start_is_no_broken_clip(tmp_path, monkeypatch):
    write_lossless(tmp_path / "a.mp4", noise(2, 16, 16), fps=3)
    monkeypatch.setattr("bench.store.video.DECODER", Decoder())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(BenchError, match="the process that decodes videos does not start") as error:
        read_video(tmp_path / "a.mp4")
    assert not isinstance(error.value, VideoError)
