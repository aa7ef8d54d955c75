"""From finished run folders to what others use: a Hugging Face style folder, an upload, a folder of checkpoints."""
