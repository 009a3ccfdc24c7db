"""Text tools: summaries, keywords, language, sentiment, clusters."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from tomas.tools.builtin.files import Inputs, Outputs, artifact, cores, read_text, write_jsonl
from tomas.tools.builtin.language import chinese_runs, is_chinese, sentences, tokens
from tomas.tools.naming import output_names

_NEUTRAL = 0.05
"""Polarity closer to zero than this counts as neutral."""

_CHINESE_STOPS = (
    "的了是在和与及等也就都而又或被把从对为以其之此该这那有个们我你他她它不到上下中要会可能将更很最后前时里"
)
_ENDS = tuple(".!?。！？…")
_MAX_TERMS = 20_000


def summarize(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """The most central sentences of each document, in their order, as a record and as a text."""
    paths = inputs["documents"]
    records, outputs = [], []
    for path, name in zip(paths, output_names(paths, "-summary.txt"), strict=True):
        text = read_text(path)
        chinese = is_chinese(text)
        found = sentences(text)
        chosen = [found[index] for index in _central(found, int(arguments["sentences"]))]
        summary = ("" if chinese else " ").join(chosen)
        records.append(
            {
                "file": path.name,
                "language": "zh" if chinese else "en",
                "sentences": len(found),
                "summary": summary,
                "chosen": chosen,
            }
        )
        (output_dir / name).write_text(summary + "\n", encoding="utf-8")
        outputs.append(artifact("texts", "text/plain", output_dir / name))
    return [write_jsonl("summaries", records, output_dir), *outputs]


def _central(found: list[str], count: int) -> list[int]:
    """Indexes of the ``count`` sentences with the highest rank.

    TextRank: PageRank on the graph of sentence similarities. After R. Mihalcea and P. Tarau, "TextRank:
    Bringing Order into Text", EMNLP 2004; similarity is the cosine of TF-IDF vectors. The matrix stays
    sparse: a document of thousands of sentences fits in memory.
    """
    import numpy as np
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

    usable = [index for index, sentence in enumerate(found) if len(tokens(sentence)) >= 4]
    closed = [index for index in usable if found[index].rstrip("\"'”’）)]").endswith(_ENDS)]
    if len(closed) > count:  # headings say what a text is about, and summarise nothing
        usable = closed
    if len(usable) <= count:
        return usable or list(range(min(count, len(found))))
    vectorizer = TfidfVectorizer(
        tokenizer=tokens, token_pattern=None, lowercase=False, stop_words=sorted(ENGLISH_STOP_WORDS)
    )
    vectors = vectorizer.fit_transform([found[index] for index in usable])
    similarity = (vectors @ vectors.T).tocsr()
    similarity.setdiag(0.0)
    similarity.data[similarity.data < 0.05] = 0.0
    similarity.eliminate_zeros()
    weight = np.asarray(similarity.sum(axis=1)).ravel()
    rank = np.full(len(usable), 1.0 / len(usable))
    for _ in range(100):
        share = np.divide(rank, weight, out=np.zeros_like(rank), where=weight > 0)
        moved = 0.15 / len(usable) + 0.85 * (similarity.T @ share + rank[weight == 0].sum() / len(usable))
        if np.abs(moved - rank).sum() < 1e-8:
            break
        rank = moved
    best = np.argsort(-rank, kind="stable")[:count]
    return sorted(usable[index] for index in best)


def extract_keywords(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """The best keywords of each document; a lower score is better."""
    top = int(arguments["top"])
    records = []
    for path in inputs["documents"]:
        text = read_text(path)
        chinese = is_chinese(text)
        found = _chinese_keywords(text, top) if chinese else _yake_keywords(text, top)
        records.append(
            {
                "file": path.name,
                "language": "zh" if chinese else "en",
                "keywords": [{"keyword": word, "score": round(score, 5)} for word, score in found],
            }
        )
    return [write_jsonl("keywords", records, output_dir)]


def _yake_keywords(text: str, top: int) -> list[tuple[str, float]]:
    import yake

    extractor = yake.KeywordExtractor(lan="en", n=2, dedupLim=0.8, top=top)
    return [(str(word), float(score)) for word, score in extractor.extract_keywords(text)]


def _chinese_keywords(text: str, top: int) -> list[tuple[str, float]]:
    """Frequent sequences of two to four characters that hold no function word.

    A sequence inside a longer one counts only as often as it stands alone.
    """
    counts: Counter[str] = Counter()
    pieces = re.split(f"[{_CHINESE_STOPS}]", " ".join(chinese_runs(text)))
    for run in " ".join(pieces).split():
        for size in (2, 3, 4):
            counts.update(run[i : i + size] for i in range(len(run) - size + 1))
    alone = counts.copy()
    for word, count in counts.items():
        if len(word) > 2 and count > 1:
            for part in {word[:-1], word[1:], word[:2], word[-2:]} - {word}:
                alone[part] -= count
    scored = [(word, 1.0 / (1.0 + count * (len(word) - 1))) for word, count in alone.items() if count > 1]
    return sorted(scored, key=lambda item: (item[1], item[0]))[:top]


def detect_language(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:  # noqa: ARG001
    """The language of each document with its probability, and the next two."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    records = []
    for path in inputs["documents"]:
        ranked = [(str(code), float(share)) for code, share in identifier.rank(read_text(path))[:3]]
        records.append(
            {
                "file": path.name,
                "language": ranked[0][0],
                "probability": round(ranked[0][1], 4),
                "alternatives": [{"language": code, "probability": round(share, 4)} for code, share in ranked[1:]],
            }
        )
    return [write_jsonl("languages", records, output_dir)]


def analyze_sentiment(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:  # noqa: ARG001
    """Polarity and subjectivity of each document, and its most positive and most negative sentence."""
    from textblob.en.sentiments import PatternAnalyzer

    analyzer = PatternAnalyzer()
    records = []
    for path in inputs["documents"]:
        found = [(float(analyzer.analyze(sentence).polarity), sentence) for sentence in sentences(read_text(path))]
        whole = analyzer.analyze(read_text(path))
        polarity = float(whole.polarity)
        label = "neutral" if abs(polarity) < _NEUTRAL else "positive" if polarity > 0 else "negative"
        records.append(
            {
                "file": path.name,
                "label": label,
                "polarity": round(polarity, 4),
                "subjectivity": round(float(whole.subjectivity), 4),
                "most_positive": max(found, default=(0.0, ""))[1],
                "most_negative": min(found, default=(0.0, ""))[1],
            }
        )
    return [write_jsonl("sentiments", records, output_dir)]


def cluster_texts(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """k-means over TF-IDF; the best of many restarts, which run in parallel over the allotted cores."""
    import numpy as np
    from joblib import Parallel, delayed
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    units: list[tuple[str, int, str]] = []
    for path in inputs["documents"]:
        text = read_text(path)
        parts = re.split(r"\n\s*\n", text) if arguments["unit"] == "paragraph" else [text]
        units.extend(
            (path.name, number, part) for number, part in enumerate(parts, start=1) if len(tokens(part)) >= 3
        )
    wanted = int(arguments["clusters"])
    if len(units) < wanted:
        raise ValueError(f"{len(units)} {arguments['unit']}s cannot make {wanted} clusters; ask for fewer")
    vectorizer = TfidfVectorizer(
        tokenizer=tokens,
        token_pattern=None,
        lowercase=False,
        stop_words=sorted(ENGLISH_STOP_WORDS),
        max_features=_MAX_TERMS,
    )
    weights = vectorizer.fit_transform([text for _, _, text in units])
    size = min(100, weights.shape[1] - 1, len(units) - 1)
    points = weights.toarray() if size < 2 else TruncatedSVD(size, random_state=0).fit_transform(weights)
    points = normalize(points)

    def attempt(seed: int) -> tuple[float, int, Any]:
        with threadpool_limits(1):
            model = KMeans(wanted, n_init=1, random_state=seed).fit(points)
        return float(model.inertia_), seed, model.labels_

    tries = Parallel(n_jobs=cores(), prefer="threads")(
        delayed(attempt)(seed) for seed in range(int(arguments["restarts"]))
    )
    labels = min(tries, key=lambda item: item[:2])[2]
    terms = np.array(vectorizer.get_feature_names_out())
    records: list[dict[str, Any]] = [
        {"file": name, "unit": number, "cluster": int(label), "text": " ".join(text.split())[:120]}
        for (name, number, text), label in zip(units, labels, strict=True)
    ]
    for cluster in range(wanted):
        inside = np.asarray(weights[labels == cluster].mean(axis=0)).ravel()
        best = [str(terms[i]) for i in np.argsort(-inside)[:8] if inside[i] > 0]
        records.append({"cluster": cluster, "size": int((labels == cluster).sum()), "terms": best})
    return [write_jsonl("clusters", records, output_dir)]
