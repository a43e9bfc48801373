"""Methods that misbehave, one class a kind, and what has to become of each: words of the outcome, or nothing at all.

`ENDS` have to be outcomes with these words in one line, `HARMLESS` cells like `Fine`'s, `ENDLESS` have to meet the time
limit.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil


class Fine:
    """Shows a training clip that the trial's seed chooses."""

    modality = "eeg"
    version = 1
    parameter_count = 0

    def __init__(self, *, suite, seed=0):
        self.suite, self.seed = suite, seed

    def fit(self, train, validation):
        self.video = np.array(train.video)

    def adapt(self, calibration):
        pass

    def reconstruct(self, brain):
        return self.video[[np.random.default_rng(seed).integers(len(self.video)) for seed in brain.seed]]


# Outputs that are none


class Floats(Fine):
    def reconstruct(self, brain):
        return super().reconstruct(brain) / 255


class NotANumber(Fine):
    def reconstruct(self, brain):
        return np.full(super().reconstruct(brain).shape, np.nan)


class Fewer(Fine):
    def reconstruct(self, brain):
        return super().reconstruct(brain)[:-1]


class Flat(Fine):
    def reconstruct(self, brain):
        return super().reconstruct(brain).reshape(len(brain.seed), -1)


class Nothing(Fine):
    def reconstruct(self, brain):
        return None


class Objects(Fine):
    def reconstruct(self, brain):
        return np.array([object()] * len(brain.seed))


class Endless(Fine):
    def reconstruct(self, brain):
        return np.broadcast_to(np.uint8(0), (10**6, 10**6, 10**4))


class EvilArray(Fine):
    def reconstruct(self, brain):
        class Evil:
            def __array__(self, dtype=None, copy=None):
                sys.exit(0)

        return Evil()


# Exceptions of all kinds


class RaisesInInit(Fine):
    def __init__(self, *, suite, seed=0):
        raise ValueError("no weights")


class TakesNoSuite(Fine):
    def __init__(self):
        pass


class RaisesAttribute(Fine):
    def fit(self, train, validation):
        self.nothing.at()


class RaisesExit(Fine):
    def fit(self, train, validation):
        sys.exit(0)


class RaisesInterrupt(Fine):
    def reconstruct(self, brain):
        raise KeyboardInterrupt


class RaisesBase(Fine):
    def reconstruct(self, brain):
        class Odd(BaseException):
            pass

        raise Odd("odd")


class RaisesUntold(Fine):
    def fit(self, train, validation):
        class Untold(Exception):
            def __str__(self):
                raise SystemExit(0)

            __repr__ = __str__

            def __reduce__(self):
                raise SystemExit(0)

        raise Untold(threading.Lock())


class RaisesAtLength(Fine):
    def fit(self, train, validation):
        raise RuntimeError("a\x1b[31m\n\udc80" * 10**6)


class RaisesGroup(Fine):
    def fit(self, train, validation):
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError("one")])


class Recurses(Fine):
    def fit(self, train, validation):
        self.fit(train, validation)


class RunsOutOfMemory(Fine):
    def fit(self, train, validation):
        resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
        np.ones(1 << 40, np.uint8)


class AsksBeyond(Fine):
    def fit(self, train, validation):
        train.brain[np.array([len(train.brain)])]


class Alarms(Fine):
    def fit(self, train, validation):
        def end(*_):
            raise TimeoutError("the alarm")

        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(30)


# Ends of the process


class LeavesWith0(Fine):
    def fit(self, train, validation):
        os._exit(0)


class LeavesWith3(Fine):
    def reconstruct(self, brain):
        os._exit(3)


class LeavesInThread(Fine):
    def fit(self, train, validation):
        threading.Thread(target=os._exit, args=(0,)).start()
        time.sleep(30)


class Crashes(Fine):
    def fit(self, train, validation):
        ctypes.string_at(0)


class IsKilled(Fine):
    def reconstruct(self, brain):
        os.kill(os.getpid(), signal.SIGKILL)


class IsTerminated(Fine):
    def fit(self, train, validation):
        os.kill(os.getpid(), signal.SIGTERM)


class KillsItsGroup(Fine):
    def fit(self, train, validation):
        os.killpg(0, signal.SIGKILL)


class ClosesAll(Fine):
    def fit(self, train, validation):
        os.closerange(0, 1 << 16)


class WritesIntoAll(Fine):
    def fit(self, train, validation):
        for file in list_files():
            with contextlib.suppress(OSError):
                os.write(file, b"\x00\x00\x00\x05hello" * 9)


class AnswersTwice(Fine):
    """Says by itself what the harness waits for, and that there are fewer parameters than there are."""

    def fit(self, train, validation):
        for file in list_files():
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(file)) as line:
                line.sendall(b'\x00\x00\x00\x0f{"step": "fit"}\x00\x00\x00\x0f{"step": "fit"}')


class KillsItsKeeper(Fine):
    def fit(self, train, validation):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)


class KillsTheWorker(Fine):
    """Ends the process that serves it, which is another child of its keeper's parent's."""

    def fit(self, train, validation):
        for keeper in psutil.Process(os.getppid()).parent().children():
            for child in keeper.children():
                if child.pid != os.getpid():
                    child.kill()
        time.sleep(30)


# Counts that are none


def counts(value):
    class Counts(Fine):
        parameter_count = value

    return Counts


class CountsRaise(Fine):
    @property
    def parameter_count(self):
        raise OverflowError("too many")


Negative, Boolean, Fraction, Huge, Text = (counts(value) for value in (-1, True, 1e6, 10**30, "many"))


class NoCount(Fine):
    @property
    def parameter_count(self):
        return self._count


# Roles that nobody gave


class RevealsItself(Fine):
    def __init__(self, *, suite, seed=0):
        super().__init__(suite=suite, seed=seed)
        self.reveal = self.keep

    def keep(self, answers):
        self.answers = answers

    def reconstruct(self, brain):
        return self.answers.test.video[self.answers.test.clip]


class WatchesTheClock(Fine):
    role = "control"

    def see_schedule(self, schedule):
        self.schedule = schedule

    def reconstruct(self, brain):
        return self.video[self.schedule.slot]


class FollowsHandles(Fine):
    def reconstruct(self, brain):
        return brain.brain.dataset.video(np.arange(len(brain.seed)))


# What ends with the process


class ChangesGlobals(Fine):
    def fit(self, train, validation):
        super().fit(train, validation)
        import torch

        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        os.chdir("/")
        os.environ.clear()
        sys.setrecursionlimit(60)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.path.clear()
        sys.stdout = sys.stderr = None


class ChangesTheHarness(Fine):
    def fit(self, train, validation):
        super().fit(train, validation)
        import bench.harness.run_cell
        import bench.scoring.score_cell
        from bench.core.built_in import BUILT_IN

        bench.harness.run_cell.write_predictions = bench.scoring.score_cell.score_cell = print
        BUILT_IN["methods"].clear()
        for part in (train, validation):
            for name in ("video", "concepts", "subject", "clip"):
                with contextlib.suppress(ValueError):
                    getattr(part, name)[...] = 0
        for name in [name for name in sys.modules if name.startswith("bench.store")]:
            del sys.modules[name]


class Prints(Fine):
    def fit(self, train, validation):
        super().fit(train, validation)
        print("first words")
        for _ in range(300):
            print("x" * 10**5)
        os.write(2, b"last words\n")


class HangsAtTheEnd(Fine):
    def fit(self, train, validation):
        super().fit(train, validation)
        atexit.register(time.sleep, 600)
        threading.Thread(target=time.sleep, args=(600,)).start()

    def __del__(self):
        time.sleep(60)


class LeavesProcesses(Fine):
    """A daemon, in a session of its own, and a child that ignores the end; both can be found by `mark`."""

    def fit(self, train, validation):
        super().fit(train, validation)
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        for apart in (True, False):
            subprocess.Popen([sys.executable, "-c", code, mark()], start_new_session=apart)
        middle = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}, {mark()!r}])"
        subprocess.run([sys.executable, "-c", middle], check=True, start_new_session=True)


def mark() -> str:
    """A word in the command of what `LeavesProcesses` leaves, another for each home."""
    return f"left-by-a-method-of-{os.environ['BENCH_HOME']}"


class ForksItself(Fine):
    """Goes on twice after `fit`: the copy answers too, unless it ends here."""

    def fit(self, train, validation):
        super().fit(train, validation)
        if os.fork() == 0:
            time.sleep(600)


class EmptiesItsFolder(Fine):
    def fit(self, train, validation):
        super().fit(train, validation)
        for path in Path.cwd().iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        Path("runs").write_text("a file where the store was")
        Path.cwd().chmod(0)


class IndexesAsArraysAre(Fine):
    """Signals are indexed by whatever indexes an array, from threads and forked processes too."""

    def fit(self, train, validation):
        super().fit(train, validation)
        whole, n = np.asarray(train.brain), len(train.brain)
        keys = (0, -1, slice(3, 20, 4), [4, 2, 2], np.arange(n) % 3 == 1, np.array([], int), (slice(None), 0), ...)
        for key in keys:
            np.testing.assert_array_equal(train.brain[key], whole[key])
        assert whole.shape == train.brain.shape and whole.dtype == np.float32
        assert sum(1 for _ in train.brain) == n
        same = []
        threads = [
            threading.Thread(target=lambda row=row: same.append((train.brain[row] == whole[row]).all()))
            for row in range(8)
        ]
        for thread in threads:
            thread.start()
        children = []
        for row in range(4):
            child = os.fork()
            if child == 0:
                os._exit(0 if all((train.brain[row] == whole[row]).all() for _ in range(20)) else 1)
            children.append(child)
        for thread in threads:
            thread.join()
        assert all(same) and len(same) == 8
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


class SearchesItsProcess(Fine):
    """Looks through all objects, modules, frames, open and mapped files and the environment for the truth."""

    def search(self, place):
        from bench.core.contracts import Answers
        from bench.datasets.seed_dv.layout import SeedDV
        from bench.harness.inputs import Clips
        from bench.harness.normalise import NormalisedSignals, Scaling
        from bench.store.cells import Cell, Draft, Store

        gc.unfreeze()
        gc.collect()
        kinds = (Answers, SeedDV, Clips, NormalisedSignals, Scaling, Store, Cell, Draft)
        found = [type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds)]
        found += [
            f"{name}.{attribute}"
            for name, module in list(sys.modules.items())
            for attribute, value in list(getattr(module, "__dict__", {}).items())
            if isinstance(value, kinds)
        ]
        frames = list(sys._current_frames().values())
        while frames:
            frame = frames.pop()
            found += [f"frame {name}" for name, value in frame.f_locals.items() if isinstance(value, kinds)]
            frames += [frame.f_back] if frame.f_back else []
        opened = [str(Path(f"/proc/self/fd/{file}").readlink()) for file in list_files()]
        opened += Path("/proc/self/maps").read_text().splitlines() + sys.argv
        opened += [Path("/proc/self/cmdline").read_text(), str(Path.cwd())]
        store = re.compile(r"isolation\d*/runs")
        found += [one for one in opened if os.environ["BENCH_HOME"] in one or store.search(one)]
        found += [name for name, value in os.environ.items() if store.search(value)]
        found += [name for name in ("BENCH_DATA",) if name in os.environ]
        if found:
            raise RuntimeError(f"found in {place}: {found}")

    def fit(self, train, validation):
        super().fit(train, validation)
        self.search("fit")

    def reconstruct(self, brain):
        self.search("reconstruct")
        for name in ("__dict__", "__closure__", "__func__", "dataset", "trials", "scalings", "subject"):
            assert not hasattr(brain.brain, name), name
        return super().reconstruct(brain)


def list_files() -> list[int]:
    """The open files, but for the one that lists them."""
    files = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return [file for file in files if Path(f"/proc/self/fd/{file}").is_symlink()]


# What only a time limit ends


class Sleeps(Fine):
    def fit(self, train, validation):
        time.sleep(600)


class Spins(Fine):
    def reconstruct(self, brain):
        for one in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(one, signal.SIG_IGN)
        while True:
            pass


class Stops(Fine):
    def fit(self, train, validation):
        os.kill(os.getpid(), signal.SIGSTOP)


class AsksAndDoesNotListen(Fine):
    """Asks for all signals and never reads the answer."""

    def fit(self, train, validation):
        for file in list_files():
            ours, theirs = socket.socketpair()
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(file)) as line:
                if line.type == socket.SOCK_DGRAM:
                    socket.send_fds(line, [b"?"], [theirs.fileno()])
                    rows = np.zeros(256, np.int64)
                    ours.sendall((0).to_bytes(4) + len(rows).to_bytes(8) + rows.tobytes())
            theirs.close()
        time.sleep(600)


ENDS = {
    "Floats": "returned ndarray of float64",
    "NotANumber": "returned ndarray of float64",
    "Fewer": "[29, 6, 64, 64, 3]; it must return uint8 (30, 6, 64, 64, 3)",
    "Flat": "it must return uint8",
    "Nothing": "returned NoneType",
    "Objects": "of object [30]",
    "Endless": "[1000000, 1000000, 10000]; it must",
    "EvilArray": "SystemExit: 0",
    "RaisesInInit": "ValueError: no weights",
    "TakesNoSuite": "TypeError",
    "RaisesAttribute": "no attribute 'nothing' (misbehaviours.py:",
    "RaisesExit": "SystemExit: 0 (misbehaviours.py:",
    "RaisesInterrupt": "KeyboardInterrupt (misbehaviours.py:",
    "RaisesBase": "Odd: odd",
    "RaisesUntold": "Untold: (Untold that cannot be shown)",
    "RaisesAtLength": "RuntimeError: a",
    "RaisesGroup": "BaseExceptionGroup: both",
    "Recurses": "RecursionError",
    "RunsOutOfMemory": "MemoryError",
    "AsksBeyond": "IndexError",
    "Alarms": "TimeoutError: the alarm",
    "LeavesWith0": "ended by itself with exit code 0 in fit",
    "LeavesWith3": "ended by itself with exit code 3 in reconstruct",
    "LeavesInThread": "ended by itself with exit code 0 in fit",
    "Crashes": "killed by SIGSEGV in fit",
    "IsKilled": "killed by SIGKILL, as where memory runs out in reconstruct",
    "IsTerminated": "killed by SIGTERM in fit",
    "KillsItsGroup": "killed by SIGKILL",
    "ClosesAll": "in fit",
    "WritesIntoAll": "wrote to its connection",
    "AnswersTwice": "wrote to its connection",
    "Negative": "parameter_count is -1",
    "Boolean": "parameter_count is True",
    "Fraction": "parameter_count is 1000000.0",
    "Huge": "parameter_count is 1000000000000000000000000000000",
    "Text": "parameter_count is 'many'",
    "CountsRaise": "OverflowError: too many",
    "NoCount": "AttributeError",
    "RevealsItself": "no attribute 'answers'",
    "WatchesTheClock": "no attribute 'schedule'",
    "FollowsHandles": "no attribute 'dataset'",
}
HARMLESS = (
    *("ChangesGlobals", "Prints", "HangsAtTheEnd", "LeavesProcesses", "ForksItself", "EmptiesItsFolder"),
    *("IndexesAsArraysAre", "SearchesItsProcess", "ChangesTheHarness"),
)
ENDLESS = ("Sleeps", "Spins", "Stops", "AsksAndDoesNotListen")
