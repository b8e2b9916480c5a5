"""From a prompt to pixels: load a model folder, generate whole clips, or stream them chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from fewstep import rollout as autoregression
from fewstep.checkpoints.decoder import open_decoder
from fewstep.checkpoints.keys import Weights
from fewstep.checkpoints.lora import attach, merge
from fewstep.checkpoints.lora_file import read_loras
from fewstep.checkpoints.model_files import find_model
from fewstep.checkpoints.texts import prompt_embeddings
from fewstep.diffusion.steps import StepPlan
from fewstep.hardware import Format, Stopwatch, pick_device
from fewstep.models.cache import Context
from fewstep.models.checkpoint_dir import Passport
from fewstep.models.compilation import compile_blocks
from fewstep.models.dit import VideoDiT
from fewstep.models.embeddings import PromptEmbeddings
from fewstep.models.placing import Placing
from fewstep.models.taehv import TinyDecoder
from fewstep.models.text import TextEncoder
from fewstep.models.tiling import Tiling
from fewstep.models.vae import VideoVAE
from fewstep.pictures import PictureSource
from fewstep.rollout import OnStep
from fewstep.sampling import Causal, clip_noise_source, draw_noise, renoising_source, require_room, require_whole
from fewstep.session import StreamSession, to_pictures
from fewstep.shot import Generation, Shot, ShotOptions, begin_with, choose_sampling, count_frames, pixel_size, step_plan
from fewstep.types import Frames, Latents, TextEmbeds

DECODED_AT_ONCE = 4
"""Latent frames of one clip that are pixels at the same time."""


class Pipeline:
    """A text encoder, a VideoDiT and a VAE with the passport that says how they were trained to be used."""

    def __init__(
        self,
        net: VideoDiT,
        vae: VideoVAE,
        text: TextEncoder | PromptEmbeddings,
        passport: Passport,
        decoder: TinyDecoder | None = None,
    ):
        """`text` says what prompts mean; `decoder` makes the pictures in the autoencoder's place."""
        self.net, self.vae, self.passport, self.decoder = net.eval(), vae.eval(), passport, decoder or vae
        self.text = text if isinstance(text, PromptEmbeddings) else PromptEmbeddings(lambda: text)
        self.device = next(net.parameters()).device
        self.dtype = next(net.parameters()).dtype

    @classmethod
    def load(
        cls,
        name_or_dir: str | Path,
        *,
        revision: str | None = None,
        student: str | Path | None = None,
        weights: Weights = "auto",
        passport: Mapping[str, Any] | None = None,
        lora: Iterable[tuple[str | Path, float]] = (),
        merge_lora: bool = True,
        prompt_store: str | Path | None = None,
        keep_text_encoder: bool | None = None,
        decoder: str | Path | None = None,
        tile: int | None = None,
        device: str | torch.device | None = None,
        dtype: Format | torch.dtype = "auto",
        offload: bool = False,
        compile: bool = False,
    ) -> Pipeline:
        """A model by bundled name, folder (ours, diffusers' or Wan's own) or hub id. Raises ValueError.

        Args:
            revision: Branch, tag or commit of a repository on the hub.
            student: File or folder of a causal student, whose transformer takes the model's place.
            weights: Which network of a training state: its average (`ema`), the `live` one, or the average if any.
            passport: Fields of the passport to change, such as `layout` and `levels` of a student that has none.
            lora: LoRA files and their strengths, 1 being what each was trained for.
            merge_lora: Fold them into the weights; else they stay beside them, which costs time and rounds less.
            prompt_store: Embeddings that `fewstep encode` made; prompts that are in it need no text encoder.
            keep_text_encoder: On the device after use. By default a large one waits in host memory; False drops it.
            decoder: Weights of a small decoder (TAEHV) that makes the pictures in the autoencoder's place.
            tile: Pixels of the square tiles in which the autoencoder takes larger frames, to save memory.
            dtype: "auto" is bfloat16 where the hardware multiplies it natively; "float8" is of the blocks' weights.
            offload: Keep blocks, the past and the text encoder in host memory; what computes is on the device.
            compile: Fuse the transformer's blocks by torch.compile: slow first clips, faster ones after.
        """
        target = pick_device(device)
        files = find_model(name_or_dir, revision=revision, student=student, weights=weights, changes=passport)
        placing = Placing.choose(target, dtype, offload)
        options = {"dtype": placing.dtype, "device": target}
        text = prompt_embeddings(files, store=prompt_store, keep=keep_text_encoder, offload=placing.offload, **options)
        vae = files.vae(**options)
        vae.tiling = Tiling.square(tile)
        small = None if decoder is None else open_decoder(decoder, like=vae, **options)
        net = files.transformer(dtype=placing.dtype, device=placing.loads_on)
        (merge if merge_lora else attach)(net, read_loras(lora))
        pipeline = cls(placing.place(net), vae, text, files.passport, small)
        if compile:
            compile_blocks(pipeline.net)
        return pipeline

    @property
    def text_encoder(self) -> TextEncoder:
        """The text encoder, loaded if it is not there."""
        return self.text.encoder

    @property
    def is_student(self) -> bool:
        """Whether the model makes clips chunk by chunk in few steps."""
        return self.passport.kind == "student"

    @property
    def pixel_frames(self) -> int:
        """Pictures of a clip of the length that the model was trained for."""
        return self.vae.pixel_frames(self.passport.latent_frames)

    def plan(self, steps: int | None = None, first: int | None = None, second: int | None = None) -> StepPlan:
        """A student's noise levels at `steps` per chunk, `first` or `second` for that chunk. Raises ValueError."""
        return step_plan(self.passport, steps, first, second)

    @torch.inference_mode()
    def shot(
        self,
        *,
        steps: int | None = None,
        first: int | None = None,
        second: int | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        image: PictureSource | None = None,
        video: str | Path | Frames | None = None,
        guidance: float | None = None,
    ) -> Shot:
        """What `generate` makes under these options, whatever the prompt. Raises ValueError for what cannot be.

        Args:
            steps: Network evaluations per chunk of a student, its full list when None; Euler steps (50) of a teacher.
            first: Steps of a student's first chunk.
            second: Steps of its second chunk, in the place of `first`.
            frames: Pictures per clip, what it begins with included; the trained length when None.
            height: Pixels; the trained size when None.
            width: Pixels.
            image: What a student's clip begins with: a file, a PIL picture, an `H W 3` array.
            video: A clip whose end a student's clip begins with: a file, or `f H W 3` at the model's rate.
            guidance: Classifier-free guidance, for teachers.
        """
        patch, stride = self.net.cfg.patch, self.vae.spatial_stride
        size = pixel_size(self.passport, (stride * patch[1], stride * patch[2]), height, width)
        prefix = begin_with(self.passport, self.vae, image, video, size)
        sampling = choose_sampling(
            self.passport, steps, first, guidance, second=second, behind_prefix=prefix is not None
        )
        total = count_frames(self.passport, self.vae, frames, 0 if prefix is None else prefix.shape[1])
        rows, cols = size[0] // stride, size[1] // stride
        tokens = total * rows * cols // (patch[1] * patch[2])
        null = self._encode_null() if sampling.needs_null else None
        return Shot(sampling, total, (self.vae.channels, rows, cols), tokens, prefix, null)

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int = 0,
        index: int = 0,
        batch: int | None = None,
        on_step: OnStep | None = None,
        **options: Unpack[ShotOptions],
    ) -> Generation:
        """One clip per prompt under the options of `shot`: steps, first, frames, height, width, image, video, guidance.

        All noise of clip i is that of (seed, index + i), the first the same under every plan, so plans can be compared
        side by side, and a clip is the same in any batch, to the rounding of products that are computed together.
        `batch` clips are made at once, by default several small ones or one large one. `on_step(chunk, step, x0)`
        observes each step of each batch.
        """
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if not isinstance(prompts, Sequence) or not prompts or not all(isinstance(p, str) for p in prompts):
            raise ValueError(f"prompts must be one text or several, got {prompts!r}")
        if batch is not None:
            require_whole("batch", batch, 1)
        watch, shot = Stopwatch(self.device), self.shot(**options)
        with watch("text"):
            self.text.prepare(prompts)
        batch = batch or shot.batch
        clips: list[Frames] = []
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            pieces: list[list[Frames]] = [[] for _ in part]
            for row, piece in self.pieces(shot, part, seed=seed, index=index + start, watch=watch, on_step=on_step):
                pieces[row].append(piece)
            clips += map(np.concatenate, pieces)
        seconds = {name: value / len(prompts) for name, value in watch.seconds.items()}
        seconds["total"] = sum(seconds.values())
        evaluations, commits = shot.cost
        return Generation(np.stack(clips), self.passport.fps, evaluations, commits, seconds)

    @torch.inference_mode()
    def pieces(
        self,
        shot: Shot,
        prompts: Sequence[str],
        *,
        seed: int,
        index: int = 0,
        watch: Stopwatch | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[tuple[int, Frames]]:
        """One batch of clips in pieces, as soon as each is decoded: (number of the prompt, `f H W 3` next frames).

        No more than a piece of one clip is ever in memory as pixels; `watch` adds up what took how long.
        """
        require_room(self.net, shot.sampling, shot.frames, shot.tokens)
        watch = watch or Stopwatch(self.device)
        with watch("text"):
            text = self._encode(prompts)
        sources = [clip_noise_source(seed, index + i) for i in range(len(prompts))]
        noise = torch.cat([draw_noise(source, shot.new_frames, shot.shape) for source in sources]).to(self.device)
        prefix, null = (None if x is None else x.expand(len(prompts), *x.shape[1:]) for x in (shot.prefix, shot.null))
        decoders = [self.decoder.decode_stream() for _ in prompts]

        def decoded(latents: Latents) -> Iterator[tuple[int, Frames]]:
            for row, decoder in enumerate(decoders):
                for part in latents[row : row + 1].split(DECODED_AT_ONCE, dim=1):
                    with watch("decode"):
                        piece = to_pictures(decoder.push(part))[0]
                    yield row, piece

        if prefix is not None:
            yield from decoded(prefix)
        rng = [renoising_source(seed, index + i) for i in range(len(prompts))]
        chunks = shot.sampling.stream(self.net, noise, text, null, rng, on_step, prefix)
        for chunk in watch.each("denoise", chunks):
            yield from decoded(chunk)

    def stream(
        self,
        prompt: str | Iterable[str],
        *,
        seed: int = 0,
        index: int = 0,
        endless: bool = False,
        context: Context | None = None,
        recache: bool = False,
        on_step: OnStep | None = None,
        **options: Unpack[ShotOptions],
    ) -> StreamSession:
        """A student's clip as an iterator of `f H W 3` frames, one item per chunk, as soon as each is ready.

        Set `.prompt` between chunks to change what comes next; an iterable of prompts gives one per chunk and its last
        one stays. With `recache` the past that is still seen is committed anew under each new prompt.
        The options are those of `shot`; an `endless` clip has no length, and needs a `context` with a window. The
        image or video that a clip begins with is its first item. At a constant prompt the frames are `generate`'s.
        """
        if not self.is_student:
            raise ValueError(f"streaming needs a causal student, '{self.passport.name}' is a teacher: use generate()")
        if endless and options.get("frames") is not None:
            raise ValueError(f"a stream is endless or has a length, got endless and {options['frames']}: drop one")
        context = context or self.passport.context
        if endless and context.window is None:
            raise ValueError(
                "an endless stream needs a context with a window, got window=None: pass Context(window=...)"
            )
        shot = self.shot(**options)
        assert isinstance(shot.sampling, Causal)
        layout, plan = shot.sampling.layout, shot.sampling.plan
        context.require_room(layout.chunk, layout.first)
        sizes: Iterable[int] = layout.endless() if endless else layout.sizes(shot.new_frames)
        source, rng = clip_noise_source(seed, index), renoising_source(seed, index)
        return StreamSession(
            prompt,
            encode=lambda text: self._encode([text]),
            noise=(draw_noise(source, size, shot.shape).to(self.device) for size in sizes),
            sample=lambda chunks: autoregression.stream(
                self.net, chunks, plan, context=context, rng=rng, prefix=shot.prefix, recache=recache, on_step=on_step
            ),
            decoder=self.decoder.decode_stream(),
            prefix=shot.prefix,
        )

    def _encode(self, prompts: Sequence[str]) -> TextEmbeds:
        return self.text.embed(prompts).to(self.device, self.dtype)

    def _encode_null(self) -> TextEmbeds:
        return self.text.null(self.passport.negative_prompt).to(self.device, self.dtype)
