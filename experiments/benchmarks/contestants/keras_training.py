"""The same training step by Keras on TensorFlow: Embedding, three LSTM layers, Dense, Adam."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import serve

settings = serve.settings()
shape = (settings["batch_size"], settings["num_steps"])
if settings["dtype"] == "bfloat16":
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
tokens_BxT = np.random.default_rng(0).integers(0, 413, shape, np.int32)
inputs_BxT = np.pad(tokens_BxT[:, :-1], ((0, 0), (1, 0)), constant_values=413)
model = keras.Sequential(
    [
        keras.layers.Embedding(414, 512),
        *(keras.layers.LSTM(512, return_sequences=True) for _ in range(3)),
        keras.layers.Dense(413, dtype="float32"),
    ]
)
model.compile(
    keras.optimizers.Adam(1e-3, global_clipnorm=3.0),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)


def work() -> int:
    """One step."""
    model.train_on_batch(inputs_BxT, tokens_BxT)
    return tokens_BxT.size


serve.serve(work)
