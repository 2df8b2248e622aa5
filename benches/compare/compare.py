#!/usr/bin/env python3
"""Recall and queries per second of Pando beside other engines: one data set, one machine, one run.

Each engine runs in a process of its own, one after another. In-process libraries get all queries in one call where
they have one for that, which spares them a call per query that Pando pays. Writes a Markdown table, an SVG plot and
JSON. `make bench-search` sets up what this needs.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import numpy as np

EFS = [10, 16, 24, 32, 64, 128, 256]
ROUNDS = 3
# What the graphs are built with: the libraries' own common setting, near Pando's degree of 32.
M, EF_CONSTRUCTION = 16, 128
K = 10
# Queries of one request, where Pando is asked more than one at once.
BATCH = 16


def unit(vectors):
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def wordnet(folder):
    """Real embeddings: a folder with vectors.f16.npy, queries.f16.npy and ground_truth.i32.npy."""
    read = lambda name: np.load(folder / name)
    base, queries = unit(read("vectors.f16.npy")), unit(read("queries.f16.npy"))
    return base, queries, read("ground_truth.i32.npy")[: len(queries), :K]


def synthetic(rows, dimension, queries):
    """Clusters of unit vectors: as many as the root of the rows, and the queries from the same ones."""
    random = np.random.default_rng(1)
    centres = unit(random.standard_normal((int(rows**0.5), dimension)))
    spread = 0.7 / dimension**0.5

    def draw(count):
        of = centres[random.integers(len(centres), size=count)]
        return unit(of + spread * random.standard_normal((count, dimension)).astype(np.float32))

    return draw(rows), draw(queries), None


def nearest(base, queries):
    """The truth, by a scan of everything."""
    import faiss

    index = faiss.IndexFlatIP(base.shape[1])
    index.add(base)
    return index.search(queries, K)[1].astype(np.int32)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def recall(found, truth):
    hits = sum(len(set(f[:K]) & set(t)) for f, t in zip(found, truth))
    return hits / truth.size


def sweep(search, queries, truth, threads):
    """Every list, the best of some rounds. `search(ef, threads)` answers all queries."""
    rows = []
    for count in dict.fromkeys([1, threads]):
        for ef in EFS:
            best = None
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                found = search(ef, count)
                seconds = time.perf_counter() - begun
                best = min(best or seconds, seconds)
            rows.append(dict(ef=ef, threads=count, recall=recall(found, truth), qps=len(queries) / best))
    return rows


def faiss_hnsw(base, queries, truth, threads):
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(base.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    before, begun = resident(), time.perf_counter()
    index.add(base)
    built, memory = time.perf_counter() - begun, resident() - before

    def search(ef, count):
        faiss.omp_set_num_threads(count)
        index.hnsw.efSearch = ef
        return index.search(queries, K)[1]

    return "faiss IndexHNSWFlat", built, memory, sweep(search, queries, truth, threads)


def hnswlib_hnsw(base, queries, truth, threads):
    import hnswlib

    index = hnswlib.Index(space="ip", dim=base.shape[1])
    before, begun = resident(), time.perf_counter()
    index.init_index(max_elements=len(base), M=M, ef_construction=EF_CONSTRUCTION)
    index.add_items(base, num_threads=1)
    built, memory = time.perf_counter() - begun, resident() - before

    def search(ef, count):
        index.set_ef(max(ef, K))
        return index.knn_query(queries, k=K, num_threads=count)[0]

    return "hnswlib", built, memory, sweep(search, queries, truth, threads)


def usearch_hnsw(base, queries, truth, threads):
    from usearch.index import Index

    index = Index(ndim=base.shape[1], metric="ip", dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCTION)
    before, begun = resident(), time.perf_counter()
    index.add(np.arange(len(base)), base, threads=1)
    built, memory = time.perf_counter() - begun, resident() - before

    def search(ef, count):
        index.expansion_search = ef
        return index.search(queries, K, threads=count).keys

    return "usearch", built, memory, sweep(search, queries, truth, threads)


def qdrant_edge(base, queries, truth, threads):
    import qdrant_edge as edge

    with tempfile.TemporaryDirectory() as folder:
        params = edge.EdgeVectorParams(size=base.shape[1], distance=edge.Distance.Dot)
        shard = edge.EdgeShard.create(folder, edge.EdgeConfig(vectors=params))
        before, begun = resident(), time.perf_counter()
        for first in range(0, len(base), 1000):
            points = [
                edge.Point(id=first + n, vector=row.tolist())
                for n, row in enumerate(base[first : first + 1000])
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        built, memory = time.perf_counter() - begun, resident() - before
        vectors = [row.tolist() for row in queries]

        def request(vector, ef):
            params = edge.SearchParams(hnsw_ef=ef) if ef else None
            return edge.SearchRequest(query=edge.Query.Nearest(vector), limit=K, params=params)

        def search(ef, count):
            # One thread asks; with more, the engine's own pool may still help.
            return [[hit.id for hit in shard.search(request(vector, ef))] for vector in vectors]

        rows = sweep(search, queries, truth, 1)
        default = sweep(lambda _ef, count: search(None, count), queries, truth, 1)[0]
        rows.append(default | dict(ef=0))
        shard.close()
    return "qdrant-edge", built, memory, rows


def separately(engine, files, threads):
    """Runs an engine in a process of its own."""
    base, queries, truth = (np.load(file) for file in files)
    name, built, memory, rows = engine(base, queries, truth, threads)
    return dict(name=name, build_seconds=built, memory_bytes=memory, rows=rows)


def pando_in_process(program, files, threads):
    command = [program, *map(str, files), str(K), str(threads)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def pando_served(program, files, clients):
    """The same searches by requests of one query, and of a batch of them."""
    base, queries, _ = files
    command = [program, "bench", "search", "--output", "json", "--vectors", base, "--queries", queries]
    # As in process: a small set is to show the graph, too.
    command += ["--graph-vectors-min", "1000", "--queries-max", "2000", "--ef", ",".join(map(str, EFS)), "--clients", f"1,{clients}", "--batch", f"1,{BATCH}"]
    told = json.loads(subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE).stdout)
    rows = lambda batch: [
        dict(
            ef=0 if row["ef"] == "default" else int(row["ef"]),
            threads=row["clients"],
            recall=row["recall"],
            qps=row["queries_per_second"],
            p50_ms=row["p50_ms"],
            p99_ms=row["p99_ms"],
        )
        for row in told["rows"]
        if row["ef"] != "exact" and row["batch"] == batch
    ]
    own = told["own"]
    names = {1: "pando, over gRPC", BATCH: f"pando, over gRPC, {BATCH} a request"}
    return [
        dict(
            name=name,
            build_seconds=own["indexed_seconds"],
            memory_bytes=own["resident_bytes"],
            rows=rows(batch),
        )
        for batch, name in names.items()
    ]


def at_recall(engine, threads, wanted):
    """Queries per second where recall reaches what is wanted, between the two lists around it."""
    curve = sorted((r["recall"], r["qps"]) for r in engine["rows"] if r["threads"] == threads and r["ef"])
    for (low, fast), (high, slow) in zip(curve, curve[1:]):
        if low < wanted <= high:
            share = (wanted - low) / (high - low)
            return float(np.exp(np.log(fast) * (1 - share) + np.log(slow) * share))
    return None


def threads_of(engine):
    return list(dict.fromkeys(row["threads"] for row in engine["rows"]))


def page(results, plot):
    lines = [f"# Searching beside others: {results['data']}", ""]
    lines += ["|  |  |", "|---|---|"]
    lines += [f"| {what} | {results[what]} |" for what in ("machine", "date", "commit", "command", "versions")]
    lines += ["", f"![recall and queries per second]({plot})", ""]
    lines += ["| engine | threads | q/s at recall 0.95 | at 0.99 | build s | memory MiB | / raw f32 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for engine in results["engines"]:
        for threads in threads_of(engine):
            speeds = [at_recall(engine, threads, wanted) for wanted in (0.95, 0.99)]
            cells = [f"{speed:,.0f}" if speed else "-" for speed in speeds]
            memory = engine["memory_bytes"]
            lines.append(
                f"| {engine['name']} | {threads} | {cells[0]} | {cells[1]} | {engine['build_seconds']:.1f} "
                f"| {memory / 2**20:,.0f} | {memory / results['raw_bytes']:.2f} |"
            )
    lines += ["", "## Every list", "", "| engine | threads | ef | recall@10 | q/s | p50 ms | p99 ms |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for engine in results["engines"]:
        for row in engine["rows"]:
            ms = [f"{row[key]:.3f}" if key in row else "-" for key in ("p50_ms", "p99_ms")]
            lines.append(
                f"| {engine['name']} | {row['threads']} | {row['ef'] or 'default'} | {row['recall']:.4f} "
                f"| {row['qps']:,.0f} | {ms[0]} | {ms[1]} |"
            )
    updates = results["updates"]
    lines += [
        "",
        "## Pando: updates and filters",
        "",
        f"{updates['points']:,} points deleted and written again: {updates['seconds']:.1f} s until indexed, recall "
        f"{updates['recall_before']:.4f} before and {updates['recall_after']:.4f} after.",
        "",
        "| points that pass | recall@10 | q/s | p99 ms | plan |",
        "|---|---|---|---|---|",
    ]
    for filtered in results["filtered"]:
        row = filtered["row"]
        lines.append(
            f"| 1 of {filtered['one_of']:,} | {row['recall']:.4f} | {row['qps']:,.0f} | {row['p99_ms']:.2f} "
            f"| {filtered['plan']} |"
        )
    lines += [
        "",
        "## Reading it",
        "",
        f"- One run, one machine, engines one after another, best of {ROUNDS} rounds. HNSW: M = {M}, ef_construction = "
        f"{EF_CONSTRUCTION}; `qdrant-edge` as it comes; `default` is a search that names no list.",
        "- faiss, hnswlib and usearch answer all queries in one call; Pando and qdrant-edge one query per call.",
        "- Speeds at a recall lie between the two lists around it, on a logarithmic scale; `-`: no list of those tried "
        "is on both sides.",
        "- Memory: what Pando's index and the segment say they have allocated, payloads included; of a node the whole "
        "process; of the others what the process grew by while building.",
        "- `diskann, one segment` is the graph library as Pando uses it, rows at half precision, without anything around it.",
        "",
    ]
    return "\n".join(lines)


def picture(results, file):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(14, 6), sharey=True)
    for axis, many in zip(axes, (False, True)):
        for engine in results["engines"]:
            counts = threads_of(engine)
            if many and len(counts) < 2:
                continue
            threads = counts[-1] if many else 1
            rows = [r for r in engine["rows"] if r["threads"] == threads and r["ef"]]
            curve = sorted((r["recall"], r["qps"]) for r in rows)
            label = engine["name"] + (f" ({threads})" if many else "")
            axis.plot(*zip(*curve), marker="o", markersize=3, label=label)
        axis.set_yscale("log")
        axis.set_xlim(0.9, 1.001)
        axis.set_xlabel("recall@10")
        axis.grid(True, which="both", alpha=0.2)
        axis.legend(loc="lower left", fontsize=8)
    axes[0].set_ylabel("queries per second")
    axes[0].set_title(f"{results['data']}: one at a time")
    axes[1].set_title("some at once (threads or clients)")
    figure.tight_layout()
    figure.savefig(file)


def versions():
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("faiss-cpu", "hnswlib", "usearch", "qdrant-edge-py"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--data", type=pathlib.Path, metavar="DIR", help="a folder laid out like data/wordnet-10k")
    which.add_argument("--synthetic", type=int, metavar="ROWS", help="clustered unit vectors, 128 values each")
    parser.add_argument("--pando", required=True, help="the program")
    parser.add_argument("--compare", required=True, help="pando-compare of this folder")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="where the report goes")
    parser.add_argument("--commit", default="not told")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()

    if args.data:
        base, queries, truth = wordnet(args.data)
    else:
        base, queries, truth = synthetic(args.synthetic, 128, 1000)
    if truth is None:
        truth = nearest(base, queries)
    name = args.data.resolve().name if args.data else "clustered"
    results = dict(
        data=f"{name}, {len(base):,} x {base.shape[1]}, {len(queries):,} queries",
        machine=f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        commit=args.commit,
        command=f"`{' '.join(sys.argv)}`",
        versions=versions(),
        raw_bytes=base.nbytes,
        engines=[],
    )
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / f"{what}.npy" for what in ("base", "queries", "truth")]
        for file, rows in zip(files, (base, queries, truth)):
            np.save(file, rows)
        stem = f"compare-{len(base)}x{base.shape[1]}"
        del base, queries, truth
        told = pando_in_process(args.compare, files, args.threads)
        results["engines"] += told["engines"]
        results |= dict(updates=told["updates"], filtered=told["filtered"])
        results["engines"] += pando_served(args.pando, files, args.clients)
        context = multiprocessing.get_context("spawn")
        for engine in (faiss_hnsw, hnswlib_hnsw, usearch_hnsw, qdrant_edge):
            print(f"  {engine.__name__}", file=sys.stderr)
            with context.Pool(1) as pool:
                results["engines"].append(pool.apply(separately, (engine, files, args.threads)))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{stem}.json").write_text(json.dumps(results, indent=1))
    (args.out / f"{stem}.md").write_text(page(results, f"{stem}.svg"))
    picture(results, args.out / f"{stem}.svg")
    print(args.out / f"{stem}.md")


if __name__ == "__main__":
    main()
