"""BLiMP: does a model find the grammatical sentence of a pair more probable? (Warstadt et al., arXiv 1912.00582)

Each of 67 paradigms has 1,000 pairs of sentences that differ in one point of grammar. A pair is right when the total
log-probability of the good sentence, read from the start of a document, is above that of the bad one. Equal is wrong,
and chance is 50%. As in the paper, nothing is added at a sentence's end, and length is not compensated for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cpu1.evaluation.language.reading import records
from cpu1.evaluation.language.sharing import Asked, common, costs
from cpu1.evaluation.language.work import CheckProgress, in_blocks
from cpu1.evaluation.statistics import share_interval
from cpu1.runtime.model import Model

#: the paper's phenomena and their paradigms (its table 4)
PHENOMENA = {
    "anaphor agreement": "anaphor_gender_agreement anaphor_number_agreement",
    "argument structure": """animate_subject_passive animate_subject_trans causative drop_argument inchoative
        intransitive passive_1 passive_2 transitive""",
    "binding": """principle_A_c_command principle_A_case_1 principle_A_case_2 principle_A_domain_1
        principle_A_domain_2 principle_A_domain_3 principle_A_reconstruction""",
    "control/raising": """existential_there_object_raising existential_there_subject_raising
        expletive_it_object_raising tough_vs_raising_1 tough_vs_raising_2""",
    "determiner-noun agreement": """determiner_noun_agreement_1 determiner_noun_agreement_2
        determiner_noun_agreement_irregular_1 determiner_noun_agreement_irregular_2
        determiner_noun_agreement_with_adj_2 determiner_noun_agreement_with_adj_irregular_1
        determiner_noun_agreement_with_adj_irregular_2 determiner_noun_agreement_with_adjective_1""",
    "ellipsis": "ellipsis_n_bar_1 ellipsis_n_bar_2",
    "filler-gap": """wh_questions_object_gap wh_questions_subject_gap wh_questions_subject_gap_long_distance
        wh_vs_that_no_gap wh_vs_that_no_gap_long_distance wh_vs_that_with_gap wh_vs_that_with_gap_long_distance""",
    "irregular forms": "irregular_past_participle_adjectives irregular_past_participle_verbs",
    "island effects": """adjunct_island complex_NP_island coordinate_structure_constraint_complex_left_branch
        coordinate_structure_constraint_object_extraction left_branch_island_echo_question
        left_branch_island_simple_question sentential_subject_island wh_island""",
    "NPI licensing": """matrix_question_npi_licensor_present npi_present_1 npi_present_2 only_npi_licensor_present
        only_npi_scope sentential_negation_npi_licensor_present sentential_negation_npi_scope""",
    "quantifiers": """existential_there_quantifiers_1 existential_there_quantifiers_2 superlative_quantifiers_1
        superlative_quantifiers_2""",
    "subject-verb agreement": """distractor_agreement_relational_noun distractor_agreement_relative_clause
        irregular_plural_subject_verb_agreement_1 irregular_plural_subject_verb_agreement_2
        regular_plural_subject_verb_agreement_1 regular_plural_subject_verb_agreement_2""",
}
PHENOMENON = {uid: name for name, uids in PHENOMENA.items() for uid in uids.split()}

KEYS = {"uid": "UID", "good": "sentence_good", "bad": "sentence_bad"}  # and those of the paper's own files


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one point of grammar."""

    uid: str  # of their paradigm
    good: bytes
    bad: bytes


def read_pairs(path: str | Path, limit: int | None = None) -> list[Pair]:
    """The pairs of a file, at most the first `limit` of each paradigm. UserError for a file without pairs."""
    seen: dict[str, int] = {}
    pairs = []
    for row in records(Path(path), KEYS):
        seen[row["uid"]] = seen.get(row["uid"], 0) + 1
        if limit is None or seen[row["uid"]] <= limit:
            good, bad = (row[name].encode("utf-8", "surrogatepass") for name in ("good", "bad"))
            pairs.append(Pair(row["uid"], good, bad))
    return pairs


def check(
    model: Model, pairs: Sequence[Pair], threads: int = 1, progress: CheckProgress | None = None
) -> dict[str, Any]:
    """Shares of right pairs: of all, of each phenomenon and each paradigm, with Wilson's 95% intervals.

    The intervals cover the choice of pairs within the same paradigms. A uid that is not in the paper is a phenomenon of
    its own.
    """
    right = np.array(list(in_blocks(lambda block: judge(model, block), pairs, threads, progress)), np.bool_)
    uids = np.array([pair.uid for pair in pairs])
    phenomena = np.array([PHENOMENON.get(uid, uid) for uid in uids.tolist()])
    shares: dict[str, Any] = {}
    for name in sorted(set(phenomena.tolist()), key=str.lower):
        of_name = phenomena == name
        paradigms = {uid: float(right[uids == uid].mean()) for uid in sorted(set(uids[of_name].tolist()))}
        shares[name] = {**_share(right[of_name]), "paradigms": paradigms}
    return {**_share(right), "phenomena": shares}


def judge(model: Model, pairs: Sequence[Pair]) -> list[bool]:
    """Whether each pair is right: `good` costs less than `bad`. Their common beginning costs both the same."""
    sentences = [(model.encode(pair.good), model.encode(pair.bad)) for pair in pairs]
    asked = []
    for good, bad in sentences:
        begin = common(good, bad)
        asked += [Asked(good[:begin], good[begin:]), Asked(bad[:begin], bad[begin:])]
    nats = [cost.nats.sum() for cost in costs(model.units(), asked)]
    return [bool(good < bad) for good, bad in zip(nats[::2], nats[1::2], strict=True)]


def _share(right: np.ndarray) -> dict[str, Any]:
    low, high = share_interval(int(right.sum()), len(right))
    return {"accuracy": float(right.mean()), "interval": [low, high], "pairs": len(right)}
