"""Data augmentation: each transformation alone, and its limits."""

import numpy as np
import pytest
import torch

from whaleid.images import augment as augmenting
from whaleid.images.augment import NUM_DRAWS, augment, rotate_and_zoom

LIMITS = ("MAX_ROTATION", "MAX_SHEAR", "MAX_SCALING", "MAX_SHIFT", "MAX_LIGHT", "MAX_BLUR", "ERASE_PROBABILITY")


def enable_only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Disable all transformations of `augment` except `names`."""
    for name in set(LIMITS) - set(names):
        monkeypatch.setattr(augmenting, name, 0.0)


def draws(photos: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(photos, NUM_DRAWS, generator=torch.Generator().manual_seed(seed))


def spot(width: int, height: int) -> torch.Tensor:
    """Return a dark photo (1, 1, H, W) with a bright square to the right of its centre."""
    photo = torch.zeros(1, 1, height, width)
    photo[..., height // 2 - 4 : height // 2 + 4, width * 3 // 4 - 4 : width * 3 // 4 + 4] = 1.0
    return photo


def centre(photo: torch.Tensor) -> tuple[float, float]:
    """Return the centre of brightness (x, y), in pixels from the centre of the photo."""
    light = (photo - photo.min()).clamp(min=0)
    height, width = photo.shape[-2:]
    x = (light.sum(dim=(0, 1, 2)) * (torch.arange(width) - (width - 1) / 2)).sum() / light.sum()
    y = (light.sum(dim=(0, 1, 3)) * (torch.arange(height) - (height - 1) / 2)).sum() / light.sum()
    return x.item(), y.item()


def test_a_rotation_keeps_shapes_on_photos_that_are_not_square(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_only(monkeypatch, "MAX_ROTATION")
    distance = centre(spot(128, 64))[0]
    for seed in range(5):
        x, y = centre(augment(spot(128, 64), draws(seed=seed)))
        # a rotation about the centre keeps the distance from it, for every aspect ratio
        assert np.hypot(x, y) == pytest.approx(distance, rel=0.02)
        assert abs(y) <= distance * np.sin(np.radians(8)) + 0.5


def test_a_shift_is_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_only(monkeypatch, "MAX_SHIFT")
    start = centre(spot(128, 64))
    shifts = []
    for seed in range(20):
        x, y = centre(augment(spot(128, 64), draws(seed=seed)))
        shifts.append((abs(x - start[0]), abs(y - start[1])))
    across, down = np.max(shifts, axis=0)
    assert 0.05 * 128 < across <= 0.08 * 128 + 0.1
    assert 0.05 * 64 < down <= 0.08 * 64 + 0.1


def test_pixels_outside_the_photo_repeat_its_border(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_only(monkeypatch, "MAX_SHIFT", "MAX_ROTATION", "MAX_SCALING")
    photos = torch.full((20, 1, 24, 48), -0.7)
    torch.testing.assert_close(augment(photos, draws(20)), photos)


def test_light_is_a_linear_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_only(monkeypatch, "MAX_LIGHT")
    photos = torch.randn(200, 3, 5, 9)
    added = augment(photos, draws(200)) - photos
    across, down = added[:, 0, 2, 8], added[:, 0, 4, 4]  # at the centres of the right and the lower border
    x, y = torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 5)
    expected = across[:, None, None] * x + down[:, None, None] * y[:, None]
    torch.testing.assert_close(added, expected[:, None].expand_as(added), atol=1e-4, rtol=0)
    for slopes in (across, down):
        assert -0.5001 <= slopes.min() < -0.45
        assert 0.45 < slopes.max() <= 0.5001


def test_a_blur_mixes_each_photo_with_the_mean_of_neighbouring_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_only(monkeypatch, "MAX_BLUR")
    torch.manual_seed(0)
    photos = torch.randn(200, 1, 4, 5)
    changed = augment(photos, draws(200))
    blurred = torch.empty_like(photos)
    for y in range(4):
        for x in range(5):  # at the border, the mean is over fewer pixels
            blurred[:, :, y, x] = photos[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean(dim=(2, 3))
    shares = (changed - photos)[:, 0, 2, 2] / (blurred - photos)[:, 0, 2, 2]
    torch.testing.assert_close(changed, photos.lerp(blurred, shares.view(-1, 1, 1, 1)), atol=1e-4, rtol=0)
    assert -1e-3 <= shares.min() < 0.05
    assert 0.65 < shares.max() <= 0.7001


def test_a_rectangle_of_some_photos_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_only(monkeypatch, "ERASE_PROBABILITY")
    photos = torch.full((500, 2, 40, 80), 3.0)
    changed = augment(photos, draws(500))
    erased = changed == 0
    assert (erased | (changed - 3).abs().lt(1e-4)).all()
    assert torch.equal(erased[:, 0], erased[:, 1])  # in every channel
    hit = erased[:, 0].flatten(1).any(dim=1)
    assert 0.34 < hit.double().mean() < 0.44  # on a share of 0.4 of the photos
    for axis, length in ((2, 40), (1, 80)):  # rows, then columns
        lines = erased[hit, 0].any(dim=axis)  # (hit, length): rows or columns with an erased pixel
        sides = lines.sum(dim=1)
        assert sides.max() <= 0.4 * length + 1
        assert sides.max() > 0.35 * length
        inside = ~(lines[:, 0] | lines[:, -1])  # rectangles inside the photo
        assert sides[inside].min() >= 0.1 * length - 1
        assert sides[inside].min() < 0.15 * length
        # the erased lines are contiguous
        assert ((lines.int().diff(dim=1) == 1).sum(dim=1) + lines[:, 0].int() == 1).all()
    area = erased[hit, 0]
    assert torch.equal(area, area.any(dim=2, keepdim=True) & area.any(dim=1, keepdim=True))  # a full rectangle


def test_without_transformations_photos_are_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    enable_only(monkeypatch)
    photos = torch.rand(3, 3, 24, 48)
    torch.testing.assert_close(augment(photos, draws(3)), photos, atol=1e-5, rtol=0)


def test_the_result_depends_only_on_the_draws() -> None:
    torch.manual_seed(0)
    photos = torch.randn(4, 1, 24, 48)
    before = photos.clone()
    state = torch.get_rng_state()
    augmented = augment(photos, draws(4, 3))
    assert torch.equal(torch.get_rng_state(), state)  # torch's global generator is not used
    assert torch.equal(augment(photos, draws(4, 3)), augmented)
    assert not torch.equal(augment(photos, draws(4, 4)), augmented)
    assert torch.equal(photos, before)
    assert augmented.shape == photos.shape
    assert augmented.dtype == torch.float32


def test_the_result_does_not_depend_on_the_rest_of_the_batch() -> None:
    photos, drawn = torch.randn(6, 1, 24, 48), draws(6)
    torch.testing.assert_close(augment(photos[2:4], drawn[2:4]), augment(photos, drawn)[2:4])


def test_each_photo_is_changed_differently() -> None:
    same = torch.randn(1, 1, 24, 48).expand(6, -1, -1, -1)
    changed = augment(same, draws(6))
    assert len({tuple(photo.flatten().tolist()) for photo in changed}) == 6


def test_the_result_is_on_the_device_of_the_photos() -> None:
    drawn = torch.empty(2, NUM_DRAWS, device="meta")
    assert augment(torch.empty(2, 1, 24, 48, device="meta"), drawn).device.type == "meta"


def test_photos_of_any_aspect_rotate_about_the_centre() -> None:
    square, oblong = torch.rand(1, 1, 24, 24), torch.rand(1, 1, 24, 48)
    torch.testing.assert_close(rotate_and_zoom(square, np.pi / 2, 1), square.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(rotate_and_zoom(oblong, np.pi, 1), oblong.flip(2, 3), atol=1e-4, rtol=0)
    (x, y), (across, down) = centre(rotate_and_zoom(spot(64, 32), np.pi / 6, 1)), centre(spot(64, 32))
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    # anticlockwise, at the same distance from the centre
    assert (x, y) == pytest.approx((cos * across + sin * down, cos * down - sin * across), abs=0.2)


def test_a_zoom_crops_to_the_centre_of_a_photo() -> None:
    x = torch.arange(48.0).expand(1, 1, 24, 48)
    changed = rotate_and_zoom(x, 0, 0.5)
    # pixel 0 is at 0.5. Half as far from the centre is 12.25, between the centres of pixels 11 and 12
    assert changed[0, 0, 5, :3].tolist() == pytest.approx([11.75, 12.25, 12.75])
    assert changed[0, 0, 5, -1] == pytest.approx(35.25)
