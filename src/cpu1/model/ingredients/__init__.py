"""The ingredients, one file each. Importing this package makes them known to recipes."""

from cpu1.model.ingredients.attention import Attention, FoldedAttention
from cpu1.model.ingredients.decoder import FourHeads, LocalByteDecoder, TokenHead
from cpu1.model.ingredients.delete_gate import DeleteGate
from cpu1.model.ingredients.distillation import ByteDistillation, HiddenDistillation
from cpu1.model.ingredients.embedding import BolmoPatchEmbedding, PatchEmbedding, TokenEmbedding, WordPatchEmbedding
from cpu1.model.ingredients.ffn import ReLU2, SwiGLU
from cpu1.model.ingredients.linear import Dense, Ternary
from cpu1.model.ingredients.lookups import DocumentMemory, NgramTables
from cpu1.model.ingredients.mlgru import MLGRU
from cpu1.model.ingredients.pfnet import PFNet
from cpu1.model.ingredients.residual import FPResidual

__all__ = [
    "MLGRU",
    "Attention",
    "BolmoPatchEmbedding",
    "ByteDistillation",
    "DeleteGate",
    "Dense",
    "DocumentMemory",
    "FPResidual",
    "FoldedAttention",
    "FourHeads",
    "HiddenDistillation",
    "LocalByteDecoder",
    "NgramTables",
    "PFNet",
    "PatchEmbedding",
    "ReLU2",
    "SwiGLU",
    "Ternary",
    "TokenEmbedding",
    "TokenHead",
    "WordPatchEmbedding",
]
