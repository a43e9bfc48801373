"""What a player shows is what is read: edit lists, turned frames, covers, transparency and bit depths, by one rule."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from containers import PARENTS, box, boxes, find, with_edits
from PIL import Image
from test_video import encode, noise, numbered, read_numbers

from bench.store.video import VideoError, read_video

CODECS = {
    "a.mp4": ("libx264", {"bf": "0", "g": "8"}),
    "b.mp4": ("libx264", {"bf": "2", "g": "12"}),
    "open_gop.mp4": ("libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3"}),
    "mpeg4.mp4": ("mpeg4", {"g": "6", "q": "2"}),
    "av1.mp4": ("libsvtav1", {"preset": "12"}),
}
EDITS = {  # seconds of duration, seconds where it starts; −1 shows nothing
    "the end is cut": [(0.5, 0)],
    "the start is cut, not at a key frame": [(0.5, 0.375)],
    "a part is shown twice": [(0.25, 0.25), (0.25, 0.25)],
    "two parts in the other order": [(0.25, 0.5), (0.25, 0)],
    "a pause, then a part": [(0.5, -1), (0.25, 0.25)],
}


def first_time(mp4: bytes) -> float:
    """Seconds of the first frame of a film without edits: what its encoder's own edit list cuts off."""
    inside = dict(boxes(find(mp4, b"moov", b"trak")))
    if b"edts" not in inside:
        return 0.0
    start = int.from_bytes(find(inside[b"edts"], b"elst")[12:16], "big")
    return start / int.from_bytes(find(mp4, b"moov", b"trak", b"mdia", b"mdhd")[12:16], "big")


@pytest.mark.parametrize("name", CODECS)
def test_edit_lists_cut_and_repeat(tmp_path, name):
    codec, options = CODECS[name]
    content = encode(tmp_path / name, numbered(24), codec, **options).read_bytes()
    for edits in EDITS.values():
        (tmp_path / name).write_bytes(with_edits(content, edits, first=first_time(content)))
        shown = [
            number
            for duration, start in edits
            for number in range(24)
            if start >= 0 and start <= number / 24 < start + duration
        ]
        assert read_numbers(read_video(tmp_path / name)) == shown, edits


def test_edit_lists_that_players_follow_differently_are_refused(tmp_path):
    content = encode(tmp_path / "a.mp4", numbered(24), "mpeg4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(with_edits(content, [(0.25, 0), (0.5, -1), (0.25, 0.5)]))
    with pytest.raises(VideoError, match="pauses after frames were shown"):
        read_video(tmp_path / "a.mp4")
    slow = with_edits(content, [(1, 0)]).replace(b"\0\1\0\0", b"\0\0\x80\0")
    (tmp_path / "a.mp4").write_bytes(slow)
    with pytest.raises(VideoError, match=r"at 0\.50 times its speed"):
        read_video(tmp_path / "a.mp4")


def test_damage_in_a_film_that_is_cut_is_no_shorter_film(tmp_path):
    """Frames that an edit list shows and that are not there are missed."""
    content = encode(tmp_path / "a.mp4", noise(24, 48, 64), "libx264", bf="0", g="8").read_bytes()
    cut = bytearray(with_edits(content, [(0.5, 0)]))
    start, length = cut.index(b"mdat") + 4, len(find(content, b"mdat"))
    cut[start + length // 4 : start + length // 3] = bytes(length // 3 - length // 4)
    (tmp_path / "a.mp4").write_bytes(cut)
    with pytest.raises(VideoError, match="decoded"):
        read_video(tmp_path / "a.mp4")


TURNS = {  # a b u c d v x y w: what is at (x, y) is shown at (a x + c y, b x + d y); and what numpy does for it
    "quarter": ((0, 1, -1, 0), lambda video: np.rot90(video, -1, axes=(1, 2))),
    "half": ((-1, 0, 0, -1), lambda video: video[:, ::-1, ::-1]),
    "three quarters": ((0, -1, 1, 0), lambda video: np.rot90(video, 1, axes=(1, 2))),
    "mirrored": ((-1, 0, 0, 1), lambda video: video[:, :, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda video: video[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda video: video.swapaxes(1, 2)),
}


def write_turned(path, video, entries, codec, pixels):
    a, b, c, d = (round(entry * 65536) for entry in entries)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=24, options={"qp": "0"} if "264" in codec else {"q": "1"})
        stream.height, stream.width, stream.pix_fmt = *video.shape[1:3], pixels
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for frame in video:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("codec", "pixels"), [("libx264rgb", "rgb24"), ("mpeg4", "yuv420p")])
def test_turned_and_mirrored_films(tmp_path, turn, codec, pixels):
    entries, expected = TURNS[turn]
    video = np.repeat(np.repeat(noise(3, 3, 4), 16, axis=1), 16, axis=2)
    shown = read_video(write_turned(tmp_path / "a.mp4", video, entries, codec, pixels)).astype(int)
    if codec == "libx264rgb":
        np.testing.assert_array_equal(shown, expected(video))
    else:  # blocks of one colour, so that the wrong turn is far off
        assert np.abs(shown - expected(video)).mean() < 20


def test_an_angle_that_is_no_quarter_turn_is_refused(tmp_path):
    with pytest.raises(VideoError, match="no quarter turn"):
        read_video(write_turned(tmp_path / "a.mp4", noise(2, 16, 16), (0.8, 0.6, -0.6, 0.8), "libx264rgb", "rgb24"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_pictures_stand_upright(tmp_path, orientation, suffix):
    """EXIF's eight orientations, as its standard tells them: which row and column of the file are top and left."""
    upright = np.repeat(np.repeat(noise(3, 4), 16, axis=0), 16, axis=1)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"0.{suffix}", exif=exif, **options)
    shown = read_video(tmp_path)[0].astype(int)
    assert shown.shape == upright.shape
    assert np.abs(shown - upright).max() <= (12 if suffix == "jpg" else 0)


def add_film(out, codec, size, **options):
    stream = out.add_stream(codec, rate=24, options=options)
    stream.height, stream.width = size
    stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
    return stream


def mux(out, stream, video):
    for frame in video:
        out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    out.mux(stream.encode())


def test_a_cover_picture_is_no_film(tmp_path):
    """As an mp4 marks it (a stream of disposition attached_pic), and as a Matroska file attaches it."""
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        cover, film = add_film(out, "mjpeg", (32, 32)), add_film(out, "libx264", (48, 64))
        cover.disposition = av.stream.Disposition.attached_pic
        mux(out, cover, np.full((1, 32, 32, 3), 200, np.uint8))
        mux(out, film, numbered(12))
    picture = io.BytesIO()
    Image.fromarray(noise(32, 32)).save(picture, "JPEG")
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        out.add_attachment("cover.jpg", "image/jpeg", picture.getvalue())
        film = add_film(out, "libx264", (48, 64))
        mux(out, film, numbered(12))
    for name in ("a.mp4", "a.mkv"):
        assert read_numbers(read_video(tmp_path / name)) == list(range(12))


def test_several_films_are_refused_by_name(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        films = [add_film(out, "mpeg4", (48, 64)), add_film(out, "libx264", (32, 32))]
        mux(out, films[0], numbered(3))
        mux(out, films[1], noise(3, 32, 32))
    with pytest.raises(VideoError, match=r"several video streams \(0: mpeg4 64×48, 1: h264 32×32\)"):
        read_video(tmp_path / "a.mkv")
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        sound = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    with pytest.raises(VideoError, match="holds no video"):
        read_video(tmp_path / "sound.mp4")


def plant(path, values, pixels, codec, *, matrix=None, full=False):
    """A film of one colour, given as the values of its planes at their own depth."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=24)
        stream.height, stream.width, stream.pix_fmt = 16, 16, pixels
        stream.codec_context.color_range = ColorRange.JPEG if full else ColorRange.MPEG
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        for _ in range(2):
            frame = av.VideoFrame(16, 16, pixels)
            frame.color_range = stream.codec_context.color_range
            if matrix is not None:
                frame.colorspace = matrix
            for plane, value in zip(frame.planes, values, strict=True):
                kind = np.uint8 if pixels in ("yuv444p", "yuva444p") else np.uint16
                np.frombuffer(plane, kind)[:] = value
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize(("pixels", "bits"), [("yuv444p", 8), ("yuv444p10le", 10), ("yuv444p12le", 12),
                                              ("yuv444p16le", 16)])  # fmt: skip
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [None, Colorspace.ITU601, Colorspace.ITU709])
def test_colours_of_any_depth_matrix_and_range(tmp_path, pixels, bits, full, matrix):
    """ITU-R BT.601 and BT.709 by their own formulas, from luma and colour differences of 8 to 16 bits."""
    y, u, v = 120, 90, 180
    shown = read_video(plant(tmp_path / "a.mkv", [one << (bits - 8) for one in (y, u, v)], pixels, "ffv1",
                             matrix=matrix, full=full))[0, 8, 8]  # fmt: skip
    red, blue = (0.2126, 0.0722) if matrix == Colorspace.ITU709 else (0.299, 0.114)
    luma, cb, cr = (
        (y, u - 128, v - 128) if full else ((y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224)
    )
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    np.testing.assert_allclose(shown, [r, g, b], atol=3)


def test_transparent_films_stand_on_black(tmp_path):
    frame = np.zeros((16, 16, 4), np.uint8)
    frame[..., :3], frame[..., 3] = (200, 100, 40), 128
    with av.open(str(tmp_path / "a.mov"), "w") as out:
        stream = out.add_stream("png", rate=24)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "rgba"
        for _ in range(2):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba")))
        out.mux(stream.encode())
    np.testing.assert_allclose(read_video(tmp_path / "a.mov")[0, 0, 0], np.array([200, 100, 40]) * 128 / 255, atol=1)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparent_webm_stands_on_black(tmp_path, codec):
    frame = np.zeros((16, 32, 4), np.uint8)
    frame[..., :3], frame[:, :16, 3], frame[:, 16:, 3] = (200, 100, 40), 255, 128
    with av.open(str(tmp_path / "a.webm"), "w") as out:
        stream = out.add_stream(codec, rate=24, options={"auto-alt-ref": "0"})
        stream.height, stream.width, stream.pix_fmt = 16, 32, "yuva420p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba").reformat(format="yuva420p")))
        out.mux(stream.encode())
    shown = read_video(tmp_path / "a.webm", frames=3)
    np.testing.assert_allclose(shown[:, 8, 4], [[200, 100, 40]] * 3, atol=4)
    np.testing.assert_allclose(shown[:, 8, 28], [np.array([200, 100, 40]) * 128 / 255] * 3, atol=4)


def test_pictures_of_every_depth(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    grey = (ramp >> 8).astype(np.uint8)
    alpha = np.full((16, 16), 128, np.uint8)
    palette = Image.fromarray(noise(16, 16)).quantize(16)
    pictures = {
        "16 bit": (Image.fromarray(ramp), np.repeat(grey[..., None], 3, -1), "png"),
        "16 bit tiff": (Image.fromarray(ramp), np.repeat(grey[..., None], 3, -1), "tif"),
        "8 bit": (Image.fromarray(grey), np.repeat(grey[..., None], 3, -1), "png"),
        "1 bit": (Image.fromarray(grey > 127), np.repeat((grey > 127)[..., None] * 255, 3, -1), "png"),
        "LA": (Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), None, "png"),
        "palette": (palette, np.asarray(palette.convert("RGB")), "png"),
    }
    pictures["LA"] = (pictures["LA"][0], np.repeat((grey * (128 / 255)).round()[..., None], 3, -1), "png")
    for name, (image, expected, suffix) in pictures.items():
        folder = tmp_path / name
        folder.mkdir()
        image.save(folder / f"0.{suffix}")
        np.testing.assert_allclose(read_video(folder)[0], expected, atol=1, err_msg=name)
    for mode, kind in (("F", np.float32), ("I", np.int32)):
        folder = tmp_path / mode
        folder.mkdir()
        Image.fromarray(ramp.astype(kind), mode=mode).save(folder / "0.tif")
        with pytest.raises(VideoError, match=f"of mode {mode} "):
            read_video(folder)


def test_one_picture_a_file_of_a_folder(tmp_path):
    frames = [Image.fromarray(frame) for frame in noise(3, 8, 8)]
    for suffix in ("png", "webp", "tif"):
        folder = tmp_path / suffix
        folder.mkdir()
        frames[0].save(folder / f"0.{suffix}", save_all=True, append_images=frames[1:])
        with pytest.raises(VideoError, match=r"more than one picture|holds 3 pictures"):
            read_video(folder)


def test_a_film_in_hdr_is_refused(tmp_path):
    """Its tag alone is forged: transfer 16 of `colr`, which says PQ."""
    content = encode(tmp_path / "a.mp4", numbered(2), "libx264", pixels="yuv420p10le").read_bytes()
    colours = box(b"colr", b"nclx" + bytes([0, 9, 0, 16, 0, 9, 0]))
    (tmp_path / "a.mp4").write_bytes(with_description(content, colours))
    with pytest.raises(VideoError, match=r"HDR \(PQ\)"):
        read_video(tmp_path / "a.mp4")


def with_description(mp4: bytes, extra: bytes) -> bytes:
    """The mp4 with another box in the description of its film's frames."""
    entry = find(mp4, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    grown = entry[:8] + box(entry[12:16], entry[16:] + extra)

    def rebuild(inside: bytes) -> bytes:
        return b"".join(
            box(name, grown if name == b"stsd" else rebuild(part) if name in PARENTS else part)
            for name, part in boxes(inside)
        )

    return rebuild(mp4)


def test_films_whose_container_cuts_off_edges_are_refused(tmp_path):
    """Some players show them cut, and some whole; an aperture of all of the picture cuts nothing."""
    content = encode(tmp_path / "a.mp4", numbered(2), "libx264").read_bytes()
    for size, refused in (((64, 48), False), ((32, 24), True)):
        aperture = box(b"clap", struct.pack(">8I", size[0], 1, size[1], 1, 0, 1, 0, 1))
        (tmp_path / "a.mp4").write_bytes(with_description(content, aperture))
        if refused:
            with pytest.raises(VideoError, match=r"edges of its picture \(clap\)"):
                read_video(tmp_path / "a.mp4")
        else:
            assert read_numbers(read_video(tmp_path / "a.mp4")) == [0, 1]
    mkv = encode(tmp_path / "a.mkv", numbered(2), "libx264").read_bytes()
    place = mkv.index(b"\x54\xb2\x81")  # DisplayUnit, in the description of the film
    (tmp_path / "a.mkv").write_bytes(mkv[:place] + b"\x54\xaa\x81\x08" + mkv[place + 4 :])  # PixelCropBottom 8
    with pytest.raises(VideoError, match=r"edges of its picture \(PixelCrop\)"):
        read_video(tmp_path / "a.mkv")


def test_decord_reads_the_same_pixels_where_it_reads_a_film_rightly(tmp_path):
    """Another reader, which the project has used: plain films of four codecs."""
    decord = pytest.importorskip("decord")
    for name, codec in (("a.mp4", "libx264"), ("b.mkv", "libx264"), ("c.webm", "libvpx-vp9"), ("d.avi", "mpeg4")):
        path = encode(tmp_path / name, numbered(12), codec)
        reader = decord.VideoReader(io.BytesIO(path.read_bytes()), num_threads=1)
        np.testing.assert_array_equal(read_video(path), reader.get_batch(range(12)).asnumpy())
