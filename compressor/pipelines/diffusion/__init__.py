"""Diffusion models: schedules of noise, what a denoiser predicts, and the steps of a sampler."""
