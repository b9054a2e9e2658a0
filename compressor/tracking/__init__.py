"""Trackers of experiments, one a file, each found by its name: mlflow, tensorboard, wandb."""
