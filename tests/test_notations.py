"""Recipe text in any notation: a model card is read as it stands, a slip in it is shown at its place, nothing is lost unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_chilly.decimals import spell_number
from lib_chilly.errors import RecipeError
from lib_chilly.expression import Binary, Call, Constant, Node, Number, StepRef, is_bare_name, spell_name
from lib_chilly.notations import LONGEST_LINE, LONGEST_TEXT, LONGEST_WORD, MOST_LINES, read_recipe
from lib_chilly.recipe import Recipe
from lib_chilly.recipe_text import parse_recipe

FIVE_STEPS = """\
pyro_pov_a + pyro_pov_b = pyAB
analogDiffusion_10 x 0.85 + pyAB x 0.15 = MERGE1
MERGE1 x 0.95 + v1-5-pruned-emaonly x 0.05 = MERGE1Fix
MERGE1Fix+ (F222_v1 - v1-5-pruned-emaonly) x 1 = MERGE2
MERGE2 x 0.75 + r34_e4 x 0.25 = MERGE_BASE
"""
FIVE_STEPS_CANONICAL = """\
pyAB = mean(pyro_pov_a, pyro_pov_b)
MERGE1 = analogDiffusion_10 * 0.85 + pyAB * 0.15
MERGE1Fix = MERGE1 * 0.95 + v1-5-pruned-emaonly * 0.05
MERGE2 = MERGE1Fix + (F222_v1 - v1-5-pruned-emaonly) * 1
MERGE_BASE = MERGE2 * 0.75 + r34_e4 * 0.25
"""
FIVE_STEPS_FOLDED = {
    "analogDiffusion_10": "0.605625",
    "pyro_pov_a": "0.0534375",
    "pyro_pov_b": "0.0534375",
    "v1-5-pruned-emaonly": "-0.7125",
    "F222_v1": "0.75",
    "r34_e4": "0.25",
}
SECTION_1 = (
    """\
## 1. The recipe of chillyMixBaseV0 (five steps, six source models), as the card writes it

"""
    + "".join(f"    {line}\n" for line in FIVE_STEPS.splitlines())
    + """
Note the notation: the result's name stands on the right, `x` multiplies, names hold hyphens and digits, spaces are free
(`MERGE1Fix+ (`), a sum of bare names is an even mean.
Folded by hand (a linear recipe is one weighted sum of its sources):

| source | coefficient |
|---|---|
| analogDiffusion_10 | 0.605625 |
| v1-5-pruned-emaonly | -0.7125 |
| sum | 1 |

Today each of the five steps is a separate run of SuperMerger that writes a 2 to 4 GB file and rounds to fp16.
"""
)
VECTOR = "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0)"
SECTION_2 = f"""\
## 2. V1-NED: block weights

`ChillyMixBase_V1-NED = ChillyMixBaseV0 + NED's input_blocks` (all input blocks replaced by those of neverEndingDream):
`ChillyMixBaseV0 (1-alpha) + NED x alpha` with
`alpha = {VECTOR}`: 26 numbers, BASE, IN00..IN11, M00, OUT00..OUT11.
BASE == 1 takes NED's text encoder "for practical reasons"; BASE == 0 leaves it out.
(Mind it: the vector above also sets M00 to 1. A vector is what it is; the tool shows in words what it does.)
"""
LIST = f"[{', '.join(VECTOR[1:-1].split(','))}]"
V1_NED = f"ChillyMixBase_V1-NED = weighted_sum(ChillyMixBaseV0, NED, alpha={LIST})\n"
SECTION_3 = """\
## 3. Plain ratios

- chillySauceMix: `ChillyMixBaseV0 x (1 - alpha) + neverendingDreamNED_noVae x alpha`, alpha == 0.6. Sources exist without a VAE \
("noVae").
- chillyMix V2: alpha == 0.75, before a further merge with Muse_v1.
- "your_model x 0.9 + ChillyMixBaseV0 x 0.1, then reduce or increase the ratio and find the best result; the X/Y/Z plot helps."
"""
SAUCE = "chillySauceMix = weighted_sum(ChillyMixBaseV0, neverendingDreamNED_noVae, alpha=0.6)\n"
YOURS = "result = your_model * 0.9 + ChillyMixBaseV0 * 0.1\n"
SIMILARITIES = """\
## 4. Per-block cosine similarity against a base (base: chilloutmix_NiPrunedFp32Fix)

| OUT03 | OUT04 | OUT05 | total output |
|---|---|---|---|
| 91.6694 | 91.3029 | 93.1590 | 95.4978 |

neverEndingDream: OUT03..OUT11 = 91.5396 91.6970 91.1852 92.7715 94.1585 96.0288 99.3220 99.1343 99.9986, total output 95.0928;
IN01 IN02 IN04 IN05 IN07 IN08 M00 = 99.8909 99.2414 98.8610 99.2940 98.3178 98.3939 96.9688, total input 98.7097.

- The card also quotes one part of a row: mean of OUT03..OUT08 of NED = 92.8968.
- From near-100 % rows it guesses ancestry ("NED might be based on some older version of chilloutmix").
- Recommended: CFG = 7, steps = 20, see https://example.org/post?a=1&b=2
"""


def folded(recipe: Recipe) -> dict[str, Fraction]:
    """Each source's coefficient in the result of a linear recipe, the slow way."""
    values: dict[str, Mapping[str, Fraction] | Fraction] = {}
    for line in recipe.lines:
        values[line.name] = evaluated(line.expression, values)
    result = values[recipe.result]
    assert not isinstance(result, Fraction)
    return dict(result)


def evaluated(node: Node, above: Mapping) -> Mapping[str, Fraction] | Fraction:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, (StepRef, Constant)):
        return above[node.name]
    if isinstance(node, Call):
        assert node.method == "mean"
        return combined([(evaluated(operand, above), Fraction(1, len(node.operands))) for operand in node.operands])
    if not isinstance(node, Binary):
        return {node.name: Fraction(1)}
    left, right = evaluated(node.left, above), evaluated(node.right, above)
    if node.operator in "+-":
        sign = 1 if node.operator == "+" else -1
        if isinstance(left, Fraction):
            return left + sign * right
        return combined([(left, Fraction(1)), (right, Fraction(sign))])
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left * right
    number, model = (left, right) if isinstance(left, Fraction) else (right, left)
    return combined([(model, number)])


def combined(terms: list) -> Mapping[str, Fraction]:
    total: dict[str, Fraction] = {}
    for model, factor in terms:
        for name, coefficient in model.items():
            total[name] = total.get(name, Fraction(0)) + factor * coefficient
    return total


def recipe_or_error(text: str) -> Recipe | RecipeError:
    try:
        return read_recipe(text)
    except RecipeError as error:
        return error


def note(recipe: Recipe, beginning: str) -> str:
    return next(sentence for sentence in recipe.notes if sentence.startswith(beginning))


# The card itself

LISTED = {
    "as they stand": FIVE_STEPS,
    "indented": "".join(f"    {line}\n" for line in FIVE_STEPS.splitlines()),
    "dashes": "".join(f"- {line}\n" for line in FIVE_STEPS.splitlines()),
    "stars": "".join(f"* {line}\n" for line in FIVE_STEPS.splitlines()),
    "bullets": "".join(f"  • {line}\n" for line in FIVE_STEPS.splitlines()),
    "numbered": "".join(f"{number}. {line}\n" for number, line in enumerate(FIVE_STEPS.splitlines(), 1)),
    "numbered with parentheses": "".join(f"{number}) {line}\n" for number, line in enumerate(FIVE_STEPS.splitlines(), 1)),
    "quoted": "".join(f"> {line}\n" for line in FIVE_STEPS.splitlines()),
    "in backticks": "".join(f"- `{line}`\n" for line in FIVE_STEPS.splitlines()),
    "fenced": f"```\n{FIVE_STEPS}```\n",
    "bold": "".join(f"**{line}**\n" for line in FIVE_STEPS.splitlines()),
    "labelled": "".join(f"Step {number}: {line}\n" for number, line in enumerate(FIVE_STEPS.splitlines(), 1)),
    "a table": "".join(f"| {line} |\n" for line in FIVE_STEPS.splitlines()),
    "Windows lines": FIVE_STEPS.replace("\n", "\r\n"),
    "no-break spaces": FIVE_STEPS.replace(" ", "\N{NO-BREAK SPACE}"),
    "ideographic spaces": FIVE_STEPS.replace(" ", "\N{IDEOGRAPHIC SPACE}"),
    "crosses": FIVE_STEPS.replace(" x ", " × "),
    "tight crosses": FIVE_STEPS.replace(" x ", "×"),
    "capital X": FIVE_STEPS.replace(" x ", " X "),
    "stars for signs": FIVE_STEPS.replace(" x ", "*"),
    "en dash": FIVE_STEPS.replace(" - ", " – "),
    "em dash": FIVE_STEPS.replace(" - ", " — "),
    "minus sign": FIVE_STEPS.replace(" - ", " − "),
    "full-width signs": FIVE_STEPS.replace("+", "＋").replace("=", "＝").replace("(", "（").replace(")", "）"),
    "result on the left": "".join(
        f"{right} = {left}\n" for left, right in (line.split(" = ") for line in FIVE_STEPS.splitlines())
    ),
    "section 1": SECTION_1,
}


@pytest.mark.parametrize("text", LISTED.values(), ids=LISTED.keys())
def test_five_steps_of_the_card_however_listed_are_read_as_its_table_says(text: str):
    recipe = read_recipe(text)
    assert recipe.canonical() == FIVE_STEPS_CANONICAL
    assert folded(recipe) == {name: Fraction(coefficient) for name, coefficient in FIVE_STEPS_FOLDED.items()}


def test_five_steps_of_the_card_say_which_sum_is_a_mean():
    notes = read_recipe(FIVE_STEPS).notes
    assert notes == ("The text was read in a model card's notation.", "pyAB: a sum of 2 models is read as their mean.")


def test_section_2_reads_its_explicit_formula_and_takes_the_possessive_as_its_description():
    recipe = read_recipe(SECTION_2)
    assert recipe.canonical() == V1_NED
    assert note(recipe, "Line 3").endswith("is taken as a description of the formula on line 4.")
    assert note(recipe, "ChillyMixBase_V1-NED:") == "ChillyMixBase_V1-NED: alpha is the list of 26 numbers, from line 5."
    skipped = note(recipe, "What is no formula was skipped")
    assert "6 'BASE == 1 takes NED's text encoder" in skipped
    assert "7 '(Mind it: the vector above" in skipped


def test_section_2_without_markup_and_with_typographic_signs_reads_the_same():
    plain = SECTION_2.replace("`", "").replace("'", "’").replace('"', "”").replace("(1-alpha)", "(1–alpha)")
    assert read_recipe(plain).canonical() == V1_NED


def test_section_3_reads_both_formulas_and_says_that_an_alpha_is_left_over():
    recipe = read_recipe(SECTION_3)
    assert recipe.canonical() == SAUCE + YOURS
    assert "chillySauceMix: alpha is 0.6, from line 3." in recipe.notes
    assert "The alpha on line 4 belongs to no formula and is not used." in recipe.notes
    assert "5 'then reduce or increase the ratio" in note(recipe, "What is no formula")


def test_whole_card_with_its_tables_of_figures_reads_the_formulas_of_all_sections():
    recipe = read_recipe(f"# chillyMix\n\n{SECTION_1}\n{SECTION_2}\n{SECTION_3}\n{SIMILARITIES}")
    assert recipe.canonical() == FIVE_STEPS_CANONICAL + V1_NED + SAUCE + YOURS


def test_alias_line_above_makes_the_base_a_step_of_the_card():
    alias = "ChillyMixBaseV0 = MERGE_BASE\n"
    recipe = read_recipe(FIVE_STEPS + alias + SECTION_2)
    assert recipe.canonical() == FIVE_STEPS_CANONICAL + alias + V1_NED
    assert {model.name for model in recipe.models()} == {*FIVE_STEPS_FOLDED, "NED"}
    assert "ChillyMixBaseV0" in {model.name for model in read_recipe(FIVE_STEPS + SECTION_2).models()}


# Spellings

SPELLINGS = {
    "number first": ("0.95 x MERGE1 + 0.05 x B = C", "C = 0.95 * MERGE1 + 0.05 * B"),
    "number tight before x": ("0.95x MERGE1 + 0.05x B = C", "C = 0.95 * MERGE1 + 0.05 * B"),
    "number tight behind x": ("MERGE1 x0.95 + B x0.05 = C", "C = MERGE1 * 0.95 + B * 0.05"),
    "fractions": ("A x 1/3 + B x 2/3 = C", "C = A * 1 / 3 + B * 2 / 3"),
    "a model called x": ("x x 0.5 + A x 0.5 = x2", "x2 = x * 0.5 + A * 0.5"),
    "a result called x": ("A x 0.5 + B x 0.5 = x", "x = A * 0.5 + B * 0.5"),
    "x alone in a sum": ("A + x = B", "B = mean(A, x)"),
    "a hyphen in both names": ("a-1 x 0.5 + b-x x 0.5 = c-d", "c-d = a-1 * 0.5 + b-x * 0.5"),
    "names in backticks": ("`A` x 0.5 + `B` x 0.5 = `C`", "C = A * 0.5 + B * 0.5"),
    "right side in backticks": ("C = `A x 0.5 + B x 0.5`", "C = A * 0.5 + B * 0.5"),
    "names in bold": ("**C** = **A** x 0.5 + **B** x 0.5", "C = A * 0.5 + B * 0.5"),
    "names as links": ("[A](https://example.org/a?b=c) x 0.5 + B x 0.5 = C", "C = A * 0.5 + B * 0.5"),
    "names in quotes": ('"my A" x 0.5 + “my B” x 0.5 = "my C"', '"my C" = "my A" * 0.5 + "my B" * 0.5'),
    "names with suffixes": ("A.safetensors x 0.5 + B.ckpt x 0.5 = C", "C = A.safetensors * 0.5 + B.ckpt * 0.5"),
    "Korean names": ("모델 x 0.5 + B x 0.5 = 결과", "결과 = 모델 * 0.5 + B * 0.5"),
    "a mean without spaces": ("A+B+D=C", "C = mean(A, B, D)"),
    "an alias with both sides names": ("- B = A\n- B x 0.5 + D x 0.5 = C", "B = A\nC = B * 0.5 + D * 0.5"),
    "a label": ("Mix: A x 0.5 + B x 0.5", "Mix = A * 0.5 + B * 0.5"),
    "a label before a mean": ("Mix: A + B", "Mix = mean(A, B)"),
    "a label of two words": ("- **My mix**: A x 0.5 + B x 0.5", '"My mix" = A * 0.5 + B * 0.5'),
    "a label before =": ("Recipe: A x 0.5 + B x 0.5 = C", "C = A * 0.5 + B * 0.5"),
    "a sentence for a label": ("This is how I made it: A x 0.5 + B x 0.5", "result = A * 0.5 + B * 0.5"),
    "prose behind a comma": ("A x 0.5 + B x 0.5 = C, which looks good", "C = A * 0.5 + B * 0.5"),
    "prose behind a semicolon": ("C = A x 0.5 + B x 0.5; the VAE is baked in", "C = A * 0.5 + B * 0.5"),
    "a full stop": ("C = A x 0.5 + B x 0.5.", "C = A * 0.5 + B * 0.5"),
    "remarks in parentheses": ("A (fp16) x 0.5 + B (fp32, pruned) x 0.5 = C (the base)", "C = A * 0.5 + B * 0.5"),
    "a quotation": ('"A x 0.9 + B x 0.1, then reduce the ratio"', "result = A * 0.9 + B * 0.1"),
    "a name in quotes that is none": ('"A x B"', 'result = "A x B"'),
    "a comment": ("A x 0.5 + B x 0.5 = C  # looks good", "C = A * 0.5 + B * 0.5"),
    "a commented formula": ("A x 0.5 + B x 0.5 = C\n# A + B = D", "C = A * 0.5 + B * 0.5"),
    "a sum over two lines": ("C = A x 0.5\n  + B x 0.5", "C = A * 0.5 + B * 0.5"),
    "a result on its own line": ("A x 0.5 + B x 0.5 =\nC", "C = A * 0.5 + B * 0.5"),
    "an underlined title": ("Recipe\n======\nA x 0.5 + B x 0.5 = C", "C = A * 0.5 + B * 0.5"),
    "two spans in a line": ("`A + B = C`, then `C x 0.5 + D x 0.5 = E`", "C = mean(A, B)\nE = C * 0.5 + D * 0.5"),
    "a delta": ("- D = A − B\n- C = E + D x 0.5", "D = A - B\nC = E + D * 0.5"),
    "add difference in a label": ("MIX: A + (B - C) x 1", "MIX = A + (B - C) * 1"),
    "a constant": ("ratio = 0.15\nA x (1 - ratio) + B x ratio = C", "ratio = 0.15\nC = A * (1 - ratio) + B * ratio"),
    "a tight constant": ("ratio = 0.15\nA (1-ratio) + B (ratio) = C", "ratio = 0.15\nC = A * (1 - ratio) + B * ratio"),
    "our own lines among the card's": (
        "A x 0.5 + B x 0.5 = C\nD = weighted_sum(C, E, alpha=[1,\n  0])\nsave(dtype=fp16)",
        "C = A * 0.5 + B * 0.5\nD = weighted_sum(C, E, alpha=[1, 0])\nsave(dtype=fp16)",
    ),
    "a name like a subtraction": (
        "1-alpha = A + B\nC = 1-alpha x 0.5 + B x 0.5",
        "1-alpha = mean(A, B)\nC = 1-alpha * 0.5 + B * 0.5",
    ),
}


@pytest.mark.parametrize(("text", "canonical"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_card_formula_in_odd_spelling_is_read(text: str, canonical: str):
    assert read_recipe(text).canonical() == canonical + "\n"


ALPHAS = {
    "above": ("alpha = 0.6\nC = A (1-alpha) + B x alpha", "C = weighted_sum(A, B, alpha=0.6)"),
    "below": ("C = A (1-alpha) + B x alpha\nalpha == 0.6", "C = weighted_sum(A, B, alpha=0.6)"),
    "in the same line": ("C = A (1-alpha) + B x alpha, alpha = 0.6", "C = weighted_sum(A, B, alpha=0.6)"),
    "in the same line with": ("A (1-alpha) + B x alpha = C with alpha = 0.6.", "C = weighted_sum(A, B, alpha=0.6)"),
    "in parentheses": ("A (1-alpha) + B x alpha = C (alpha = 0.6)", "C = weighted_sum(A, B, alpha=0.6)"),
    "in bold": ("**C**: A (1-alpha) + B x alpha, **alpha = 0.6**", "C = weighted_sum(A, B, alpha=0.6)"),
    "a list over lines": (
        "C = A (1-alpha) + B x alpha\nalpha = (1, 0.5,\n  0, .25)",
        "C = weighted_sum(A, B, alpha=[1, 0.5, 0, 0.25])",
    ),
    "a list in brackets": ("alpha == [1 0 -0.5]\nC: A (1-alpha) + B alpha", "C = weighted_sum(A, B, alpha=[1, 0, -0.5])"),
    "a negative number": ("C = A (1−alpha) + B×alpha, alpha = −0.5", "C = weighted_sum(A, B, alpha=-0.5)"),
    "terms swapped": ("C = B x alpha + (1 - alpha) x A, alpha = 0.6", "C = weighted_sum(A, B, alpha=0.6)"),
    "alpha first": ("C = (1-alpha) A + alpha B, alpha = 0.6", "C = weighted_sum(A, B, alpha=0.6)"),
    "x before parentheses": ("C = A x(1-alpha) + B x(alpha), alpha = 0.6", "C = weighted_sum(A, B, alpha=0.6)"),
    "beta alone": ("C = A (1-beta) + B x beta, beta = 0.6", "C = weighted_sum(A, B, alpha=0.6)"),
    "a name that begins with a number": ("A (1-alpha) + B x alpha = 3DMix, alpha = 0.6", "3DMix = weighted_sum(A, B, alpha=0.6)"),
    "sum twice": (
        "D = (A (1-alpha) + B alpha) (1-beta) + C x beta, alpha = 0.2, beta = (1, 0)",
        "D = weighted_sum(weighted_sum(A, B, alpha=0.2), C, alpha=[1, 0])",
    ),
    "triple sum by numbers": (
        "D = A (1-alpha-beta) + B x alpha + C x beta, alpha = 0.2, beta = 0.3",
        "D = A * (1 - 0.2 - 0.3) + B * 0.2 + C * 0.3",
    ),
    "triple sum by a list": (
        "D = A (1-alpha-beta) + B x alpha + C x beta, alpha = (0.2, 0), beta = 0.3",
        "D = triple_sum(A, B, C, alpha=[0.2, 0], beta=0.3)",
    ),
    "difference by a number": ("D = A + (B - C) x alpha, alpha = 0.5", "D = A + (B - C) * 0.5"),
    "difference by a list": ("D = A + (B - C) x alpha, alpha = (1, 0)", "D = add_difference(A, B, C, alpha=[1, 0])"),
    "other coefficients": ("D = A + B x alpha - C x alpha, alpha = 0.5", "D = A + B * 0.5 - C * 0.5"),
    "each in its own line": (
        "M = A (1-alpha) + B alpha, alpha = 0.1\nN = A (1-alpha) + B alpha, alpha = 0.2",
        "M = weighted_sum(A, B, alpha=0.1)\nN = weighted_sum(A, B, alpha=0.2)",
    ),
    "each nearest above": (
        "alpha = 0.1\nM = A (1-alpha) + B alpha\nalpha = 0.2\nN = A (1-alpha) + B alpha\nO = A (1-alpha) + D alpha",
        "M = weighted_sum(A, B, alpha=0.1)\nN = weighted_sum(A, B, alpha=0.2)\nO = weighted_sum(A, D, alpha=0.2)",
    ),
    "each nearest below": (
        "M = A (1-alpha) + B alpha\nalpha = 0.1\nN = A (1-alpha) + B alpha\nalpha = 0.2",
        "M = weighted_sum(A, B, alpha=0.1)\nN = weighted_sum(A, B, alpha=0.2)",
    ),
    "the line that 'with' leads to": (
        "alpha = 0.1\nM: A (1-alpha) + B alpha with\nalpha = 0.2",
        "M = weighted_sum(A, B, alpha=0.2)",
    ),
}


@pytest.mark.parametrize(("text", "canonical"), ALPHAS.values(), ids=ALPHAS.keys())
def test_alpha_of_a_card_wherever_it_is_given_becomes_a_merge_method_or_numbers(text: str, canonical: str):
    assert read_recipe(text).canonical() == canonical + "\n"


def test_remarks_and_prose_beside_a_formula_are_listed_as_skipped():
    recipe = read_recipe("Hello there!\n\n- A (fp16) x 0.5 + B x 0.5 = C, which looks good")
    assert recipe.notes[-1] == "What is no formula was skipped: line 1 'Hello there!'; 3 '(fp16)'; 3 'which looks good'."


def test_positions_of_a_card_are_those_of_the_user_s_text():
    text = "Recipe:\n- Mix:  `B x alpha + A×(1-alpha)`, alpha = 0.6"
    recipe = read_recipe(text)
    assert recipe.text == text
    assert [(model.name, model.position) for model in recipe.models()] == [("A", text.index("A")), ("B", text.index("B x"))]
    assert recipe.steps["Mix"].position == text.index("Mix")


# Mistakes

MISTAKES = {
    "no sign before a number": ("A + B = C\n- C x 0.5 + D 0.5 = E", 2, "0.5 = E", "an operator"),
    "a wrong sum": ("A + B = C\n- C x 0.5 + D x 0.6 = E", 2, "C x 0.5 +", "add to 1.1"),
    "nothing behind a sign": ("- A x 0.5 + = C", 1, "= C", "ends too early"),
    "nothing behind the last sign": ("- C = A x 0.5 +  ", 1, None, "ends too early"),
    "an open parenthesis": ("A x 0.5 + (B x 0.5 = C", 1, "(B", "never closed"),
    "a loose parenthesis": ("A x 0.5 + B) x 0.5 = C", 1, ")", "not understood"),
    "two results": ("- A x 0.5 + B x 0.5 = C = D", 1, "= D", "second formula"),
    "two formulas in a line": ("A x 0.5 + B x 0.5 = C, D + E = F", 1, "= F", "second formula"),
    "words before a formula": ("I merged A x 0.9 + B x 0.1 = C", 1, "merged", "not understood"),
    "words behind a formula": ("A x 0.9 + B x 0.1 = C as before", 1, "= C", "one side of '='"),
    "a formula in a sentence": ("You can try A x 0.9 + B x 0.1 for fun", 1, "can", "not understood"),
    "a decimal comma": ("A x 0,9 + B x 0,1 = C", 1, ",9", "a point, not a comma"),
    "a per cent sign": ("MIX = A x 50% + B x 50%", 1, "% +", "not understood"),
    "two models multiplied": ("- A x B = C", 1, "B = C", "cannot be multiplied"),
    "an arrow": ("A x 0.5 + B x 0.5 → C", 1, "→", "not understood"),
    "an odd character in a name": ("A★★ x 0.5 + B x 0.5 = C", 1, "A★★", "double quotes"),
    "a step below its use": ("- C x 0.5 + A x 0.5 = D\n- A + B = C", 1, "C x", "defined on line 2"),
    "a name defined twice": ("- A + B = C\n\nSome prose.\n- A + D = C", 4, "C", "defined twice"),
    "two without a name": ("A x 0.9 + B x 0.1\nC x 0.9 + D x 0.1", 2, "C x 0.9", "has no name"),
    "a method that is not known": ("- A + B = C\nD = weigthed_sum(C, E, alpha=0.5)", 2, "weigthed_sum", "'weighted_sum'"),
    "alpha given nowhere": ("C = A + B\nD = C (1-alpha) + B x alpha", 2, "alpha) +", "such as 'alpha = 0.5'"),
    "beta given nowhere": ("- D = C (1-beta) + B x beta, alpha = 0.2", 1, "beta) +", "such as 'beta = 0.5'"),
    "alpha as a range": ("alpha = 0.3-0.5\nD = C (1-alpha) + B x alpha", 1, "0.3", "one number, or a list"),
    "alpha as a formula": ("alpha = 1 - 0.4\nD = C (1-alpha) + B x alpha", 1, "1 -", "one number, or a list"),
    "alpha with a comma": ("alpha = 0,4\nD = C (1-alpha) + B x alpha", 1, "0,4", "one number, or a list"),
    "a list with a gap": ("D = C (1-alpha) + B x alpha, alpha = (1,1,...)", 1, "...", "no number"),
    "a list of nothing": ("D = C (1-alpha) + B x alpha, alpha = ()", 1, ")", "is empty"),
    "a list that does not fit": ("D = A x 0.4 + B x alpha, alpha = (0.5, 0.6)", 1, "alpha,", "can only stand in"),
    "too deep": (f"- C = {'( ' * 60}A x 0.5 + B x 0.5{' )' * 60}", 1, "( " * 10 + "A", "nested too deeply"),
    "a part of a model": ("- X = A + NED's input_blocks", 1, "NED", "weighted_sum(A, NED, alpha={IN*: 1})"),
    "a part, typographic": ("• X = A + NED’s output blocks", 1, "NED", "weighted_sum(A, NED, alpha={OUT*: 1})"),
    "a part and a formula of others": ("- X = A + NED's input_blocks\n- `A x 0.5 + B x 0.5`", 1, "NED", "a part of a model"),
    "a part and a formula of another name": ("- X = A + NED's text\n- A x 0.5 + NED x 0.5 = Y", 1, "NED", "a part of a model"),
}


@pytest.mark.parametrize(("text", "line", "place", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_in_a_card_is_shown_with_line_column_and_caret_in_the_user_s_text(text, line, place, message):
    with pytest.raises(RecipeError) as caught:
        read_recipe(text)
    shown = text.splitlines()[line - 1]
    column = len(shown.rstrip()) if place is None else shown.rindex(place)
    head, excerpt, caret = str(caught.value).split("\n")
    assert head.startswith(f"line {line}, column {column + 1}: ")
    assert message in head
    hidden = shown.index(excerpt[2:])  # of a long line only the part around the caret is shown
    assert len(shown) > 160 or hidden == 0
    assert caret == "  " + " " * (column - hidden) + "^"


@pytest.mark.parametrize("apostrophe", ["'", "’"], ids=["straight", "typographic"])
def test_possessive_alone_is_refused_with_the_call_that_does_it(apostrophe: str):
    with pytest.raises(RecipeError) as caught:
        read_recipe(f"ChillyMixBaseV0 + NED{apostrophe}s input_blocks")
    assert "weighted_sum(ChillyMixBaseV0, NED, alpha={IN*: 1})" in str(caught.value)
    assert caught.value.position == len("ChillyMixBaseV0 + ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MIX = weigthed_sum(A, B, alpha=0.5)", "Did you mean 'weighted_sum'?"),
        ("A = weighted_sum(B, C, alpha=0.5)\nMIX weighted_sum(A, B, alpha=0.5)", "line 2, column 5: "),
        ("MIX = 0.5 * A + 0.6 * B", "add to 1.1"),
        ("MIX = 0.5 * A + 0.5 B", "an operator (+ - * /) was expected"),
        ("", "the recipe has no step"),
    ],
    ids=["unknown method", "missing =", "wrong sum", "missing sign", "nothing"],
)
def test_slip_in_our_own_notation_is_answered_in_its_terms_and_never_skipped_as_prose(text: str, message: str):
    with pytest.raises(RecipeError) as caught:
        read_recipe(text)
    assert message in str(caught.value)


def test_text_without_a_formula_says_so_with_an_example():
    with pytest.raises(RecipeError, match="no formula in this text"):
        read_recipe("This model makes photos.\n\n- License: openrail")


# Our own notation, and any text at all

NAMES = st.text(st.characters(categories=["L", "N", "Mn"], include_characters="_.-"), min_size=1, max_size=8).filter(is_bare_name)
ANY_NAMES = st.one_of(
    NAMES, st.sampled_from(["x", "a-b", "v1-5-pruned-emaonly", "1-alpha"]), st.text("ab \"'\\x=+`", min_size=1).filter(str.strip)
)


@st.composite
def own_texts(draw: st.DrawFn) -> str:
    """Recipes in our own notation: a constant, sums, means and calls over any names."""
    names = draw(st.lists(ANY_NAMES, min_size=2, max_size=6, unique_by=lambda name: parse_recipe(f"s = {spell_name(name)}")))
    models = [spell_name(name) for name in names]
    lines = ["k0 = 0.25"]
    for index in range(draw(st.integers(1, 4))):
        first, second = draw(st.sampled_from(models)), draw(st.sampled_from(models))
        weight = spell_number(Fraction(draw(st.integers(0, 100)), 100))
        forms = [
            f"{first} * {weight} + (1 - {weight}) * {second}",
            f"{first} + k0 * ({second} - {models[0]})",
            f"mean({first}, {second})",
            f"weighted_sum({first}, {second}, alpha={{*: {weight}, OUT*: k0}})",
            f"weighted_sum({first}, {second}, alpha=[{weight}, 0, -1])",
            f"{first} + {second}",
            first,
        ]
        lines.append(f"step{index} = {draw(st.sampled_from(forms))}")
        models.append(f"step{index}")
    return "\n".join(lines + draw(st.sampled_from([[], ["save(dtype=fp16)"]])))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(own_texts())
def test_canonical_text_of_any_recipe_is_read_as_our_own_notation_unchanged(text: str):
    recipe = parse_recipe(text)
    again = read_recipe(recipe.canonical())
    assert again == recipe
    assert again.canonical() == recipe.canonical()
    assert again.notes == parse_recipe(recipe.canonical()).notes


@pytest.mark.parametrize(
    "text",
    [*LISTED.values(), SECTION_2, SECTION_3, *(text for text, _ in [*SPELLINGS.values(), *ALPHAS.values()])],
    ids=[*LISTED, "section 2", "section 3", *SPELLINGS, *(f"alpha {each}" for each in ALPHAS)],
)
def test_canonical_text_of_a_card_reads_back_as_the_same_recipe(text: str):
    recipe = read_recipe(text)
    assert read_recipe(recipe.canonical()) == recipe


FRAGMENTS = [
    *("A", "B", "x", "X", "0.5", "1", "alpha", "beta", "(1-alpha)", "+", "-", "*", "/", "=", "==", "(", ")", "\n", ",", '"', "`"),
    *("**", "- ", "1. ", "# ", "NED's input", "alpha = 0.5", "alpha = (1,0,", "[", "]", "{", "}", "save(dtype=fp16)", "mean("),
    *(
        "weighted_sum(A, B, alpha=0.3)",
        "×",
        "−",
        "–",
        "\u00a0",
        "’",
        ":",
        "Mix: ",
        "= C",
        "1-5",
        "0.95x",
        "e\u0301",
        "\u0338",
        "→",
    ),
    *(
        "ratio = 0.2",
        "ratio",
        "\r\n",
        "%",
        "\u200b",
        "0,5",
        "1e99",
        "\x00",
        "\ud800",
        "|",
        "<a",
        "](",
        "with",
        "...",
        "some prose",
    ),
]
CARD_LIKE = st.builds(str.join, st.sampled_from(["", " "]), st.lists(st.sampled_from(FRAGMENTS), max_size=30))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(CARD_LIKE, st.text(max_size=60)))
def test_any_text_reads_and_round_trips_or_raises_a_recipe_error_inside_it(text: str):
    recipe = recipe_or_error(text)
    if isinstance(recipe, RecipeError):
        assert recipe.position is None or 0 <= recipe.position <= len(recipe.text)
        return
    assert read_recipe(recipe.canonical()) == recipe
    assert all(recipe.text[model.position :].startswith((model.name, '"', "“")) for model in recipe.models())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_card_with_a_random_change_reads_or_raises_a_recipe_error(data: st.DataObject):
    card = SECTION_1 + SECTION_2 + SECTION_3
    place, removed = data.draw(st.integers(0, len(card))), data.draw(st.integers(0, 3))
    changed = card[:place] + data.draw(st.sampled_from(["", *FRAGMENTS])) + card[place + removed :]
    recipe = recipe_or_error(changed)
    assert isinstance(recipe, RecipeError) or read_recipe(recipe.canonical()) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A x 1 + " * 125_000, "1000000 characters"),
        ("\n" * LONGEST_TEXT, f"{LONGEST_TEXT + 1} lines"),
        ("A\n" * MOST_LINES, f"{MOST_LINES + 1} lines"),
        ("A = B\n" + "A " * LONGEST_LINE, f"line 2 has {2 * LONGEST_LINE} characters"),
        ("A = " + "A" * (LONGEST_WORD + 1), f"a word of {LONGEST_WORD + 1} characters"),
    ],
    ids=["a megabyte", "nothing but lines", "too many lines", "a long line", "a long word"],
)
def test_text_larger_than_any_recipe_is_refused_before_it_is_read(text: str, message: str):
    with pytest.raises(RecipeError, match=message):
        read_recipe(text)


HOSTILE = [
    "( ",
    "a ",
    "` ",
    '"a" ',
    "alpha ",
    "alpha = ( ",
    "a x 1 + ",
    "A (1-alpha) + ",
    "1-1-1 ",
    "x ",
    "= ",
    "[a](",
    "<a",
    "- ",
]
HOSTILE += ["a: ", "a + b's ", "a =b(c,", "save( ", "mean(", "a 1 x 2 + ", "!![", "1" * (LONGEST_WORD - 2) + "x ", " ", "#", "."]


@pytest.mark.parametrize("unit", HOSTILE, ids=lambda unit: unit.strip()[:14] or "space")
def test_repeated_junk_as_long_as_a_text_may_be_ends_in_a_recipe_error(unit: str):
    """The sizes above are what bounds the time: every reader is at most quadratic in a line or a word."""
    broken = unit if " " in unit else unit + " " * (len(unit) > 1)
    line = (broken * (LONGEST_LINE // len(broken)))[: LONGEST_LINE - 1]
    text = "\n".join([line] * (LONGEST_TEXT // LONGEST_LINE - 1) + ["X == 1"])
    with pytest.raises(RecipeError):
        read_recipe(text)


@pytest.mark.parametrize(
    "text", ["- A x 1e99 x 1e99 x 1e99 x 1e99 = C", "C = A * 1e99 * 1e99 * 1e99 * 1e99"], ids=["card", "own"]
)
def test_number_beyond_all_bounds_is_a_recipe_error(text: str):
    with pytest.raises(RecipeError, match="too large"):
        read_recipe(text)


@pytest.mark.parametrize("depth", [200, 400, 600, 900])
@pytest.mark.parametrize("text", ["C = {}A", "- C = {}A x 1"], ids=["own", "card"])
def test_deep_nesting_either_reads_and_spells_or_is_a_recipe_error(text: str, depth: int):
    recipe = recipe_or_error(text.format("- " * depth))
    assert "nested too deeply" in str(recipe) if isinstance(recipe, RecipeError) else recipe.canonical()
