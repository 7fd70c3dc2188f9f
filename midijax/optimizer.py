"""Optimizers and learning-rate schedules by name, from optax."""

from typing import Any

import jax
import numpy as np
import optax

from midijax.config import OptimizerConfig

FINAL_SHARE = 0.1  # of the peak rate, where the cosine schedule ends
FALLING_SHARE = 0.2  # of the steps, in which the trapezoid schedule falls
_NEVER = np.iinfo(np.int32).max  # applies updates that are not finite after so many in a row


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up, then the schedule the config names, over `num_steps` in all."""
    peak, warmup = config.learning_rate, config.warmup_steps
    start = 0.0 if warmup else peak
    if config.schedule == "constant":
        return optax.warmup_constant_schedule(start, peak, warmup)
    if config.schedule == "trapezoid":
        falling = max(1, round(FALLING_SHARE * num_steps))
        rise = optax.warmup_constant_schedule(start, peak, warmup)
        fall = optax.linear_schedule(peak, 0.0, falling)
        return optax.join_schedules((rise, fall), [max(warmup, num_steps - falling)])
    decay_steps = max(num_steps, warmup + 1)
    return optax.warmup_cosine_decay_schedule(start, peak, warmup, decay_steps, peak * FINAL_SHARE)


def optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Gradient clipping, then the optimizer the config names; gradients not finite are left out.

    Its state is an `optax.ApplyIfFiniteState`, which counts those.
    """
    rate = learning_rate(config, num_steps)
    update = {
        "adam": lambda: optax.adam(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=config.weight_decay),
        "rmsprop": lambda: optax.rmsprop(rate),
        "sgd": lambda: optax.sgd(rate),
    }[config.name]()
    if config.clip_norm:
        update = optax.chain(optax.clip_by_global_norm(config.clip_norm), update)
    return optax.apply_if_finite(update, max_consecutive_errors=_NEVER)


def num_updates(state: Any) -> jax.Array:
    """How many updates an optimizer of this file has made: its place in the schedule."""
    return optax.tree.get(
        state, "count", filtering=lambda path, _: "ScaleByScheduleState" in str(path)
    )
