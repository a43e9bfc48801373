"""Video: every way in gives the pixels that were written, every broken file an error that says what to do."""

from __future__ import annotations

import json
import pickle

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from bench.core.errors import BenchError
from bench.store.video import VideoError, decode, encode_lossless, find_videos, read_clips, read_video, write_lossless


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def numbered(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames that say their number in large blocks of black and white, which any codec keeps."""
    video = np.zeros((count, height, width, 3), np.uint8)
    bits = np.arange(count)[:, None] >> np.arange(12) & 1
    cell_height, cell_width = height // 3, width // 4
    for place in range(12):
        top, left = place // 4 * cell_height, place % 4 * cell_width
        video[:, top : top + cell_height, left : left + cell_width] = 255 * bits[:, place, None, None, None]
    return video


def read_numbers(video: np.ndarray) -> list[int]:
    _, height, width, _ = video.shape
    rows = (np.arange(3) + 0.5) * (height // 3)
    columns = (np.arange(4) + 0.5) * (width // 4)
    blocks = video[:, rows.astype(int)][:, :, columns.astype(int)].mean(-1) > 127
    return (blocks.reshape(len(video), 12) @ (1 << np.arange(12))).tolist()


def encode(path, video, codec, *, fps=24, pixels="yuv420p", container=None, **options):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pixels
        for frame in video:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    return path


def decode_with_pyav(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def without_length(webm: bytes) -> bytes:
    """A Matroska file whose segment does not say how long it is, as of a live recording."""
    place = webm.index(b"\x18\x53\x80\x67") + 4
    return webm[:place] + b"\x01" + b"\xff" * 7 + webm[place + 8 :]


def save_animation(path, frames: list[Image.Image], **options):
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("h264.mp4", "libx264", {"g": "12"}),
        ("open_gop.mkv", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=4"}),
        ("vp9.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
        ("mpeg4.avi", "mpeg4", {"q": "2"}),
        ("av1.mp4", "libsvtav1", {"preset": "12"}),
    ],
)
def test_every_frame_of_every_codec_in_order(tmp_path, name, codec, options):
    path = encode(tmp_path / name, numbered(60), codec, **options)
    video = read_video(path, frames=60)
    assert read_numbers(video) == list(range(60))
    np.testing.assert_array_equal(video, decode_with_pyav(path))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 1000),
    fps=st.sampled_from([3, 24, 29.97, 0.5]),
)
def test_lossless_in_memory(shape, seed, fps):
    video = noise(*shape, seed=seed)
    np.testing.assert_array_equal(decode(encode_lossless(video, fps=fps), "it"), video)


def test_widths_that_decord_gives_up_on(tmp_path):
    for width in (2, 8, 16, 24, 48, 72):
        video = noise(3, 20, width)
        write_lossless(tmp_path / "a.mp4", video, fps=3)
        np.testing.assert_array_equal(read_video(tmp_path / "a.mp4", frames=3), video)


@pytest.mark.parametrize("name", ["a.mp4", "a.npy"])
@pytest.mark.parametrize("size", [(64, 64), (63, 65), (36, 64)])
def test_lossless_files_read_back_bit_for_bit(tmp_path, name, size):
    video = noise(6, *size)
    write_lossless(tmp_path / name, video, fps=3)
    np.testing.assert_array_equal(read_video(tmp_path / name, frames=6), video)


def test_only_lossless_forms_of_u8_video_are_written(tmp_path):
    with pytest.raises(VideoError, match=r"use \.mp4 or \.npy"):
        write_lossless(tmp_path / "a.gif", noise(2, 8, 8), fps=3)
    with pytest.raises(VideoError, match="float64"):
        write_lossless(tmp_path / "a.mp4", np.zeros((2, 8, 8, 3)), fps=3)


@pytest.mark.parametrize(("name", "options"), [("a.gif", {}), ("a.webp", {"lossless": True}), ("a.png", {})])
def test_animations_equal_pillow(tmp_path, name, options):
    path = save_animation(tmp_path / name, [Image.fromarray(frame) for frame in noise(5, 32, 48)], **options)
    with Image.open(path) as image:
        expected = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])
    np.testing.assert_array_equal(read_video(path, frames=5), expected)


@pytest.mark.parametrize("disposal", [0, 1, 2])
def test_transparent_gifs_stand_on_black(tmp_path, disposal):
    frames = np.zeros((4, 32, 48, 4), np.uint8)
    for number in range(4):
        frames[number, 5 + number : 15 + number, 5:15] = (255, 60, 0, 255)
    path = save_animation(tmp_path / "a.gif", [Image.fromarray(frame) for frame in frames], disposal=disposal)
    with Image.open(path) as image:
        shown = [Image.alpha_composite(Image.new("RGBA", image.size, "black"), frame.convert("RGBA"))
                 for frame in ImageSequence.Iterator(image)]  # fmt: skip
    np.testing.assert_array_equal(read_video(path), np.stack([np.asarray(frame)[..., :3] for frame in shown]))


def test_a_gif_that_merged_identical_frames_is_short_and_says_why(tmp_path):
    frames = [Image.fromarray(frame) for frame in np.repeat(noise(2, 16, 16), 3, axis=0)]
    path = save_animation(tmp_path / "a.gif", frames)
    assert len(read_video(path)) == 2
    with pytest.raises(VideoError, match=r"2 frames, 6 are needed.*merge identical"):
        read_video(path, frames=6)


def test_published_gifs_give_the_published_scores(real):
    """Golden: SSIM and PSNR, each the mean over the six frames (PSNR pooled over frames would not match)."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    golden = json.loads((real / "seed_dv" / "golden_ssim.json").read_text())
    gifs = real / "seed_dv" / "gifs"
    originals, made = find_videos(gifs / "original"), find_videos(gifs / "reconstructed")
    assert list(originals) == list(made)
    for name in list(originals)[::4]:
        pairs = list(zip(read_video(originals[name], frames=6), read_video(made[name], frames=6), strict=True))
        ssim = np.mean([structural_similarity(a, b, data_range=255, channel_axis=-1) for a, b in pairs])
        psnr = np.mean([peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs])
        expected = golden[name.removeprefix("image")]
        assert ssim == pytest.approx(expected["A_mean"], abs=1e-6)
        assert psnr == pytest.approx(expected["psnr"], abs=1e-6)


def test_a_folder_of_frames_in_natural_order(tmp_path):
    video = noise(12, 8, 10)
    for number, frame in enumerate(video):
        Image.fromarray(frame).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    np.testing.assert_array_equal(read_video(tmp_path, frames=12), video)
    Image.fromarray(noise(9, 10)).save(tmp_path / "frame12.png")
    with pytest.raises(VideoError, match="10×9, the first frame 10×8"):
        read_video(tmp_path)
    (tmp_path / "frame12.png").write_bytes(b"junk")
    with pytest.raises(VideoError, match=r"frame12\.png.*no png file begins like it"):
        read_video(tmp_path)


def test_broken_files_say_what_is_wrong(tmp_path):
    whole = encode(tmp_path / "whole.mp4", numbered(48), "libx264", container={"movflags": "faststart"}).read_bytes()
    webm = encode(tmp_path / "whole.webm", numbered(48), "libvpx-vp9", **{"cpu-used": "8"}).read_bytes()
    index_last = encode(tmp_path / "last.mp4", numbered(48), "libx264").read_bytes()
    gif = save_animation(tmp_path / "a.gif", [Image.fromarray(frame) for frame in noise(5, 32, 48)]).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2 :: 50] = bytes(byte ^ 0xFF for byte in flipped[len(whole) // 2 :: 50])
    cases = {
        "cut.mp4": (whole[: len(whole) * 6 // 10], "cannot be decoded|can be decoded"),
        "no_index.mp4": (index_last[: len(index_last) // 2], "cannot be decoded"),
        "flipped.mp4": (bytes(flipped), "cannot be decoded|can be decoded"),
        "cut.webm": (webm[: len(webm) * 6 // 10], "cannot be decoded whole .* bytes are missing"),
        "live.webm": (without_length(webm)[: len(webm) * 6 // 10], "ended prematurely|it ends at .* announces"),
        "live_end.webm": (without_length(webm)[:-20], "ended prematurely"),  # less than half a second is missing
        "cut.gif": (gif[: len(gif) * 6 // 10], "end mark"),
        "empty.mp4": (b"", "empty"),
        "junk.mp4": (noise(40, 40).tobytes(), "cannot be decoded"),
        "junk.webp": (noise(40, 40).tobytes(), "cannot be decoded"),
        "cut.npy": (b"\x93NUMPY\x01\x00v", "no whole .npy"),
        "words.mp4": (b"<html>not found</html>" * 99, "cannot be decoded"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError, match=words) as error:
            read_video(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "github" not in str(error.value)
    with pytest.raises(VideoError, match="no such file"):
        read_video(tmp_path / "absent.mp4")
    (tmp_path / "frames").mkdir()
    with pytest.raises(VideoError, match="no images"):
        read_video(tmp_path / "frames")


def test_too_few_and_too_many_frames(tmp_path):
    write_lossless(tmp_path / "a.mp4", noise(5, 8, 8), fps=3)
    for wanted in (6, 4):
        with pytest.raises(VideoError, match=f"5 frames, {wanted} are needed"):
            read_video(tmp_path / "a.mp4", frames=wanted)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((6, 8, 8, 3), np.nan), "float64.*NaN"),
        (np.zeros((6, 8, 8, 3), np.float32), "float32"),
        (np.zeros((6, 8, 8), np.uint8), r"\[6, 8, 8\]"),
        (np.zeros((6, 8, 8, 4), np.uint8), r"\[6, 8, 8, 4\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no frames"),
    ],
)
def test_arrays_are_checked(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(VideoError, match=words):
        read_video(tmp_path / "a.npy")


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(VideoError, match=r"no whole \.npy"):
        read_video(tmp_path / "a.npy")


def test_a_video_too_large_to_hold_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    write_lossless(tmp_path / "a.mp4", np.zeros((60, 64, 64, 3), np.uint8), fps=3)  # 737 kB of pixels
    monkeypatch.setenv("BENCH_VIDEO_MEGABYTES", "1")
    with pytest.raises(VideoError, match=r"are 0\.7 MB of pixels, allowed are 0\.6; cut it into clips"):
        read_video(tmp_path / "a.mp4")
    monkeypatch.setenv("BENCH_VIDEO_MEGABYTES", "2")
    assert len(read_video(tmp_path / "a.mp4")) == 60
    monkeypatch.setenv("BENCH_VIDEO_MEGABYTES", "many")
    with pytest.raises(BenchError, match="give whole megabytes"):
        read_video(tmp_path / "a.mp4")


def test_errors_cross_process_borders():
    error = pickle.loads(pickle.dumps(VideoError("a.mp4", "it is empty", "fetch it again")))  # as joblib does
    assert str(error) == "a.mp4: it is empty; fetch it again"


@pytest.mark.parametrize("parameters", ["keyint=48:bframes=3", "open-gop=1:keyint=12:bframes=4"])
def test_clips_picked_from_a_long_video(tmp_path, parameters):
    path = encode(tmp_path / "block.mp4", numbered(400), "libx264", **{"x264-params": parameters})
    first = [72, 168, 100, 340]
    clips = read_clips(path, first, offsets=range(0, 48, 8))
    assert clips.shape == (4, 6, 48, 64, 3)
    for start, clip in zip(first, clips, strict=True):
        assert read_numbers(clip) == list(range(start, start + 48, 8))
    np.testing.assert_array_equal(clips.reshape(-1, 48, 64, 3)[:6], decode_with_pyav(path)[72:120:8])


def test_clips_are_resized_as_opencv_does(tmp_path):
    import cv2

    write_lossless(tmp_path / "block.mp4", noise(20, 48, 64), fps=24)
    clips = read_clips(tmp_path / "block.mp4", [3, 10], offsets=[0, 4], size=(32, 20))
    assert clips.shape == (2, 2, 20, 32, 3)
    np.testing.assert_array_equal(
        clips[1, 1], cv2.resize(read_video(tmp_path / "block.mp4")[14], (32, 20), interpolation=cv2.INTER_LINEAR)
    )


def test_clips_beyond_the_end_are_an_error(tmp_path):
    write_lossless(tmp_path / "block.mp4", noise(20, 8, 8), fps=24)
    with pytest.raises(VideoError, match="20 frames, frame 20 is needed"):
        read_clips(tmp_path / "block.mp4", [16], offsets=[0, 4])
    with pytest.raises(VideoError, match="at least one clip"):
        read_clips(tmp_path / "block.mp4", [], offsets=[0])
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 99)
    with pytest.raises(VideoError, match="cannot be decoded"):
        read_clips(tmp_path / "junk.mp4", [0], offsets=[0])
    with pytest.raises(VideoError, match="cannot be opened"):
        read_clips(tmp_path / "absent.mp4", [0], offsets=[0])


def test_videos_of_a_folder_by_name(tmp_path):
    for name in ("image10.GIF", "image2.mp4", "image1.npy", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "image3").mkdir()
    (tmp_path / "image3" / "0.png").touch()
    (tmp_path / "empty").mkdir()
    assert list(find_videos(tmp_path)) == ["image1", "image2", "image3", "image10"]
    (tmp_path / "image2.gif").touch()
    with pytest.raises(VideoError, match="same name"):
        find_videos(tmp_path)
    with pytest.raises(VideoError, match="no such folder"):
        find_videos(tmp_path / "absent")


def test_decoding_stops_where_more_is_there_than_was_promised():
    content = encode_lossless(np.zeros((9, 20, 36, 3), np.uint8), fps=3)
    assert decode(content, "whole", shape=(9, 20, 36, 3)).shape == (9, 20, 36, 3)
    assert len(decode(content, "shorter", shape=(12, 20, 36, 3))) == 9
    with pytest.raises(VideoError, match=r"9 frames of 36×20 are not the 4 of 36×20 promised"):
        decode(content, "longer", shape=(4, 20, 36, 3))
    with pytest.raises(VideoError, match=r"9 frames of 36×20 are not the 9 of 36×22 promised"):
        decode(content, "smaller", shape=(9, 22, 36, 3))
    large = encode_lossless(np.zeros((1, 512, 512, 3), np.uint8), fps=3)
    with pytest.raises(VideoError, match=r"1 frames of 512×512 are not the 9 of 36×20 promised"):
        decode(large, "larger", shape=(9, 20, 36, 3))


def test_a_playlist_is_no_video_of_the_store(tmp_path):
    (tmp_path / "secret.mp4").write_bytes(encode_lossless(np.zeros((3, 32, 32, 3), np.uint8), fps=3))
    with pytest.raises(VideoError, match="cannot be decoded"):
        decode(f"ffconcat version 1.0\nfile '{tmp_path}/secret.mp4'\n".encode(), "playlist")
