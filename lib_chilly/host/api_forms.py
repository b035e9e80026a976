"""What the API takes and gives, as types: from them comes what /docs says of it. They mean the same in pydantic 1 and 2."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

Number: TypeAlias = StrictInt | StrictFloat
Text: TypeAlias = StrictStr | None
Texts: TypeAlias = list[str]
Table: TypeAlias = dict[str, Any]


class Form(BaseModel, extra="forbid"):  # type: ignore[call-arg]
    """What is sent: a name that is not known is a mistake, and a text is no number."""


class SaveOptions(Form):
    """What `save(...)` of a recipe says too (docs/recipes.md); what stands here wins."""

    dtype: Text = None
    unet_dtype: Text = None
    text_encoder_dtype: Text = None
    vae_dtype: Text = None
    compute: Text = None
    vae: Text = None
    position_ids: Text = None
    ema: Text = None
    discard: Text = None
    yaml: Text = None
    prediction: Text = None
    title: Text = None
    format: Text = None
    on_nan: Text = None


class PlanForm(Form):
    recipe: StrictStr = Field(..., description="in the notation of docs/recipes.md, or in another that is known there")
    step: Text = Field(None, description="the step that is the result; else the recipe says it")
    options: SaveOptions | None = None


class MergeForm(PlanForm):
    name: Text = Field(None, description="of the file, such as `new` or `mixes/new`; left out, one is made from the recipe")


class Parameters(Form):
    """Of a picture; what is left out has its default."""

    prompt: StrictStr = ""
    negative_prompt: StrictStr = ""
    seed: StrictInt = 0
    steps: StrictInt = 20
    cfg: Number = 7.0
    width: StrictInt = 512
    height: StrictInt = 512
    sampler: StrictStr = "Euler a"
    clip_skip: StrictInt = 1
    scheduler: StrictStr = Field("", description="empty: the sampler's own")
    styles: list[StrictStr] = Field([], description="names of the webui's styles")


class Want(Form):
    """A picture: of the merge or an operand, at another strength, with one block moved, or with random block weights."""

    id: StrictStr = "merged"
    of: Literal["merged", "a", "b"] | None = None
    strength: Number | None = None
    block: Text = None
    to: Number | None = None
    variant: StrictInt | None = None
    seed: StrictInt | None = None
    low: Number | None = None
    high: Number | None = None


class PreviewForm(Form):
    recipe: StrictStr
    step: Text = None
    parameter: Text = Field(None, description="the one that strength, block and variant change; else the step's first")
    params: Parameters | None = None
    pictures: list[Want] | None = Field(None, description="left out: the merge's")


class ChangeForm(Form):
    note: Text = None
    pinned: StrictBool | None = None


class Problem(BaseModel):
    """Why something cannot be done, in a sentence for people."""

    detail: str
    field: str | None = Field(None, description="what was sent that it is about, where that is known")


class Parameter(BaseModel):
    name: str
    low: float | None = None
    high: float | None = None
    default: float | None = None
    per_block: bool


class Method(BaseModel):
    name: str
    title: str
    formula: str
    says: str
    operands: Texts
    any_number: bool
    parameters: list[Parameter]


class Methods(BaseModel):
    version: str
    methods: list[Method]
    dtypes: Texts
    samplers: Texts
    schedulers: Texts
    styles: Texts


class Inspection(BaseModel):
    """What `./chilly inspect --json` says of a file."""

    file: str
    format: str
    bytes: int
    keys: int
    architecture: str | None = None
    title: str | None = None
    prediction: str | None = None
    components: dict[str, int]
    missing: Texts
    dtypes: dict[str, int]
    flags: Texts
    unknown_keys: Texts
    hashes: dict[str, str]
    metadata: dict[str, str]
    recipe: str | None = None
    sources: list[Any]
    claims: list[Any]


class PlanSource(BaseModel):
    name: str
    file: str
    dtype: str
    bytes: int


class PlanStep(BaseModel):
    name: str
    text: str


class PlanFacts(BaseModel):
    """What `./chilly plan --json` says of a recipe."""

    architecture: str
    sources: list[PlanSource]
    steps: list[PlanStep]
    folded: dict[str, dict[str, float]] = Field(..., description="of each lane, the coefficient of each source")
    reads_bytes: int
    writes_bytes: int
    peak_memory_bytes: int
    reproducible: str
    warnings: Texts
    recipe: str


class Picture(BaseModel):
    id: str
    image: str = Field(..., description="data:image/png;base64,... with its infotext inside")
    infotext: str
    recipe: str = Field(..., description="the whole recipe with this picture's change")
    seed: int
    says: Texts
    merge_seconds: float
    seconds: float
    blocks: int = Field(..., description="how many were merged again for it")
    difference: str | None = None
    amplified: int | None = None


class Saved(BaseModel):
    """What a merge has come to."""

    name: str
    file: str
    bytes: int
    seconds: float
    sha256: str
    short_hash: str
    checked: bool
    history: int | None = None
    warnings: Texts
    as_shown: bool | None = Field(
        None, description="holds the very numbers of its picture; left out: not compared with one, or not yet"
    )
    notes: Texts
    can_load: bool


class Job(BaseModel):
    job: int
    kind: Literal["merge", "preview"]
    state: Literal["waiting", "working", "done", "stopped", "failed"]
    text: str
    share: float
    problem: Problem | None = None
    pictures: list[Picture]
    saved: Saved | None = None


class Jobs(BaseModel):
    jobs: list[Job]


class Row(BaseModel):
    """An entry of the history."""

    id: int
    when: str
    title: str
    kind: str
    recipe: str
    note: str
    pinned: bool
    prompt: str
    architecture: str | None = None
    thumbnail: str | None = None
    params: Table | None = None
    file: Table | None = None
    sources: Texts


class Rows(BaseModel):
    rows: list[Row]
    more: bool
    says: Texts


class Done(BaseModel):
    done: bool
