"""Networks: trunk, denoiser and the autoregressive judge."""
