"""Counters of energy: what is read, what begins anew, and that nothing is told where nothing is counted."""

import sys
import threading
import types

import pytest

from winnow.system.energy import Counter, Meter, counters, metered


@pytest.fixture
def powercap(tmp_path):
    """Two packages, the cores inside one of them, and the sum of all that some laptops count besides."""
    for zone, name in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("262143328850\n")
        (tmp_path / zone / "energy_uj").write_text("1000000\n")
    return tmp_path


def put(root, zone, microjoules):
    (root / zone / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_are_counted_and_neither_their_parts_nor_their_sum(powercap):
    meter = Meter(counters(root=powercap))
    put(powercap, "intel-rapl:0", 3_500_000)
    put(powercap, "intel-rapl:0:0", 3_000_000)
    put(powercap, "intel-rapl:2", 9_000_000)
    assert meter.look() == {"package-0": 2.5, "package-1": 0.0}


def test_a_counter_that_began_anew_goes_on(powercap):
    put(powercap, "intel-rapl:0", 262_143_000_000)
    meter = Meter(counters(root=powercap))
    put(powercap, "intel-rapl:0", 1_671_150)
    assert meter.look()["package-0"] == pytest.approx(2.0)  # 0.328850 up to the end, 1.671150 from nought
    put(powercap, "intel-rapl:0", 2_671_150)
    assert meter.look()["package-0"] == pytest.approx(3.0)


def test_it_looks_on_the_way_so_that_no_new_beginning_is_missed():
    reads, enough = [], threading.Event()

    def read():  # 60 more each time, of a counter that ends at 100
        reads.append(60 * len(reads) % 100)
        if len(reads) == 6:
            enough.set()
        return reads[-1]

    with metered({"package-0": Counter(read, 100)}, every=0.001) as meter:
        assert enough.wait(10)
    assert meter.look()["package-0"] == pytest.approx(60 * (len(reads) - 1) / 1e6)


def test_where_nothing_is_counted_nothing_is_told(powercap, tmp_path):
    assert counters(root=tmp_path / "none") == {}
    for zone in powercap.iterdir():
        (zone / "energy_uj").unlink()
    assert counters(root=powercap) == {}
    threads = threading.active_count()
    with metered({}) as meter:
        assert threading.active_count() == threads
        assert meter.look() == {}


def test_a_counter_that_went_away_or_was_set_back_tells_nothing(powercap):
    meter = Meter({**counters(root=powercap), "gpu": Counter(iter([5_000_000, 1_000_000]).__next__)})
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.look() == {"package-0": 0.0}
    put(powercap, "intel-rapl:1", 9_000_000)
    assert meter.look() == {"package-0": 0.0}


def test_a_gpu_is_asked_by_its_uuid(monkeypatch, tmp_path):
    millijoules = {"GPU-1": 7000}
    nvml = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid if uuid in millijoules else 1 / 0,
        nvmlDeviceGetTotalEnergyConsumption=millijoules.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = Meter(counters("GPU-1", tmp_path))
    millijoules["GPU-1"] += 2500
    assert meter.look() == {"gpu": 2.5}
    assert counters("GPU-2", tmp_path) == {}
    assert counters("", tmp_path) == {}
