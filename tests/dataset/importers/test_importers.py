"""Each layout as it is published, on small trees made here; and what real copies get wrong."""

import csv
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dl2cli.dataset.importers import ImportConfig, ImportResult, Placing, import_dataset, place
from dl2cli.dataset.importers.base import LabelledFile
from dl2cli.dataset.importers.place import class_folder
from dl2cli.dataset.importers.split import split_files
from dl2cli.errors import DataError, StorageError, UsageError

Tree = dict[str, set[str]]


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xd8" + path.name.encode())


def tree(root: Path) -> Tree:
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        if not path.is_dir():
            found.setdefault(str(path.parent.relative_to(root)), set()).add(path.name)
    return found


def struct_array(rows: list[dict[str, object]]) -> np.ndarray:
    """An array of structs of shape (1, N), as the published MATLAB files have them."""
    array = np.zeros((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        for name, value in row.items():
            array[0, index][name] = value
    return array


def cell(texts: list[str]) -> np.ndarray:
    array = np.empty((1, len(texts)), dtype=object)
    array[0, :] = texts
    return array


@pytest.fixture
def ham(tmp_path: Path) -> Path:
    """40 lesions of two kinds, each photographed one to three times, in both folders."""
    source = tmp_path / "HAM10000"
    rows, number = [], 24306
    for lesion in range(40):
        for _ in range(1 + lesion % 3):
            name = f"ISIC_{number:07d}"
            photo(source / f"HAM10000_images_part_{1 + number % 2}" / f"{name}.jpg")
            kind = "nv" if lesion % 4 else "mel"
            rows.append((f"HAM_{lesion:07d}", name, kind, "histo", "80.0", "male", "scalp"))
            number += 1
    with (source / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        header = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
        writer.writerows([header, *rows])
    return source


def lesions(source: Path, out: Path) -> dict[str, set[str]]:
    with (source / "HAM10000_metadata.csv").open() as file:
        of = {row["image_id"]: row["lesion_id"] for row in csv.DictReader(file)}
    return {
        split: {of[path.stem] for path in (out / split).rglob("*.jpg")}
        for split in ("train", "val")
    }


def test_ham10000_keeps_the_photos_of_a_lesion_together(ham: Path, tmp_path: Path) -> None:
    config = ImportConfig("ham10000", ham, tmp_path / "out", val_fraction=0.25)
    result = import_dataset(config)
    assert result.classes == ("mel", "nv")
    assert sum(result.images.values()) == 79 == result.placed
    found = lesions(ham, tmp_path / "out")
    assert not found["train"] & found["val"]
    assert len(found["train"] | found["val"]) == 40
    assert 0.15 < result.images["val"] / 79 < 0.35
    for kind in result.classes:
        assert list((tmp_path / "out" / "val" / kind).iterdir())
    # Another seed is another split, the same seed the same one.
    for seed, same in ((0, True), (1, False)):
        other = tmp_path / f"seed{seed}"
        import_dataset(replace(config, out=other, seed=seed))
        assert (lesions(ham, other)["val"] == found["val"]) is same


def test_ham10000_as_a_tab_file_with_quotes(ham: Path, tmp_path: Path) -> None:
    table = ham / "HAM10000_metadata.csv"
    with table.open() as file:
        rows = list(csv.reader(file))
    quoted = "\n".join("\t".join(f'"{value}"' for value in row) for row in rows)
    (ham / "HAM10000_metadata.tab").write_text("\ufeff" + quoted + "\n", encoding="utf-8")
    table.unlink()
    result = import_dataset(ImportConfig("ham10000", ham, tmp_path / "out", val_fraction=0))
    assert result.images == {"": 79}
    assert set(tree(tmp_path / "out")) == {"mel", "nv"}


def cars(source: Path) -> None:
    names = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]
    boxes = {"bbox_x1": 39, "bbox_y1": 116, "bbox_x2": 569, "bbox_y2": 375}
    (source / "devkit").mkdir(parents=True)
    savemat(source / "devkit" / "cars_meta.mat", {"class_names": cell(names)})
    train = [{**boxes, "class": 1 + i % 2, "fname": f"{i + 1:05d}.jpg"} for i in range(6)]
    savemat(source / "devkit" / "cars_train_annos.mat", {"annotations": struct_array(train)})
    test = [{**boxes, "class": 2, "fname": f"{i + 1:05d}.jpg"} for i in range(3)]
    savemat(source / "cars_test_annos_withlabels.mat", {"annotations": struct_array(test)})
    for i in range(6):
        photo(source / "cars_train" / f"{i + 1:05d}.jpg")
    for i in range(3):
        photo(source / "cars_test" / f"{i + 1:05d}.jpg")


def test_stanford_cars_in_two_folders(tmp_path: Path) -> None:
    cars(tmp_path / "cars")
    result = import_dataset(ImportConfig("stanford-cars", tmp_path / "cars", tmp_path / "out"))
    assert result.images == {"train": 6, "test": 3}
    # A slash in a name would be a folder.
    assert result.classes == ("AM General Hummer SUV 2000", "Ram C-V Cargo Van Minivan 2012")
    expected = {"00002.jpg", "00004.jpg", "00006.jpg"}
    assert tree(tmp_path / "out")["train/Ram C-V Cargo Van Minivan 2012"] == expected


def test_stanford_cars_without_the_test_labels(tmp_path: Path) -> None:
    cars(tmp_path / "cars")
    (tmp_path / "cars" / "cars_test_annos_withlabels.mat").unlink()
    result = import_dataset(ImportConfig("stanford-cars", tmp_path / "cars", tmp_path / "out"))
    assert result.images == {"train": 6}


def test_stanford_cars_in_one_folder(tmp_path: Path) -> None:
    source = tmp_path / "cars"
    rows = [
        {"relative_im_path": f"car_ims/{i + 1:06d}.jpg", "bbox_x1": 1, "class": 1, "test": i % 2}
        for i in range(4)
    ]
    for row in rows:
        photo(source / str(row["relative_im_path"]))
    names = cell(["Acura TL Sedan 2012", "BMW M3 Coupe 2012"])
    savemat(source / "cars_annos.mat", {"annotations": struct_array(rows), "class_names": names})
    result = import_dataset(ImportConfig("stanford-cars", source, tmp_path / "out"))
    assert result.images == {"train": 2, "test": 2}
    assert result.classes == ("Acura TL Sedan 2012",)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    source = tmp_path / "CelebAMask-HQ"
    lines = ["4", "5_o_Clock_Shadow Male Smiling "]
    for i in range(4):
        photo(source / "CelebA-HQ-img" / f"{i}.jpg")
        lines.append(f"{i}.jpg  -1  {1 if i % 2 else -1} 1")
    (source / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(lines) + "\n")
    return source


def test_celeba_hq_by_any_attribute(celeba: Path, tmp_path: Path) -> None:
    config = ImportConfig("celeba-hq", celeba, tmp_path / "out", val_fraction=0)
    import_dataset(config)
    assert tree(tmp_path / "out") == {"Male": {"1.jpg", "3.jpg"}, "not_Male": {"0.jpg", "2.jpg"}}
    smiling = replace(config, out=tmp_path / "smiling", attribute="Smiling")
    assert import_dataset(smiling).classes == ("Smiling",)
    with pytest.raises(UsageError, match="Did you mean Smiling"):
        import_dataset(replace(config, attribute="smilling"))


def test_a_cut_attribute_file_is_no_smaller_dataset(celeba: Path, tmp_path: Path) -> None:
    table = celeba / "CelebAMask-HQ-attribute-anno.txt"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match="announces 4 images and names 3"):
        import_dataset(ImportConfig("celeba-hq", celeba, tmp_path / "out"))


def test_imagenets_validation_images(tmp_path: Path) -> None:
    source, wnids = tmp_path / "imagenet", ["n01440764", "n01443537", "n01484850"]
    data = source / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    synsets = [
        {"ILSVRC2012_ID": i + 1, "WNID": name, "words": "a fish", "num_children": 0}
        for i, name in enumerate(wnids)
    ]
    savemat(data / "meta.mat", {"synsets": struct_array(synsets).T})  # published as (1860, 1)
    truth = [3, 1, 2, 3]
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{n}\n" for n in truth))
    for number in range(1, 5):
        photo(source / "ILSVRC2012_img_val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    result = import_dataset(ImportConfig("imagenet-val", source, tmp_path / "out"))
    assert result.images == {"val": 4}
    assert tree(tmp_path / "out") == {
        "val/n01440764": {"ILSVRC2012_val_00000002.JPEG"},
        "val/n01443537": {"ILSVRC2012_val_00000003.JPEG"},
        "val/n01484850": {"ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000004.JPEG"},
    }


def any_csv(source: Path, *rows: str) -> None:
    source.mkdir(exist_ok=True)
    (source / "labels.csv").write_text("\n".join(rows) + "\n")


def test_any_csv(tmp_path: Path) -> None:
    source = tmp_path / "birds"
    any_csv(source, "id,species,fold", "a/1,crow,train", "a/2.png,jay,val", "a/3,crow,train")
    for name in ("1.jpg", "2.png", "3.jpg"):
        photo(source / "a" / name)
    config = ImportConfig(
        "csv", source, tmp_path / "out",
        file_column="id", label_column="species", split_column="fold",
    )  # fmt: skip
    import_dataset(config)
    assert tree(tmp_path / "out") == {"train/crow": {"1.jpg", "3.jpg"}, "val/jay": {"2.png"}}
    with pytest.raises(UsageError, match="no column 'species_name'; its columns are id, species"):
        import_dataset(replace(config, label_column="species_name"))


def small(tmp_path: Path) -> ImportConfig:
    source = tmp_path / "source"
    any_csv(source, "file,label", *(f"{i}.jpg,{'ab'[i % 2]}" for i in range(6)))
    for i in range(6):
        photo(source / f"{i}.jpg")
    return ImportConfig("csv", source, tmp_path / "out", val_fraction=0)


@pytest.mark.parametrize("placing", Placing)
def test_placing(placing: Placing, tmp_path: Path) -> None:
    config = replace(small(tmp_path), placing=placing)
    assert import_dataset(config).placed == 6
    target, source = tmp_path / "out" / "a" / "0.jpg", config.source / "0.jpg"
    assert target.read_bytes() == source.read_bytes()
    assert target.is_symlink() is (placing is Placing.SYMLINK)
    assert target.samefile(source) is (placing is not Placing.COPY)
    # The same command again finds everything in its place, also what was interrupted.
    target.unlink()
    again = import_dataset(config)
    assert (again.placed, again.already_there) == (1, 5)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_missing_images_are_listed(tmp_path: Path) -> None:
    config = small(tmp_path)
    (config.source / "3.jpg").unlink()
    (config.source / "4.jpg").unlink()
    (config.source / "4.jpg").mkdir()
    result = import_dataset(config)
    assert [(Path(m.path).name, m.reason) for m in result.missing] == [
        ("3.jpg", "no such file or directory"),
        ("4.jpg", "is not a regular file"),
    ]
    assert result.images == {"": 4}
    with pytest.raises(DataError, match=r"3\.jpg: no such file"):
        import_dataset(replace(config, out=tmp_path / "strict", on_error="fail"))


def test_a_failing_disk_is_not_a_missing_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(tmp_path)
    real: Callable[..., object] = Path.stat

    def fails(self: Path, **given: bool) -> object:
        if self.name == "3.jpg":
            raise OSError(5, "Input/output error")
        return real(self, **given)

    monkeypatch.setattr(Path, "stat", fails)
    with pytest.raises(StorageError, match=r"3\.jpg cannot be read"):
        import_dataset(config)


def test_a_split_that_only_some_rows_name(tmp_path: Path) -> None:
    any_csv(tmp_path / "source", "file,label,fold", "1.jpg,a,train", "2.jpg,a,")
    config = ImportConfig("csv", tmp_path / "source", tmp_path / "out", split_column="fold")
    with pytest.raises(DataError, match="1 of 2 images have no split"):
        import_dataset(config)


def test_a_full_disk_is_not_the_sources_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(small(tmp_path), placing=Placing.COPY)

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place.shutil, "copy2", full)
    with pytest.raises(StorageError, match=r"cannot be placed at .*No space left"):
        import_dataset(config)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert import_dataset(config).placed == 6


def test_the_source_may_be_the_present_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(tmp_path)
    monkeypatch.chdir(config.source)
    assert import_dataset(replace(config, source=Path())).placed == 6


def test_nothing_is_replaced(tmp_path: Path) -> None:
    config = small(tmp_path)
    photo(tmp_path / "out" / "a" / "0.jpg")
    with pytest.raises(UsageError, match="is there already, and is not"):
        import_dataset(config)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        (("file,label", "1.jpg,a", "1.jpg,a"), DataError, "occur twice in a class"),
        (("file,label", "1.jpg,a/b", "2.jpg,a-b"), DataError, "would share one folder"),
        (("file,label", "1.jpg"), DataError, "line 2: 1 values for 2 columns"),
        (("file,label", "9.jpg,a"), DataError, "None of the 1 images"),
        (("file,label",), DataError, "names no image"),
        (("file,label", "1.jpg,.."), UsageError, "cannot be the name of a folder"),
        (("file,label", "../secret.jpg,a"), DataError, "lies outside"),
        (("file,label", "/etc/hostname.jpg,a"), DataError, "lies outside"),
    ],
)
def test_tables_that_cannot_be(
    rows: tuple[str, ...], error: type[Exception], words: str, tmp_path: Path
) -> None:
    any_csv(tmp_path / "source", *rows)
    photo(tmp_path / "source" / "1.jpg")
    photo(tmp_path / "source" / "2.jpg")
    with pytest.raises(error, match=words):
        import_dataset(ImportConfig("csv", tmp_path / "source", tmp_path / "out", val_fraction=0))


@pytest.mark.parametrize("label", ["../../etc", "a/../b", "..", "/etc", "x\0y", "\x1b[31mred"])
def test_a_class_never_leaves_the_folder(label: str, tmp_path: Path) -> None:
    try:
        name = class_folder(label)
    except UsageError:
        return
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert name.isprintable()


def test_damaged_matlab_files(tmp_path: Path) -> None:
    (tmp_path / "cars_annos.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(DataError, match="is not a MATLAB file"):
        import_dataset(ImportConfig("stanford-cars", tmp_path, tmp_path / "out"))
    savemat(tmp_path / "cars_annos.mat", {"something": 1})
    with pytest.raises(DataError, match="holds no variable"):
        import_dataset(ImportConfig("stanford-cars", tmp_path, tmp_path / "out"))


def test_unknown_layouts(tmp_path: Path) -> None:
    def run(name: str, **given: object) -> ImportResult:
        return import_dataset(ImportConfig(name, tmp_path, tmp_path / "out", **given))  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="Did you mean ham10000"):
        run("ham1000")
    for name in ("ham10000", "stanford-cars", "celeba-hq", "imagenet-val", "csv"):
        with pytest.raises(UsageError):
            run(name)
    with pytest.raises(UsageError, match="must be at least 0 and below 1"):
        run("csv", val_fraction=1.0)


def test_a_split_does_not_depend_on_where_the_source_lies() -> None:
    def validation(root: str) -> set[str]:
        files = [LabelledFile(Path(root, f"{i}.jpg"), "ab"[i % 2]) for i in range(40)]
        return {file.path.name for file in split_files(files, 0.3, 1) if file.split == "val"}

    assert validation("/data/birds") == validation("/home/me/birds")
    assert len(validation("/data/birds")) == 12
