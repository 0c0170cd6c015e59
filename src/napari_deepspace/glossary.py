"""Every word of the dock and of the documents, in one plain line each: the tooltips and ``docs/glossary.md`` come from here.

``python -m napari_deepspace.glossary FILE`` writes the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_deepspace.runs import write_atomic

GLOSSARY: dict[str, dict[str, str]] = {
    "Tissue and data": {
        "section": "One slice of tissue on one capture area: its gene counts, the positions of its spots, and its H&E image.",
        "slide": "The full-resolution H&E image of a section, read piece by piece, so that it may be larger than the memory.",
        "spot": "A small round area of the tissue whose RNA was counted together: 55 µm wide on Visium, 100 µm on legacy ST.",
        "pitch": "The distance between the centres of neighbouring spots: 100 µm on Visium, 200 µm on legacy ST.",
        "tile": "The square of the H&E image around a spot that a model looks at; by default 2.5 spot diameters wide.",
        "barcode": "The name of a spot: the short DNA sequence that marks its RNA.",
        "gene": "One gene of the count matrix, named by its symbol, for example ERBB2.",
        "UMI": "One counted RNA molecule; the total of a spot says how much RNA was caught there.",
        "detected genes": "How many different genes were counted at least once in a spot.",
        "count matrix": "The table of UMI counts, one row a spot and one column a gene, as Space Ranger writes it.",
        "platform": "How the section was measured; it fixes the diameter and the pitch of the spots.",
        "um per px": "How many micrometres one pixel of the full-resolution image is wide, found from the distance between spots.",
        "patient": "The patient a section comes from; scores across patients are harder and say more than scores within one.",
        "block": "The tissue block a section was cut from; neighbouring sections of one block resemble each other.",
        "synthetic": "Made by a program, with a known truth: nothing in it was measured.",
        "project": "A folder that keeps sections, runs and the view, so that the window can be opened again as it was left.",
    },
    "Quality": {
        "spot filter": "Spots with too few UMIs or genes train and score nothing: their RNA was caught badly, or the tissue holds little.",
        "threshold": "The least value a spot must reach to stay.",
        "removed spot": "A spot that a step of the filter removes: it neither trains nor scores. Its colour on the slide says which step.",
        "in tissue": "Space Ranger marks the spots that lie on tissue; the others are left out.",
        "mitochondrial share": "The share of a spot's UMIs from genes of the mitochondria; a high one can mean damaged cells.",
        "white tile": "A tile more than half of which is brighter than a percentile of the slide's own tiles: glass, or fat. It is not predicted.",
        "exclude outline": "An outline round a fold, pen mark or bubble: tiles that it touches neither train nor are predicted.",
        "low region": "Adjoining spots in tissue with few UMIs. The H&E decides whether it looks like tissue that measured well elsewhere.",
        "failed region": "A region where the assay failed though the tissue is there, as you decided: never trained on, and imputed.",
        "hole": "At least 7 adjoining spots on tissue without a usable measurement. It is filled only if dummy holes could test it.",
        "dummy hole": "The shape of a hole laid where spots were measured: r there says what a prediction in the real hole is worth.",
        "technical": "Of a low region: it looks like tissue that measured well elsewhere, so the assay has probably failed there.",
        "cannot tell": "Of a low region: it looks unlike anything that measured well, so that few UMIs may be the truth. It is left alone.",
        "permeabilisation": "The step that frees RNA from the tissue; where it fails, spots have few UMIs although the tissue is normal.",
        "normalisation": "Counts of spots of different depth are brought to one scale, so that they can be compared. It decides what is learned.",
        "SCTransform": "The paper's normalisation: a regression takes out what the depth of a spot explains, gene by gene.",
        "cluster": "A group of spots with similar expression: Space Ranger's, or computed here. One may be left out of training.",
        "differential genes": "Genes that are higher or lower in one cluster than in all others, with p adjusted after Benjamini and Hochberg.",
    },
    "Models": {
        "Quick": "A model of colours, stains and textures with a ridge regression: seconds, no graphics card, no download.",
        "network": "A deep neural network that learns from the tiles themselves: minutes to hours, best with a graphics card and several sections.",
        "backbone": "The kind of network: VGG16 as in the paper, others of torchvision, or any model of timm, pathology encoders included.",
        "pathology encoder": "A large network that its authors trained on many H&E slides (UNI, Virchow2, H-optimus); they give out its weights.",
        "frozen features": "What a backbone that does not train computes of a tile before its last layer; Quick can learn from them.",
        "context": "A second, wider view around a spot that a network looks at beside the tile.",
        "preset": "Settings that belong together under one name: Quick, DeepSpaCE (paper), ST-Net.",
        "weights": "What the network starts from: learned on everyday photographs (ImageNet), from scratch, or from a file.",
        "train": "Which part of the network learns: all of its weights, or its last layer alone, which is faster.",
        "epochs": "How often the network sees every training spot, at most.",
        "batch size": "How many tiles the network sees before it corrects itself once; smaller needs less memory.",
        "learning rate": "How strongly the network corrects itself at each step; too high is unsteady, too low is slow.",
        "weight decay": "A pull of the weights towards zero, against learning by heart.",
        "patience": "Training stops when the validation loss has not fallen for this many epochs.",
        "augmentation": "Tiles are turned, cropped, blurred, distorted and recoloured while training, so that tissue is learned, not one picture.",
        "tile size": "How far the tile reaches beyond the spot, in per cent of the spot's diameter.",
        "tile pixels": "Pixels a side that every tile is resized to before a model sees it.",
        "components": "How many combined image features Quick keeps.",
        "device": "Where the network computes: the processor (cpu) or a graphics card (cuda, mps).",
        "seed": "The start of all random choices: the same seed, data and computer give the same result.",
        "threads": "How many processor cores the training may use.",
        "unknown genes": "Genes that the section's count matrix does not hold; they cannot be learned from it.",
    },
    "Splits": {
        "split": "Which spots a model learns from and which are kept back to score it.",
        "fold": "One turn of the split: one part of the spots is kept back, a model is trained on the others and predicts that part.",
        "spatial blocks": "Whole squares of tissue are kept back together, so that a spot is not scored by its neighbours' pixels.",
        "random spots": "Single spots are kept back, as in the paper; scores come out higher, because neighbouring tiles overlap.",
        "guard band": "A strip around the spots kept back that is not trained on either, so that no tile, or wider view, reaches into them.",
        "one section out": "Each section in turn is kept back whole. A neighbour of the same patient among the others makes it easy, and is named.",
        "one patient out": "All sections of one patient in turn are kept back: this asks whether the model works on a new case.",
        "as in the paper": "Random spots, five folds: 64 % train, 16 % decide when to stop, 20 % are scored. Neighbouring tiles overlap.",
        "sealed hold-out": "Spots put away before the first run and scored once, at the end: the only score that owes nothing to trying often.",
        "seal": "The file that says which spots are sealed, since when, and whether, when and by which run it was opened.",
        "runs on this section": "How many runs were tried on it: the best of many is too good by chance, the more so the more there were.",
        "validation": "Training spots kept aside to decide when to stop; they do not count in the score.",
        "training spot": "A spot the model was trained on: its prediction proves nothing and is neither painted nor scored.",
        "out-of-fold": "Predicted by a model that was not trained on this spot: the only kind of value shown beside a measured one.",
        "aligned": "Sections lie over one another in one frame, so that the same place is known in each; a copy needs it.",
        "imputed": "Predicted at a spot without a usable measurement: a section without counts, or a spot that the filter removed.",
        "between": "Predicted at a point between spots, where nothing was measured.",
    },
    "Training": {
        "cost": "Time and memory the training will take on this computer, estimated from a trial of a few seconds.",
        "Start": "Trains in the background with the settings shown; the window stays free.",
        "target": "What the model learns to predict: genes, signatures, clusters, or numbers that came with the spots.",
        "signature": "One score for a set of genes: their mean above that of control genes of like expression. Steadier than single genes.",
        "numbers of the spots": "Numbers that came with the spots beside their counts, for example fractions of cell types.",
        "Pause": "The run finishes its present step, writes a checkpoint and ends; it can be resumed later, after napari was closed too.",
        "Stop": "Ends the training at once; folds that are finished stay in the run's folder.",
        "resume": "A run that was paused or cut short goes on from its last checkpoint.",
        "checkpoint": "All that a run needs to go on: weights, optimiser and position. It is gone when the run is finished.",
        "queue": "Runs that wait: the next one starts when the one before it ends. Each keeps the settings and outlines of when it was added.",
        "progress": "How much of the training is done, and the time that remains.",
        "run": "One training: a folder with its settings, events, model, predictions and scores.",
        "parameter search": "Many runs with different settings, compared on spots kept aside. The best of many scores is too high by chance.",
        "trial": "One run of a parameter search.",
        "teacher": "The run that labels tiles without counts for its students. It is kept unless a student is clearly better.",
        "student": "A run that learns from measured spots and from tiles that the best run so far has labelled.",
        "students": "Semi-supervised learning: a teacher labels tiles without counts, and students learn from those too. Often no better.",
        "unlabelled": "A section, slide or folder of images whose counts are not there, or are not looked at.",
        "pool": "All labelled tiles that a student learns from beside the measured spots; it grows with every round.",
        "control": "Students of labels or tiles that carry nothing: what they gain is no gain.",
        "model": "What a training leaves behind: all that is needed to predict on another section.",
        "training loss": "How far the model is off on the spots it learns from; it falls even when nothing useful is learned.",
        "validation loss": "How far the model is off on spots kept aside; when it rises again, the model learns by heart.",
        "validation score": "Mean r on the spots kept aside, while the network trains.",
        "loss": "How far the model is off, on one scale for all genes; it should fall.",
        "genes": "Which genes are predicted when none is named: those of highest mean expression, if detected in enough spots.",
        "panel": "The genes that the model learns to predict; by default the 50 of highest mean expression.",
    },
    "Look and score": {
        "measured": "The value from the count matrix.",
        "predicted": "What the model says from the H&E image, and aligned neighbouring sections where there are any, at spots it was not trained on.",
        "difference": "Predicted minus measured: red where the prediction is too high, blue where it is too low.",
        "card of a spot": "All that is known of one spot: the tile the model saw, its values and its neighbours', its top genes, and look-alikes.",
        "look-alikes": "Measured training tiles that the model sees as most like this one: what was measured where the tissue looks the same.",
        "tour": "Flies to the places where predicted and measured differ most, one after another: folds, failed spots, or something real.",
        "cause": "Why predicted and measured differ at a spot, as you judge it by the slide. It goes with the section into every result.",
        "unit": "log1p(counts per median depth): the logarithm of 1 + the count that a spot of median total would have had.",
        "colour bar": "Which colour stands for which value, with the unit and the origin of the values.",
        "colour limits": "The values at the two ends of the colour bar; values beyond them take the end's colour.",
        "colour map": "Which colours stand for low and high values. All but the paper's change in even steps and make up no borders.",
        "percentiles": "Where the colours begin and end: so many per cent of the values lie below each; a few extreme spots then dim nothing.",
        "logarithmic colours": "Low values are told apart better; the values and the numbers at the colour bar stay as they are.",
        "offered genes": "Which genes the list offers: all, those the model predicts (best first), your favourites, or a set.",
        "favourites": "Genes that you marked with the star. They are kept for all sections and projects, in your own folder.",
        "gene set": "Genes that belong together, read from a text file (one gene a line) or a .gmt file, as the hallmark sets come.",
        "hidden cluster": "A cluster whose box is not ticked is not painted. It trains and is scored all the same.",
        "shared limits": "Measured and predicted use the same colour limits, so that equal colours mean equal values.",
        "side by side": "Measured and predicted in two linked views; moving one moves the other.",
        "measured against predicted": "Each spot not trained on as a point: measured to the right, predicted upwards. On the line they agree.",
        "selected spots": "Spots you drew round, on the slide or in the scatter. r among them is no test: they were chosen by what they show.",
        "flip": "Measured for predicted and back, with the same limits: what moves is where they differ.",
        "swipe": "A line across the slide: measured to its left, predicted to its right, with the same limits.",
        "confusion matrix": "How many spots of each measured cluster (row) are predicted to be of each (column), at spots not trained on.",
        "figure": "A map, plot or table for print, with scale, colours, source, verdict and scores beside it, as PNG, SVG or PDF.",
        "dpi": "Pixels per inch of paper: 300 is usual in print. Words and discs of SVG and PDF are sharp at any size; the H&E is not.",
        "copy as": "Copies what this does, as it is set now, as a command for the shell or as Python: pasted there it does the same.",
        "denser map": "Predicted at many points, between the spots too: no measurement, and no single cells. It sees only as fine as its tile.",
        "points between spots": "Points equally far from three neighbouring spots (on a square lattice, from the four of a cell), predicted.",
        "spacing": "How far the points of a denser map are apart. A finer spacing makes a smoother picture, not a sharper one.",
        "disagreement": "Disagreement between models: how far the models of the folds differ. It does not say how right they are.",
        "likeliest cluster": "The cluster with the highest predicted probability, each in its colour. Probabilities are not calibrated.",
        "interval": "How wide the calibrated band around each prediction is; nine in ten unseen spots were meant to lie in it.",
        "unlike": "A tile that looks unlike those the model was trained on: what it says there was never tried.",
        "finer than the model can see": "The view is so near that what the model tells apart fills it: look no closer, there is nothing to see.",
        "spot size": "How large spots are drawn; 100 % is their true size on the tissue.",
        "colour alone": "What the mean colour of a tile predicts by itself: the simplest look at the image.",
        "neighbours alone": "What the nearest measured spots predict by themselves, without any image.",
        "verdict": "Whether the model's map adds anything: better than every simple way, no better than one, worse, or cannot be judged here.",
        "simple way": "A way of predicting that needs no trained eye: colour, brightness, nuclei, depth, neighbours. A model must beat them all.",
        "best this data allows": "The ceiling: the highest r any predictor could reach here, because the counts themselves are noisy.",
        "show anyway": "Shows maps in full colour although they are not better than every simple way. Their verdict stays beside them.",
        "relative within this slide": "High and low on this slide only: on another patient the level itself is not to be relied on.",
        "detected": "The share of spots in which a gene was counted at least once.",
        "r": "Pearson's correlation of predicted with measured over spots: 1 is perfect, 0 is chance. Real sections usually give 0.2 to 0.5.",
        "band": "Around a predicted value: holds the measured value of 9 in 10 unseen spots. How many it really held is told.",
        "unlike tile": "A tile that looks unlike all that the model was trained on (pen, fold, other tissue): its value is a guess.",
        "resolution": "How wide a sharp edge becomes in the predicted map, from 10 to 90 % of the step, in um. Finer detail is no finding.",
        "every-nth": "A split: every n-th spot is left out in turn, to check filling in between spots. Neighbouring spots share pixels.",
        "stain normalisation": "Every slide is read as if it had been stained like the first one trained on (tile.stain: macenko).",
        "chance": "3 / √n for n spots: an |r| below it can come about by chance alone.",
        "baseline": "A simple way of predicting that a model has to beat to be worth its effort.",
        "mean RGB": "Baseline: a regression on nothing but the mean colour of a tile.",
        "brightness": "Baseline: a regression on how bright a tile is.",
        "nuclear density": "Baseline: a regression on how many nuclei a tile has; each is a hill of haematoxylin.",
        "log UMI": "Baseline: a regression on how many counts the spot has, where that is known: the depth of the measurement alone.",
        "neighbouring section": "Baseline: what was measured at the same place in the aligned sections beside this one; also blended in.",
        "majority class": "Baseline of clusters: always naming the commonest one.",
        "interpolation": "Baseline: the mean of the nearest measured spots, weighted by nearness, without any image.",
        "ceiling": "The highest r any predictor could reach, because the counts themselves are noisy.",
        "95 % interval": "Where a score would probably lie on other tissue like this, found by drawing whole blocks of spots again and again.",
        "significant": "The map goes with the measured one more than the same map moved over the tissue does; 1 in 20 such genes may be chance.",
        "compartment": "A cluster, or the outlines of one class. Scores within compartments no longer reward telling tumour from stroma.",
        "Moran's I": "How far neighbouring spots resemble each other: 0 is chance, 1 a smooth map. Predictions are usually too smooth.",
        "research use only": "Predictions are no measurements: not for diagnosis, treatment or any other clinical decision.",
    },
}  # fmt: skip

TERMS: dict[str, str] = {name.casefold(): line for chapter in GLOSSARY.values() for name, line in chapter.items()}


def term(name: str) -> str:
    """The one-line explanation of ``name``, in any case of letters; raises KeyError for a word that the glossary lacks."""
    return TERMS[name.casefold()]


def page() -> str:
    """The glossary as Markdown."""
    lines = ["<!-- Made by `make glossary` from src/napari_deepspace/glossary.py: change it there. -->", "", "# Glossary", ""]
    lines += ["The dock, the command line and these pages use these words and no others for the same things.", ""]
    for chapter, terms in GLOSSARY.items():
        lines += [f"## {chapter}", "", "| word | meaning |", "|---|---|"]
        lines += [f"| **{name}** | {line.replace('|', chr(92) + '|')} |" for name, line in terms.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    write_atomic(Path(sys.argv[1]), page())
