"""How what people keep becomes what a model takes: text, pictures, sound, by the model's folder."""

from calibration.encoders.base import Encoders

__all__ = ["Encoders"]
