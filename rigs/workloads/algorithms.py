# SPDX-License-Identifier: GPL-2.0-only
"""Whatever compresses it, at whatever level and with a dictionary: the content is the same."""

from dataclasses import dataclass

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 1 << 20
DICTIONARY = "/tmp/dictionary"
DICTIONARY_BYTES = 32 << 10
# The least, and the one that wants most memory, of those that have any (drivers/block/zram/backend_*.c,
# since 6.12).
LEVELS = {"zstd": (1, 19), "deflate": (1, 9), "lz4hc": (3, 12), "lz4": (1, 10)}
# What those that have a highest one refuse, and other kernels' take for that.
BEYOND = 1000
WITH_DICTIONARY = ("zstd", "lz4", "lz4hc")
# The window of deflate, as a power of two: above zero there is zlib's header, too.  Older kernels ignore it.
WINDOW = 12


@dataclass(frozen=True)
class Setting:
    """A compressor, and what is written to algorithm_params for it, if anything."""

    algorithm: str
    label: str
    parameters: str = ""


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=True,
    machine="single",
    needs=["ZRAM"],
    floors={"writes": 64, "bytes_verified": DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Compress with every algorithm there is, at its levels and with a dictionary, and read it back."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES, at_least=64)
    guest.write(DICTIONARY, bench.random.randbytes(DICTIONARY_BYTES))
    with zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/algorithms.state --cpu=0"
        if device.has("algorithm_params"):
            for algorithm in LEVELS:
                _ask_beyond(bench, device, algorithm, slots * page)
        for setting in _settings(device):
            label = setting.label
            guest.write(f"{device.sysfs}/comp_algorithm", setting.algorithm)
            if setting.parameters:
                guest.write(f"{device.sysfs}/algorithm_params", setting.parameters)
            device.initialise(slots * page)
            chosen = f"[{setting.algorithm}]" in device.attribute("comp_algorithm")
            zram.expect(bench, f"comp_algorithm/{label}", True, chosen)
            run(bench, f"{label}-created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
            report = run(bench, f"{label}-filled", f"zblk write --mix=mixed {state}")
            zram.check_accounting(bench, label, device, report)
            run(bench, f"{label}-verified", f"zblk verify {state}")
            zram.check_io_errors(bench, label, device)
            bench.checkpoint(label)
            device.reset()
            zram.check_forgotten(bench, f"reset/{label}", device)
    zram.check_residue(bench, "removed", pages_before)


def _ask_beyond(bench: Bench, device: zram.ZramDevice, algorithm: str, disksize_bytes: int) -> None:
    """Ask for a level that there is not: a device that is refused a size for that has none."""
    bench.guest.write(f"{device.sysfs}/comp_algorithm", algorithm)
    bench.guest.write(f"{device.sysfs}/algorithm_params", f"algo={algorithm} level={BEYOND}")
    if device.refuses("disksize", str(disksize_bytes)):
        bench.count("refused", 1)
        zram.check_forgotten(bench, f"refused/{algorithm}", device)
    device.reset()


def _settings(device: zram.ZramDevice) -> list[Setting]:
    """Every algorithm as it is, and with what can be set of it."""
    algorithms = device.attribute("comp_algorithm").replace("[", "").replace("]", "").split()
    settings = [Setting(one, one) for one in algorithms]
    if device.has("algorithm_params"):
        for one in algorithms:
            for level in LEVELS.get(one, ()):
                settings.append(Setting(one, f"{one}-{level}", f"level={level}"))
            if one == "deflate":
                settings.append(Setting(one, f"{one}-window", f"deflate.winbits={WINDOW}"))
            if one in WITH_DICTIONARY:
                settings.append(Setting(one, f"{one}-dictionary", f"dict={DICTIONARY}"))
    return settings
