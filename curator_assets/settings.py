"""`curator.yaml` as one model: every setting, its bounds, and what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from curator_assets.errors import did_you_mean
from curator_assets.kernels.decode_memory import most_bytes
from curator_assets.masking import masked_values
from curator_assets.models.known_heads import KNOWN_HEADS, find_known_head

STATISTIC_COLUMNS = (
    "width",
    "height",
    "n_images",
    "n_bytes",
    "aspect_ratio",
    "mean_luminance",
    "sharpness",
    "constant_rows_fraction",
    "has_alpha",
)
"""Columns of `image_embeddings` that a filter rule may name: numbers, true counting as 1."""

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(_Section):
    """The embedding model: any that open_clip loads."""

    name: str = Field("ViT-L-14", description="open_clip model name, or efficientnet_lite0")
    pretrained: str = Field("openai", description="pretrained tag, checkpoint path or local-dir:")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="arithmetic of the encoder; auto: the device's fastest that keeps the cosine "
        "to float32 at 0.999 or above on the first images; on CPU the form of the network is "
        "chosen too, in float32 at 0.9999",
    )
    execution: Literal["eager", "graph", "compiled"] = Field(
        "eager",
        description="how the encoder runs on a GPU: kernel by kernel; as one CUDA graph, with the "
        "same bits; or fused by torch's compiler as well, which takes a minute at the start",
    )
    storage: Literal["float32", "float16"] = Field(
        "float32", description="type of the stored embeddings; float16 halves their size"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if present")
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = Field(
        "auto",
        description="images a forward pass; auto: 16 on CPU, 512 on a GPU; halved when memory runs "
        "out",
    )


class DecodeSettings(_Section):
    """What is accepted as an image."""

    max_pixels: int = Field(
        178_956_970,
        ge=1,
        description="width x height above this is refused: 'too many pixels'; so is what takes as "
        "much memory by its tiles or channels",
    )
    max_decoding_bytes: int = Field(
        5 << 30,
        description="memory that decoding takes at most at a time, over all threads of a process, "
        "which wait for it; up to 64 MiB a thread stay with the allocator besides",
    )
    max_unreadable_fraction: Fraction = Field(
        1.0, description="a shard with a larger share of unreadable samples fails"
    )

    @model_validator(mode="after")
    def _an_image_fits(self) -> Self:
        needed = most_bytes(self.max_pixels)
        if self.max_decoding_bytes < needed:
            raise ValueError(
                f"max_decoding_bytes {self.max_decoding_bytes} is below the {needed} that one "
                f"image of max_pixels {self.max_pixels} may take; raise it to {needed} or lower "
                "max_pixels"
            )
        return self


class WorkerSettings(_Section):
    """The processes that decode and encode; whatever an image does to one costs a row at most."""

    max_memory_gib: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="a process that takes more is replaced, and what it worked on tried again; "
        "auto: 0.8 of the machine's memory, divided among them",
    )
    max_seconds_per_image: float = Field(
        120, gt=0, description="an image that takes longer hangs: the process is replaced"
    )


class RayClusterSettings(_Section):
    """Other machines that take part in the work, by Ray; nothing that is made changes by it."""

    ray: str | None = Field(
        None,
        description="auto: the Ray cluster that this machine is in; local: this machine alone; or "
        "the address of a cluster that it is in; null: all is done in one process and its workers",
    )
    worker_gpus: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto", description="GPUs of a worker, or a share of one; auto: 1 to embed on CUDA, else 0"
    )
    worker_cpus: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="CPU cores of a worker; auto: those of the smallest machine, divided among its "
        "GPUs where a worker has one",
    )

    @model_validator(mode="after")
    def _gpus_are_whole(self) -> Self:
        gpus = self.worker_gpus
        if gpus != "auto" and gpus > 1 and gpus != int(gpus):
            raise ValueError(
                f"worker_gpus {gpus:g}: expected a share of one GPU, or a whole number"
            )
        return self


class HeadSettings(_Section):
    """A score head: a small network on the embedding, one number an image.

    Either a public head (`head`, by default the one for this score and model), or one of your own,
    which names the model that it was trained on (`embedding_model`).
    """

    weights: str = Field(description="path of the state dict, or 'fetch': from its public home")
    head: str | None = Field(None, description="a public head by name")
    embedding_model: str | None = Field(
        None, description="of a head of your own: name of the model that it was trained on"
    )
    relu: bool = Field(False, description="of a head of your own: ReLU between its layers")
    sigmoid: bool = Field(False, description="of a head of your own: sigmoid at its end")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.embedding_model and self.head:
            raise ValueError("give head (a public one) or embedding_model (your own), not both")
        if self.embedding_model and self.weights == "fetch":
            raise ValueError("a head of your own can't be fetched; give the path of its weights")
        if (self.relu or self.sigmoid) and not self.embedding_model:
            raise ValueError("relu and sigmoid are for a head of your own; add embedding_model")
        if self.head and self.head not in KNOWN_HEADS:
            near = did_you_mean(self.head, KNOWN_HEADS) or f"; known: {', '.join(KNOWN_HEADS)}"
            raise ValueError(f"no public head {self.head!r}{near}")
        return self


class FilterRule(_Section):
    """Keep a sample only if `min <= column <= max`."""

    score: str = Field(description="a stored column: a score or an image statistic")
    min: float | None = Field(None, description="smallest value that is kept")
    max: float | None = Field(None, description="largest value that is kept")

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError(f"filter on {self.score!r}: expected min, max or both, got neither")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"filter on {self.score!r}: min {self.min} is above max {self.max}")
        return self

    @property
    def reason(self) -> str:
        """The reason written beside a sample that this rule drops."""
        bounds = [f"{self.score} < {self.min:g}"] if self.min is not None else []
        bounds += [f"{self.score} > {self.max:g}"] if self.max is not None else []
        return " or ".join(bounds)


class ClusterSettings(_Section):
    """The codebook that divides the near-duplicate search into cells."""

    n_clusters: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="cells; auto: by the cost of search against assignment"
    )
    seed: int = Field(42, ge=0, lt=2**31, description="of the training sample and of k-means")
    sample_size: int = Field(
        1_000_000,
        ge=1,
        description="at most this many embeddings train the codebook, and at most 64 a cell",
    )
    n_iterations: int = Field(12, ge=1, le=300, description="k-means iterations")
    retrain: bool = Field(
        True,
        description="with n_clusters auto, the codebook is trained anew where there are so many "
        "more images that it would have more than twice as many cells, or these lie too far from "
        "it; false: it stays, and searches cost more",
    )
    n_cell_groups: int = Field(16, ge=1, le=4096, description="partitions of near_duplicate_pairs")


class DuplicateSettings(_Section):
    """What counts as a near-duplicate, and which copy stays."""

    eps: float = Field(0.03, ge=0, le=0.5, description="near-duplicates: cosine >= 1 - eps")
    max_eps: float = Field(0.05, ge=0, le=0.5, description="pairs are stored up to this eps")
    search: Literal["exact", "fast"] = Field(
        "exact", description="exact: every pair; fast: fewer cells, recall measured, not proven"
    )
    search_memory_gib: float = Field(
        2.0,
        gt=0,
        description="memory for the images of one cell group while it is searched, pairs not "
        "counted; a group that needs more is searched in several passes, a cell at least in each",
    )
    max_search_share: Fraction = Field(
        0.25, description="warn if the search costs more than this share of brute force"
    )
    recall_queries: int = Field(
        2_000,
        ge=0,
        description="at most so many images whose neighbours are searched by brute force as a "
        "check; 0 for none",
    )
    keep: Literal["first", "best", "hard", "easy", "random"] = Field(
        "first", description="the order in which images claim to be kept"
    )
    best_by: tuple[str, ...] = Field(
        (), description="keep: best - columns, most important first, larger is better"
    )
    rule: Literal["greedy", "semdedup"] = Field(
        "greedy", description="semdedup: the peers' rule, without a kept copy's guarantee"
    )
    seed: int = Field(42, ge=0, description="of keep: random")

    @model_validator(mode="after")
    def _eps_is_stored(self) -> Self:
        if self.eps > self.max_eps:
            raise ValueError(
                f"eps {self.eps} is above max_eps {self.max_eps}: pairs beyond max_eps are not "
                "stored; raise max_eps (the pair search reruns) or lower eps"
            )
        if self.best_by and self.keep != "best":
            raise ValueError(f"best_by is for keep: best; keep is {self.keep!r}")
        return self


class CalibrationSettings(_Section):
    """The planted copies from which a person can choose eps."""

    n_images: int = Field(200, ge=1, le=100_000, description="images that are copied")
    seed: int = Field(42, ge=0, description="of the choice of images and of random pairs")


class ReportSettings(_Section):
    """What the report recommends."""

    wished_precision: Fraction = Field(
        0.99,
        description="share of the removed that shall be real duplicates, as marked by people; the "
        "report recommends the largest eps that reaches it",
    )


class Settings(_Section):
    """The whole of `curator.yaml`."""

    source: str = Field(repr=False, description="a folder or fsspec URI; tars are found below it")
    output: str = Field(
        repr=False, description="a folder or fsspec URI; everything made lies below it"
    )
    marker: str | None = Field(
        None, description="suffix of a file beside a tar that says that it is whole, such as .done"
    )
    tick_seconds: int = Field(
        30, ge=1, description="between two looks of the sensor at the source; two make a drop"
    )
    on_removed: Literal["trash", "erase"] = Field(
        "trash", description="what becomes of all that was made of a tar that is gone"
    )
    max_removed_fraction: Fraction = Field(
        0.1,
        description="if a larger share of the known shards is gone at once, they are not let go of "
        "unasked; one always is",
    )
    shards_per_partition: int = Field(
        1,
        ge=1,
        description="shards that are one partition in Dagster, in order of arrival; changes "
        "nothing that is made",
    )
    model: ModelSettings = ModelSettings()
    decode: DecodeSettings = DecodeSettings()
    workers: WorkerSettings = WorkerSettings()
    cluster: RayClusterSettings = RayClusterSettings()
    heads: dict[str, HeadSettings] = Field({}, description="score column -> head")
    filters: tuple[FilterRule, ...] = ()
    clusters: ClusterSettings = ClusterSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    report: ReportSettings = ReportSettings()

    @model_serializer(mode="wrap", when_used="json")
    def _shown(self, plain: SerializerFunctionWrapHandler) -> Any:
        """As JSON, to be shown, stored and hashed: without the secrets of locations.

        Nor with what only says where it is made, and how Dagster's partitions are grouped: that
        makes nothing stale.
        """
        shown = masked_values(plain(self))
        del shown["shards_per_partition"], shown["cluster"]
        return shown

    @property
    def device_here(self) -> str:
        """What this machine computes on; the driver of a cluster may have no GPU of its own."""
        has_cluster, device = self.cluster.ray is not None, self.model.device
        return "auto" if has_cluster and device == "cuda" else device

    @property
    def columns(self) -> tuple[str, ...]:
        """Numeric columns that filters and `keep: best` may name."""
        return (*STATISTIC_COLUMNS, *self.heads)

    def known_head(self, score: str) -> str | None:
        """The public head behind a score; None if the head is the user's own."""
        head, model = self.heads[score], self.model
        return head.head or find_known_head(score, model.name, model.pretrained)

    @model_validator(mode="after")
    def _device_is_said(self) -> Self:
        if self.cluster.ray not in {None, "local"} and self.model.device == "auto":
            raise ValueError(
                "cluster.ray: the machines of a cluster may have other devices than this one; set "
                "model.device to cuda or cpu, by what its workers are to embed on"
            )
        return self

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        for score, head in self.heads.items():
            if head.embedding_model:
                wanted = head.embedding_model
            elif name := self.known_head(score):
                wanted = KNOWN_HEADS[name].model
            else:
                raise ValueError(
                    f"heads.{score}: no public head gives {score!r} on the embeddings of "
                    f"{self.model.name!r} / {self.model.pretrained!r}; remove it, or give "
                    "embedding_model if the head is your own. Known: " + ", ".join(KNOWN_HEADS)
                )
            if wanted != self.model.name.removesuffix("-quickgelu"):
                raise ValueError(
                    f"heads.{score}: made for the embeddings of {wanted!r}, but the model is "
                    f"{self.model.name!r}"
                )
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        taken = sorted(set(self.heads) & set(STATISTIC_COLUMNS))
        if taken:
            raise ValueError(f"heads: {taken[0]!r} is an image statistic; name the score otherwise")
        named = [("filters", rule.score) for rule in self.filters]
        named += [("duplicates.best_by", column) for column in self.duplicates.best_by]
        for where, column in named:
            if column not in self.columns:
                raise ValueError(
                    f"{where}: no column {column!r} will be stored for model {self.model.name!r}"
                    f"{did_you_mean(column, self.columns)}; expected one of "
                    f"{', '.join(self.columns)}. A score needs a head for this model under 'heads'"
                )
        return self
