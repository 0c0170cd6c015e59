"""SCTransform of a full-size Visium section: seconds, peak memory, growth with the spots, and R's own figures where R is installed.

`make bench ARGS="-k sctransform"`. Each figure is of a process of its own, so that its peak memory is its own; R runs the call that Seurat's
SCTransform makes (2,000 genes drawn for the first step), once. On Debian: apt-get install r-cran-sctransform.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import mmread, mmwrite

from napari_deepspace.events import result_of
from napari_deepspace.preprocess.sctransform import fit_sctransform, transform

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA, HER2ST = SHARED / "visium_v2_cytassist_mouse", SHARED / "her2st"
SPOTS = (700, 1400, 2898)


def has_r() -> bool:
    command = ["Rscript", "-e", "library(sctransform)"]
    return shutil.which("Rscript") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


PEAK = """next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e3"""
"""Not ``ru_maxrss``: that counts what the parent had when it forked."""

OURS = """
import json, sys, time
import numpy as np, psutil
from napari_deepspace.events import result_of
from napari_deepspace.preprocess.sctransform import fit_sctransform, transform
from napari_deepspace.read import read_section

counts = read_section({data!r}, slide=False).adata.X
counts = counts[np.sort(np.random.default_rng(0).permutation(counts.shape[0])[:{spots}])]
process = psutil.Process()
loaded, began = process.memory_info().rss, time.perf_counter()
candidates = np.flatnonzero(np.diff(counts.tocsc().indptr) >= 5)
drawn = np.random.default_rng(0).choice(candidates, 2000, replace=False) if {draw} else None
done = result_of(transform(counts, result_of(fit_sctransform(counts, step1_genes=drawn))))
done.variable()
seconds = time.perf_counter() - began
print(json.dumps(dict(seconds=seconds, peak_mb={peak}, loaded_mb=loaded / 1e6, genes=len(done.model.genes))))
"""

LARGE = """
import json, time
import numpy as np
from scipy import sparse
from napari_deepspace.events import result_of
from napari_deepspace.preprocess.sctransform import fit_sctransform, transform

rng = np.random.default_rng(0)
share = rng.lognormal(-1.5, 1.6, 18000)
parts = [sparse.csr_matrix(rng.poisson(share * depth * rng.gamma(5, 0.2, 18000)).astype(np.float32)) for depth in rng.lognormal(0, 0.4, 5000)]
counts = sparse.vstack(parts, format="csr")
del parts
began = time.perf_counter()
done = result_of(transform(counts, result_of(fit_sctransform(counts))))
print(json.dumps(dict(seconds=time.perf_counter() - began, peak_mb=PEAK, genes=len(done.model.genes),
                      filled=counts.nnz / counts.shape[0] / counts.shape[1])))
""".replace("PEAK", PEAK)

R = """
suppressMessages({library(Matrix); library(sctransform)})
counts <- as(readMM(ARGUMENT), "CsparseMatrix")
dimnames(counts) <- list(paste0("g", seq_len(nrow(counts))), paste0("c", seq_len(ncol(counts))))
set.seed(1448145)
began <- proc.time()[["elapsed"]]
done <- vst(counts, latent_var = "log_umi", method = "poisson", n_genes = N_GENES, n_cells = 5000, min_cells = 5,
            return_corrected_umi = TRUE, verbosity = 0)
seconds <- proc.time()[["elapsed"]] - began
peak <- as.numeric(sub(" kB", "", sub("VmHWM:", "", grep("VmHWM", readLines("/proc/self/status"), value = TRUE)))) / 1000
options(digits = 17)
write.table(done$model_pars_fit, paste0(ARGUMENT, ".pars"), sep = "\\t", quote = FALSE)
write.table(rownames(done$model_pars), paste0(ARGUMENT, ".step1"), quote = FALSE, row.names = FALSE, col.names = FALSE)
invisible(writeMM(as(done$umi_corrected, "CsparseMatrix"), paste0(ARGUMENT, ".corrected")))
cat(sprintf('{"seconds": %f, "peak_mb": %f, "genes": %d}', seconds, peak, nrow(done$y)))
"""


def ours(spots: int, draw: bool) -> dict[str, float]:
    code = OURS.format(data=str(DATA), spots=spots, draw=draw, peak=PEAK)
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def in_r(genes: str, section: Path = DATA) -> dict[str, float]:
    """R's vst on the same matrix, transposed to genes x spots as R wants it, and how far its numbers are from ours with the genes that R drew."""
    from napari_deepspace.read import read_section

    counts = read_section(section, slide=False).adata.X
    with tempfile.TemporaryDirectory() as folder:
        matrix = Path(folder) / "counts.mtx"
        mmwrite(matrix, counts.T.astype(int))
        script = Path(folder) / "vst.R"
        script.write_text(R.replace("ARGUMENT", json.dumps(str(matrix))).replace("N_GENES", genes), encoding="utf-8")
        out = subprocess.run(["Rscript", str(script)], check=True, capture_output=True, text=True)
        found = json.loads(out.stdout[out.stdout.index("{") :])
        step1 = np.array([int(name[1:]) - 1 for name in Path(f"{matrix}.step1").read_text().split()])
        parameters, corrected = pd.read_csv(f"{matrix}.pars", sep="\t"), sparse.csc_matrix(mmread(f"{matrix}.corrected").T)
    model = result_of(fit_sctransform(counts, step1_genes=step1))
    ours = {"theta": model.theta, "(Intercept)": model.intercept, "log_umi": model.slope}
    found["parameters"] = max(float(np.abs(values / parameters[name] - 1).max()) for name, values in ours.items())
    found["counts"] = (corrected != result_of(transform(counts, model)).corrected).nnz
    found["of"] = corrected.shape[0] * corrected.shape[1]
    return found


@pytest.mark.skipif(not DATA.exists(), reason="the real sections are not beside the project")
def test_sctransform() -> None:
    """Seconds and memory, how they grow with the spots, and R's beside them where R is installed."""
    print(f"\nSCTransform of {DATA.name}, {os.cpu_count()} cores")
    found = {}
    for spots in SPOTS:
        for draw in (False, True):
            one = found[spots, draw] = ours(spots, draw)
            step1 = "2,000 genes" if draw else "every gene "
            print(
                f"  {spots:5} spots, {one['genes']:5.0f} genes, first step on {step1}: {one['seconds']:6.2f} s, "
                f"peak {one['peak_mb']:5.0f} MB ({one['loaded_mb']:.0f} MB with the counts alone)"
            )
    most, least = found[SPOTS[-1], False], found[SPOTS[0], False]
    values = SPOTS[-1] * most["genes"] / SPOTS[0] / least["genes"]
    print(
        f"  from {SPOTS[0]} to {SPOTS[-1]} spots ({values:.1f} times the spots x genes): "
        f"{most['seconds'] / least['seconds']:.1f} times the time, {most['peak_mb'] / least['peak_mb']:.2f} times the peak memory"
    )
    if not has_r():
        print("  R with sctransform is not installed: no comparison")
        return
    for genes, draw in (("2000", True), ("NULL", False)):
        r, mine = in_r(genes), found[SPOTS[-1], draw]
        print(
            f"  R, n_genes = {genes}: {r['seconds']:.1f} s, peak {r['peak_mb']:.0f} MB; "
            f"R / ours: {r['seconds'] / mine['seconds']:.1f} in time, {r['peak_mb'] / mine['peak_mb']:.1f} in memory"
        )
        print(_agreement(r))


def _agreement(r: dict[str, float]) -> str:
    return f"    with R's genes: parameters within {r['parameters']:.0e}, {r['counts']:.0f} of {r['of']:,.0f} corrected counts differ"


@pytest.mark.skipif(not HER2ST.exists() or not has_r(), reason="needs the real sections and R with sctransform")
@pytest.mark.parametrize("name", ["B4", "C2"])
def test_agreement_with_r(name: str) -> None:
    """Sections whose values no table holds: R runs here, and every corrected count is compared."""
    for genes in ("2000", "NULL"):
        print(f"\n{name}, R, n_genes = {genes}\n{_agreement(in_r(genes, HER2ST / name))}")


def test_sctransform_of_the_largest() -> None:
    """18,000 genes x 5,000 spots of made-up counts: the peak memory of the whole process (goal: under 2 GB)."""
    one = json.loads(subprocess.run([sys.executable, "-c", LARGE], check=True, capture_output=True, text=True).stdout)
    print(
        f"\nSCTransform of 5,000 spots x 18,000 genes, {one['filled']:.0%} of the table above zero, {one['genes']} genes kept: "
        f"{one['seconds']:.1f} s, peak {one['peak_mb']:.0f} MB"
    )
