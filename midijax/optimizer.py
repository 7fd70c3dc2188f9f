"""Optimizers and learning-rate schedules by name, from optax."""

import optax

from midijax.config import OptimizerConfig
from midijax.errors import UserError

FINAL_SHARE = 0.1  # of the peak rate, where the cosine schedule ends


def learning_rate(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warm-up, then the schedule the config names, over `num_steps` in all."""
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "constant":
        return optax.warmup_constant_schedule(0.0, peak, warmup)
    if config.schedule == "cosine":
        decay_steps = max(num_steps, warmup + 1)
        return optax.warmup_cosine_decay_schedule(
            0.0, peak, warmup, decay_steps, peak * FINAL_SHARE
        )
    raise UserError(f"optimizer.schedule '{config.schedule}' must be 'constant' or 'cosine'")


def optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Gradient clipping, then the optimizer the config names."""
    rate = learning_rate(config, num_steps)
    makers = {
        "adam": lambda: optax.adam(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=config.weight_decay),
        "rmsprop": lambda: optax.rmsprop(rate),
        "sgd": lambda: optax.sgd(rate),
    }
    if config.name not in makers:
        raise UserError(f"optimizer.name '{config.name}' must be one of {', '.join(makers)}")
    if not config.clip_norm:
        return makers[config.name]()
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), makers[config.name]())
