"""Prompt lists: the official one by its hash, the extended ones by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewstep.vbench.dimensions import IMAGE_TO_VIDEO, TEXT_TO_VIDEO
from fewstep.vbench.image_to_video import PictureError
from fewstep.vbench.material import write_orders
from fewstep.vbench.prompts import Item, PromptListError, colliding, read_prompts


def read(toy, *, extended: Path | None = None, suite=TEXT_TO_VIDEO):
    return read_prompts(toy.checkout, suite, extended, any_list=True)


def rewrite(toy, entries: list[dict]) -> None:
    (toy.checkout / TEXT_TO_VIDEO.info).write_text(json.dumps(entries))


def test_another_list_than_the_official_one_is_refused_with_all_that_differs(toy) -> None:
    with pytest.raises(
        PromptListError, match=r"946 entries, got 11; 72 prompts of subject_consistency, got 1.*SHA-256"
    ):
        read_prompts(toy.checkout, TEXT_TO_VIDEO)
    with pytest.raises(PromptListError, match="1118 entries, got 3; 246 prompts of i2v_subject, got 1"):
        read_prompts(toy.checkout, IMAGE_TO_VIDEO)
    assert not read(toy).official


def test_no_checkout_and_damaged_lists_are_refused(toy, tmp_path: Path) -> None:
    with pytest.raises(PromptListError, match="a checkout of VBench was required"):
        read_prompts(tmp_path / "nowhere", TEXT_TO_VIDEO)
    for content in ("[{", "[1]", '[{"prompt_en": "a"}]', '{"a": 1}'):
        (toy.checkout / TEXT_TO_VIDEO.info).write_text(content)
        with pytest.raises(PromptListError, match="is no prompt list of VBench"):
            read(toy)


def test_a_prompt_in_two_places_is_one_item_with_all_its_dimensions(toy) -> None:
    prompts = read(toy)
    assert [item.prompt for item in prompts.items] == toy.texts
    (bund,) = (item for item in prompts.items if item.prompt.startswith("The bund"))
    assert bund.dimensions == ("appearance_style", "overall_consistency", "aesthetic_quality", "imaging_quality")
    assert [item.prompt for item in prompts.of("scene")] == ["alley"]


def test_extended_prompts_are_matched_by_line_and_name_no_files(toy, tmp_path: Path) -> None:
    entries = json.loads((toy.checkout / TEXT_TO_VIDEO.info).read_text())
    lines = [f"{entry['prompt_en']}, in\u2028detail, {number}" for number, entry in enumerate(entries)]
    path = tmp_path / "long.txt"
    path.write_text("\n".join(lines) + "\n\n")
    prompts = read(toy, extended=path)
    assert prompts.extended == "unknown list"
    texts = {item.prompt: item.text for item in prompts.items}
    assert texts["alley"] == lines[6]
    assert texts["The bund Shanghai, oil painting"] == lines[2]


def test_extended_prompts_that_do_not_fit_are_refused(toy, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    with pytest.raises(PromptListError, match="a file of extended prompts was required"):
        read(toy, extended=path)
    path.write_text("one\ntwo\n")
    with pytest.raises(PromptListError, match="a line for each of 11 entries, got 2"):
        read(toy, extended=path)
    entries = json.loads((toy.checkout / TEXT_TO_VIDEO.info).read_text())
    lines = [entry["prompt_en"] for entry in entries]
    path.write_text("\n".join([*lines[:3], "", *lines[4:]]))
    with pytest.raises(PromptListError, match="an empty line 4"):
        read(toy, extended=path)
    path.write_text("\n".join(["something else", *lines[:-1]]))
    with pytest.raises(PromptListError, match=r"off by \+1 lines"):
        read(toy, extended=path)


def test_prompts_that_cannot_name_a_file_are_refused(toy) -> None:
    rewrite(toy, [{"prompt_en": "é" * 125, "dimension": ["scene"]}])
    with pytest.raises(PromptListError, match=r"at most 255 bytes, 'é+…' would need 257"):
        read(toy)
    rewrite(toy, [{"prompt_en": "é" * 124, "dimension": ["scene"]}])
    assert len(read(toy).items) == 1
    rewrite(toy, [{"prompt_en": "black/white", "dimension": ["scene"]}])
    with pytest.raises(PromptListError, match="has a slash"):
        read(toy)


def test_prompts_that_differ_in_case_only_collide() -> None:
    items = [Item(prompt, prompt, ()) for prompt in ("a fantasy land", "A fantasy land", "a dog")]
    assert colliding(items) == [("a fantasy land", "A fantasy land")]


def test_five_clips_are_asked_of_each_prompt_and_twenty_more_where_it_must_not_move(toy, tmp_path: Path) -> None:
    prompts = read(toy)
    orders = write_orders(prompts, list(TEXT_TO_VIDEO), tmp_path / "out")
    assert [(order.count, order.first_seed, order.samples) for order in orders] == [(10, 0, 5), (1, 5, 20)]
    assert sum(order.clips for order in orders) == sum(prompts.candidates(item) for item in prompts.items) == 70
    assert orders[0].prompts.read_text().splitlines() == toy.texts
    assert orders[1].prompts.read_text() == "In a still frame, a stop sign\n"
    assert orders[0].options.endswith("--seeds 0,1,2,3,4")
    (few,) = write_orders(prompts, [TEXT_TO_VIDEO["scene"]], tmp_path / "few")
    assert few.prompts.read_text() == "alley\n"


def test_one_extended_form_of_two_prompts_is_sampled_once(toy, tmp_path: Path) -> None:
    rewrite(toy, [{"prompt_en": prompt, "dimension": ["scene"]} for prompt in ("alley", "an alley", "barn")])
    path = tmp_path / "long.txt"
    path.write_text("a long alley\na long alley\na large barn")
    (order,) = write_orders(read(toy, extended=path), [TEXT_TO_VIDEO["scene"]], tmp_path / "out")
    assert order.prompts.read_text() == "a long alley\na large barn\n"


def test_pictures_stand_in_the_order_of_their_prompts(toy, tmp_path: Path) -> None:
    prompts = read(toy, suite=IMAGE_TO_VIDEO)
    (order,) = write_orders(prompts, list(IMAGE_TO_VIDEO), tmp_path / "out", (32, 48))
    assert order.prompts.read_text().splitlines() == ["a bird flies", "a field", "a field, camera pans left"]
    bird, field, again = (path.read_bytes() for path in sorted(order.pictures.iterdir()))
    assert field == again != bird
    assert order.options.endswith(f"--images {order.pictures}")
    with pytest.raises(ValueError, match="--size is required"):
        write_orders(prompts, list(IMAGE_TO_VIDEO), tmp_path / "none")
    with pytest.raises(PictureError, match=r"crop_to_diff_ratio\.py --target_ratio 26-15"):
        write_orders(prompts, list(IMAGE_TO_VIDEO), tmp_path / "wide", (480, 832))
    with pytest.raises(PictureError, match="from 1:1 to 16:9, got clips of 32x48"):
        write_orders(prompts, list(IMAGE_TO_VIDEO), tmp_path / "tall", (48, 32))
