"""Every method that a comparison can run, by name and family.

::

    ours           vpbsd, and the teacher that it makes
    ablation       vpbsd with one part switched off
    design         vpbsd with one choice made otherwise
    semi           semi-supervised training of the same student, and of that student on labels alone
    distillation   other ways to distil the same teacher into the same student
    net            other nets, trained on the same labels
    classical      thresholds on the intensity and on filters of it, tuned, and their oracles

Ours, ablations and design choices are settings of the three stages. The rivals lie in rooms of
their own and are loaded when one is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast, get_args

from vpbsd.config import CodebookConfig, MethodConfig, flat_settings
from vpbsd.errors import ConfigError

__all__ = ["TABLES", "Family", "Method", "choose_methods", "known_methods"]

Family = Literal["ours", "ablation", "design", "semi", "distillation", "net", "classical"]
How = Literal["stages", "teacher", "rival", "external", "classical", "oracle"]

TABLES: dict[Family, str] = {
    "semi": "vpbsd.compare.semi:SEMI",
    "distillation": "vpbsd.compare.distillation:DISTILLATION",
    "net": "vpbsd.compare.nets:NETS",
    "classical": "vpbsd.compare.classical.tuned:CLASSICAL",
}
"""Family -> module and name of the table that holds its rivals."""

_EXTERNAL = "vpbsd.compare.external:EXTERNAL"
"""Nets that run in environments of their own: each is asked for by its name alone."""

_OWN_WEIGHT: Mapping[Family, Mapping[str, float]] = {
    "semi": {"distill.semi_weight": 1.0},
    "distillation": {"distill.distill_weight": 1.0},
}
"""What multiplies the weight that a rival was published with, whatever ours is."""

_TUNED_ON: tuple[tuple[str, How, str], ...] = (
    ("", "classical", "tuned on the labelled volumes"),
    ("oracle_", "oracle", "tuned on the volume itself"),
)


@dataclass(frozen=True, slots=True)
class Method:
    """One row of a table.

    Attributes
    ----------
    name
        In tables and folders.
    family, what
        Its kind, and one line on the idea.
    how
        ``stages``: the three stages of vpbsd; ``teacher``: the first two, whose teacher is
        deployed; ``rival``: an objective through the same loop; ``external``: a program of its
        authors; ``classical``: tuned on the labelled volumes; ``oracle``: the same, tuned on the
        very volume that is scored.
    settings
        Changes to the data set's run, by dotted key.
    factors
        Numbers of the data set's run that are multiplied, by dotted key.
    table, key
        Where a method that is not ours is found: ``module:NAME``, and its name there.
    """

    name: str
    family: Family
    what: str
    how: How = "stages"
    settings: Mapping[str, Any] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    table: str = ""
    key: str = ""

    def load(self) -> Any:
        """Return the rival, external or classical method itself.

        Raises
        ------
        ConfigError
            If its table no longer lists it.
        """
        found = _table(self.table).get(self.key)
        if found is None:
            raise ConfigError(f"method {self.key} is not in {self.table}: this vpbsd has it not")
        return found


def choose_methods(chosen: Sequence[MethodConfig]) -> list[Method]:
    """Return the methods that a comparison names, families written out, in the order given.

    Raises
    ------
    ConfigError
        If a name is neither a method nor a family, or a method appears twice.
    """
    methods: dict[str, Method] = {}
    for config in chosen:
        for found in _named(config):
            method = replace(
                found,
                name=config.label or found.name,
                settings={**found.settings, **flat_settings(config.settings)},
            )
            if method.name in methods:
                raise ConfigError(
                    f"method {method.name} is listed twice (a family lists all of its own): give "
                    "one of the two a label"
                )
            methods[method.name] = method
    return list(methods.values())


def known_methods(family: Family) -> list[Method]:
    """Return all methods of a family."""
    own = [m for m in _own() if m.family == family]
    return [*own, *_rivals(family)] if family in TABLES else own


def _named(config: MethodConfig) -> list[Method]:
    if config.name in get_args(Family):
        family = known_methods(cast(Family, config.name))
        if config.label is not None and len(family) > 1:
            raise ConfigError(
                f"label {config.label} cannot name all {len(family)} methods of the family "
                f"{config.name}: label one method"
            )
        return family
    for method in _everything():
        if method.name == config.name:
            return [method]
    families = [f"{f} ({', '.join(m.name for m in known_methods(f))})" for f in get_args(Family)]
    raise ConfigError(
        f"there is no method or family '{config.name}'; the families and their methods are: "
        f"{'; '.join(families)}; and by its name alone: {', '.join(m.name for m in _external())}"
    )


def _everything() -> Iterator[Method]:
    """Yield our own first, so that rivals are loaded only when one of them is looked for."""
    yield from _own()
    for family in TABLES:
        yield from _rivals(family)
    yield from _external()


def _external() -> Iterator[Method]:
    for name, method in _table(_EXTERNAL).items():
        yield Method(name, "net", method.what, "external", table=_EXTERNAL, key=name)


def _rivals(family: Family) -> list[Method]:
    table = TABLES[family]
    found = _table(table)
    if family != "classical":
        own = _OWN_WEIGHT.get(family, {})
        return [
            Method(n, family, r.what, "rival", own, table=table, key=n) for n, r in found.items()
        ]
    return [
        Method(prefix + name, family, f"{method.what}, {tuned}", how, table=table, key=name)
        for prefix, how, tuned in _TUNED_ON
        for name, method in found.items()
    ]


def _table(place: str) -> Mapping[str, Any]:
    module, name = place.split(":")
    table: Mapping[str, Any] = getattr(importlib.import_module(module), name)
    return table


# ---------------------------------------------------------------------------- settings of our own

_CODEBOOK_SIZES, _CODEBOOK_DIMENSIONS = (32, 128, 512), (8, 32, 128)


def _own() -> list[Method]:
    supervised = {"distill.semi_weight": 0.0, "distill.target": "none"}
    return [
        Method("vpbsd", "ours", "pretraining, codebook, distillation and pseudo-labels"),
        Method("teacher", "ours", "the teacher of vpbsd, deployed itself", "teacher"),
        *_ablations(),
        *_design_choices(),
        Method("supervised_only", "semi", "the same student, on labels alone", settings=supervised),
    ]


def _ablations() -> list[Method]:
    def without(name: str, what: str, **settings: Any) -> Method:
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        return Method(name, "ablation", what, settings=dotted)

    return [
        without("no_pretraining", "teacher from random weights", pretrain__enabled=False),
        without(
            "no_codebook",
            "no quantiser; the student imitates the encodings",
            codebook__quantiser="none",
            distill__target="features",
        ),
        without("no_distillation", "pseudo-labels alone", distill__target="none"),
        without("no_pseudo_labels", "codes alone", distill__semi_weight=0.0),
        without(
            "no_recalibration",
            "own averages cut at 1/2, not at their thresholds on the validation volumes",
            finetune__recalibrate=False,
            distill__recalibrate=False,
        ),
        without(
            "no_mirrors",
            "the teacher looks at each volume from one side",
            distill__mirrors=False,
        ),
        without(
            "labels_only_teacher",
            "teacher fine-tuned on labels alone, as in the paper",
            finetune__semi_weight=0.0,
        ),
        without(
            "homogeneous_teacher",
            "teacher without self-attention, convolutional like the student",
            teacher__attention_blocks=0,
        ),
    ]


def _design_choices() -> list[Method]:
    def choice(name: str, what: str, **settings: Any) -> Method:
        dotted = {key.replace("__", "."): value for key, value in settings.items()}
        return Method(name, "design", what, settings=dotted)

    usual = CodebookConfig()
    books = [
        choice(
            f"codebook_{size}x{dimension}",
            f"{size} codes of dimension {dimension}",
            codebook__size=size,
            codebook__dimension=dimension,
        )
        for size in _CODEBOOK_SIZES
        for dimension in _CODEBOOK_DIMENSIONS
        if (size, dimension) != (usual.size, usual.dimension)
    ]
    # As multiples, since the weights themselves are tuned for each comparison.
    weights = [
        Method(f"{name}_x{factor:g}", "design", f"{factor:g} {name}", factors={key: factor})
        for name, key in (
            ("alpha", "pretrain.alpha"),
            ("lambda_dis", "distill.distill_weight"),
            ("lambda_semi", "distill.semi_weight"),
        )
        for factor in (0.3, 3.0)
    ]
    return [
        *books,
        choice("quantiser_gradient", "codes moved by gradient", codebook__quantiser="gradient"),
        choice("quantiser_fsq", "finite scalar quantisation", codebook__quantiser="fsq"),
        choice("target_code_assignments", "which code", distill__target="code_assignments"),
        choice("target_features", "encodings before the codebook", distill__target="features"),
        choice(
            "half_self_teaching",
            "own average has half a say in the pseudo-labels",
            distill__self_teaching=0.5,
        ),
        choice(
            "losses_of_the_paper",
            "teacher fine-tuned on labels alone, one look at each volume, every loss of weight 1",
            finetune__semi_weight=0.0,
            distill__mirrors=False,
            distill__semi_weight=1.0,
            distill__distill_weight=1.0,
        ),
        *weights,
    ]
