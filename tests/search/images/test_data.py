import os
import pickle
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from devices import LatkitError
from search.images import sources as image_sources
from search.images.data import ImageData, InvalidData, load_data
from search.images.sources import CIFAR_FILES, NPZ_PAIR

CLASSES = ("bird", "cat", "dog")


def save_image(path: Path, seed: int, size: tuple[int, int] = (9, 6)) -> None:
    """Save a picture of noise; ``size`` is width and height."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)).save(path)


def save_classes(root: Path, per_class: int = 10, classes: tuple[str, ...] = CLASSES) -> Path:
    for label, name in enumerate(classes):
        for i in range(per_class):
            save_image(root / name / f"{i}.png", seed=1000 * label + i)
    return root


def save_cifar(root: Path, per_batch: int = 20) -> Path:
    """Write torchvision's layout of CIFAR-10; image ``i`` of a batch is all of value ``i``."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in CIFAR_FILES:
        values = np.arange(per_batch, dtype=np.uint8)
        save_pickle(
            folder / name,
            {
                "data": np.repeat(values[:, None], 3072, axis=1),
                "labels": [i % 10 for i in range(per_batch)],
            },
        )
    save_pickle(folder / "batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    return folder


def save_pickle(path: Path, content: object) -> None:
    """Pickle as the published files are, which name a module that numpy 2 has renamed."""
    pickled = pickle.dumps(content, protocol=2)
    path.write_bytes(pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


def save_npz(path: Path, count: int = 15, **changed: Any) -> Path:
    files = []
    for i in range(count):
        picture = path.parent / "one.jpg"
        save_image(picture, seed=i)
        files.append(np.frombuffer(picture.read_bytes(), np.uint8))
    arrays: dict[str, Any] = {
        "jpeg": np.concatenate(files),
        "offset": np.cumsum([0, *map(len, files)]),
        "label": np.arange(count, dtype=np.int16) % 3,
        "classes": np.array(CLASSES),
    }
    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return path


def refusal(source: Path | str) -> str:
    with pytest.raises(InvalidData) as caught:
        load_data(str(source), resolution=8)
    message = str(caught.value)
    assert "\n" not in message
    return message


def splits(data: ImageData) -> list[Any]:
    return [data.training, data.validation, data.test]


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", resolution=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_classes(tmp_path / "pets")


def test_the_digits_are_split_60_20_20(digits: ImageData) -> None:
    assert [len(split) for split in splits(digits)] == [1079, 359, 359]
    assert digits.class_names == tuple("0123456789")
    assert digits.skipped == ()


def test_every_class_has_its_share_of_every_split(digits: ImageData) -> None:
    counts = np.array([np.bincount(split.labels, minlength=10) for split in splits(digits)])
    totals = counts.sum(axis=0)  # 174 to 183 of each digit
    assert (np.abs(counts[1] - 0.2 * totals) <= 0.5).all()
    assert (counts[1] == counts[2]).all()


def test_the_splits_share_no_image_and_leave_none_out(digits: ImageData) -> None:
    rows = np.concatenate([split.rows for split in splits(digits)])
    assert sorted(rows.tolist()) == list(range(1797))


def test_two_loads_give_the_same_splits(digits: ImageData) -> None:
    again = load_data("digits", resolution=8)
    assert again.fingerprint == digits.fingerprint  # of the data, whatever the resolution
    for first, second in zip(splits(digits), splits(again), strict=True):
        assert (first.rows == second.rows).all()


def test_the_split_of_the_digits_never_changes(digits: ImageData) -> None:
    # results are only comparable while this holds: a new value is a new benchmark
    assert digits.fingerprint == "38d8cafa651179b2"


def test_batches_are_normalised_images_in_channels_last(digits: ImageData) -> None:
    images, labels = next(digits.validation.batches(64))
    assert images.shape == (64, 3, 16, 16)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert labels.tolist() == digits.validation.labels[:64].tolist()


@pytest.mark.parametrize("resolution", [8, 16])
def test_the_training_split_has_mean_0_and_deviation_1(resolution: int) -> None:
    data = load_data("digits", resolution=resolution)
    images = torch.cat([images for images, _ in data.training.batches(256)])
    assert images.mean(dim=(0, 2, 3)).numpy() == pytest.approx(np.zeros(3), abs=1e-3)
    assert images.std(dim=(0, 2, 3)).numpy() == pytest.approx(np.ones(3), abs=1e-3)


def test_the_channels_of_a_digit_are_equal(digits: ImageData) -> None:
    images, _ = next(digits.test.batches(8))
    assert torch.equal(images[:, 0], images[:, 2])


def test_one_pass_shows_every_image_once(digits: ImageData) -> None:
    for rng in (None, np.random.default_rng(0)):
        batches = list(digits.validation.batches(100, rng=rng))
        assert [len(labels) for _, labels in batches] == [100, 100, 100, 59]
        seen = torch.cat([labels for _, labels in batches]).numpy()
        assert (np.bincount(seen) == np.bincount(digits.validation.labels)).all()


def test_drop_last_leaves_out_the_smaller_batch(digits: ImageData) -> None:
    batches = list(digits.validation.batches(100, drop_last=True))
    assert [len(labels) for _, labels in batches] == [100, 100, 100]


def test_some_of_a_split_keep_their_images_and_labels(digits: ImageData) -> None:
    split = digits.validation
    some = split.of(np.array([7, 2, 2]))
    assert some.rows.tolist() == [split.rows[7], split.rows[2], split.rows[2]]
    assert some.labels.tolist() == [split.labels[7], split.labels[2], split.labels[2]]
    first = split.first(3)
    assert first.rows.tolist() == split.rows[:3].tolist()
    assert first.labels.tolist() == split.labels[:3].tolist()
    assert (first.mean, first.resolution) == (split.mean, split.resolution)
    assert len(split.first(10**9)) == len(split)


def test_the_same_seed_gives_the_same_batches(digits: ImageData) -> None:
    one, two, other = (
        next(digits.training.batches(32, rng=np.random.default_rng(seed), augment=True))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[1], other[1])


def test_augmentation_leaves_the_labels_and_their_order_alone(digits: ImageData) -> None:
    (plain, labels), (augmented, same_labels) = (
        next(digits.training.batches(32, rng=np.random.default_rng(0), augment=augment))
        for augment in (False, True)
    )
    assert torch.equal(labels, same_labels)
    assert not torch.equal(plain, augmented)


def test_a_digit_is_shifted_by_an_eighth_at_most_and_never_mirrored(digits: ImageData) -> None:
    images, augmented = (
        next(digits.training.batches(64, rng=np.random.default_rng(0), augment=augment))[0]
        for augment in (False, True)
    )
    black = images.min()
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), value=float(black))
    for i in range(64):
        crops = padded[i].unfold(1, 16, 1).unfold(2, 16, 1)  # (3, 5, 5, 16, 16)
        assert (crops == augmented[i][:, None, None]).all(dim=(0, 3, 4)).any()


def test_half_of_the_natural_images_are_mirrored(tmp_path: Path) -> None:
    root = tmp_path / "sides"
    for label in ("a", "b"):
        for i in range(200):
            (root / label).mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((4, 4, 3), np.uint8)
            pixels[:, :2] = 255  # the left half is white
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    data = load_data(str(root), resolution=4)  # a padding of half a pixel rounds to none
    images, _ = next(data.training.batches(240, rng=np.random.default_rng(0), augment=True))
    mirrored = int((images[:, 0, 0, 0] < images[:, 0, 0, 3]).sum())
    assert 90 <= mirrored <= 150  # 120 expected, 4 standard deviations


def test_a_folder_is_split_by_class(folder: Path) -> None:
    data = load_data(str(folder), resolution=8)
    assert data.name == "pets"
    assert data.class_names == CLASSES
    for split, expected in zip(splits(data), (6, 2, 2), strict=True):
        assert np.bincount(split.labels).tolist() == [expected] * 3


def test_three_images_of_a_class_are_enough(tmp_path: Path) -> None:
    data = load_data(str(save_classes(tmp_path / "few", per_class=3)), resolution=8)
    assert [len(split) for split in splits(data)] == [3, 3, 3]


def test_a_folder_elsewhere_has_the_same_fingerprint(folder: Path, tmp_path: Path) -> None:
    first = load_data(str(folder), resolution=8)
    moved = load_data(str(folder.rename(tmp_path / "moved")), resolution=8)
    assert moved.fingerprint == first.fingerprint


def test_a_changed_image_changes_the_fingerprint(folder: Path) -> None:
    before = load_data(str(folder), resolution=8).fingerprint
    save_image(folder / "cat" / "3.png", seed=77)
    assert load_data(str(folder), resolution=8).fingerprint != before


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_the_only_held_out_subtree_is_the_test_split(tmp_path: Path, held_out: str) -> None:
    save_classes(tmp_path / "train", per_class=10)
    save_classes(tmp_path / held_out, per_class=4)
    data = load_data(str(tmp_path), resolution=8)
    assert [len(split) for split in splits(data)] == [24, 6, 12]


def test_three_subtrees_stay_as_they_are(tmp_path: Path) -> None:
    for name, per_class in (("train", 5), ("val", 3), ("test", 2)):
        save_classes(tmp_path / name, per_class)
    data = load_data(str(tmp_path), resolution=8)
    assert [len(split) for split in splits(data)] == [15, 9, 6]


def test_an_image_is_scaled_and_its_centre_cropped(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for i in range(3):
            (tmp_path / label).mkdir(exist_ok=True)
            pixels = np.zeros((8, 24, 3), np.uint8)
            pixels[:, 8:16] = (255, 0, 0)  # only the middle third is red
            Image.fromarray(pixels).save(tmp_path / label / f"{i}.png")
    data = load_data(str(tmp_path), resolution=4)
    assert data.mean == pytest.approx((1, 0, 0), abs=0.1)  # edges blend into red when scaled


def test_a_set_too_large_for_memory_gives_the_same_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = load_data(str(folder), resolution=8)
    monkeypatch.setattr(image_sources, "MEMORY_LIMIT_BYTES", 1)
    lazy = load_data(str(folder), resolution=8)
    assert lazy.fingerprint == in_memory.fingerprint
    assert lazy.mean == in_memory.mean
    for one, two in zip(in_memory.training.batches(7), lazy.training.batches(7), strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_a_file_that_vanishes_after_loading_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sources, "MEMORY_LIMIT_BYTES", 1)
    data = load_data(str(folder), resolution=8)
    (folder / "cat" / "0.png").unlink()
    batches = chain.from_iterable(split.batches(8) for split in splits(data))
    with pytest.raises(InvalidData, match=r"'cat/0\.png' cannot be decoded"):
        list(batches)


def test_cifar10_keeps_its_test_set(tmp_path: Path) -> None:
    save_cifar(tmp_path)
    data = load_data(str(tmp_path), resolution=32)
    assert [len(split) for split in splits(data)] == [80, 20, 20]
    assert data.class_names[3] == "class 3"
    assert (data.test.rows >= 100).all()  # the last file
    images, labels = next(data.test.batches(20))
    values = (images[:, 0, 0, 0] * data.std[0] + data.mean[0]) * 255
    assert (values.round().int() % 10).tolist() == labels.tolist()


def test_the_unpacked_folder_of_cifar10_is_understood_too(tmp_path: Path) -> None:
    assert load_data(str(save_cifar(tmp_path)), resolution=8).name == "cifar10"


def test_a_lone_npz_is_split_60_20_20(tmp_path: Path) -> None:
    data = load_data(str(save_npz(tmp_path / "birds.npz")), resolution=8)
    assert data.name == "birds"
    assert [len(split) for split in splits(data)] == [9, 3, 3]


@pytest.mark.skipif("LATKIT_DATA" not in os.environ, reason="LATKIT_DATA is not set")
def test_the_published_jpegs_of_cifar10_load() -> None:
    data = load_data(str(Path(os.environ["LATKIT_DATA"]) / "images"), resolution=8)
    assert [len(split) for split in splits(data)] == [13335, 3332, 10000]
    assert data.class_names[:3] == ("airplane", "automobile", "bird")
    assert (np.bincount(data.test.labels) == 1000).all()


def test_a_missing_path_names_the_nearest(folder: Path) -> None:
    assert f"the nearest is {str(folder)!r}" in refusal(f"{folder}s")
    assert "the nearest is 'digits'" in refusal("digit")
    assert "nearest" not in refusal(folder.parent / "qqqqqq")


def test_a_file_that_is_no_npz_is_refused(folder: Path) -> None:
    assert "0.png' cannot be read as an .npz of JPEGs" in refusal(folder / "cat" / "0.png")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "holds no class folder; put the images of each class" in refusal(tmp_path)


def test_images_outside_of_class_folders_are_counted(tmp_path: Path) -> None:
    for i in range(4):
        save_image(tmp_path / f"{i}.png", seed=i)
    assert "holds no class folder, and 4 images outside of one" in refusal(tmp_path)


def test_a_folder_of_one_class_is_refused(tmp_path: Path) -> None:
    save_classes(tmp_path, classes=("cat",))
    assert "holds only class 'cat'; put the images of each class, two" in refusal(tmp_path)


def test_a_class_folder_without_images_is_refused(folder: Path) -> None:
    (folder / "eel").mkdir()
    (folder / "eel" / "notes.txt").write_text("none yet")
    assert "eel' holds no image; add some (.bmp, " in refusal(folder)


def test_splits_under_another_name_are_not_taken_for_classes(tmp_path: Path) -> None:
    save_classes(tmp_path / "train")
    save_classes(tmp_path / "valid")
    assert "splits are called train/ with val/ or test/" in refusal(tmp_path)


def test_a_class_that_only_one_subtree_has_is_named(tmp_path: Path) -> None:
    save_classes(tmp_path / "train")
    save_classes(tmp_path / "val", classes=("bird", "cat", "dgo"))
    assert "class 'dgo' is not in each of train, val" in refusal(tmp_path)


def test_a_class_too_small_for_three_splits_is_named(folder: Path) -> None:
    for i in range(2):
        save_image(folder / "eel" / f"{i}.png", seed=i)
    assert "class 'eel' of 'pets' has too few images, 2: none is left for training" in refusal(
        folder
    )


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("not a picture")


@pytest.mark.parametrize("damage", [cut_short, empty, write_text])
def test_corrupt_images_are_counted_and_the_first_named(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder / "cat" / "4.png")
    damage(folder / "dog" / "7.png")
    message = refusal(folder)
    assert message.startswith("2 of 30 images of 'pets' are corrupt, the first: 'cat/4.png' ")
    assert message.endswith("repair or remove them, or choose to skip them")


def test_corrupt_images_are_skipped_by_choice_and_recorded(folder: Path) -> None:
    whole = load_data(str(folder), resolution=8)
    cut_short(folder / "cat" / "4.png")
    data = load_data(str(folder), resolution=8, on_corrupt="skip")
    assert data.skipped == ("cat/4.png",)
    assert sum(map(len, splits(data))) == 29
    assert data.fingerprint != whole.fingerprint


def test_a_class_whose_images_are_all_corrupt_cannot_be_skipped(folder: Path) -> None:
    for i in range(10):
        write_text(folder / "cat" / f"{i}.png")
    with pytest.raises(InvalidData, match="class 'cat' of 'pets' has too few images, 0"):
        load_data(str(folder), resolution=8, on_corrupt="skip")


def test_an_npz_that_lacks_arrays_names_them(tmp_path: Path) -> None:
    save_npz(tmp_path / "birds.npz", offset=None, classes=None)
    assert "birds.npz' lacks offset, classes; an .npz of JPEGs holds jpeg" in refusal(
        tmp_path / "birds.npz"
    )


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_npz_is_refused(tmp_path: Path, kept: float) -> None:
    path = save_npz(tmp_path / "birds.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "birds.npz' cannot be read as an .npz of JPEGs" in refusal(path)


def test_two_npz_of_other_classes_are_refused(tmp_path: Path) -> None:
    train, test = NPZ_PAIR
    save_npz(tmp_path / train)
    save_npz(tmp_path / test, classes=np.array(["bird", "dog", "cat"]))
    assert f"{test}' has other classes than the file beside it" in refusal(tmp_path)


def test_an_npz_whose_offsets_do_not_fit_is_refused(tmp_path: Path) -> None:
    save_npz(tmp_path / "birds.npz", offset=np.arange(16))
    assert "its offsets do not fit its JPEGs" in refusal(tmp_path / "birds.npz")


def test_an_npz_with_labels_beyond_its_classes_is_refused(tmp_path: Path) -> None:
    save_npz(tmp_path / "birds.npz", classes=np.array(["bird", "cat"]))
    assert "labels must be 0 to 1" in refusal(tmp_path / "birds.npz")


def test_a_corrupt_image_in_an_npz_is_named_by_its_index(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "birds.npz")
    arrays = dict(np.load(path))
    arrays["jpeg"][arrays["offset"][4] : arrays["offset"][5]] = 0
    np.savez(path, **arrays)
    assert "1 of 15 images of 'birds' are corrupt, the first: 'birds.npz[4]'" in refusal(path)


def test_a_truncated_batch_of_cifar10_is_refused(tmp_path: Path) -> None:
    cut_short(save_cifar(tmp_path) / "data_batch_2")
    assert "data_batch_2' cannot be read as a batch of CIFAR-10" in refusal(tmp_path)


def test_a_batch_of_cifar10_runs_no_code(tmp_path: Path) -> None:
    save_pickle(save_cifar(tmp_path) / "test_batch", {"data": os.getcwd, "labels": []})
    assert f"it asks for {os.getcwd.__module__}.getcwd" in refusal(tmp_path)


def test_a_missing_batch_of_cifar10_is_named(tmp_path: Path) -> None:
    (save_cifar(tmp_path) / "data_batch_5").unlink()
    assert "data_batch_5' cannot be read as a batch of CIFAR-10" in refusal(tmp_path)


def test_a_batch_larger_than_the_split_is_refused_when_it_must_be_full(digits: ImageData) -> None:
    with pytest.raises(LatkitError, match="a batch of 360 is larger than the split, 359 images"):
        digits.test.batches(360, drop_last=True)


def test_bad_arguments_are_value_errors(digits: ImageData) -> None:
    with pytest.raises(ValueError, match="a batch has 1 image or more, got 0"):
        digits.test.batches(0)
    with pytest.raises(ValueError, match="augmentation draws from rng"):
        digits.test.batches(8, augment=True)
    with pytest.raises(ValueError, match="the resolution is 1 pixel or more, got 0"):
        load_data("digits", resolution=0)
