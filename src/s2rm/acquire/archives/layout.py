"""Unpacks archives into the raw layout that `prepare` reads (s2rm.refer.raw_layout): only what the refs name.

Members are found by their file name, whatever folders the archive puts them in. The zip that was made from an
image archive stays in the store as a second link to the same file, so that a repetition needs no archive.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from s2rm.acquire.archives.catalog import Files, Route, choose_route
from s2rm.acquire.archives.store import ArchiveStore, require_space
from s2rm.acquire.archives.unpack import member_sizes, read_members
from s2rm.config.benchmarks import Benchmark, get_benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import link, replace, replace_text
from s2rm.data.image_zip import ImageZipWriter
from s2rm.refer.provenance import Provenance, write_provenance
from s2rm.refer.raw_layout import annotation_files, mentioned_images
from s2rm.refer.referit import MASKS, mentioned_crops

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """A benchmark with its route and its archives."""

    spec: Benchmark
    route: Route
    files: Files


def lay_out_archives(
    store: ArchiveStore, benchmarks: list[str], raw: Path, *, referit: Route, keep_archives: bool
) -> None:
    """Fetch the archives that the benchmarks need and unpack them into the raw layout.

    Args:
        store: the archives on this machine.
        benchmarks: names of the benchmarks.
        raw: the folder to write into.
        referit: the route by which ReferIt is fetched.
        keep_archives: whether image archives stay in the store when their images have been unpacked.

    Raises:
        UserError: an archive cannot be fetched, is not what the catalog says, or does not fit on the disk.
    """
    jobs = []
    for name in benchmarks:
        route = choose_route(name, referit)
        jobs.append(_Job(get_benchmark(name), route, store.catalog.files(name, route)))
    with store.locked():
        _lay_out(store, jobs, raw, keep_archives=keep_archives)


def _lay_out(store: ArchiveStore, jobs: list[_Job], raw: Path, *, keep_archives: bool) -> None:
    annotations = [name for job in jobs for name in job.files.annotations]
    large = list(dict.fromkeys(name for job in jobs for name in (job.files.images, job.files.masks) if name))
    unpacked = [name for name in large if not _zips_folder(store, name).is_dir()]
    kept = sum(store.catalog.archive(name).kept for name in unpacked)
    store.fetch([*annotations, *unpacked], kept)

    wanted: dict[str, dict[Path, set[str]]] = {name: {} for name in large}  # archive → zip → its members
    written: dict[tuple[str, str], Path] = {}
    for job in jobs:
        folder = raw / job.spec.name
        _unpack_annotations(store, job, folder, written)
        images, masks = _mentioned(job, folder)
        wanted[job.files.images].setdefault(raw / f"{job.spec.images}.zip", set()).update(images)
        if job.files.masks:
            wanted[job.files.masks].setdefault(folder / MASKS, set()).update(masks)
    for name, zips in wanted.items():
        _pack(store, name, zips, keep_archives=keep_archives)
    for job in jobs:
        checksums = {name: store.checksum(name) or "" for name in job.files.all}
        write_provenance(raw / job.spec.name, Provenance("archives", job.route, checksums))


def _unpack_annotations(
    store: ArchiveStore, job: _Job, folder: Path, written: dict[tuple[str, str], Path]
) -> None:
    """Write the annotation files of a benchmark; `written` has those that exist, by archive and file."""
    for archive in job.files.annotations:
        names = annotation_files(job.spec) if job.route == "refer" else (archive,)
        new = {name for name in names if (archive, name) not in written}
        if job.route == "queries":
            link(store.path(archive), folder / archive)
        elif new:
            found = _find(store.path(archive), new)
            for name, content in found.items():
                replace(folder / name, partial(Path.write_bytes, data=content))
        for name in names:
            first = written.setdefault((archive, name), folder / name)
            if first != folder / name:  # both partitions of RefCOCOg share one instances.json
                link(first, folder / name)


def _find(archive: Path, names: set[str]) -> dict[str, bytes]:
    """Return the members with these file names; refuse where one is missing or occurs twice."""
    found: dict[str, bytes] = {}
    for member, content in read_members(archive, lambda member: PurePosixPath(member).name in names):
        name = PurePosixPath(member).name
        if name in found:
            raise UserError(f"{archive} has two files {name}, one of them {member}")
        found[name] = content
    if names - found.keys():
        raise UserError(
            f"{archive} lacks {', '.join(sorted(names - found.keys()))}: "
            "it is not the archive that archives.yaml describes"
        )
    return found


def _mentioned(job: _Job, folder: Path) -> tuple[set[str], set[str]]:
    """Return the file names of the images and, with the route `queries`, of the masks that are needed."""
    if job.route == "refer":
        return mentioned_images(folder, job.spec), set()
    crops = mentioned_crops(folder)
    return {f"{crop.image_id}.jpg" for crop in crops}, {f"{crop.key}.mat" for crop in crops}


def _zips_folder(store: ArchiveStore, archive: str) -> Path:
    """Return the folder of the zips made from an archive, by its checksum: another version has its own."""
    return store.folder / "packs" / (store.checksum(archive) or "unknown").replace(":", "-")


def _pack(store: ArchiveStore, archive: str, zips: dict[Path, set[str]], *, keep_archives: bool) -> None:
    """Link zips of an archive's wanted members to their targets, reusing earlier zips that suffice."""
    folder = _zips_folder(store, archive)
    held = {target: folder / target.name for target in zips}
    if not all(names <= _read_asked(held[target]) for target, names in zips.items()):
        store.fetch([archive])
        # What earlier benchmarks asked for stays in, so that returning to them fetches nothing.
        asked = {held[target]: names | _read_asked(held[target]) for target, names in zips.items()}
        files = {PurePosixPath(name).name for names in asked.values() for name in names}
        sizes = member_sizes(store.path(archive), lambda member: PurePosixPath(member).name in files)
        # Before the archive was on the disk, its need was an estimate.
        require_space(store.folder, sum(sizes.values()))
        _repack(store.path(archive), asked)
    for target in zips:
        link(held[target], target)
    if not keep_archives:
        store.remove_fetched(archive)


def _read_asked(image_zip: Path) -> set[str]:
    """Return the names that a zip was made for; those that its archive lacks are missing from it."""
    asked = _asked_path(image_zip)
    if not (image_zip.is_file() and asked.is_file()):
        return set()
    return set(json.loads(asked.read_text(encoding="utf-8")))


def _asked_path(image_zip: Path) -> Path:
    return image_zip.with_suffix(".json")


def _repack(archive: Path, zips: Mapping[Path, set[str]]) -> None:
    """Write each zip with those of its names that the archive has, in one pass over the archive."""
    targets = {PurePosixPath(name).name: (target, name) for target, wanted in zips.items() for name in wanted}
    with ExitStack() as stack:
        writers = {target: stack.enter_context(ImageZipWriter(target)) for target in zips}
        bar = stack.enter_context(
            tqdm(total=len(targets), desc=f"unpacking {archive.name}", unit="file", disable=None)
        )
        for member, content in read_members(archive, lambda member: PurePosixPath(member).name in targets):
            target, name = targets[PurePosixPath(member).name]
            if name in writers[target].names:
                raise UserError(f"{archive} has two files {name}, one of them {member}")
            writers[target].add(name, content)
            bar.update()
        missing = len(targets) - sum(len(writer.names) for writer in writers.values())
    if missing:
        logger.warning("%s lacks %d of the %d files that the refs name", archive, missing, len(targets))
    for target, names in zips.items():
        replace_text(_asked_path(target), json.dumps(sorted(names)))
