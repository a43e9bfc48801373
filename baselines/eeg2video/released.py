"""The names that EEG2Video's authors gave the numbers of their networks.

`Seq2Seq/my_autoregressive_transformer.py:119`, `Semantic/eeg_text.py:11` and `EEG-VP/models.py:392`. No weights of them
are published; these are for what their code saves.
"""

from __future__ import annotations

from bench.toolbox.released import Released, Rename

WHERE = "a run of https://github.com/XuanhaoLiu/EEG2Video; no weights are published"
SEQ2SEQ = Released("EEG2Video's seq2seq model", "checkpoints/seq2seqmodel.pt", "130 MB in fp32", "none given", WHERE)
SEMANTIC = Released("EEG2Video's semantic predictor", "eeg2text_40_classes.pt", "3.6 GB in fp32", "none given", WHERE)
DYNAMIC = Released(
    "EEG2Video's GLMNet on band powers for fast and slow", "a state dict of glfnet_mlp", "2 MB", "none given", WHERE
)
NORM = "(weight|bias|running_mean|running_var|num_batches_tracked)"
TO_SEQ2SEQ = (
    Rename(r"eeg_embedding\.block_1\.1\.weight", "embed.layers.0.weight"),
    Rename(rf"eeg_embedding\.block_1\.2\.{NORM}", r"embed.layers.1.\1"),
    Rename(r"eeg_embedding\.block_2\.0\.weight", "embed.layers.2.weight"),
    Rename(rf"eeg_embedding\.block_2\.1\.{NORM}", r"embed.layers.3.\1"),
    Rename(r"eeg_embedding\.block_3\.1\.weight", "embed.layers.7.weight"),
    Rename(r"eeg_embedding\.block_3\.2\.weight", "embed.layers.8.weight"),
    Rename(rf"eeg_embedding\.block_3\.3\.{NORM}", r"embed.layers.9.\1"),
    Rename(r"eeg_embedding\.embedding\.(weight|bias)", r"embed.project.\1"),
    Rename(r"transformer_(encoder|decoder)\.(layers\..*)", r"\1.\2"),
    Rename(r"predictor\.(weight|bias)", r"read.\1"),
    Rename(r"(?:embedding|img_embedding|txtpredictor)\..*", None),  # which no reconstruction reads
    Rename(r"positional_encoding\.pe", None),
)
TO_SEMANTIC = (  # linear layers stand at 0, 2, 4 and 6 of theirs, and with dropout between at 0, 3, 6 and 9 of ours
    *(Rename(rf"mlp\.{2 * place}\.(weight|bias)", rf"hidden.{3 * place}.\1") for place in range(4)),
    Rename(r"mlp\.8\.(weight|bias)", r"read.\1"),
)
TO_DYNAMIC = (
    *(
        Rename(rf"{theirs}\.net\.{2 * place + 1}\.(weight|bias)", rf"{ours}.{2 * place}.\1")
        for theirs, ours in (("globalnet", "whole_net"), ("occipital_localnet", "local_net"))
        for place in range(3)
    ),
    Rename(r"out\.(weight|bias)", r"classify.\1"),
)
