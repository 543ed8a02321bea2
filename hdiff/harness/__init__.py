"""hdiff's models in EleutherAI's lm-evaluation-harness, as `--model hdiff`.

    python -m hdiff.harness run --model hdiff --model_args run=runs/quickstart --tasks blimp --batch_size auto

Importing this package registers the model, which is how the harness finds models of others. Every
log-likelihood it gives is exact or minus an upper bound on -log p; its results say which (`likelihood`).
"""

from hdiff.harness.model import HdiffLM

__all__ = ["HdiffLM"]
