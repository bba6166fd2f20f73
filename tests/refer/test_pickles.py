"""Pickles from untrusted sources: plain data of every protocol comes through, everything else is refused."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2rm.core.errors import UserError
from s2rm.refer.pickles import load_pickle

PLAIN = [
    {"ref_id": 7, "box": (1, 2.5, -3), "text": "naïve café", "ok": True, "none": None, "tokens": ["a"] * 300},
    [b"", "", [], {}, (), 2**70, -(2**40), (1, 2), (1, 2, 3, 4)],
]


def write(folder: Path, data: bytes) -> Path:
    path = folder / "refs(unc).p"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(3, 5))
def test_plain_data_comes_through(tmp_path: Path, protocol: int) -> None:
    assert load_pickle(write(tmp_path, pickle.dumps(PLAIN, protocol))) == PLAIN


@pytest.mark.parametrize("protocol", range(3))
def test_plain_data_of_old_protocols_comes_through(tmp_path: Path, protocol: int) -> None:
    """Python 3 writes bytes through a global there, as Python 2 never did."""
    plain = [PLAIN[0], PLAIN[1][1:]]
    assert load_pickle(write(tmp_path, pickle.dumps(plain, protocol))) == plain


PYTHON2 = {
    # as cPickle of Python 2.7 wrote [{'sent': <str>, 'raw': <unicode>, 'ref_id': 5L}]
    0: b"(lp1\n(dp2\nS'sent'\np3\nS'caf\\xc3\\xa9'\np4\nsS'raw'\np5\nVcaf\xe9\np6\nsS'ref_id'\np7\nL5L\nsa.",
    1: b"]q\x01}q\x02(U\x04sentq\x03U\x05caf\xc3\xa9q\x04U\x03rawq\x05X\x05\x00\x00\x00caf\xc3\xa9q\x06"
    b"U\x06ref_idq\x07K\x05ua.",
    2: b"\x80\x02]q\x01}q\x02(U\x04sentq\x03U\x05caf\xc3\xa9q\x04U\x03rawq\x05X\x05\x00\x00\x00caf\xc3\xa9"
    b"q\x06U\x06ref_idq\x07\x8a\x01\x05ua.",
}


@pytest.mark.parametrize("protocol", PYTHON2)
def test_python2_strings_become_text(tmp_path: Path, protocol: int) -> None:
    record = {"sent": "café", "raw": "café", "ref_id": 5}
    assert load_pickle(write(tmp_path, PYTHON2[protocol])) == [record]


def test_a_stray_latin1_byte_spoils_no_other_string(tmp_path: Path) -> None:
    data = b"\x80\x02](U\x05caf\xc3\xa9U\x04caf\xe9U\x02okT\x05\x00\x00\x00caf\xc3\xa9e."
    assert load_pickle(write(tmp_path, data)) == ["café", "café", "ok", "café"]


NUMPY = [
    *(np.dtype(code).type(7) for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")),
    *(np.bool_(True), np.float64(0.5), np.str_("left 象"), np.int64(-(2**62)), np.bytes_(b"left")),
    np.array([7], ">i4")[0],
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_s_numbers_become_python_s(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps([{"id": value} for value in NUMPY], protocol)
    for written in (data, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")):  # of NumPy 1
        if protocol >= 4 and written != data:
            continue  # the name's length stands before it
        found = [record["id"] for record in load_pickle(write(tmp_path, written))]
        assert found == [value.item() for value in NUMPY]
        assert {type(value) for value in found} == {int, float, bool, str, bytes}


def test_as_many_numpy_numbers_as_a_benchmark_has_come_through(tmp_path: Path) -> None:
    ids = list(range(30_000))
    assert load_pickle(write(tmp_path, pickle.dumps([np.int64(each) for each in ids], 2))) == ids


@pytest.mark.hostile
@pytest.mark.parametrize(
    "value",
    [
        np.arange(3),
        np.array(["a", "b"]),
        np.datetime64("2024-01-01"),
        np.complex64(1j),
        np.longdouble(1),
        np.void(b"abc"),
        np.zeros((), [("a", "i4")])[()],
        np.dtype("O"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_of_numpy_are_refused(tmp_path: Path, value: Any) -> None:
    for protocol in (0, 2, 4):
        with pytest.raises(UserError, match=r"plain data: it (holds|asks)"):
            load_pickle(write(tmp_path, pickle.dumps([value], protocol)))


SCALAR = b"cnumpy.core.multiarray\nscalar\n"
INT64 = b"cnumpy\ndtype\n(U\x02i8I00\nI01\ntR"


@pytest.mark.hostile
@pytest.mark.parametrize(
    "data",
    [
        SCALAR + b"(K\x01K\x02tR.",  # not a type
        SCALAR + b"(" + INT64 + b"C\x03abctR.",  # too few bytes
        SCALAR + b"(" + INT64 + b"U\x0801234567tR.",  # text, as Python 2 wrote the bytes
        b"cnumpy\ndtype\n(U\x01OtR.",
        b"cnumpy\ndtype\n(U\x09V99999999tR.",
        b"cnumpy\ndtype\n(U\x0aU999999999tR.",
        INT64 + b"(K\x03U\x01=tb.",
        SCALAR + b"}U\x04makeK\x01sb.",  # an attribute of the function itself
        b"c_codecs\nencode\n(U\x01aU\x05utf-8tR.",
        b"c_codecs\nencode\n(" + b"X\xff\xff\x00\x00" + b"a" * 65535 + b"U\x06latin1tR.",
        b"cnumpy\ndtype\n" * 2 + b"\x85R.",  # a function as the argument of a function
    ],
)
def test_numpy_s_functions_accept_nothing_else(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"refs\(unc\)\.p") as caught:
        load_pickle(write(tmp_path, data))
    assert "\n" not in str(caught.value)
    plain = [np.int64(5)]
    assert load_pickle(write(tmp_path, pickle.dumps(plain, 2))) == plain, "nothing of it stays behind"


class Command:
    """Unpickles by running a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.hostile
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("depth", [0, 3])
def test_no_command_runs(tmp_path: Path, protocol: int, depth: int) -> None:
    marker = tmp_path / "ran"
    data: Any = Command(marker)
    for _ in range(depth):
        data = [{"ref_id": 1, "sentences": [data]}]
    path = write(tmp_path, pickle.dumps(data, protocol))
    with pytest.raises(UserError, match=r"refs\(unc\)\.p .*not loaded"):
        load_pickle(path)
    assert not marker.exists()


@pytest.mark.hostile
@pytest.mark.parametrize(
    "data",
    [  # REDUCE, globals, STACK_GLOBAL, INST, OBJ, EXT1, PERSID, BINPERSID, BUILD
        b"c__builtin__\neval\n(S'1+1'\ntR.",
        b"cbuiltins\neval\n.",
        b"cbuiltins\ngetattr\n.",
        b"c__builtin__\nset\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"(S'1+1'\ni__builtin__\neval\n.",
        b"(c__builtin__\neval\nS'1+1'\no.",
        b"\x80\x02\x82\x01.",
        b"Pgive me that\n.",
        b"S'id'\nQ.",
        b"}(K\x01K\x02ub.",
    ],
)
def test_globals_and_persistent_ids_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"refs\(unc\)\.p is not a pickle of plain data: "):
        load_pickle(write(tmp_path, data))


@pytest.mark.hostile
def test_the_second_gate_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if an opcode were admitted by mistake, it would give no global and no persistent id."""
    monkeypatch.setattr("s2rm.refer.pickles._check_opcodes", lambda data: None)
    for data in (b"cbuiltins\neval\n.", b"Pgive me that\n."):
        with pytest.raises(UserError, match="it asks for"):
            load_pickle(write(tmp_path, data))


@pytest.mark.hostile
@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]r\x00\x00\x10\x00.",  # a memo of 2²⁰ entries: megabytes from 9 bytes, or gigabytes
        b"\x80\x02}(" + b")" + b"\x85" * 200_000 + b"K\x01u.",  # a nested key: its hash overflows the C stack
        b"\x80\x05\x96\xff\xff\xff\xff\x0f\x00\x00\x00.",  # a bytearray of 64 GB
    ],
    ids=["memo", "nested tuples", "bytearray"],
)
def test_bombs_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"refs\(unc\)\.p"):
        load_pickle(write(tmp_path, data))


@pytest.mark.hostile
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_cut_anywhere_is_a_user_error(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps([{"ref_id": 1, "sentences": [{"sent": "left one", "sent_id": 2.5}]}], protocol)
    for end in range(len(data)):
        with pytest.raises(UserError, match=r"refs\(unc\)\.p"):
            load_pickle(write(tmp_path, data[:end]))


@pytest.mark.hostile
def test_a_file_with_any_byte_changed_is_data_or_a_user_error(tmp_path: Path) -> None:
    data = pickle.dumps([{"ref_id": 1, "sentences": [{"sent": "left", "sent_id": 2.5}]}], 2)
    messages = []
    for place in range(len(data)):
        for value in range(0, 256, 7):
            path = write(tmp_path, data[:place] + bytes([value]) + data[place + 1 :])
            try:
                load_pickle(path)
            except UserError as error:
                messages.append(str(error))
    assert messages
    assert all("refs(unc).p" in message and "\n" not in message for message in messages)


def test_a_missing_file_and_a_huge_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*absent"):
        load_pickle(tmp_path / "absent")
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(UserError, match=r"huge has .* too large"):
        load_pickle(huge)
