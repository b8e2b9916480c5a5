"""A toy checkout of VBench: short lists in its format, and stand-ins of its scripts that write files of its shape."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fewstep.manifest import Entry, Manifest, Settings, file_hash
from fewstep.pictures import fit_picture, read_picture
from fewstep.vbench.dimensions import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
from fewstep.video import write_image

ENTRIES = [
    {"prompt_en": "In a still frame, a stop sign", "dimension": ["temporal_flickering"]},
    {"prompt_en": "a person is riding a bike", "dimension": ["human_action"]},
    {"prompt_en": "The bund Shanghai, oil painting", "dimension": ["appearance_style"]},
    {"prompt_en": "a red bicycle", "dimension": ["color"], "auxiliary_info": {"color": {"color": "red"}}},
    {
        "prompt_en": "The bund Shanghai, oil painting",
        "dimension": ["overall_consistency", "aesthetic_quality", "imaging_quality"],
    },
    {"prompt_en": "a bird", "dimension": ["subject_consistency", "dynamic_degree", "motion_smoothness"]},
    {"prompt_en": "alley", "dimension": ["scene", "background_consistency"]},
    {"prompt_en": "a cat and a dog", "dimension": ["multiple_objects"]},
    {"prompt_en": "a dog", "dimension": ["object_class"]},
    {"prompt_en": "a dog on the left of a cat", "dimension": ["spatial_relationship"]},
    {"prompt_en": "a coastal beach, in super slow motion", "dimension": ["temporal_style"]},
]
PAIRS = [
    {
        "prompt_en": "a bird flies",
        "dimension": ["i2v_subject", "subject_consistency"],
        "image_name": "a bird flies.jpg",
    },
    {"prompt_en": "a field", "dimension": ["i2v_background", "background_consistency"], "image_name": "a field.jpg"},
    {"prompt_en": "a field, camera pans left", "dimension": ["camera_motion"], "image_name": "a field.jpg"},
]
SETTINGS = Settings(
    prompt="",
    seed=0,
    index=0,
    batch=(0, 1),
    model="toy",
    fingerprint={"transformer": "abc"},
    sampling={"plan": [1.0]},
    negative_prompt=None,
    begins_with=None,
    frames=16,
    height=32,
    width=48,
    enlarge=1,
    fps=8.0,
    dtype="float32",
)
EVALUATE = """
import argparse, json, os, sys
from pathlib import Path
parser = argparse.ArgumentParser()
for name in ("videos_path", "dimension", "output_path", "full_json_dir", "ratio", "load_ckpt_from_local"):
    parser.add_argument("--" + name)
options = parser.parse_args()
assert Path.cwd() == Path(__file__).parent, "VBench runs in its checkout"
assert "PYTHONPATH" not in os.environ and "MASTER_PORT" in os.environ
print("evaluating", options.dimension, flush=True)
if Path("broken").exists():
    print("CUDA out of memory", flush=True)
    sys.exit(3)
if Path("slow").exists():
    import time
    time.sleep(60)
there = sorted(os.listdir(options.videos_path))
clips = []
for entry in json.loads(Path(options.full_json_dir).read_text()):
    if options.dimension in entry["dimension"]:
        names = [f"{entry['prompt_en']}-{i}.mp4" for i in range(5)]
        clips += [
            {"video_path": os.path.join(options.videos_path, name), "video_results": 0.5 + 0.1 * (name[-5] == "0")}
            for name in names if name in there
        ]
mean = sum(clip["video_results"] for clip in clips) / len(clips)
if options.dimension == "imaging_quality":
    for clip in clips:
        clip["video_results"] *= 100
out = Path(options.output_path)
out.mkdir(exist_ok=True)
(out / "results_2026-11-20-10:00:00_full_info.json").write_text("[]")
middle = [{"pan_left": mean}] if options.dimension == "camera_motion" else []
text = json.dumps({options.dimension: [mean, *middle, clips]})
(out / "results_2026-11-20-10:00:00_eval_results.json").write_text(text)
"""
FILTER = """
import argparse, shutil
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--videos_path"), parser.add_argument("--result_path")
options = parser.parse_args()
target = Path(options.result_path) / "filtered_videos"
target.mkdir()
still = sorted(Path(options.videos_path).glob("In a still frame*"))[1:4]
for number, path in enumerate(still):
    shutil.copy(path, target / f"In a still frame, a stop sign-{number}.mp4")
"""


class Toy:
    """The checkout, and sampled folders that fit it."""

    python = Path(sys.executable)

    def __init__(self, folder: Path):
        self.folder = folder
        self.checkout = folder / "VBench"

    @property
    def texts(self) -> list[str]:
        """Prompts of VBench's list, each once."""
        return list(dict.fromkeys(str(entry["prompt_en"]) for entry in ENTRIES))

    def sample(self, name: str, prompts: Sequence[str], seeds: Sequence[int], **settings: object) -> Path:
        """A folder of `fewstep sample`: a clip of each prompt for each seed, whose bytes say what it is."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        manifest = Manifest(folder)
        for seed in seeds:
            for index, prompt in enumerate(prompts):
                path = folder / f"clip-{index:03d}-seed{seed}.mp4"
                path.write_bytes(f"{prompt} {seed}".encode())
                own = {"prompt": prompt, "seed": seed, "index": index, **settings}
                if pictures := own.pop("pictures", None):
                    own["begins_with"] = pictures[index]
                manifest.add(
                    Entry(
                        file=path.name,
                        sha256=file_hash(path),
                        settings=Settings(**{**vars(SETTINGS), **own}),
                        network_evaluations=1,
                        commits=1,
                        seconds={"total": 1.0},
                    )
                )
        return folder

    def begin(self, name: str, images: Sequence[str]) -> list[str]:
        """Pictures as `fewstep sample --images` leaves them beside its clips; what its manifest says of each."""
        told = []
        for index, image in enumerate(images):
            source = self.checkout / "vbench2_beta_i2v" / "data" / "crop" / "3-2" / image
            target = self.folder / name / f"begin-{index:03d}.png"
            write_image(target, fit_picture(read_picture(source), 32, 48))
            told.append(f"{target.name} {file_hash(target)}")
        return told


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """Lists of a few prompts, pictures, and scripts that write results of VBench's form."""
    checkout = tmp_path / "VBench"
    for suite, entries in ((TEXT_TO_VIDEO, ENTRIES), (IMAGE_TO_VIDEO, PAIRS)):
        path = checkout / suite.info
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(entries, indent=4))
        (checkout / suite.script).write_text(EVALUATE)
    (checkout / "static_filter.py").write_text(FILTER)
    ramp = np.arange(60 * 90, dtype=np.uint32).reshape(60, 90, 1) // np.array([20, 30, 40], np.uint32)
    for number, name in enumerate(("a bird flies.jpg", "a field.jpg")):
        picture = (ramp // 2 + 100 * number).clip(0, 255).astype(np.uint8)
        write_image(checkout / "vbench2_beta_i2v" / "data" / "crop" / "3-2" / name, picture)
    return Toy(tmp_path)
